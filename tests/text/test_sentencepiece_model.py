"""spiece.model: read as it was written here by hand, and refused with one sentence where it is damaged."""

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minilm import AutoTokenizer
from minilm.errors import InputError
from minilm.text import PretrainedTokenizer, T5Tokenizer
from minilm.text.files.sentencepiece_model import read_sentencepiece

PIECES = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
PIECES += [(text, -1.5 - n / 4, 1) for n, text in enumerate(["▁the", "▁", "▁c", "at", "s", "a", "t", "c"])]


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def file_of(pieces=PIECES, trainer=b"", normalizer=b""):
    rows = [
        field(1, field(1, text) + field(2, score) + (b"" if kind == 1 else field(3, kind)))
        for text, score, kind in pieces
    ]
    return b"".join(rows) + field(2, field(3, 1) + field(4, len(pieces)) + trainer) + field(3, normalizer)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "spiece.model").write_bytes(file_of())
    return tmp_path


def test_what_it_holds(folder):
    model = read_sentencepiece(folder / "spiece.model")
    assert [text for text, _, _ in model.pieces] == [text for text, _, _ in PIECES]
    np.testing.assert_allclose([score for _, score, _ in model.pieces], [score for _, score, _ in PIECES])
    assert (model.kind, model.unknown_id, model.byte_fallback) == ("Unigram", 2, False)
    assert model.precompiled_charsmap == ""


@pytest.mark.parametrize(
    "opened", [AutoTokenizer.from_pretrained, T5Tokenizer.from_pretrained, PretrainedTokenizer.from_folder]
)
def test_a_folder_with_nothing_else(folder, opened):
    tokenizer = opened(folder)
    assert isinstance(tokenizer, T5Tokenizer)
    assert tokenizer.tokenize("the cats") == ["▁the", "▁c", "at", "s"]
    assert tokenizer("the  cats\n")["input_ids"] == [3, 5, 6, 7, 1]
    assert tokenizer.encode("the dog")[:2] == [3, 4]
    assert tokenizer.decode([3, 5, 6, 7, 1], skip_special_tokens=True) == "the cats"
    assert len(tokenizer) == 111
    assert tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_99>"]) == [110, 11]
    assert tokenizer.encode("the <extra_id_0> cats") == [3, 110, 5, 6, 7, 1]
    assert (tokenizer.eos_token, tokenizer.pad_token_id, tokenizer.unk_token_id) == ("</s>", 0, 2)


def test_saved_again_it_is_the_same(folder, tmp_path):
    tokenizer = T5Tokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.encode("the cats sat") == tokenizer.encode("the cats sat")


def test_bytes_stand_for_what_is_unknown(tmp_path):
    pieces = [*PIECES, *((f"<0x{n:02X}>", 0.0, 6) for n in range(256))]
    (tmp_path / "spiece.model").write_bytes(file_of(pieces, trainer=field(35, 1)))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode("the é")
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁the", "▁", "<0xC3>", "<0xA9>", "</s>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the é"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (file_of(trainer=field(3, 2)), "is a BPE model"),
        (file_of(trainer=field(24, 1)), "treats spaces in another way"),
        (file_of(normalizer=field(3, 0)), "treats spaces in another way"),
        (file_of([*PIECES, ("<b>", 0.0, 4)]), "user-defined or unused piece '<b>'"),
        (file_of([*PIECES, ("at", -1.0, 1)]), "'at' is there twice"),
        (file_of([("a", -1.0, 1)]), "0 of its pieces stand for what is unknown"),
        (file_of([*PIECES, ("x", float("nan"), 1)]), "the score nan"),
        (file_of([*PIECES, ("x", -1.0, 9)]), "the type 9"),
        (file_of([piece for piece in PIECES if piece[0] != "</s>"]), "lacks '</s>'"),
        (field(2, field(3, 1)), "it has no pieces"),
        (b"", "it has no pieces"),
        (file_of()[:-1] + b"\x80", "damaged"),
        (field(1, b"\x0a\xff\x01"), "does not fit"),
        (field(1, field(1, b"\xff")), "no UTF-8"),
        (field(1, 7), "a piece is a number"),
        (field(1, field(1, "a") + field(2, "long")[:2] + b"abc"), "score|fit|exist"),
        (varint(1 << 3 | 3), "do not exist"),
        (b"\x08" + b"\xff" * 11, "longer than 10 bytes"),
        (file_of(trainer=field(3, "text")), "no whole number"),
        (file_of(normalizer=field(2, b"short")), "charsmap"),
        (b"<html>not found</html>", "damaged"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, data, message):
    (tmp_path / "spiece.model").write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        AutoTokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    assert "spiece.model" in str(caught.value) or "tokenizer in" in str(caught.value)


@given(
    cut=st.integers(0, len(file_of())),
    place=st.integers(0, len(file_of()) - 1),
    byte=st.integers(0, 255),
    more=st.binary(max_size=9),
)
@example(cut=0, place=0, byte=0, more=b"")
def test_damage_anywhere_is_an_input_error_or_another_model(tmp_path_factory, cut, place, byte, more):
    """Cut off, changed in one byte, or followed by something: never another exception, and never a hang."""
    good = file_of()
    path = tmp_path_factory.mktemp("damaged") / "spiece.model"
    for data in (good[:cut], good[:place] + bytes([byte]) + good[place + 1 :], good + more, more):
        path.write_bytes(data)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path.parent)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            tokenizer.encode("the cats")


def test_extra_ids_of_the_config(folder):
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 2}')
    assert len(AutoTokenizer.from_pretrained(folder)) == 13
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": -2}')
    with pytest.raises(InputError, match="extra_ids -2"):
        AutoTokenizer.from_pretrained(folder)
