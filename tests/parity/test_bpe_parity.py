"""Byte-level BPE beside the Rust package `tokenizers`: the same words, the same merges, the same ids.

That package's pattern engine knows Unicode 16. Characters that came later may fall into another class there; minilm's
classes are this Python's, with the letters and numbers up to Unicode 16 added.
"""

import os
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minilm.text import ByteLevelBPETokenizer
from minilm.text.words.gpt2_pattern import pretokenize

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")

CORNERS = [
    *["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'", " '", "’s"],
    *[" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u3000", "\x85", "\x1c", "\x1f", "\u200b", "\u180e"],
    *["a", "the", "É", "e\u0301", "床前", "한국", "\U00020000", "ª", "1", "42", "²", "Ⅷ", "٣", "!", "...", "_", "-"],
    *["😀", "👩‍👩‍👧", "\x00", "\x7f", "\ufeff", "\U0010ffff", "\ua7cb", "\u1c89", "\U000323af", "\U00010d40"],
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(CORNERS)).map("".join))
FILES = [
    "tinyshakespeare.txt",
    "tang_quatrains_trad.tsv",
    "movie_sentiment.tsv",
    "snips.train.jsonl",
    "snips.validate.jsonl",
    "wikigold.conll",
    "tatoeba_en_zh.tsv",
    "scitldr_a.tsv",
    "xquad.en.json",
    "xquad.zh.json",
]


def rust_pretokenizer():
    return tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def rust_words(text):
    return [text[start:end] for _, (start, end) in rust_pretokenizer().pre_tokenize_str(text)]


def rust_twin(tokenizer):
    """The Rust tokenizer with the same vocabulary and merges."""
    vocabulary = {token: n for n, token in enumerate(tokenizer.tokens)}
    twin = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=tokenizer.merges))
    twin.pre_tokenizer = rust_pretokenizer()
    twin.decoder = tokenizers.decoders.ByteLevel()
    twin.add_special_tokens(list(tokenizer.special_tokens))
    return twin


def rust_training(text, vocab_size, min_frequency=2):
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = rust_pretokenizer()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([text], trainer)
    return sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__)


SAMPLE = (
    "It's the end that they're there for, isn't it? 床前明月光，疑是地上霜。 😀😀 for(i = 0; i < 10; i++)\n\n\t"
    + "".join(CORNERS)
) * 3
TRAINED = ByteLevelBPETokenizer.train(SAMPLE, 500, special_tokens=["<|endoftext|>", "<|end", "明月"])
TWIN = rust_twin(TRAINED)


@given(TEXTS)
@example("a\x1c b")
def test_words_are_the_same(text):
    assert pretokenize(text) == rust_words(text)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_characters_have_the_same_class(step):
    """Between letters, between numbers and between others, code points up to Unicode 16."""
    if unicodedata.unidata_version > "16.0.0":
        pytest.skip(f"this Python knows Unicode {unicodedata.unidata_version}, the Rust package 16.0.0")
    characters = [*map(chr, range(0x21, 0xD800)), *map(chr, range(0xE000, 0x33480)), *map(chr, range(0xE0000, 0xE0200))]
    characters = characters[::step]
    for start in range(0, len(characters), 20_000):
        text = "".join(f"a{c}a 1{c}1 !{c}!\n" for c in characters[start : start + 20_000])
        assert pretokenize(text) == rust_words(text)


@given(TEXTS)
def test_ids_are_the_same(text):
    assert TRAINED.encode(text) == TWIN.encode(text).ids


@given(st.lists(st.sampled_from(["<|endoftext|>", "<|end", "明月", "<|", "end", " ", "\n", "a", "明"])).map("".join))
def test_special_tokens_are_found_in_the_same_places(text):
    assert TRAINED.encode(text) == TWIN.encode(text).ids


@given(st.lists(st.integers(0, TRAINED.vocab_size - 1)))
def test_any_ids_are_decoded_the_same(ids):
    plain = [n for n in ids if n not in TRAINED.special_tokens.values()]
    assert TRAINED.decode(plain) == TWIN.decode(plain)


@given(st.text("ab -c", max_size=60), st.integers(257, 290), st.integers(1, 3))
@settings(max_examples=50)
def test_training_is_the_same(text, vocab_size, min_frequency):
    text += "."
    ours = ByteLevelBPETokenizer.train(text, vocab_size, min_frequency=min_frequency)
    assert ours.tokens == rust_training(text, vocab_size, min_frequency)


@pytest.mark.parametrize("name", FILES)
def test_real_text_words_and_ids(data_folder, name):
    text = (data_folder / name).read_text(encoding="utf-8")[:80_000]
    assert pretokenize(text) == rust_words(text)
    tokenizer = ByteLevelBPETokenizer.train(text[:40_000], 1000)
    ids = tokenizer.encode_array(text)
    assert ids.tolist() == rust_twin(tokenizer).encode(text).ids
    assert tokenizer.decode(ids) == text


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_real_text_whole(data_folder, name):
    text = (data_folder / name).read_bytes().decode("utf-8")
    assert pretokenize(text) == rust_words(text)
    tokenizer = ByteLevelBPETokenizer.train(text, 8000)
    assert tokenizer.tokens == rust_training(text, 8000)
    ids = tokenizer.encode_array(text)
    assert ids.tolist() == rust_twin(tokenizer).encode(text).ids
    assert tokenizer.decode(ids) == text


def test_hugging_face_opens_what_was_saved(tmp_path):
    transformers = pytest.importorskip(
        "transformers", reason="the package `transformers`, the oracle, is not installed"
    )
    for special in ([], ["<|endoftext|>"], ["<|endoftext|>", "<|pad|>"]):
        tokenizer = ByteLevelBPETokenizer.train(SAMPLE, 400, special_tokens=special)
        tokenizer.save(tmp_path)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
        text = "Hello <|endoftext|> wörld  \n\n 的😀 it's<|pad|> <|endo"
        assert len(theirs) == tokenizer.vocab_size
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
