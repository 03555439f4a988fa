"""The formulas that minilm teaches: what each says, the code that realises it, an example with numbers, its tests.

    import minilm.formulas as formulas
    formulas.find("attention").latex
    formulas.code_of("attention")            # found by its tag, in the installed package
    print(formulas.explain("attention"))     # what `minilm explain attention` prints

An entry is data in one of the files of families/, one file per family. A formula that the documents have wrong has a second
entry, in families/documents.py, with a counter-example that runs (families/counter_examples.py).
"""

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.page import explain, overview
from minilm.formulas.registry import FAMILIES, all_formulas, documents_versions, find
from minilm.formulas.tags import Excerpt, code_of, tagged_code

__all__ = [
    "FAMILIES", "Excerpt", "Formula", "Letter", "Step", "Text", "all_formulas", "code_of", "documents_versions", "explain",
    "find", "overview", "tagged_code",
]  # fmt: skip
