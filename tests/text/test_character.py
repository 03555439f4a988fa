"""The character tokenizer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import CharacterTokenizer


def test_the_vocabulary_is_the_sorted_characters():
    tokenizer = CharacterTokenizer.train(["to be", " or not\n", "是😀"])
    assert tokenizer.tokens == list("\n benort是😀")
    assert tokenizer.vocab_size == len(tokenizer) == 10
    assert tokenizer.encode("not是") == [4, 5, 7, 8]
    assert tokenizer.token_strings([9, 1]) == ["😀", " "]
    assert repr(tokenizer) == "CharacterTokenizer(vocab_size=10)"
    assert tokenizer == CharacterTokenizer.train("to be or not\n是😀") != CharacterTokenizer.train("to be")


@given(TEXTS.filter(bool), st.randoms(use_true_random=False))
def test_round_trip(text, random):
    tokenizer = CharacterTokenizer.train([text])
    shuffled = "".join(random.sample(text, len(text)))
    ids = tokenizer.encode_array(shuffled)
    assert tokenizer.decode(ids) == shuffled
    assert tokenizer.decode(ids.tolist()) == shuffled
    assert ids.tolist() == tokenizer.encode(shuffled)
    assert np.concatenate(list(tokenizer.encode_chunks([text, "", shuffled]))).tolist() == tokenizer.encode(
        text + shuffled
    )


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_the_dtype_is_the_smallest_that_holds_the_vocabulary(size, dtype):
    tokenizer = CharacterTokenizer([chr(0x20000 + n) for n in range(size)])
    last = tokenizer.encode_array(chr(0x20000 + size - 1))
    assert last.dtype == tokenizer.dtype == dtype
    assert last.tolist() == [size - 1]


def test_empty_text():
    tokenizer = CharacterTokenizer.train("a")
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode_array("").dtype == np.uint16
    with pytest.raises(InputError, match="needs at least one character"):
        CharacterTokenizer.train([])


def test_unknown_characters_are_named():
    tokenizer = CharacterTokenizer.train("abc")
    with pytest.raises(InputError) as caught:
        tokenizer.encode("a\U0010ffffbZé\n的的😀Z€")
    message = str(caught.value)
    assert (
        "never saw '\\U0010ffff' (U+10FFFF), 'Z' (U+005A), 'é' (U+00E9), '\\n' (U+000A), '的' (U+7684) and 2 more"
        in message
    )
    assert "its vocabulary has 3 characters" in message
    assert "bpe" in message
    with pytest.raises(InputError, match="never saw 'd' \\(U\\+0064\\) in"):  # one beyond the table
        tokenizer.encode("d")


@pytest.mark.parametrize("use", [CharacterTokenizer.train, CharacterTokenizer.train("ab").encode])
def test_surrogates(use):
    with pytest.raises(InputError, match=r"lone surrogate U\+DC00 at position 1"):
        use("a\udc00")


@pytest.mark.parametrize(
    ("characters", "message"), [(["a", "b", "a"], "twice"), (["ab"], "not one character"), ([""], "not one character")]
)
def test_a_vocabulary_that_is_none(characters, message):
    with pytest.raises(InputError, match=message):
        CharacterTokenizer(characters)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 3], "id 3 is not in the vocabulary of 3 tokens"),
        ([-1], "id -1 is not in"),
        ([[0, 1]], r"shape \(1, 2\)"),
        ([0.0], "float64"),
        (["0"], "sequence of integers"),
        (0, r"shape \(\)"),
    ],
)
def test_ids_that_cannot_be_decoded(ids, message):
    with pytest.raises(InputError, match=message):
        CharacterTokenizer.train("abc").decode(ids)
