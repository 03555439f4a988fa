"""Learning merges: by hand, against the plain way, and whatever the pieces the text comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_bpe import train as train_naively
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import ByteLevelBPETokenizer
from minilm.text.bpe.training import count_words, learn_merges


def test_merges_by_hand():
    """Four words, counted by hand.

    hat ×5   that ×3   chat ×2   tea ×4

    pairs: ha 10, at 10, th 3, ch 2, te 4, ea 4.  ha and at are equal: "a" is older than "h", so a+t comes first.
    then:  h+at 10, te 4, ea 4, th 3, ch 2        → h+at
    then:  te 4, ea 4, t+hat 3, c+hat 2           → e+a ("e" is older than "t")
    then:  t+ea 4, t+hat 3, c+hat 2               → t+ea, then t+hat, then c+hat
    """
    pieces, merges = learn_merges({"hat": 5, "that": 3, "chat": 2, "tea": 4}, 1000)
    assert merges == [(b"a", b"t"), (b"h", b"at"), (b"e", b"a"), (b"t", b"ea"), (b"t", b"hat"), (b"c", b"hat")]
    assert pieces[256:] == [b"at", b"hat", b"ea", b"tea", b"that", b"chat"]
    assert learn_merges({"hat": 5, "that": 3, "chat": 2, "tea": 4}, 258)[0] == pieces[:258]
    assert learn_merges({"hat": 5, "that": 3, "chat": 2, "tea": 4}, 1000, min_frequency=3)[0] == pieces[:261]


def test_runs_are_joined_from_the_left():
    # aaaaa: a+a stands at 4 places, but two of them can be joined: aa|aa|a. Then aa+aa and aa+a stand once each.
    assert learn_merges({"aaaaa": 1}, 258, min_frequency=1)[1] == [(b"a", b"a"), (b"aa", b"a")]
    assert learn_merges({"aaaaa": 1}, 259, min_frequency=1)[1][2] == (b"aa", b"aaa")


@given(
    st.dictionaries(st.text("ab c", min_size=1, max_size=12), st.integers(1, 5), max_size=12),
    st.integers(256, 275),
    st.integers(1, 3),
)
def test_equal_to_the_plain_way(word_counts, max_pieces, min_frequency):
    assert learn_merges(word_counts, max_pieces, min_frequency) == train_naively(word_counts, max_pieces, min_frequency)


@given(TEXTS.filter(bool), st.integers(1, 5))
def test_where_the_text_is_cut_changes_nothing(text, size):
    text *= 3
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    whole = ByteLevelBPETokenizer.train(text, 300)
    assert ByteLevelBPETokenizer.train(iter(pieces), 300) == whole
    assert ByteLevelBPETokenizer.train([text], 300).tokens == whole.tokens


def test_special_tokens_are_no_words():
    counts = count_words(["one<|end", "oftext|>one <|endoftext|>"], ["<|endoftext|>"])
    assert counts == {"one": 2, " ": 1}


def test_a_text_may_give_fewer_tokens_than_wanted():
    tokenizer = ByteLevelBPETokenizer.train("go go go", 5000)
    assert tokenizer.tokens[256:] == ["go", "Ġgo"]
    assert tokenizer.merges == [("g", "o"), ("Ġ", "go")]
    assert tokenizer.encode("go go goo") == [256, 257, 257, tokenizer.tokens.index("o")]


def test_progress_is_shown_when_asked_for(capsys):
    ByteLevelBPETokenizer.train(["some text and some more"], 260, progress=True)
    assert "learning merges" in capsys.readouterr().err
    ByteLevelBPETokenizer.train(["some text and some more"], 260)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 256}, "vocabulary of 256 tokens is too small.*need 257"),
        ({"vocab_size": 258, "special_tokens": ["<a>", "<b>"]}, "need 259"),
        ({"vocab_size": 300, "texts": []}, "no text to train a tokenizer on"),
        ({"vocab_size": 300, "texts": [""]}, "no text to train a tokenizer on"),
        ({"vocab_size": 300, "texts": ["ok", "no\ud800"]}, r"lone surrogate U\+D800 at position 2"),
        ({"vocab_size": 300, "min_frequency": 0}, "min_frequency 0 would join pairs that never occur"),
        ({"vocab_size": 300, "special_tokens": "<a>"}, "give a list of texts"),
        ({"vocab_size": 300, "special_tokens": ["<a>", "<a>"]}, "an empty or a repeated one"),
        ({"vocab_size": 300, "special_tokens": [""]}, "an empty or a repeated one"),
        ({"vocab_size": 300, "special_tokens": ["Ġ"]}, "also written like an ordinary one"),
    ],
)
def test_what_cannot_be_trained(arguments, message):
    with pytest.raises(InputError, match=message):
        ByteLevelBPETokenizer.train(**{"texts": ["some text"], **arguments})
