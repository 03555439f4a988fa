"""The site: MathJax beside it, Sphinx for each language, and every link looked up."""

from __future__ import annotations

import os
import shutil
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

from lessons.book import ROOT
from minilm.data.download import cache_folder, download
from minilm.errors import InputError
from minilm.files import write_text

MATHJAX = "3.2.2"
MATHJAX_SHA256 = "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09"
REGISTRY = "https://registry.npmjs.org"  # NPM_CONFIG_REGISTRY names another, as for npm
START = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>minilm: the book / 教程</title>
<script>location.replace((navigator.language.startsWith("zh") ? "zh" : "en") + "/index.html")</script>
<p style="text-align: center"><a href="en/index.html">English</a> · <a href="zh/index.html">中文</a></p>
"""


def mathjax() -> Path:
    """MathJax's one file, fetched once with its checksum. Raises InputError without a network the first time."""
    folder = cache_folder() / "mathjax" / MATHJAX
    script = folder / "tex-svg.js"
    if script.exists():
        return script
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    archive = download(
        f"{registry}/mathjax/-/mathjax-{MATHJAX}.tgz",
        folder / "mathjax.tgz",
        sha256=MATHJAX_SHA256,
    )
    with tarfile.open(archive) as opened:
        found = opened.extractfile("package/es5/tex-svg.js")
        assert found is not None
        write_text(script, found.read().decode())
    archive.unlink()
    return script


def sphinx(source: Path, out: Path, language: str, notebooks: list[str]) -> None:
    """Make the HTML of one language in `out`. Raises InputError if Sphinx warns of anything."""
    from sphinx.cmd.build import main

    static = out / "_static" / "mathjax"
    os.environ["MINILM_BOOK_LANGUAGE"] = language
    failed = main(
        [
            *("-q", "-W", "--keep-going", "-E", "-b", "html", "-c", str(ROOT / "lessons" / "book")),
            *("-d", str(source.parent / f"doctrees-{language}")),
            *("-D", "language=" + {"en": "en", "zh": "zh_CN"}[language]),
            *("-A", f"language={language}", "-A", "notebooks=" + " ".join(notebooks)),
            *(str(source), str(out)),
        ]
    )
    if failed:
        raise InputError(f"Sphinx warned about the pages in {language}; its words are above")
    static.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(mathjax(), static / "tex-svg.js")


class Links(HTMLParser):
    """What a page points at, the names that it has, and what it would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names.update(value for key in ("id", "name") if (value := given.get(key)))
        target = given.get("href") or given.get("src")
        if target:
            self.targets.append(target)
            if tag in ("script", "img", "iframe") or (tag == "link" and given.get("rel") != "canonical"):
                self.loads.append(target)


def check_links(out: Path) -> int:
    """Look up every link inside the site; the number of links. Raises InputError with all that lead nowhere or outside."""
    pages: dict[Path, Links] = {}
    for path in sorted(out.rglob("*.html")):
        if "_static" in path.parts:
            continue
        pages[path.resolve()] = links = Links()
        links.feed(path.read_text(encoding="utf-8"))
    wrong, count = [], 0
    for path, links in pages.items():
        where = path.relative_to(out.resolve())
        wrong += [f"{where} loads {target}" for target in links.loads if urlparse(target).netloc]
        for target in links.targets:
            parsed = urlparse(target)
            if parsed.scheme or parsed.netloc:
                continue
            count += 1
            file = (path.parent / unquote(parsed.path)).resolve() if parsed.path else path
            if file.is_dir():
                file /= "index.html"
            if not file.exists():
                wrong.append(f"{where} points at {target}, which is not there")
            elif parsed.fragment and file in pages and unquote(parsed.fragment) not in pages[file].names:
                wrong.append(f"{where} points at {target}: the page has no such place")
    if wrong:
        raise InputError("links that lead nowhere, or outside:\n  " + "\n  ".join(wrong))
    return count
