"""Masking and span corruption: laws on any batch, and the shares on many draws."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.data.collators import (
    DataCollatorForLanguageModeling,
    DataCollatorForSpanCorruption,
    DataCollatorForWholeWordMask,
    corrupt_spans,
    noise_mask,
    restore_spans,
)
from minilm.errors import InputError

PAD, CLS, SEP, MASK, SIZE = 0, 1, 2, 3, 1000
TOKENIZER = SimpleNamespace(
    pad_token_id=PAD, mask_token_id=MASK, eos_token_id=1, vocab_size=SIZE, all_special_ids=[PAD, CLS, SEP, MASK]
)
BATCHES = st.lists(
    st.lists(st.integers(4, SIZE - 1), max_size=12).map(lambda row: [CLS, *row, SEP]), min_size=1, max_size=5
)


def features_of(rows):
    return [{"input_ids": row} for row in rows]


def within(count, draws, share, deviations=4.5):
    """Whether `count` of `draws` is what a probability of `share` gives, up to some standard deviations."""
    return abs(count - draws * share) <= deviations * np.sqrt(draws * share * (1 - share))


@given(BATCHES, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.15, 0.7, 1.0]))
def test_masking_laws(rows, seed, share):
    collate = DataCollatorForLanguageModeling(TOKENIZER, mlm_probability=share, generator=np.random.default_rng(seed))
    batch = collate(features_of(rows))
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    original = np.full(ids.shape, PAD)
    for n, row in enumerate(rows):
        original[n, : len(row)] = row
    chosen = labels != -100
    np.testing.assert_array_equal(ids[~chosen], original[~chosen])  # what is not chosen is unchanged
    np.testing.assert_array_equal(labels[chosen], original[chosen])
    assert not (chosen & np.isin(original, TOKENIZER.all_special_ids)).any()
    assert not (chosen & (mask == 0)).any()
    if share == 1.0:
        assert (chosen == ((mask == 1) & ~np.isin(original, [CLS, SEP]))).all()
    if share == 0.0:
        assert not chosen.any()


def test_the_special_tokens_mask_is_believed():
    collate = DataCollatorForLanguageModeling(TOKENIZER, mlm_probability=1.0)
    batch = collate([{"input_ids": [50, 60, 70], "special_tokens_mask": [0, 1, 0]}])
    assert batch["labels"].tolist() == [[50, -100, 70]]
    assert "special_tokens_mask" not in batch


def test_shares_of_masking():
    rows = np.random.default_rng(0).integers(4, SIZE, (200, 500))
    collate = DataCollatorForLanguageModeling(TOKENIZER, generator=np.random.default_rng(1))
    batch = collate(features_of(rows))
    chosen = batch["labels"] != -100
    count = chosen.sum()
    assert within(count, chosen.size, 0.15)
    ids = batch["input_ids"][chosen]
    kept = ids == batch["labels"][chosen]
    masked = ids == MASK
    # a random id is the mask itself, or the old id, once in SIZE times
    assert within(masked.sum(), count, 0.8 + 0.1 / SIZE)
    assert within(kept.sum(), count, 0.1 + 0.1 / SIZE)
    drawn = ids[~kept & ~masked]
    counts = np.bincount(drawn * 10 // SIZE, minlength=10)  # the vocabulary in ten parts, all drawn alike
    chi_square = ((counts - len(drawn) / 10) ** 2 / (len(drawn) / 10)).sum()
    assert chi_square < 9 + 4.5 * np.sqrt(18)
    assert within(chosen[:, ::2].sum(), chosen.size // 2, 0.15)  # no place is preferred


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.booleans())
def test_whole_words_are_masked_together(pieces, seed, told):
    tokens = [f"t{n}" for n in range(SIZE)]
    tokens[500:] = [f"##t{n}" for n in range(500, SIZE)]
    ids, words = [CLS], [None]
    for n, count in enumerate(pieces):
        ids += [100 + n, *range(600, 599 + count)]
        words += [n] * count
    feature = {"input_ids": [*ids, SEP], "word_ids": [*words, None]} if told else {"input_ids": [*ids, SEP]}
    collate = DataCollatorForWholeWordMask(
        TOKENIZER, mlm_probability=0.5, generator=np.random.default_rng(seed), tokens=None if told else tokens
    )
    labels = collate([feature])["labels"][0]
    assert labels[0] == labels[-1] == -100
    for n in range(len(pieces)):
        whole = [label != -100 for label, word in zip(labels, [*words, None]) if word == n]
        assert all(whole) or not any(whole)


def test_the_tokenizer_tells_which_pieces_continue_a_word():
    names = {5: "un", 6: "##able", 7: "cat"}
    tokenizer = SimpleNamespace(
        **vars(TOKENIZER), convert_ids_to_tokens=lambda ids: [names.get(n, f"[{n}]") for n in ids], __len__=lambda: SIZE
    )
    collate = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.5, seed=3, vocab_size=SIZE)
    for _ in range(20):
        labels = collate(features_of([[CLS, 5, 6, 7, SEP]]))["labels"][0]
        assert (labels[1] == -100) == (labels[2] == -100)


def test_word_ids_are_padded_on_the_side_of_the_ids():
    left = SimpleNamespace(**vars(TOKENIZER), padding_side="left")
    collate = DataCollatorForWholeWordMask(left, mlm_probability=1.0)
    rows = [{"input_ids": [50], "word_ids": [0]}, {"input_ids": [60, 61, 62], "word_ids": [None, 0, 0]}]
    assert collate(rows)["labels"].tolist() == [[-100, -100, 50], [-100, 61, 62]]


def test_shares_of_whole_words():
    words = np.repeat(np.arange(3000), 2).tolist()
    collate = DataCollatorForWholeWordMask(TOKENIZER, generator=np.random.default_rng(2))
    labels = collate([{"input_ids": np.full(6000, 77), "word_ids": words}])["labels"][0]
    assert within((labels[::2] != -100).sum(), 3000, 0.15)


def test_causal_labels():
    batch = DataCollatorForLanguageModeling(SimpleNamespace(pad_token_id=7), mlm=False)(features_of([[7, 8], [9]]))
    assert batch["labels"].tolist() == [[7, 8], [9, -100]]  # a real token with pad's id stays
    assert batch["input_ids"].tolist() == [[7, 8], [9, 7]]


def test_the_same_state_gives_the_same_draws():
    rows = features_of(np.random.default_rng(0).integers(4, SIZE, (4, 50)))
    first, second = (DataCollatorForLanguageModeling(TOKENIZER, seed=5) for _ in range(2))
    first(rows)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first(rows)["labels"], second(rows)["labels"])
    with pytest.raises(InputError, match="does not fit the generator"):
        second.load_state_dict({"generator": {"bit_generator": "MT19937"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlm_probability": 1.5}, "mlm_probability is 1.5"),
        ({"mask_replace_prob": 0.8, "random_replace_prob": 0.3}, "must lie between"),
        ({"generator": 3}, "numpy.random.default_rng"),
    ],
)
def test_bad_masking_arguments(options, message):
    with pytest.raises(InputError, match=message):
        DataCollatorForLanguageModeling(TOKENIZER, **options)
    with pytest.raises(InputError, match="mask_token_id is needed"):
        DataCollatorForLanguageModeling(pad_token_id=0, vocab_size=9)
    with pytest.raises(InputError, match="1 of 2 examples have word_ids"):
        DataCollatorForWholeWordMask(TOKENIZER)([{"input_ids": [5], "word_ids": [0]}, {"input_ids": [5]}])
    with pytest.raises(InputError, match="needs to know the words"):
        DataCollatorForWholeWordMask(TOKENIZER)(features_of([[5, 6]]))


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.floats(1, 10), st.integers(0, 2**32 - 1))
def test_noise(length, density, mean, seed):
    mask = noise_mask(length, density, mean, np.random.default_rng(seed))
    noise = min(max(round(length * density), 1), length - 1)
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    assert len(mask) == length
    assert mask.sum() == noise
    assert starts.sum() == min(max(round(noise / mean), 1), noise, length - noise)
    assert not mask[0]
    assert mask[-1]


def test_every_place_is_cut_out_about_equally():
    generator = np.random.default_rng(9)
    draws = 3000
    hits = sum(noise_mask(60, 0.15, 3.0, generator).astype(int) for _ in range(draws))
    assert hits.sum() == 9 * draws
    assert hits[0] == 0  # T5's rule: a text begins with itself and ends with noise
    assert hits[-1] == draws
    inner = hits[3:50]  # far from the ends all places are alike
    assert inner.max() < 1.4 * inner.mean()
    assert inner.min() > 0.6 * inner.mean()


@given(st.lists(st.integers(0, 800), min_size=2, max_size=150), st.integers(0, 2**32 - 1))
def test_span_corruption_can_be_undone(ids, seed):
    mask = noise_mask(len(ids), 0.15, 3.0, np.random.default_rng(seed))
    inputs, targets = corrupt_spans(ids, mask, SIZE - 1)
    assert restore_spans(inputs, targets, SIZE - 1) == ids
    spans = int((mask & ~np.concatenate([[False], mask[:-1]])).sum())
    expected = [SIZE - 1 - n for n in range(spans)]  # counted down, in the same order on both sides
    assert inputs[inputs > 800].tolist() == targets[targets > 800].tolist() == expected
    assert len(inputs) == len(ids) - mask.sum() + spans
    assert len(targets) == mask.sum() + spans
    assert targets[0] == SIZE - 1


def test_the_example_of_the_paper():
    # Thank you for inviting me to your party last week
    ids, mask = np.arange(10, 20), np.isin(np.arange(10), [2, 3, 8])
    inputs, targets = corrupt_spans(ids, mask, 99)
    assert inputs.tolist() == [10, 11, 99, 14, 15, 16, 17, 98, 19]
    assert targets.tolist() == [99, 12, 13, 98, 18]


@given(st.lists(st.lists(st.integers(2, 800), min_size=2, max_size=40), min_size=1, max_size=4), st.booleans())
def test_span_batches(rows, end):
    collate = DataCollatorForSpanCorruption(TOKENIZER, seed=1, sentinel_start_id=SIZE - 1)
    batch = collate(features_of([[*row, 1] if end else row for row in rows]))
    assert set(batch) == {"input_ids", "attention_mask", "labels", "decoder_input_ids"}
    for n, row in enumerate(rows):
        inputs = batch["input_ids"][n][batch["attention_mask"][n] == 1]
        labels = batch["labels"][n][batch["labels"][n] != -100]
        assert inputs[-1] == labels[-1] == 1
        assert restore_spans(inputs[:-1], labels[:-1], SIZE - 1) == row
        assert batch["decoder_input_ids"][n][0] == PAD
        assert batch["decoder_input_ids"][n][1 : len(labels)].tolist() == labels[:-1].tolist()


def test_bad_spans_are_refused():
    with pytest.raises(InputError, match="1 tokens cannot be corrupted"):
        noise_mask(1, 0.15, 3.0, np.random.default_rng(0))
    with pytest.raises(InputError, match="2 spans need as many sentinels"):
        corrupt_spans([1, 2, 3, 4], np.array([False, True, False, True]), 99, sentinels=1)
    with pytest.raises(InputError, match="noise_density is 2"):
        DataCollatorForSpanCorruption(TOKENIZER, 2.0)
    with pytest.raises(InputError, match="mean_noise_span_length"):
        DataCollatorForSpanCorruption(TOKENIZER, 0.15, 0.5)
    with pytest.raises(InputError, match="eos_token_id is needed"):
        DataCollatorForSpanCorruption(pad_token_id=0)
