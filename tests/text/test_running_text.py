"""WordPiece, Unigram and word vocabularies for `minilm train`."""

import numpy as np
import pytest
from command_line import TINY, CommandLine
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text import Tokenizer, load_tokenizer, train_tokenizer

TEXT = "The cat sat on the mat.\nThe dog, who saw the cat, ran to the mat and sat there too.\n\nA mat is a mat!\n" * 3
SPECS = ("wordpiece:90", "unigram:60", "word:20", "word")


@pytest.fixture(scope="module", params=SPECS)
def tokenizer(request):
    return train_tokenizer(request.param, [TEXT[:40], TEXT[40:]])


def test_it_is_a_tokenizer_of_running_text(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    ids = tokenizer.encode(TEXT)
    assert ids == tokenizer.encode_array(TEXT).tolist()
    assert 0 <= min(ids) <= max(ids) < tokenizer.vocab_size == len(tokenizer.tokens)
    assert tokenizer.dtype == np.uint16
    decoder = tokenizer.stream_decoder()
    assert "".join(map(decoder.push, ids)) + decoder.flush() == tokenizer.decode(ids)
    assert "".join(tokenizer.token_strings(ids)) == tokenizer.decode(ids)
    with pytest.raises(InputError, match="not in the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(InputError, match="not in the vocabulary"):
        tokenizer.token_bytes(-1)


def test_what_is_kept_of_a_text():
    text = "The cat sat on\n  the mat"
    assert train_tokenizer("unigram:60", TEXT).decode(train_tokenizer("unigram:60", TEXT).encode(text)) == (
        " The cat sat on the mat"
    )
    pieces = train_tokenizer("wordpiece:90", TEXT)
    assert pieces.decode(pieces.encode(text)) == " The cat sat on the mat"
    words = train_tokenizer("word:6", TEXT)
    assert words.tokens == ["[PAD]", "[UNK]", "mat", "the", "The", "cat"]
    assert words.decode(words.encode("the cat sat.")) == " the cat [UNK] [UNK]"


@given(text=st.text("aThe ct\n\tsm.é中🙂 "), cuts=st.lists(st.integers(0, 30)))
def test_wherever_a_text_is_cut_the_ids_are_the_same(tokenizer, text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    chunks = [text[a:b] for a, b in zip([0, *ends], ends)]
    parts = [*tokenizer.encode_chunks(chunks)]
    assert np.concatenate(parts).tolist() == tokenizer.encode(text)
    assert all(part.dtype == tokenizer.dtype for part in parts)


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "folder")
    loaded = load_tokenizer(tmp_path / "folder")
    assert loaded == tokenizer
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert loaded.decode(loaded.encode(TEXT)) == tokenizer.decode(tokenizer.encode(TEXT))


@pytest.mark.parametrize("spec", ["wordpiece:5", "unigram:4", "word:2"])
def test_no_room_and_no_text(spec):
    with pytest.raises(InputError, match=r"room|more"):
        train_tokenizer(spec, [TEXT])
    with pytest.raises(InputError, match=r"no text|not empty"):
        train_tokenizer(spec.split(":")[0] + ":300", [""])


@pytest.mark.parametrize("spec", ["wordpiece:120", "unigram:80", "word:40"])
def test_a_model_is_trained_and_writes_with_it(spec, tmp_path, capsys):
    minilm, folder = CommandLine(tmp_path, capsys), tmp_path / "run"
    (tmp_path / "text.txt").write_text(TEXT * 10, encoding="utf-8")
    assert minilm(f"train --corpus {tmp_path}/text.txt --tokenizer {spec} --out {folder} {TINY}").code == 0
    written = minilm(f'generate {folder} --prompt "The cat" --max_new_tokens 5 --temperature 0')
    assert written.code == 0
    assert written.out.startswith("The cat")
    assert minilm(f"generate {folder} --max_new_tokens 3").code == 0
    assert minilm(f"evaluate {folder} --corpus {tmp_path}/text.txt").code == 0
