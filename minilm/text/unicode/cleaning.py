"""Cleaning: from text as people type it to text that a tokenizer can count on.    [000 §3.1]

Every step is one small function from string to string, and `clean` is nothing but those steps in a fixed order. A
language model learns to write what it has read, so the defaults change only what a reader would not see; lower case
and stripped accents are losses, and are asked for by name.
"""

from __future__ import annotations

import re
import unicodedata

from minilm.errors import InputError

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
WHITESPACE_MODES = ("keep", "trim", "collapse")

_LINE_ENDING = re.compile("\r\n|[\r\x85\u2028\u2029]")
# All control characters but tab and line feed, and the byte order mark that some editors leave at the start of a file.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_ODD_SPACE = re.compile(r"[^\S \t\n]")
_SPACES_AT_LINE_END = re.compile(r"[ \t]+(?=\n|\Z)")
_SPACES = re.compile(r"[ \t]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(
    text: str,
    *,
    form: str | None = "NFC",
    line_endings: bool = True,
    control: bool = True,
    whitespace: str = "trim",
    lowercase: bool = False,
    strip_accents: bool = False,
) -> str:
    """Bring `text` into one way of writing; cleaning twice is the same as cleaning once.

    form: Unicode normalization, see `normalize`; None leaves the text as it is.
    line_endings: every kind of line end becomes "\\n", see `unify_line_endings`.
    control: control characters go, see `remove_control_characters`.
    whitespace: "keep", "trim" (the ends of lines; indentation stays) or "collapse", see `tidy_whitespace`.
    lowercase, strip_accents: for models without upper case or accents, see `remove_accents`.

    Raises InputError for lone surrogates and for a form or whitespace mode that does not exist.
    """
    refuse_surrogates(text)
    if line_endings:
        text = unify_line_endings(text)
    if control:
        text = remove_control_characters(text)
    if form is not None:
        text = normalize(text, form)
    if lowercase:
        text = text.lower()
    if strip_accents:
        text = remove_accents(text)
    if form is not None and (lowercase or strip_accents):
        text = normalize(text, form)  # lower case can undo the form: "İ" becomes "i" and a combining dot
    return tidy_whitespace(text, whitespace)


def normalize(text: str, form: str = "NFC") -> str:
    """Unicode normalization: characters that mean the same get the same code points.

    form: "NFC" composes (e + ́  → é), "NFD" decomposes (é → e + ́ ); "NFKC" and "NFKD" also replace look-alikes by
    their plain form (ﬁ → fi, ² → 2, full width Ａ → A), which loses something and cannot be undone.

    Raises InputError for another form, and for lone surrogates.
    """
    if form not in FORMS:
        raise InputError(f"{form!r} is no Unicode normalization form; use one of {', '.join(FORMS)}")
    refuse_surrogates(text)
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]  # form is one of the four


def refuse_surrogates(text: str) -> None:
    """Raise InputError if `text` holds half of a surrogate pair (U+D800 to U+DFFF).

    Such a half is no character and has no UTF-8 form. It comes from text that was decoded wrongly, or cut in the middle
    of a UTF-16 pair.
    """
    try:
        text.encode("utf-8")  # quicker than any search
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate U+{ord(text[error.start]):04X} at position {error.start}, which is half a "
            'character and cannot be stored; read the file again with its right encoding, or with errors="replace"'
        ) from None


def unify_line_endings(text: str) -> str:
    r"""Windows' "\r\n", old Mac's "\r" and Unicode's U+0085, U+2028, U+2029 all become "\n"."""
    return _LINE_ENDING.sub("\n", text)


def remove_control_characters(text: str) -> str:
    """Remove control characters (Unicode category Cc) except tab and line feed, and byte order marks (U+FEFF).

    Format characters such as the zero width joiner stay: emoji, Persian and many Indian scripts are written with them.
    """
    return _CONTROL.sub("", text)


def tidy_whitespace(text: str, mode: str = "trim") -> str:
    """Whitespace as a reader sees it.

    mode: "keep" changes nothing. "trim" turns the odd spaces (no-break, thin, ideographic, ...) into " " and removes
    spaces and tabs at the end of every line. "collapse" also makes one space of each run of spaces and tabs, leaves at
    most one blank line in a row, and strips the whole text; it destroys the indentation of program code and verse.

    Raises InputError for another mode.
    """
    if mode not in WHITESPACE_MODES:
        raise InputError(f"whitespace {mode!r} is unknown; use one of {', '.join(WHITESPACE_MODES)}")
    if mode == "keep":
        return text
    text = _ODD_SPACE.sub(" ", text)
    if mode == "trim":
        return _SPACES_AT_LINE_END.sub("", text)
    text = _SPACES.sub(" ", text).replace(" \n", "\n").replace("\n ", "\n")
    return _BLANK_LINES.sub("\n\n", text).strip()


def remove_accents(text: str) -> str:
    """é → e, ü → u, ά → α: decompose, drop the nonspacing marks (category Mn), compose what is left.

    Right for the scripts of Europe. In the scripts of India and in Thai the vowels are such marks: do not use it there.
    """
    letters = (c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return unicodedata.normalize("NFC", "".join(letters))
