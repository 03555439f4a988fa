"""T5's tokenizer as a whole: trained, called, saved, sampled."""

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.t5 import T5Tokenizer, sample_ids
from minilm.text.wordpiece.model import WordPiece

TEXT = "the cat sat on the mat and the dog sat on the log while the rat ran at the cat and the dog"


@pytest.fixture(scope="module")
def tokenizer():
    return T5Tokenizer.train([TEXT] * 3, 60, extra_ids=3)


def test_special_tokens_have_their_ids(tokenizer):
    names = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    last = len(tokenizer) - 1
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, last, last - 1, last - 2]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert len(tokenizer) <= 60


def test_text_to_ids_and_back(tokenizer):
    batch = tokenizer(["the  cat sat", "the dog"], padding=True, return_tensors="np")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "the cat sat"
    assert batch["input_ids"][0][-1] == 1
    assert batch["input_ids"][1][-1] in (0, 1)
    ids = tokenizer("the cat <extra_id_1>")["input_ids"]
    assert ids[-2:] == [len(tokenizer) - 2, 1]


def test_a_pair(tokenizer):
    ids = tokenizer("the cat", "the dog")["input_ids"]
    assert tokenizer.decode(ids) == "the cat</s> the dog</s>"


def test_offsets(tokenizer):
    text = "the  ﬂat\tcat"
    ids, offsets = tokenizer.encode_offsets(text)
    spans = dict.fromkeys(map(tuple, offsets.tolist()))  # ▁, f and l may be three pieces: all have the place of ﬂ
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == "theﬂatcat"
    assert len(ids) == len(offsets)


def test_saved_and_opened_again(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = PretrainedTokenizer.from_folder(tmp_path)
    for text in (TEXT, "the ﬂat <extra_id_2> ☃", ""):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_training_twice_gives_the_same(tokenizer):
    again = T5Tokenizer.train([TEXT] * 3, 60, extra_ids=3)
    assert again.backend.pipeline.model.to_json() == tokenizer.backend.pipeline.model.to_json()


def test_samples_spell_the_text(tokenizer):
    pipeline = tokenizer.backend.pipeline
    generator = np.random.default_rng(5)
    drawn = {tuple(sample_ids(pipeline, "the cat sat", generator)) for _ in range(50)}
    assert len(drawn) > 5
    assert {tokenizer.decode(ids) for ids in drawn} == {"the cat sat"}
    with pytest.raises(InputError, match="a WordPiece has one way"):
        sample_ids(Pipeline(WordPiece({"[UNK]": 0}, "[UNK]")), "a", generator)


def test_bad_arguments():
    with pytest.raises(InputError, match="no room beside 3 special tokens and 100 extra_ids"):
        T5Tokenizer.train(TEXT, 100)
    with pytest.raises(InputError, match="no text"):
        T5Tokenizer.train("", 200)
    with pytest.raises(InputError, match="lacks '</s>'"):
        T5Tokenizer([("<unk>", 0.0), ("a", -1.0)])
    with pytest.raises(InputError, match="surrogate"):
        T5Tokenizer.train("a\ud800", 200)


def test_a_model_alone_has_a_pipeline():
    pipeline = Pipeline(Unigram([("a", -1.0)]))
    assert pipeline.words(AlignedText.of("aa")).strings() == ["aa"]
    assert pipeline.encode_offsets("aa")[0].tolist() == [0, 0]
