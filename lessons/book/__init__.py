"""How the book is made: a page and its cells become a notebook, the notebook is run, and Sphinx makes the site of it.

To read it, in this order:

    cells       lessons/cells/NAME.py → named cells, in English or Chinese
    pages       lessons/en/NAME.md → what a page is made of: text, cells, quoted code, numbers that are checked
    stating     whether a number in the text is what the code gives
    quoting     the code and the formula of a tag, a definition of minilm
    notebooks   a page → a notebook to run; what is run → the reader's notebook, and Sphinx's
    running     runs a notebook in a kernel of its own, or takes what an earlier run left
    fonts       a font with Chinese characters for the figures
    site        MathJax, Sphinx, the check of every link
    conf.py     Sphinx's settings

`python -m lessons.build` is the command.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "lessons"
LANGUAGES = ("en", "zh")
