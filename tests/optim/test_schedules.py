"""Schedules at named points, and the object that applies them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Parameter, optim


def test_constant():
    assert [optim.constant()(step) for step in (0, 1, 10**6)] == [1, 1, 1]


@pytest.mark.parametrize("build", [optim.warmup_linear, optim.warmup_cosine])
def test_named_points(build):
    """First step, in the warm-up, its end, half-way down, the last step, and beyond."""
    factor = build(10, 110, final=0.1)
    assert factor(0) == pytest.approx(1 / 11)
    assert factor(4) == pytest.approx(5 / 11)
    assert factor(10) == 1
    assert factor(60) == pytest.approx(0.55)
    assert factor(110) == pytest.approx(0.1)
    assert factor(10_000) == pytest.approx(0.1)
    values = [factor(step) for step in range(111)]
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert max(values) == 1


def test_a_quarter_of_the_cosine_and_of_the_line():
    assert optim.warmup_cosine(0, 100)(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert optim.warmup_linear(0, 100)(25) == pytest.approx(0.75)


@pytest.mark.parametrize("build", [optim.warmup_linear, optim.warmup_cosine])
def test_no_warm_up_and_nothing_but_warm_up(build):
    assert build(0, 10)(0) == 1
    assert build(10, 10)(9) == pytest.approx(10 / 11)
    assert build(10, 10)(10) == 1  # never reached: the run is over
    assert build(0, 0)(0) == 1


def test_nanogpts_recipe():
    """1e-3 down to 1e-4 over 2,000 steps after 100 of warm-up."""
    lr = [1e-3 * optim.warmup_cosine(100, 2000, final=0.1)(step) for step in (0, 99, 100, 1050, 2000)]
    assert lr == pytest.approx([1e-3 / 101, 1e-3 * 100 / 101, 1e-3, 5.5e-4, 1e-4])


def test_make_schedule():
    assert optim.make_schedule("constant", 10, 100)(50) == 1
    assert optim.make_schedule("constant", 9, 100)(0) == pytest.approx(0.1)
    assert optim.make_schedule("linear", 10, 110, 0.5)(60) == pytest.approx(0.75)
    assert optim.make_schedule("cosine", 10, 110, 0.5)(110) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="unknown schedule 'step'; choose constant, linear or cosine"):
        optim.make_schedule("step", 1, 2)


def test_the_scheduler_scales_every_groups_own_rate():
    a, b = Parameter([1.0]), Parameter([1.0])
    optimizer = optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 0.5}])
    scheduler = optim.LRScheduler(optimizer, optim.warmup_linear(1, 5))
    seen = []
    for _ in range(6):
        seen.append(scheduler.get_last_lr())
        a.grad = b.grad = np.zeros(1, np.float32)
        optimizer.step()
        scheduler.step()
    assert np.allclose([lr for lr, _ in seen], [0.5, 1, 0.75, 0.5, 0.25, 0])
    assert all(second == pytest.approx(first / 2) for first, second in seen)


def test_the_schedulers_state_continues():
    def new():
        optimizer = optim.SGD([Parameter([1.0])], lr=1.0)
        return optimizer, optim.LRScheduler(optimizer, optim.warmup_cosine(2, 20))

    (optimizer, straight), (saved, first) = new(), new()
    for _ in range(7):
        straight.step()
    for _ in range(4):
        first.step()
    resumed, second = new()
    resumed.load_state_dict(saved.state_dict())  # its lr is by now a scaled one
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.step()
    assert second.get_last_lr() == straight.get_last_lr()
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
