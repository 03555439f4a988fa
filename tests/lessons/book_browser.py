"""Looks at the built book in a real browser; `python tests/lessons/book_browser.py build/book pictures` saves what it sees.

Needs Playwright (pip install playwright) and a chromium of the system; no browser is downloaded.
"""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


NARROW = "[...document.querySelectorAll('td')].some(cell => cell.innerText.length > 6 && cell.clientWidth < 64)"


def can_look() -> bool:
    return CHROMIUM is not None and find_spec("playwright") is not None


def look(book: Path, pictures: Path | None = None) -> list[str]:
    """Open every page of both languages, on a desktop and a phone, light and dark; what is wrong, one line each.

    Wrong is a message of an error on the console, a request that leaves the book or fails, a page that scrolls sideways, a
    formula that MathJax could not set, a column of a table in which words stand letter below letter.
    """
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for page_path in sorted(book.glob("??/[0-9i]*.html")):
            for screen, (width, height) in SCREENS.items():
                for scheme in ("light", "dark"):
                    where = f"{page_path.parent.name}/{page_path.stem} {screen} {scheme}"
                    viewport = {"width": width, "height": height}
                    context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
                    context.set_default_timeout(120_000)  # a machine may be busy
                    page = context.new_page()
                    seen: list[str] = []
                    page.on("console", lambda m, s=seen: s.append(m.text) if m.type == "error" else None)
                    page.on("pageerror", lambda e, s=seen: s.append(str(e)))
                    page.on("requestfailed", lambda r, s=seen: s.append(f"failed: {r.url}"))
                    page.on("request", lambda r, s=seen: s.append(f"outside: {r.url}") if leaves(r.url) else None)
                    page.goto(page_path.resolve().as_uri())
                    page.wait_for_function("window.MathJax === undefined || MathJax.startup?.promise !== undefined")
                    page.evaluate("window.MathJax?.startup?.promise")
                    page.wait_for_timeout(300)
                    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                        seen.append("scrolls sideways")
                    if page.evaluate("document.querySelectorAll('[data-mjx-error]').length"):
                        seen.append("a formula cannot be set")
                    if page.evaluate(NARROW):
                        seen.append("a column of a table is too narrow for its words")
                    wrong += [f"{where}: {each}" for each in seen]
                    if pictures:
                        pictures.mkdir(parents=True, exist_ok=True)
                        name = where.replace("/", "-").replace(" ", "-")
                        page.screenshot(path=str(pictures / f"{name}.png"), full_page=True)
                    context.close()
        browser.close()
    return wrong


def leaves(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


if __name__ == "__main__":
    found = look(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print("\n".join(found) or "nothing is wrong")
    sys.exit(bool(found))
