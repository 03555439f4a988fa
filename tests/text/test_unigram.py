"""The Unigram model: best cuts against all cuts, unknown characters, bytes, the n best, samples, JSON."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.sentencepiece_text import Nmt, WhitespaceMetaspace, sentencepiece_normalizer
from minilm.text.words.pre_tokenizers import Metaspace, PreTokenizerSequence, WhitespaceSplit

LETTERS = "abc"
PIECES = st.dictionaries(st.text(LETTERS, min_size=1, max_size=4), st.floats(-20, -0.1), min_size=1, max_size=15)
WORDS = st.text(LETTERS + "z", max_size=8)


def model_of(pieces, **options):
    return Unigram([("<unk>", 0.0), *pieces.items()], unk_id=0, **options)


def all_cuts(model, word):
    """Every cut of `word`, the slow way: (log-probability, segments)."""
    if not word:
        return [(0.0, [])]

    def cuts(start):
        if start == len(word):
            yield 0.0, []
            return
        for end in range(start + 1, len(word) + 1):
            n = model.ids.get(word[start:end])
            if n is None and (end > start + 1):
                continue
            score = model.unknown_score if n is None else model.scores[n]
            for rest, segments in cuts(end):
                yield score + rest, [(model.unk_id if n is None else n, start, end), *segments]

    return list(cuts(0))


@given(PIECES, WORDS)
def test_the_best_cut_is_the_best_of_all_cuts(pieces, word):
    model = model_of(pieces)
    path = model.best_path(word)
    assert "".join(word[start:end] for _, start, end in path) == word
    assert math.isclose(
        model.log_probability(word, path), max(total for total, _ in all_cuts(model, word)), abs_tol=1e-9
    )


@given(PIECES, WORDS, st.integers(1, 6))
def test_the_n_best_cuts(pieces, word, count):
    model = model_of(pieces)
    totals = sorted((total for total, _ in all_cuts(model, word)), reverse=True)
    found = model.n_best(word, count)
    np.testing.assert_allclose([total for _, total in found], totals[:count], atol=1e-9)
    assert len({tuple(path) for path, _ in found}) == len(found)
    for path, total in found:
        assert math.isclose(model.log_probability(word, path), total, abs_tol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_samples_have_the_probabilities_of_the_cuts(alpha):
    model = model_of({"a": -1.0, "b": -2.0, "ab": -2.5, "ba": -3.0, "aba": -4.0})
    cuts = all_cuts(model, "abab")
    weights = np.exp([alpha * total for total, _ in cuts])
    expected = weights / weights.sum()
    generator = np.random.default_rng(11)
    draws = 4000
    seen = [tuple(model.sample("abab", generator, alpha)) for _ in range(draws)]
    counts = np.array([seen.count(tuple(path)) for _, path in cuts])
    assert counts.sum() == draws
    chi_square = (((counts - draws * expected) ** 2) / (draws * expected)).sum()
    assert chi_square < len(cuts) + 4 * math.sqrt(2 * len(cuts))  # mean and standard deviation of χ²


def test_unknown_neighbours_are_one_piece():
    model = model_of({"a": -1.0, "▁": -1.0})
    assert model.split(["▁xyaz"]) == [([1 + 1, 0, 1, 0], [0, 1, 3, 4], [1, 3, 4, 5])]
    assert model.split([""]) == [([], [], [])]


def test_an_unknown_character_costs_ten_more_than_the_worst_piece():
    # x as unknown: −30; "ax" as a piece: −20, so it wins although "a" alone is cheap
    assert model_of({"a": -1.0, "ax": -20.0}).split(["ax"])[0][0] == [2]
    assert model_of({"a": -1.0, "ax": -20.0}).unknown_score == -30


def test_a_character_may_be_unknown_though_a_piece_begins_there():
    # ab + unknown + unknown: −19 − 29 − 29; unknown + bcc: −29 − 0.1
    assert model_of({"ab": -19.0, "bcc": -0.1}).split(["abcc"])[0][0] == [0, 2]


def test_without_an_unknown_piece_a_strange_character_is_an_error():
    model = Unigram([("a", -1.0)])
    assert model.split(["aa"]) == [([0, 0], [0, 1], [1, 2])]
    with pytest.raises(InputError, match="'é' is in no piece"):
        model.split(["aé"])


def test_byte_fallback():
    names = {f"<0x{byte:02X}>": -5.0 for byte in range(256)}
    model = model_of({"a": -1.0, **names}, byte_fallback=True)
    ids, starts, ends = model.split(["aéa"])[0]
    assert [model.pieces[n] for n in ids] == ["a", "<0xC3>", "<0xA9>", "a"]
    assert (starts, ends) == ([0, 1, 1, 2], [1, 2, 2, 3])
    del names["<0xA9>"]
    assert model_of({"a": -1.0, **names}, byte_fallback=True).split(["aé"])[0][0][1] == 0  # not all bytes: unknown


def test_the_last_of_two_equal_pieces_counts():
    assert Unigram([("a", -1.0), ("a", -2.0)]).split(["a"])[0][0] == [1]


@given(PIECES, WORDS)
def test_json_round_trip(pieces, word):
    model = model_of(pieces)
    again = Unigram.from_json(json.loads(json.dumps(model.to_json())))
    assert again.to_json() == model.to_json()
    assert again.split([word]) == model.split([word])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ([], "where an object"),
        ({"type": "BPE"}, "'BPE'"),
        ({"type": "Unigram"}, '"vocab"'),
        ({"type": "Unigram", "vocab": []}, "at least one piece"),
        ({"type": "Unigram", "vocab": [["a"]]}, "entry 0"),
        ({"type": "Unigram", "vocab": [["a", "b"]]}, "score of piece 'a'"),
        ({"type": "Unigram", "vocab": [["a", True]]}, "score of piece 'a'"),
        ({"type": "Unigram", "vocab": [["a", float("nan")]]}, "finite"),
        ({"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 1}, "unk_id 1"),
        ({"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": "x"}, "unk_id"),
        ({"type": "Unigram", "vocab": [["\ud800", -1.0]]}, "surrogate"),
    ],
)
def test_damaged_json_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        Unigram.from_json(model)


def test_bad_arguments():
    model = model_of({"a": -1.0})
    with pytest.raises(InputError, match="0 best cuts"):
        model.n_best("a", 0)
    with pytest.raises(InputError, match="alpha -1"):
        model.sample("a", np.random.default_rng(0), -1)


@given(st.text())
def test_nmt_keeps_the_places(text):
    cleaned = Nmt()(AlignedText.of(text))
    for character, place in zip(cleaned.text, cleaned.places):
        assert character in (text[place], " ")
    assert "\n" not in cleaned.text
    assert "\u200b" not in cleaned.text


@given(st.text(st.sampled_from(" \tab▁\u3000"), max_size=12), st.booleans())
def test_whitespace_metaspace_is_the_two_in_sequence(text, split):
    fast = WhitespaceMetaspace(split)(AlignedText.of(text))
    slow = PreTokenizerSequence((WhitespaceSplit(), Metaspace("▁", "always", split)))(AlignedText.of(text))
    assert fast.strings() == slow.strings()
    assert fast.aligned.text == slow.aligned.text
    assert fast.aligned.places.tolist() == slow.aligned.places.tolist()


def test_offsets_go_back_to_the_original():
    model = model_of({"▁": -3.0, "▁fi": -2.0, "ne": -2.0, "▁day": -2.0})
    pipeline = Pipeline(model, sentencepiece_normalizer(), Metaspace())
    text = "ﬁne  \x07day"
    ids, offsets = pipeline.encode_offsets(text)
    assert [model.pieces[n] for n in ids] == ["▁fi", "ne", "▁day"]
    assert [text[start:end] for start, end in offsets] == ["ﬁ", "ne", " \x07day"]
