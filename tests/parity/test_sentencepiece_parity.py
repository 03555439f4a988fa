"""spiece.model beside the sentencepiece package, which trains the models of these tests: the same pieces and the same ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm import AutoTokenizer
from minilm.text.files.sentencepiece_model import read_sentencepiece

sentencepiece = pytest.importorskip(
    "sentencepiece", reason="sentencepiece is the oracle of these tests and is not installed"
)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Ｆｕｌｌ ｗｉｄｔｈ letters, ﬁne ligatures and ½ fractions.",
    "Straße, façade, naïve: letters with marks; 20 % of them.",
    "天地玄黃 宇宙洪荒。日月盈昃，辰宿列張。",
] * 20


def trained(folder, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(folder / "spiece"), model_type="unigram", pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, vocab_size=120, hard_vocab_limit=False, minloglevel=2, num_threads=1, **options,
    )  # fmt: skip
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    return oracle, AutoTokenizer.from_pretrained(folder)


OPTIONS = {
    "nmt_nfkc": {},
    "nfkc and small letters": {"normalization_rule_name": "nfkc_cf"},
    "as it is": {"normalization_rule_name": "identity"},
    "bytes": {"byte_fallback": True, "vocab_size": 380},
}


@pytest.fixture(scope="module", params=OPTIONS.values(), ids=OPTIONS)
def pair(request, tmp_path_factory):
    options = {**request.param}
    folder = tmp_path_factory.mktemp("model")
    if "vocab_size" in options:
        size = options.pop("vocab_size")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES), model_prefix=str(folder / "spiece"), model_type="unigram", pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, vocab_size=size, hard_vocab_limit=False, minloglevel=2, num_threads=1, **options,
        )  # fmt: skip
        oracle = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
        return oracle, AutoTokenizer.from_pretrained(folder), folder
    return *trained(folder, **options), folder


def test_pieces_and_scores(pair):
    oracle, _, folder = pair
    model = read_sentencepiece(folder / "spiece.model")
    assert [text for text, _, _ in model.pieces] == [oracle.id_to_piece(n) for n in range(len(oracle))]
    np.testing.assert_array_equal(
        [score for _, score, _ in model.pieces], [oracle.get_score(n) for n in range(len(oracle))]
    )
    for n, (_, _, kind) in enumerate(model.pieces):
        assert (kind == 2, kind == 3, kind == 6) == (oracle.is_unknown(n), oracle.is_control(n), oracle.is_byte(n))
    assert model.unknown_id == oracle.unk_id()


@given(text=st.text(st.sampled_from("Thequick brown fxjmpsvlazydg,.  ，。天地玄黃é½ﬁＦ20%~☃🙂ß")))
def test_ids(pair, text):
    oracle, tokenizer, _ = pair
    assert tokenizer.encode(text, add_special_tokens=False) == oracle.encode(text)


def test_sentences_there_and_back(pair):
    oracle, tokenizer, _ = pair
    for text in SENTENCES[:4]:
        ids = oracle.encode(text)
        assert tokenizer.encode(text) == [*ids, 1]
        assert tokenizer.tokenize(text) == oracle.encode(text, out_type=str)
        if 2 not in ids:
            assert tokenizer.decode(ids) == oracle.decode(ids)


def test_real_texts(pair, data_folder):
    oracle, tokenizer, _ = pair
    for name in ("tinyshakespeare.txt", "tatoeba_en_zh.tsv", "movie_sentiment.tsv"):
        for line in (data_folder / name).read_text(encoding="utf-8").splitlines()[::97]:
            line = line.replace("\t", " ")  # which ends a word for T5, whatever the charsmap makes of it
            assert tokenizer.encode(line, add_special_tokens=False) == oracle.encode(line), line
