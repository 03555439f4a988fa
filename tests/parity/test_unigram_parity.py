"""Unigram beside the Rust package `tokenizers`, SentencePiece's own table and transformers' T5: the same ids and places.

Characters that came after Unicode 9 may be normalized differently there.
"""

import base64
import io
import json
import os
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "text"))
from charsmap_maker import make_charsmap

from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.sentencepiece_text import WhitespaceMetaspace, sentencepiece_normalizer
from minilm.text.unigram.training import train_unigram
from minilm.text.words.pre_tokenizers import Metaspace

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")

CORNERS = [
    *[
        "a",
        "the ",
        "▁",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\xa0",
        "\u3000",
        "\x85",
        "\x1c",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufffd",
    ],
    *["é", "e\u0301", "\u0301", "\u0323", "\u0307", "a\u0323\u0307", "\u0344", "ẛ̣", "ﬁ", "½", "²", "Ａ", "ﷺ", "ﾞ", "ｶﾞ"],
    *[
        "床前",
        "가",
        "\u1100\u1161\u11a8",
        "ひが",
        "क\u0903",
        "ก\u0e33",
        "\u0600",
        "©",
        "™",
        "\xad",
        "\x00",
        "\x07",
        "\x7f",
    ],
    *["😀", "👩‍👩‍👧", "🏽", "1\ufe0f\u20e3", "\U0001d7d8", "\U00020000", "\U0010ffff", "."],
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(CORNERS)).map("".join))
SAMPLE = (
    "the cat sat on the mat and that was the end of the fine day of the cafe 床前明月光 café, naïve ﬁne 1⁄2 .\n" * 3
)
FILES = [
    *[
        "tinyshakespeare.txt",
        "tang_quatrains_trad.tsv",
        "movie_sentiment.tsv",
        "snips.train.jsonl",
        "snips.validate.jsonl",
    ],
    *["wikigold.conll", "tatoeba_en_zh.tsv", "scitldr_a.tsv", "xquad.en.json", "xquad.zh.json"],
]
CHARSMAP = make_charsmap(
    {
        "ﬁ": "fi",
        "Ａ": "A",
        "\r": " ",
        "\n": " ",
        "\t": " ",
        "\xad": "",
        "\u200b": "",
        "e\u0301": "é",
        "½": "1⁄2",
        "™": "TM",
    }
    | {"\u3000": " ", "ｶﾞ": "ガ", "ﾞ": "\u3099", "\ufeff": ""}
)


@cache
def model(byte_fallback=False):
    metaspace, normalizer = Metaspace(), sentencepiece_normalizer()
    counts = Counter(metaspace(normalizer(AlignedText.of(SAMPLE))).strings())
    pieces = [("<unk>", 0.0), *train_unigram(counts, 70)]
    if byte_fallback:
        pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    return Unigram(pieces, 0, byte_fallback)


def rust_twin(unigram, normalizer, pre_tokenizer):
    pieces = list(zip(unigram.pieces, unigram.scores))
    rust = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unigram.unk_id, unigram.byte_fallback))
    rust.normalizer, rust.pre_tokenizer = normalizer, pre_tokenizer
    return rust


def rust_default():
    n = tokenizers.normalizers
    return n.Sequence([n.Nmt(), n.NFKC(), n.Replace(tokenizers.Regex(" {2,}"), " ")])


def rust_t5():
    p = tokenizers.pre_tokenizers
    return p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="always")])


@cache
def pairs():
    """(ours, theirs) for the ways in which the parts are put together."""
    metaspace = tokenizers.pre_tokenizers.Metaspace
    default, precompiled = sentencepiece_normalizer(), Precompiled(base64.b64encode(CHARSMAP).decode())
    rust_precompiled = tokenizers.normalizers.Precompiled(CHARSMAP)
    return {
        "default": (Pipeline(model(), default, Metaspace()), rust_twin(model(), rust_default(), metaspace())),
        "bytes": (Pipeline(model(True), default, Metaspace()), rust_twin(model(True), rust_default(), metaspace())),
        "t5": (Pipeline(model(), precompiled, WhitespaceMetaspace()), rust_twin(model(), rust_precompiled, rust_t5())),
        "whole": (
            Pipeline(model(), precompiled, Metaspace(split=False)),
            rust_twin(model(), rust_precompiled, metaspace(split=False)),
        ),
    }


def assert_same(ours, rust, text):
    expected = rust.encode(text)
    ids, offsets = ours.encode_offsets(text)
    assert ids.tolist() == expected.ids
    assert [tuple(span) for span in offsets.tolist()] == expected.offsets


