"""Byte-level BPE: any text goes in, the same text comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_bpe import split
from strategies import CORNERS, TEXTS

from minilm.errors import InputError
from minilm.text import ByteLevelBPETokenizer
from minilm.text.bpe import tokenizer as bpe
from minilm.text.unicode.byte_map import ALPHABET, to_bytes, to_printable
from minilm.text.words.gpt2_pattern import pretokenize

TRAINING_TEXT = "It's the end that they're there for, isn't it? 床前明月光，明月光😀😀 " * 4 + "".join(CORNERS) * 3
PLAIN = ByteLevelBPETokenizer.train(TRAINING_TEXT, 400)
SPECIAL = ByteLevelBPETokenizer.train(TRAINING_TEXT, 400, special_tokens=["<|endoftext|>", "<|pad|>", "床前"])
TOKENIZERS = st.sampled_from([PLAIN, SPECIAL])


@given(TOKENIZERS, TEXTS)
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode_array(text)) == text
    assert tokenizer.decode(tuple(ids)) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@given(TOKENIZERS, TEXTS)
def test_list_and_array_agree(tokenizer, text):
    ids = tokenizer.encode_array(text)
    assert ids.dtype == np.uint16
    assert ids.ndim == 1
    assert ids.tolist() == tokenizer.encode(text)


@given(TEXTS)
def test_the_ids_are_those_of_the_plain_way(text):
    merges = [(to_bytes(left), to_bytes(right)) for left, right in PLAIN.merges]
    expected = [to_printable(piece) for word in pretokenize(text) for piece in split(word, merges)]
    assert [PLAIN.tokens[n] for n in PLAIN.encode(text)] == expected


@st.composite
def vocabularies(draw):
    """Merges in any order, among them ones that make the same token in two ways, as other programs' files may have."""
    tokens, merges = ["a", "b", "c"], []
    for _ in range(draw(st.integers(1, 20))):
        pair = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        if len("".join(pair)) <= 6 and pair not in merges:
            merges.append(pair)
            tokens.append("".join(pair))
    merges = draw(st.permutations(merges))
    return ByteLevelBPETokenizer({token: n for n, token in enumerate(dict.fromkeys([*ALPHABET, *tokens]))}, merges)


@given(vocabularies(), st.lists(st.text("abc", max_size=20), max_size=4))
def test_any_order_of_merges(tokenizer, words):
    merges = [(to_bytes(left), to_bytes(right)) for left, right in tokenizer.merges]
    expected = [piece.decode() for word in pretokenize(" ".join(words)) for piece in split(word, merges)]
    assert tokenizer.token_strings(tokenizer.encode(" ".join(words))) == expected


def test_a_merge_that_makes_an_older_token_waits_for_its_turn():
    """ab+c has a lower rank than a+b, and abc a lower one than both once "ab" is there: order decides."""
    vocabulary = {token: n for n, token in enumerate([*ALPHABET, "bc", "abc", "abca", "ab"])}
    merges = [("ab", "c"), ("abc", "a"), ("a", "b"), ("b", "c"), ("a", "bc")]
    tokenizer = ByteLevelBPETokenizer(vocabulary, merges)
    # abcabc → ab cabc → abc abc → abca bc: the second a is taken before its own a+b has its turn
    # and the places that had to wait are not forgotten
    assert tokenizer.token_strings(tokenizer.encode("abcabc ab abcabc")) == ["abca", "bc", " ", "ab", " ", "abca", "bc"]


@given(TOKENIZERS, st.lists(TEXTS, max_size=5))
def test_where_the_text_is_cut_changes_nothing(tokenizer, chunks):
    arrays = list(tokenizer.encode_chunks(chunks))
    assert all(ids.dtype == tokenizer.dtype for ids in arrays)
    assert np.concatenate(arrays).tolist() == tokenizer.encode("".join(chunks))


