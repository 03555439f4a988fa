"""GPT-2's cut into words."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.text.unicode.byte_map import ALPHABET, BYTE_TO_CHARACTER, to_bytes, to_printable
from minilm.text.words.gpt2_pattern import WHITESPACE, pretokenize, pretokenize_chunks, special_pattern

SPECIAL = special_pattern(["<|endoftext|>", "<|end", "🇩"])
HOLD = len("<|endoftext|>") + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'll be 20, OK?", ["I", "'ll", " be", " 20", ",", " OK", "?"]),
        ("don't DON'T ''s 'tis", ["don", "'t", " DON", "'", "T", " ''", "s", " '", "tis"]),
        ("we've you're'd", ["we", "'ve", " you", "'re", "'d"]),
        ("a   b \n\n c\n", ["a", "  ", " b", " \n\n", " c", "\n"]),
        ("x\n\ty\xa0z", ["x", "\n", "\t", "y", "\xa0", "z"]),
        ("end  ", ["end", "  "]),
        ("ab12cd_ef½Ⅷ", ["ab", "12", "cd", "_", "ef", "½Ⅷ"]),
        ("床前 明月光，疑是", ["床前", " 明月光", "，", "疑是"]),
        ("😀 😀😀e\u0301", ["😀", " 😀😀", "e", "\u0301"]),
        ("\x1c\x1d \x1e", ["\x1c\x1d", " \x1e"]),  # whitespace to Python, not to Unicode
        ("", []),
    ],
)
def test_words(text, words):
    assert pretokenize(text) == words


@given(TEXTS)
def test_no_character_is_lost(text):
    for special in (None, SPECIAL):
        words = pretokenize(text, special)
        assert "".join(words) == text
        assert "" not in words


def test_special_tokens_are_words_and_the_longest_wins():
    assert pretokenize("a  <|endoftext|> b<|end", SPECIAL) == ["a", "  ", "<|endoftext|>", " b", "<|end"]
    assert special_pattern([]) is None


@given(st.lists(TEXTS), st.sampled_from([(), (SPECIAL, HOLD)]))
def test_where_chunks_are_cut_changes_nothing(chunks, how):
    words = [word for words in pretokenize_chunks(chunks, *how) for word in words]
    assert words == pretokenize("".join(chunks), *how[:1])


@given(TEXTS, st.integers(1, 4), st.sampled_from([(), (SPECIAL, HOLD)]))
def test_chunks_of_a_few_characters(text, size, how):
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    words = [word for words in pretokenize_chunks(chunks, *how) for word in words]
    assert words == pretokenize(text, *how[:1])


def test_classes_are_those_of_unicode():
    """Every code point that this Python knows: what it joins with says which class the pattern has it in."""
    space = re.compile(f"[{WHITESPACE}]")
    for code in [*range(0xD800), *range(0xE000, 0x30000, 7), 0x3134A, 0xE0001, 0x10FFFF]:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cn":
            continue
        python_space = character.isspace() and character not in "\x1c\x1d\x1e\x1f"
        assert bool(space.match(character)) == python_space
        joins_letter = len(pretokenize("a" + character)) == 1
        joins_number = len(pretokenize("1" + character)) == 1
        joins_other = len(pretokenize("!" + character)) == 1
        assert (joins_letter, joins_number) == (category[0] == "L", category[0] == "N"), hex(code)
        assert joins_other == (category[0] not in "LN" and not python_space), hex(code)


def test_letters_and_numbers_that_are_newer_than_python_3_11():
    assert pretokenize("a\ua7cb\u1c89 \U000323af") == ["a\ua7cb\u1c89", " \U000323af"]
    assert pretokenize("1\U00010d40\U0001e5fa") == ["1\U00010d40\U0001e5fa"]


def test_bytes_as_visible_characters():
    assert len(set(BYTE_TO_CHARACTER)) == 256
    assert ALPHABET[0] == "!"
    assert to_printable(b" cat\n\xe4\xff") == "ĠcatĊäÿ"
    assert to_bytes("ĠcatĊäÿ") == b" cat\n\xe4\xff"
    assert [chr(0x100 + n) for n in range(68)] == sorted(BYTE_TO_CHARACTER)[-68:]
    assert all(character.isprintable() and not character.isspace() for character in BYTE_TO_CHARACTER)
