"""Split: how Llama 3's pattern cuts, and what is refused."""

import json
import sys

import pytest

from minilm.errors import InputError, MissingDependencyError
from minilm.text import ByteLevelBPETokenizer
from minilm.text.files.component_json import pre_tokenizer_from_json
from minilm.text.unicode.aligned import AlignedText
from minilm.text.words.split_pattern import Split, compiled, translated

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def words(split, text):
    return split(AlignedText.of(text)).strings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 12345, IT'S!", ["It", "'s", " ", "123", "45", ",", " IT", "'S", "!"]),
        ('(word) "x"\n\n  y', ["(word", ")", ' "', "x", '"\n\n', " ", " y"]),
        ("床前明月 é1", ["床前明月", " é", "1"]),
        ("a  \n b", ["a", "  \n", " b"]),
        ("", []),
    ],
)
def test_llama_3(text, expected):
    assert words(Split(LLAMA3), text) == expected


def test_what_stands_between():
    assert words(Split(",", regex=False), "a,b,,c") == ["a", ",", "b", ",", ",", "c"]
    assert words(Split(",", regex=False, behavior="Removed"), "a,b,,c") == ["a", "b", "c"]
    assert words(Split(r"\d+", behavior="Removed", invert=True), "a1b23") == ["1", "23"]
    assert words(Split("x*"), "ab") == ["a", "b"]  # an empty match cuts, too


def test_unicode_s_classes_are_written_out():
    assert "\\p" not in translated(LLAMA3)
    assert compiled(r"\s").match("\x85")
    assert not compiled(r"\s").match("\x1f")  # which Python's own \s takes
    assert compiled(r"\P{L}").match("1")
    assert not compiled(r"\p{^L}").match("a")


def test_what_re_cannot_do_is_given_to_regex(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    compiled.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pattern .*Han.* of this tokenizer needs regex"):
        Split(r"\p{Han}+")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Contiguous"}, "behavior 'Contiguous'"),
        ({"type": "Split", "pattern": {"Glob": "a"}, "behavior": "Isolated"}, "is a 'Glob'"),
        ({"type": "Split", "pattern": {}, "behavior": "Isolated"}, "wrong kind"),
        ({"type": "Split", "pattern": {"Regex": 5}, "behavior": "Isolated"}, "wrong kind"),
        ({"type": "Split", "pattern": {"Regex": "a"}}, "lacks 'behavior'"),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        pre_tokenizer_from_json(json.loads(json.dumps(spec)))


def test_whole_words_go_before_merges(tmp_path):
    base = ByteLevelBPETokenizer.train("abab abab", 258)
    vocabulary = {**{token: n for n, token in enumerate(base.tokens)}, "Ġcat": 258}
    with pytest.raises(InputError, match="come from no merge"):
        ByteLevelBPETokenizer(vocabulary, base.merges)
    tokenizer = ByteLevelBPETokenizer(vocabulary, base.merges, ignore_merges=True)
    assert tokenizer.encode("abab cat cats") == [*tokenizer.encode("abab"), 258, *tokenizer.encode(" cats")]
    assert tokenizer.encode(" cats") == [*b" cats"] or 258 not in tokenizer.encode(" cats")
    ids, offsets = tokenizer.encode_offsets("x cat")
    assert ids.tolist()[1:] == [258]
    assert offsets.tolist() == [[0, 1], [1, 5]]
    tokenizer.save(tmp_path)
    assert ByteLevelBPETokenizer.load(tmp_path).encode(" cat") == [258]
