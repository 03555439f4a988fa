"""All entries, in the order of a reader; found by name, by F-number, or by a near miss."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module

from minilm.errors import InputError
from minilm.formulas.entry import Formula, Text

FAMILIES = {  # each a file in minilm/formulas/families with a tuple FORMULAS
    "attention": Text("Attention", "注意力"),
    "layers": Text("Layers", "层"),
    "blocks": Text("Blocks", "块"),
    "positions": Text("Positions", "位置"),
    "language": Text("Language models and their losses", "语言模型与损失"),
    "pretraining": Text("Pre-training", "预训练"),
    "metrics": Text("Judging", "评价"),
    "texts": Text("Judging written text", "评价生成的文本"),
    "decoding": Text("Decoding", "解码"),
    "training": Text("Training", "训练"),
    "unigram": Text("The unigram tokenizer", "Unigram 分词器"),
    "documents": Text("What the documents have wrong", "文档中有误的公式"),
}


@cache
def all_formulas() -> dict[str, tuple[Formula, ...]]:
    """Family → its entries."""
    return {family: import_module(f"minilm.formulas.families.{family}").FORMULAS for family in FAMILIES}


@cache
def by_name() -> dict[str, Formula]:
    return {formula.name: formula for family in all_formulas().values() for formula in family}


def find(name: str) -> Formula:
    """The entry of this name; for an F-number the one that is right. Raises InputError with near matches."""
    known = by_name()
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    if wanted in known:
        return known[wanted]
    numbered = [formula for formula in known.values() if wanted.upper() in formula.ids]
    if numbered:  # a document's version leads to what is right
        wrong = [formula for formula in numbered if formula.right]
        return known[wrong[0].right] if wrong else numbered[0]
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    close += [each for each in known if len(wanted) > 2 and wanted in each and each not in close][:3]
    advice = f"did you mean {' or '.join(close)}?" if close else "minilm explain lists all"
    raise InputError(f"there is no formula {name!r}; {advice}")


def documents_versions(formula: Formula) -> list[Formula]:
    """The documents' wrong versions of a formula."""
    return [other for other in by_name().values() if other.right == formula.name]
