"""Sphinx's settings for the book; lessons.book.site says which language (-D language=…)."""

import os

project = {"en": "minilm: the book", "zh": "minilm 教程"}[os.environ["MINILM_BOOK_LANGUAGE"]]
author = "The minilm authors"
copyright = "The minilm authors"
extensions = ["myst_nb", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns: list[str] = []
nitpicky = True

nb_execution_mode = "off"  # the notebooks were run before
nb_merge_streams = True
if os.environ["MINILM_BOOK_LANGUAGE"] == "zh":
    nb_code_prompt_show, nb_code_prompt_hide = "显示代码", "隐藏代码"
else:
    nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["book.css"]
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"tex": {"tags": "none"}, "svg": {"fontCache": "global"}, "options": {"enableMenu": False}}
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "article_header_end": ["language.html", "article-header-buttons.html"],
    "show_toc_level": 2,
    "toc_title": {"en": "On this page", "zh": "本页内容"}[os.environ["MINILM_BOOK_LANGUAGE"]],
    "search_bar_text": {"en": "Search", "zh": "搜索"}[os.environ["MINILM_BOOK_LANGUAGE"]],
    "home_page_in_toc": True,
}
copybutton_selector = "div.cell_input pre, div.highlight-sh pre, div.highlight-python pre"


def setup(app: object) -> None:
    """Sphinx's Chinese search needs another package to cut words, and names a stemmer that is not there."""
    import re

    from sphinx.search.zh import SearchChinese

    def split(self: SearchChinese, text: str) -> list[str]:
        runs = re.findall("[\u4e00-\u9fff]+", text)
        pairs = [run[i : i + 2] for run in runs for i in range(len(run) - 1)]
        words = self.latin1_letters.findall(text)
        self.latin_terms.update(words)
        return pairs + runs + words  # what is searched is a pair, or a part of a run

    SearchChinese.split = split
    SearchChinese.language_name = "English"  # of the stemmer that it brings
