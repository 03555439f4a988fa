"""How BLEU cuts a text into words. A BLEU score is comparable only with one whose words were cut the same way.

Three of sacrebleu's ways, by its names: "13a" for languages written with spaces (the script mteval-v13a of the machine
translation conferences), "zh" for Chinese, "char" for single characters.
"""

from __future__ import annotations

import re

from minilm.errors import InputError

# Every ASCII mark of punctuation is a word of its own, but ' is kept, and . , - depend on what stands beside them.
_MARK = re.compile(r"([ !-&(-+/:-@\[-`{-~])")
_POINT_AFTER_OTHER = re.compile(r"([^0-9])([.,])")  # "end." but not "3.5"
_POINT_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")

# The blocks whose characters are words of their own in "zh". U+2001 to U+2A6D is no block of Chinese, but dashes,
# quotation marks, arrows and mathematics: sacrebleu writes the rare characters from U+20000 in a four-digit escape and
# so means these, and scores that are to equal its own must do likewise. The rare characters themselves are not in it.
_CHINESE_BLOCKS = (
    ("\u2001", "\u2a6d"),
    ("\u2e80", "\u2fdf"),  # radicals
    ("\u2ff0", "\u303f"),  # descriptions of characters, punctuation
    ("\u3100", "\u312f"),  # Bopomofo
    ("\u31a0", "\u31bf"),
    ("\u31c0", "\u31ef"),  # strokes
    ("\u3200", "\u33ff"),  # enclosed and squared characters
    ("\u3400", "\u4db5"),  # ideographs
    ("\u4e00", "\u9fbb"),
    ("\uf900", "\ufa2d"),
    ("\ufa30", "\ufa6a"),
    ("\ufa70", "\ufad9"),
    ("\ufe10", "\ufe1f"),  # vertical punctuation
    ("\ufe30", "\ufe4f"),
    ("\uff00", "\uffef"),  # full-width forms
)
_CHINESE = re.compile("([" + "".join(f"{first}-{last}" for first, last in _CHINESE_BLOCKS) + "])")


def bleu_words(text: str, tokenize: str = "13a") -> list[str]:
    """The words of one text, as sacrebleu cuts it.

    tokenize: "13a", "zh" or "char". Case is kept. Raises InputError for another name.
    """
    text = text.rstrip()
    if tokenize == "13a":
        for entity, character in (("<skipped>", ""), ("-\n", ""), ("\n", " ")):
            text = text.replace(entity, character)
        for entity, character in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            text = text.replace(entity, character)
        return western_words(f" {text} ")
    if tokenize == "zh":
        return western_words(_CHINESE.sub(r" \1 ", text.strip()))
    if tokenize == "char":
        return list("".join(text.split()))
    raise InputError(f"BLEU has no tokenizer {tokenize!r}; give '13a' (words), 'zh' (Chinese) or 'char' (characters)")


def western_words(text: str) -> list[str]:
    """Words between spaces, punctuation cut off: "Hi, it's 3.5!" → Hi , it's 3.5 !"""
    text = _MARK.sub(r" \1 ", text)
    text = _POINT_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _POINT_BEFORE_OTHER.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()
