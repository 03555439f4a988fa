"""Windows: shifted by one, drawn as nanoGPT draws, resumable; and the measured ones cover every target once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilm.data import RandomWindows, SequentialWindows, check_length
from minilm.errors import InputError


@settings(deadline=None)
@given(n=st.integers(2, 300), batch_size=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
def test_random_windows_are_the_text_and_the_text_one_further(n, batch_size, seed, data):
    context_length = data.draw(st.integers(1, n - 1))
    tokens = np.random.default_rng(0).integers(0, 60_000, n).astype(np.uint16)
    inputs, targets = RandomWindows(tokens, batch_size, context_length, np.random.default_rng(seed)).next_batch()
    starts = np.random.default_rng(seed).integers(0, n - context_length, batch_size)  # nanoGPT's get_batch
    for row, start in enumerate(starts):
        np.testing.assert_array_equal(inputs[row], tokens[start : start + context_length])
        np.testing.assert_array_equal(targets[row], tokens[start + 1 : start + 1 + context_length])
    for array in (inputs, targets):
        assert array.shape == (batch_size, context_length)
        assert array.dtype == np.int64
        assert array.flags.c_contiguous


def test_every_start_is_drawn_about_as_often():
    tokens = np.arange(14)
    batches = RandomWindows(tokens, 1000, 4, np.random.default_rng(1))
    starts = np.concatenate([batches.next_batch()[0][:, 0] for _ in range(10)])
    counts = np.bincount(starts, minlength=14)
    assert counts[10:].sum() == 0  # the last window's last target is the last token
    assert counts[:10].min() > 850  # 1000 expected, standard deviation 30
    assert counts[:10].max() < 1150


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_resumed_run_draws_the_same_batches(kind):
    tokens = np.arange(1000)
    batches = RandomWindows(tokens, 4, 8, np.random.Generator(kind(3)))
    for _ in range(5):
        batches.next_batch()
    state = json.loads(json.dumps(batches.state_dict()))
    expected = [batches.next_batch() for _ in range(5)]
    resumed = RandomWindows(tokens, 4, 8, np.random.Generator(kind(99)))
    resumed.load_state_dict(state)
    for (inputs, targets), batch in zip(expected, resumed):
        np.testing.assert_array_equal(inputs, batch[0])
        np.testing.assert_array_equal(targets, batch[1])


@pytest.mark.parametrize("state", [{}, {"generator": {"bit_generator": "MT19937"}}, {"generator": 7}])
def test_a_state_that_does_not_fit(state):
    batches = RandomWindows(np.arange(100), 4, 8, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"does not fit the generator PCG64.*resume from a checkpoint"):
        batches.load_state_dict(state)


def test_the_state_is_not_changed_by_later_draws():
    batches = RandomWindows(np.arange(100), 4, 8, np.random.Generator(np.random.MT19937(0)))
    state = batches.state_dict()
    copy = json.dumps(state)
    batches.next_batch()
    assert json.dumps(state) == copy


@settings(deadline=None)
@given(n=st.integers(2, 300), batch_size=st.integers(1, 9), context_length=st.integers(1, 40))
def test_sequential_windows_cover_every_target_once_in_order(n, batch_size, context_length):
    tokens = np.random.default_rng(n).integers(0, 60_000, n).astype(np.uint16)
    windows = SequentialWindows(tokens, batch_size, context_length)
    batches = list(windows)
    inputs = np.concatenate([batch[0].ravel() for batch in batches])
    targets = np.concatenate([batch[1].ravel() for batch in batches])
    np.testing.assert_array_equal(inputs, tokens[:-1])
    np.testing.assert_array_equal(targets, tokens[1:])
    assert len(batches) == len(windows)
    assert sum(batch[1].size for batch in batches) == windows.target_count == n - 1
    for i, (x, y) in enumerate(batches):
        assert x.shape == y.shape
        assert x.dtype == y.dtype == np.int64
        assert x.shape[0] <= batch_size
        assert x.shape[1] == context_length or i == len(batches) - 1
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(batches, windows))  # a second pass is the same


def test_length_errors_name_the_numbers_and_what_to_do():
    check_length(np.arange(65), 64, "validation")
    with pytest.raises(InputError, match=r"validation split has 64 tokens.*at least 65.*--model.context_length 63"):
        check_length(np.arange(64), 64, "validation")
    with pytest.raises(InputError, match=r"0 tokens.*use a longer text$"):
        check_length(np.arange(0), 64, "training")
    with pytest.raises(InputError, match="training split has 8 tokens"):
        RandomWindows(np.arange(8), 2, 8, np.random.default_rng(0))
    with pytest.raises(InputError, match="use a longer text"):
        SequentialWindows(np.arange(1), 2, 8)
    for batch_size, context_length in ((0, 8), (2, 0)):
        with pytest.raises(InputError, match="must be at least 1"):
            RandomWindows(np.arange(8), batch_size, context_length, np.random.default_rng(0))
        with pytest.raises(InputError, match="must be at least 1"):
            SequentialWindows(np.arange(8), batch_size, context_length)
