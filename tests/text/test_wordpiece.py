"""WordPiece from cleaning to training, by hand-worked examples and against the plain way."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text.pipeline import pipeline as pipeline_module
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.normalization import BertNormalizer, Lowercase, Replace, StripAccents, UnicodeForm
from minilm.text.unicode.tables import BERT_ACCENTS, BERT_PUNCTUATION, CONTROLS, LATER_NORMALIZATION, members
from minilm.text.wordpiece.model import WordPiece
from minilm.text.wordpiece.training import count_words, learn_pieces
from minilm.text.words.pre_tokenizers import (
    BertPreTokenizer,
    ByteLevel,
    Metaspace,
    PreTokenizerSequence,
    Whitespace,
    WhitespaceSplit,
)

PIECES = ["[UNK]", "un", "##aff", "##able", "##a", "a", "na", "##ive", "床", "前", "!", "'", "s", "it", "##s"]
VOCABULARY = {piece: n for n, piece in enumerate(PIECES)}
BERT = Pipeline(WordPiece(VOCABULARY), BertNormalizer(), BertPreTokenizer())


def pieces_of(text, pipeline=BERT):
    ids, offsets = pipeline.encode_offsets(text)
    return [(PIECES[n], text[start:end]) for n, (start, end) in zip(ids, offsets)]


def test_pieces_and_where_they_stand():
    assert pieces_of("Unaffable!") == [("un", "Un"), ("##aff", "aff"), ("##able", "able"), ("!", "!")]
    assert pieces_of("NAÏVE it's") == [("na", "NA"), ("##ive", "ÏVE"), ("it", "it"), ("'", "'"), ("s", "s")]
    assert pieces_of("床前its") == [("床", "床"), ("前", "前"), ("it", "it"), ("##s", "s")]


def test_a_mark_belongs_to_no_piece_and_a_control_character_is_inside_one():
    assert pieces_of("un\u0301!") == [("un", "un"), ("!", "!")]
    assert pieces_of("u\x00n!") == [("un", "u\x00n"), ("!", "!")]


def test_words_that_cannot_be_cut():
    assert pieces_of("unx a") == [("[UNK]", "unx"), ("a", "a")]
    assert pieces_of("a" * 100)[0][0] == "a"
    assert pieces_of("a" * 101) == [("[UNK]", "a" * 101)]
    assert pieces_of("") == []
    short = Pipeline(WordPiece(VOCABULARY, max_input_chars_per_word=2), None, BertPreTokenizer())
    assert pieces_of("un its", short) == [("un", "un"), ("[UNK]", "its")]


def test_a_piece_inside_a_word_is_none_at_its_beginning():
    model = WordPiece({"[UNK]": 0, "##a": 1, "b": 2, "#": 3})
    assert model.split(["a", "ba", "baa", "#"]) == [
        ([0], [0], [1]),
        ([2, 1], [0, 1], [1, 2]),
        ([2, 1, 1], [0, 1, 2], [1, 2, 3]),
        ([3], [0], [1]),
    ]


def test_a_vocabulary_without_the_unknown_token():
    with pytest.raises(InputError, match=r"lacks the unknown token '\[UNK\]'"):
        WordPiece({"a": 0})


@given(TEXTS)
def test_pieces_cover_their_words(text):
    """Every piece has a place in the text, in order, and joined the pieces of a known word are the cleaned word."""
    ids, offsets = BERT.encode_offsets(text)
    assert ids.shape == (len(offsets),)
    assert ((offsets[:, 0] >= 0) & (offsets[:, 0] < offsets[:, 1]) & (offsets[:, 1] <= len(text))).all()
    assert (np.diff(offsets[:, 0]) >= 0).all()
    for word in BERT.words(BERT.normalize(AlignedText.of(text))).strings():
        ids, starts, ends = WordPiece(VOCABULARY).split([word])[0]
        assert starts == [0, *ends[:-1]]
        assert ends[-1] == len(word)
        if ids != [0]:
            assert "".join(PIECES[n].removeprefix("##") for n in ids) == word


def test_surrogates_are_refused():
    with pytest.raises(InputError, match=r"lone surrogate U\+D800 at position 2"):
        BERT.encode_offsets("ab\ud800")


def test_the_cache_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(pipeline_module, "CACHE_LIMIT", 30)
    small = Pipeline(WordPiece(VOCABULARY), BertNormalizer(), BertPreTokenizer())
    for text in ["unaffable its it's", "a aa aaa aaaa", "un it na", "unaffable its", "x" * 60] * 3:
        assert pieces_of(text, small) == pieces_of(text)
        assert sum(map(len, small._cache)) <= 60


@pytest.mark.parametrize(
    ("normalizer", "text", "expected", "places"),
    [
        (BertNormalizer(), "A\tÉ床\x00", "a e 床 ", [0, 1, 2, 3, 3, 3]),
        (BertNormalizer(lowercase=False), "Éa", "Éa", [0, 1]),
        (BertNormalizer(strip_accents=False), "É", "é", [0]),
        (BertNormalizer(handle_chinese_chars=False), "床", "床", [0]),
        (BertNormalizer(clean_text=False), "a\x00\t", "a\x00\t", [0, 1, 2]),
        (UnicodeForm("NFD"), "xé", "xe\u0301", [0, 1, 1]),
        (UnicodeForm("NFC"), "e\u0301x", "éx", [0, 2]),
        (UnicodeForm("NFC"), "e\u0301a\u035b\u0301", "éa\u035b\u0301", [0, 2, 3, 4]),
        (UnicodeForm("NFKC"), "ﬁ①", "fi1", [0, 0, 1]),
        (UnicodeForm("NFD"), "ü\u0327", "u\u0327\u0308", [0, 1, 1]),
        (Lowercase(), "İΣ", "i\u0307σ", [0, 0, 1]),
        (StripAccents(), "e\u0301é", "eé", [0, 2]),
        (Replace("ab", "xyz"), "cab", "cxyz", [0, 2, 2, 2]),
        (Replace("ab", ""), "cabc", "cc", [0, 3]),
    ],
)
def test_normalizers_and_places(normalizer, text, expected, places):
    aligned = normalizer(AlignedText.of(text))
    assert (aligned.text, aligned.places.tolist()) == (expected, places)


@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_normal_forms_are_pythons_for_characters_of_unicode_9(text, form):
    later = members(LATER_NORMALIZATION)
    text = "".join(character for character in text if character not in later)
    aligned = UnicodeForm(form)(AlignedText.of(text))
    assert aligned.text == unicodedata.normalize(form, text)
    assert (np.diff(aligned.places) >= 0).all()


@pytest.mark.parametrize(
    ("pre_tokenizer", "text", "words"),
    [
        (BertPreTokenizer(), "it's 3.5€\n", ["it", "'", "s", "3", ".", "5€"]),
        (Whitespace(), "it's 3.5€\n", ["it", "'", "s", "3", ".", "5", "€"]),
        (WhitespaceSplit(), "it's 3.5€\n", ["it's", "3.5€"]),
        (Metaspace(), "a  b", ["▁a", "▁", "▁b"]),
        (Metaspace(prepend_scheme="never"), "a b", ["a", "▁b"]),
        (Metaspace(split=False), "a b", ["▁a▁b"]),
        (ByteLevel(add_prefix_space=True), "a b", [" a", " b"]),
        (ByteLevel(add_prefix_space=False, use_regex=False), "a b", ["a b"]),
        (PreTokenizerSequence([WhitespaceSplit(), Metaspace()]), "a b", ["▁a", "▁b"]),
    ],
)
def test_words(pre_tokenizer, text, words):
    assert pre_tokenizer(AlignedText.of(text)).strings() == words
    assert pre_tokenizer(AlignedText.of("")).strings() == []


def test_tables_hold_what_they_should():
    assert {"\x00", "\u200b", "\ufffd", "\U0010fffd"} <= members(CONTROLS)
    assert not {"\t", "\n", "\r", " ", "a"} & members(CONTROLS)
    assert "\u0301" in members(BERT_ACCENTS)
    assert {"!", "$", "。", "«"} <= members(BERT_PUNCTUATION)
    assert "€" not in members(BERT_PUNCTUATION)


def naive_training(word_counts, size, special):
    """The rule as it stands in learn_pieces, every pair counted anew each time."""
    letters = sorted({c for word in word_counts for c in word})
    inside = sorted({c for word in word_counts for c in word[1:]})
    pieces = [*special, *letters, *("##" + c for c in inside)]
    words = {word: [c if n == 0 else "##" + c for n, c in enumerate(word)] for word in word_counts}
    while len(pieces) < size:
        pairs = Counter()
        for word, count in word_counts.items():
            for pair in zip(words[word], words[word][1:]):
                pairs[pair] += count
        if not pairs:
            break
        age = {piece: n for n, piece in enumerate(pieces)}
        a, b = min(pairs, key=lambda pair: (-pairs[pair], age[pair[0]], age[pair[1]]))
        joined = a + b.removeprefix("##")
        if joined not in age:
            pieces.append(joined)
        for word, symbols in words.items():
            out = []
            for symbol in symbols:
                if out and (out[-1], symbol) == (a, b):
                    out[-1] = joined
                else:
                    out.append(symbol)
            words[word] = out
    return pieces


@given(
    st.dictionaries(st.text("ab#", min_size=1, max_size=9), st.integers(1, 5), min_size=1, max_size=8),
    st.integers(8, 40),
)
@example({"##a": 5, "ba": 1}, 30)  # # + ###, then ## + ##a, which is the piece ##a that is there already
def test_training_is_that_of_the_plain_way(word_counts, size):
    letters = {c for word in word_counts for c in word} | {"##" + c for word in word_counts for c in word[1:]}
    if len(letters) + 1 > size:
        with pytest.raises(InputError, match="is too small"):
            learn_pieces(word_counts, size, ["[UNK]"])
        return
    assert learn_pieces(word_counts, size, ["[UNK]"]) == naive_training(word_counts, size, ["[UNK]"])


def test_training_with_limits():
    counts = count_words([["hug"] * 10, ["pug"] * 5, ["pun"] * 12, ["bun"] * 4, ["hugs"] * 5])
    pieces = learn_pieces(counts, 17, ["[UNK]"])
    assert pieces[:14] == ["[UNK]", *"bghnpsu", *("##" + c for c in "gnsu"), "##ug", "##un"]
    assert learn_pieces(counts, 100, min_frequency=21) == [*pieces[1:12]]
    assert learn_pieces(counts, 100, limit_alphabet=2)[:2] == ["g", "u"]  # the most frequent: u 36 times, g 20
    assert learn_pieces({"ab": 1}, 100) == ["a", "b", "##b", "ab"]
