"""Batches of an epoch: every example once, no step across the end, the same after a resume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.training.epochs import EpochBatches


def lengths(i):
    return i * 7 % 23


@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.sampled_from(["random", "sequential", "group_by_length"])
)  # fmt: skip
def test_an_epoch_has_every_example_once(examples, batch_size, accumulation, strategy):
    batches = EpochBatches(examples, batch_size, 3, strategy, length_of=lengths)
    for epoch in range(3):
        steps = [batches.next_batches(accumulation) for _ in range(batches.steps_per_epoch(accumulation))]
        rows = np.concatenate([row for step in steps for row in step])
        assert sorted(rows) == list(range(examples))
        assert batches.epoch == epoch
        assert batches.batch == batches.batches_per_epoch
        assert all(len(step) == accumulation for step in steps[:-1])


def test_the_order_follows_from_seed_and_epoch_alone():
    first, second = EpochBatches(20, 4, 1), EpochBatches(20, 4, 1)
    second.order(5)
    np.testing.assert_array_equal(first.order(0), second.order(0))
    assert list(first.order(0)) != list(first.order(1))
    assert list(first.order(0)) != list(EpochBatches(20, 4, 2).order(0))


@given(st.integers(0, 12), st.integers(1, 3))
def test_the_position_can_be_saved(steps, accumulation):
    whole, resumed = EpochBatches(11, 3, 0), EpochBatches(11, 3, 0)
    for _ in range(steps):
        whole.next_batches(accumulation)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(6):
        for a, b in zip(whole.next_batches(accumulation), resumed.next_batches(accumulation), strict=True):
            np.testing.assert_array_equal(a, b)


def test_other_data_are_refused():
    with pytest.raises(InputError, match="trained with examples 10, not 11"):
        EpochBatches(11, 3, 0).load_state_dict(EpochBatches(10, 3, 0).state_dict())


def test_dropping_the_last_batch():
    batches = EpochBatches(10, 4, 0, drop_last=True)
    assert batches.batches_per_epoch == 2
    with pytest.raises(InputError, match="3 examples are not one full batch of 4"):
        EpochBatches(3, 4, 0, drop_last=True)


def test_grouped_texts_are_of_similar_length():
    batches = EpochBatches(400, 4, 0, "group_by_length", length_of=lengths)
    spread = [np.ptp([lengths(i) for i in batches.next_batches(1)[0]]) for _ in range(100)]
    assert np.mean(spread) < 2
