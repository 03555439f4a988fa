"""Make the book: run every page's cells, write the notebooks, make the site.

    python -m lessons.build                        both languages, into build/book (open build/book/index.html)
    python -m lessons.build --lang zh --chapter 3  one chapter in one language: quick, while writing
    python -m lessons.build --out DIR --fresh      elsewhere; run the cells even where nothing has changed

    pip install -e ".[lessons]"                    what it needs, once

A cell that fails or warns, a number in the text that is not what the code gives, a tag or label without a partner, a link that
leads nowhere: each fails the build, with the page and the line or cell.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lessons.book import LANGUAGES, ROOT
from lessons.book.pages import Page, Run, names, read
from minilm.errors import InputError

NEEDED = (
    "nbclient",
    "nbformat",
    "ipykernel",
    "matplotlib",
    "sphinx",
    "myst_nb",
    "sphinx_book_theme",
    "sphinx_copybutton",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="one language instead of both")
    parser.add_argument("--chapter", help="one chapter: its number, or its name such as 03_autograd")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book", help="where to (build/book)")
    parser.add_argument("--fresh", action="store_true", help="run all cells, also those of unchanged chapters")
    asked = parser.parse_args(arguments)
    try:
        build(asked.out.resolve(), [asked.lang] if asked.lang else list(LANGUAGES), asked.chapter, asked.fresh)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; chapters that were run are kept for the next time", file=sys.stderr)
        return 130
    return 0


def build(out: Path, languages: list[str], chapter: str | None = None, fresh: bool = False) -> None:
    """Make the book in `out`. chapter: run only this one; the others are shown as their text and code, without outputs."""
    check_installed()
    from lessons.book import site

    start = time.perf_counter()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in ("traitlets", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    site.mathjax()  # without a network this fails now, not after the chapters
    chosen = pages_to_build(chapter)
    for language in languages:
        source, target = out / ".work" / language, out / language
        for folder in (source, target):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        notebooks = []
        for page in read_all(language):
            kept = out / ".work" / "run" if page.name in chosen else None
            if write_page(page, source, target, kept, fresh):
                notebooks.append(page.name)
        print(f"{language}: Sphinx makes the site ...", flush=True)
        site.sphinx(source, target, language, notebooks)
    (out / "index.html").write_text(site.START, encoding="utf-8")
    if set(languages) == set(LANGUAGES):  # of one language alone the links to the other lead nowhere yet
        print(f"{site.check_links(out)} links lead somewhere, none is loaded from outside")
    print(f"{out / 'index.html'} is ready, after {time.perf_counter() - start:.0f} s")


def check_installed() -> None:
    """Raises InputError for libraries that are missing."""
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f'the book needs {", ".join(missing)}; install it: pip install -e ".[lessons]"')


def pages_to_build(chapter: str | None) -> list[str]:
    """The pages to run: all; or those without a number in their name and the chapter that was asked for."""
    found = names()
    if chapter is None:
        return found
    number = chapter.partition("_")[0].zfill(2)
    chosen = [name for name in found if name == chapter or name.partition("_")[0] == number]
    if not chosen:
        numbers = ", ".join(name for name in found if name[0].isdigit())
        raise InputError(f"there is no chapter {chapter}; there are {numbers}")
    return [name for name in found if not name[0].isdigit() or name in chosen]


def read_all(language: str) -> list[Page]:
    """The pages of a language; without a Chinese font the figures stay English, and say so once."""
    from lessons.book import fonts

    figures = language
    if language == "zh" and fonts.chinese_font() is None:
        print(f"note: {fonts.ADVICE}", file=sys.stderr)
        figures = "en"
    return [read(name, language, figures) for name in names(language)]


def write_page(page: Page, source: Path, target: Path, kept: Path | None, fresh: bool) -> bool:
    """Run a page and write what Sphinx reads and the reader's notebook; whether there is one. kept: None if not to be run."""
    import nbformat

    from lessons.book import notebooks, running

    here = f"{page.language}/{page.name}"
    if not page.runs:
        text = "\n\n".join(notebooks.shown(part, page, False) for part in page.parts if not isinstance(part, Run))
        (source / f"{page.name}.md").write_text(text + "\n", encoding="utf-8")
        return False

    if kept is None:
        nbformat.write(notebooks.woven(page, notebooks.to_run(page), reader=False), source / f"{page.name}.ipynb")
        return False

    def tell(what: str) -> None:
        if sys.stdout.isatty():
            print(f"\r{here}: {what:<60}", end="", flush=True)

    ran = running.run(notebooks.to_run(page), here, kept, tell, fresh)
    how = "unchanged, from an earlier run" if ran.cached else f"run in {ran.seconds:.1f} s"
    print(f"\r{here}: {len(page.runs)} cells, {how:<50}".rstrip(), flush=True)
    nbformat.write(notebooks.woven(page, ran.notebook, reader=False), source / f"{page.name}.ipynb")
    folder = target / "notebooks"
    folder.mkdir(exist_ok=True)
    nbformat.write(notebooks.woven(page, ran.notebook, reader=True), folder / f"{page.name}.ipynb")
    return True


if __name__ == "__main__":
    sys.exit(main())