@pytest.mark.parametrize("name", ["default", "bytes", "t5", "whole"])
@given(text=TEXTS)
def test_ids_and_offsets(name, text):
    assert_same(*pairs()[name], text)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from([-1.0, -2.0, -3.0, -6.0]), min_size=1),
    st.text("abcxyz", max_size=12),
)
def test_ties_fall_the_same_way(pieces, word):
    unigram = Unigram([("<unk>", 0.0), *pieces.items()], 0)
    rust = tokenizers.Tokenizer(tokenizers.models.Unigram(list(zip(unigram.pieces, unigram.scores)), 0, False))
    expected = rust.encode(word)
    ids, starts, ends = unigram.split([word])[0]
    assert ids == expected.ids
    assert list(zip(starts, ends)) == expected.offsets


@pytest.mark.parametrize("name", FILES)
def test_files(data_folder, name):
    text = (data_folder / name).read_text("utf-8")[:100_000]
    for ours, rust in pairs().values():
        assert_same(ours, rust, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_whole_files(data_folder, name):
    text = (data_folder / name).read_text("utf-8")
    for key in ("default", "t5"):
        assert_same(*pairs()[key], text)


def sentencepiece_table(rule):
    """The charsmap inside a model that SentencePiece trains on a few words."""
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="sentencepiece, which makes the table, is not installed"
    )
    out = io.BytesIO()
    words = iter(["hello world abc def ghi jkl mno"] * 10)
    options = {"vocab_size": 30, "hard_vocab_limit": False, "minloglevel": 2, "normalization_rule_name": rule}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=words, model_writer=out, **options)
    return dict(protobuf(dict(protobuf(out.getvalue()))[3]))[2]  # normalizer_spec.precompiled_charsmap


def protobuf(data):
    """(field, value) of a message's fields; only what a SentencePiece model has."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            yield key >> 3, data[place : place + size]
            place += size


@cache
def sentencepiece_pair():
    table = sentencepiece_table("nmt_nfkc")
    ours = Pipeline(model(), Precompiled(base64.b64encode(table).decode()), WhitespaceMetaspace())
    return ours, rust_twin(model(), tokenizers.normalizers.Precompiled(table), rust_t5())


@given(TEXTS)
@settings(max_examples=200)
def test_the_real_charsmap(text):
    assert_same(*sentencepiece_pair(), text)


@pytest.mark.slow
def test_the_real_charsmap_on_every_character():
    ours, rust = sentencepiece_pair()
    for number in range(1, 0x30000):
        if not 0xD800 <= number < 0xE000:
            text = f"a{chr(number)}\u0301b"
            assert ours.normalize(AlignedText.of(text)).text == rust.normalizer.normalize_str(text), hex(number)


def test_transformers_t5(data_folder):
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    lines = (data_folder / "tinyshakespeare.txt").read_text("utf-8")[:20_000].splitlines()
    normalizer, metaspace = Precompiled(base64.b64encode(CHARSMAP).decode()), WhitespaceMetaspace()
    counts = Counter(word for line in lines for word in metaspace(normalizer(AlignedText.of(line))).strings())
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *train_unigram(counts, 400)]
    vocabulary += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(100))]
    theirs = transformers.T5Tokenizer(vocab=vocabulary, _spm_precompiled_charsmap=CHARSMAP)
    ours = Pipeline(Unigram(vocabulary, 2), normalizer, metaspace)
    for line in [*lines, "ﬁne  Ａ\r\nz 床"]:
        assert ours.encode_offsets(line)[0].tolist() == theirs(line, add_special_tokens=False)["input_ids"]


def test_training_reaches_the_likelihood_of_the_rust_trainer(data_folder):
    text = (data_folder / "tinyshakespeare.txt").read_text("utf-8")[:200_000]
    rust = rust_twin(model(), rust_default(), tokenizers.pre_tokenizers.Metaspace())
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=2000, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    rust.train_from_iterator(text.splitlines(), trainer)
    metaspace, normalizer = Metaspace(), sentencepiece_normalizer()
    counts = Counter(
        word for line in text.splitlines() for word in metaspace(normalizer(AlignedText.of(line))).strings()
    )
    theirs = Unigram.from_json(json.loads(rust.to_str())["model"])
    ours = Unigram([("<unk>", 0.0), *train_unigram(counts, 1999)], 0)
    assert len(ours.pieces) == len(theirs.pieces) == 2000

    def likelihood(unigram):
        return sum(count * unigram.log_probability(word, unigram.best_path(word)) for word, count in counts.items())

    assert likelihood(ours) > 1.01 * likelihood(theirs)  # both are negative