def test_special_tokens_are_never_cut():
    first, second, third = SPECIAL.special_tokens.values()
    assert (first, second, third) == (397, 398, 399)
    assert SPECIAL.encode("<|endoftext|><|pad|>床前") == [first, second, third]
    assert SPECIAL.encode("the<|pad|> end<|endoftext|") == [
        *SPECIAL.encode("the"),
        second,
        *SPECIAL.encode(" end"),
        *SPECIAL.encode("<|endoftext|"),
    ]
    assert len(PLAIN.encode("<|endoftext|>")) > 1
    assert PLAIN.special_tokens == {}


def test_tokens_shown_to_a_person():
    assert PLAIN.token_strings(PLAIN.encode(" the end")) == [" the", " end"]
    assert PLAIN.token_strings(PLAIN.encode("Ж")) == ["\ufffd", "\ufffd"]  # half a character each
    assert repr(PLAIN) == "ByteLevelBPETokenizer(vocab_size=400)"


def test_bytes_that_are_no_text():
    continuation = PLAIN.tokens.index(to_printable(b"\x80"))
    assert PLAIN.decode([continuation]) == "\ufffd"
    assert PLAIN.decode(np.array([], np.uint16)) == ""


def test_a_word_of_any_length():
    """The work grows with the length, not with its square: this would take minutes."""
    text = "a" * 200_000
    tokenizer = ByteLevelBPETokenizer.train(text, 270)
    ids = tokenizer.encode_array(text)
    assert len(ids) < 1000
    assert tokenizer.decode(ids) == text


def test_the_cache_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(bpe, "CACHE_LIMIT", 50)
    tokenizer = ByteLevelBPETokenizer(
        dict(zip(SPECIAL.tokens, range(400))), SPECIAL.merges, list(SPECIAL.special_tokens)
    )
    generator = np.random.default_rng(5)
    for _ in range(50):
        words = [chr(97 + n) * 3 for n in generator.integers(0, 26, 8)] + ["<|pad|>", "long" * 40]
        text = " ".join(words[: generator.integers(1, 11)])
        assert tokenizer.encode(text) == SPECIAL.encode(text)
        assert sum(map(len, tokenizer._cache)) <= 50 + sum(map(len, SPECIAL.special_tokens))


@pytest.mark.parametrize("method", [PLAIN.encode, PLAIN.encode_array, lambda text: list(PLAIN.encode_chunks([text]))])
def test_surrogates_are_refused(method):
    with pytest.raises(InputError, match=r"lone surrogate U\+D800 at position 6"):
        method("twenty\ud800")


@pytest.mark.parametrize("use", [lambda: PLAIN.decode([3, 400]), lambda: PLAIN.token_bytes(400)])
def test_ids_beyond_the_vocabulary(use):
    with pytest.raises(InputError, match=r"id 400 is not in the vocabulary of 400 tokens \(0 to 399\)"):
        use()


BYTES = {token: n for n, token in enumerate(ALPHABET)}


@pytest.mark.parametrize(
    ("vocabulary", "merges", "special", "message"),
    [
        ({"a": 0}, [], [], "lacks 255 of the 256 bytes"),
        ({**BYTES, "ab": 257}, [("a", "b")], [], "are not 0 to 256"),
        ({**BYTES, "ab": 255}, [("a", "b")], [], "are not 0 to 256"),
        (BYTES, [("a", "b")], [], "merge 1, 'a' \\+ 'b', needs the token 'ab'"),
        ({**BYTES, "abc": 256}, [("ab", "c")], [], "merge 1, 'ab' \\+ 'c', needs the token 'ab'"),
        ({**BYTES, "ab": 256}, [], [], "1 tokens of the vocabulary, the first 'ab', come from no merge"),
        ({**BYTES, "ab": 256}, [("a", "b")], ["ab"], "'ab' is a special token"),
        ({**BYTES, "床": 256, "床a": 257}, [("床", "a")], ["床"], "'床' is a special token"),
    ],
)
def test_vocabulary_and_merges_that_do_not_fit(vocabulary, merges, special, message):
    with pytest.raises(InputError, match=message):
        ByteLevelBPETokenizer(vocabulary, merges, special)
