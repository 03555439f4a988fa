"""Text that appears while it is generated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import ByteLevelBPETokenizer, CharacterTokenizer

BPE = ByteLevelBPETokenizer.train("the 床前明月光 and the 👩‍👩‍👧 😀😀 " * 3, 300, ["<|endoftext|>"])


@given(TEXTS)
def test_every_prefix_of_a_text(text):
    ids = BPE.encode(text)
    decoder, shown = BPE.stream_decoder(), ""
    for n, token_id in enumerate(ids, 1):
        shown += decoder.push(token_id)
        assert text.startswith(shown)  # only whole characters, and nothing is taken back
        assert BPE.decode(ids[:n]).startswith(shown)
    assert shown == text
    assert decoder.flush() == ""


@given(st.lists(st.integers(0, BPE.vocab_size - 1)))
def test_every_prefix_of_any_ids(ids):
    """A model that has just begun to learn writes bytes that are no UTF-8."""
    decoder, shown = BPE.stream_decoder(), ""
    for n, token_id in enumerate(ids, 1):
        shown += decoder.push(token_id)
        fresh = BPE.stream_decoder()
        assert "".join(map(fresh.push, ids[:n])) == shown
        assert shown + fresh.flush() == BPE.decode(ids[:n])


@given(TEXTS.filter(bool))
def test_characters(text):
    tokenizer = CharacterTokenizer.train(text)
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(n) for n in tokenizer.encode_array(text)] == list(text)
    assert decoder.flush() == ""


def test_a_character_comes_with_its_last_byte():
    ids = BPE.encode("Ж")
    decoder = BPE.stream_decoder()
    assert [decoder.push(n) for n in ids] == ["", "Ж"]
    assert decoder.push(ids[0]) == ""
    assert decoder.flush() == "\ufffd"
    assert [decoder.push(n) for n in np.array(ids)] == ["", "Ж"]  # and it can be used again


@pytest.mark.parametrize("tokenizer", [BPE, CharacterTokenizer.train("abc")])
@pytest.mark.parametrize("token_id", [-1, 300])
def test_ids_beyond_the_vocabulary(tokenizer, token_id):
    with pytest.raises(InputError, match=f"id {token_id} is not in the vocabulary"):
        tokenizer.stream_decoder().push(token_id)
