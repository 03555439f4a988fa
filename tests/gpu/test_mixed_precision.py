"""Mixed precision on the stand-in for CuPy: 16 bits to compute in, float32 weights, a loss scale for float16."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gpu.test_training_on_stand_in import losses_of, make_trainer

import minilm_kernels
from minilm import Tensor, nn, optim
from minilm import functional as F
from minilm.errors import InputError, TrainingDivergedError
from minilm.optim import LossScaler
from minilm.training import RunConfig
from minilm.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("cupy")
HALVES = ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)]


@pytest.fixture
def kernels(precision, cupy):
    """The formulas serve float16; NumPy cannot compute them in bfloat16, so CuPy's kernels do."""
    half_of(precision)
    with minilm_kernels.use_kernels("reference" if precision == "float16" else "cupy"):
        yield


def half_of(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def make_layer(precision, lr=1e-2, kind=optim.AdamW, **options):
    layer = nn.Linear(3, 2, generator=np.random.default_rng(0)).to("cuda")
    optimizer = kind(layer.parameters(), lr=lr, **options)
    optimizer.compute_in(precision)
    return layer, optimizer


def inputs(dtype, scale=1.0):
    x = np.random.default_rng(1).standard_normal((4, 3)) * scale
    return Tensor(x.astype(np.float32)).cuda().astype(dtype)


# --- float32 weights --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("precision", HALVES)
def test_parameters_and_gradients_have_16_bits_and_the_optimizer_32(precision):
    dtype = half_of(precision)
    layer, optimizer = make_layer(precision)
    first = optimizer.flat.data.get()
    y = layer(inputs(dtype))
    assert y.dtype == layer.weight.dtype == dtype
    (y * y).sum().backward()
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == dtype
    optimizer.step()
    assert {array.dtype for array in (optimizer.flat.data, optimizer.flat.grad, *optimizer.state.values())} == {
        np.dtype(np.float32)
    }
    assert not np.array_equal(optimizer.flat.data.get(), first)
    computes = np.concatenate([p.data.get().reshape(-1) for p in layer.parameters()])
    np.testing.assert_array_equal(computes, optimizer.flat.data.get().astype(dtype))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("precision", HALVES)
def test_steps_too_small_for_16_bits_add_up(precision):
    """Each step is far below half a unit in the last place of a 16-bit weight, which without float32 ones would stay."""
    dtype = half_of(precision)
    layer, optimizer = make_layer(precision, lr=1e-5, kind=optim.SGD)
    before = layer.weight.data.get().astype(np.float32)
    for _ in range(300):
        optimizer.zero_grad()
        layer(inputs(dtype)).sum().backward()
        optimizer.step()
    moved = optimizer.flat.weights()[id(layer.weight)].get()
    gradient = inputs(np.float32).data.get().sum(axis=0)
    np.testing.assert_allclose(moved - before, np.broadcast_to(-300e-5 * gradient, (2, 3)), atol=4e-3)
    assert np.abs(layer.weight.data.get().astype(np.float32) - before).max() > 1e-3


@pytest.mark.usefixtures("reference")
def test_clipping_is_of_the_unscaled_gradients():
    norms = []
    for scale in (1.0, 1024.0):
        layer, optimizer = make_layer("float16")
        (layer(inputs(np.float16)).float().sum() * scale).backward()
        norms.append(float(optimizer.clip_grad_norm(0.5, scale)))
        assert math.sqrt(float((optimizer.flat.grad**2).sum())) == pytest.approx(0.5, rel=1e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_mixed_precision_starts_from_float32_on_a_gpu():
    layer = nn.Linear(2, 2).double()
    with pytest.raises(ValueError, match="starts from float32 weights; these are float64"):
        optim.SGD(layer.parameters()).compute_in("float16")
    for config, message in [
        (RunConfig(precision="float16"), "precision float16 needs a GPU"),
        (RunConfig(precision="int8", device="cuda"), "precision is 'int8'; choose one of float32, bfloat16, float16"),
    ]:
        with pytest.raises(InputError, match=message):
            config.check()
    with pytest.raises(InputError, match="needs a GPU"):
        make_trainer("cpu", "bfloat16")


# --- the loss scale ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
def test_scaling_saves_gradients_that_float16_cannot_hold():
    layer, optimizer = make_layer("float16")
    found = {}
    for scale in (1.0, 2.0**16):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(inputs(np.float16)).float() * 1e-5, np.zeros((4, 2), np.float32))
        (loss * scale).backward()
        optimizer.flat.collect(scale)
        found[scale] = optimizer.flat.grad.get()
    assert not found[1.0].any()
    assert np.abs(found[2.0**16]).min() > 0


@pytest.mark.usefixtures("reference")
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_step_with_an_overflow_is_left_out():
    trainer = make_trainer("cuda", "float16")
    losses_of(trainer, 1)
    before, steps = trainer.optimizer.flat.data.get(), trainer.optimizer.steps
    trainer.scaler.scale = 2.0**40
    trainer.training_step()
    np.testing.assert_array_equal(trainer.optimizer.flat.data.get(), before)
    assert trainer.optimizer.steps == steps
    assert (trainer.scaler.scale, trainer.scaler.skipped_steps) == (2.0**39, 1)
    assert math.isfinite(trainer.grad_norm)  # of the last step that was made
    trainer.scaler.scale = 2.0**10
    trainer.training_step()
    assert trainer.optimizer.steps == steps + 1


@pytest.mark.usefixtures("reference")
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_gradients_that_are_infinite_in_any_scale_are_a_divergence():
    trainer = make_trainer("cuda", "float16")
    trainer.scaler.scale = 2.0**-14
    trainer.optimizer.clip_grad_norm = lambda *args, **kwargs: math.inf
    trainer.scaler.update(False)
    with pytest.raises(TrainingDivergedError, match="gradient norm"):
        trainer.without_overflow(math.inf)


def test_the_scale_grows_again():
    scaler = LossScaler(8.0, growth_interval=3)
    assert [(scaler.update(finite), scaler.scale) for finite in (True, True, False, True, True, True, True)] == [
        (True, 8), (True, 8), (False, 4), (True, 4), (True, 4), (True, 8), (True, 8)
    ]  # fmt: skip
    copy = LossScaler()
    copy.load_state_dict(scaler.state_dict())
    assert vars(copy) == {**vars(scaler), "growth_interval": 2000}


# --- training ---------------------------------------------------------------------------------------------------------


def compare_curves(precision):
    with minilm_kernels.use_kernels("reference"):
        exact = losses_of(make_trainer("cpu", max_steps=30), 30)[:, 0]
    curve = losses_of(make_trainer("cuda", precision, max_steps=30), 30)[:, 0]
    assert not np.array_equal(curve, exact)
    assert exact[-5:].mean() < exact[:5].mean() - 0.05  # something is learnt
    np.testing.assert_allclose(curve, exact, atol=0.03 if precision == "float16" else 0.1)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("precision", HALVES)
def test_the_loss_falls_as_in_float32(precision):
    compare_curves(precision)


@pytest.mark.slow
def test_the_loss_falls_as_in_float32_with_the_gpus_kernels():
    with minilm_kernels.use_kernels("cupy"):
        compare_curves("float16")


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("precision", HALVES)
def test_a_checkpoint_holds_the_float32_weights(tmp_path, precision):
    whole = losses_of(make_trainer("cuda", precision))
    begun = make_trainer("cuda", precision)
    half = losses_of(begun, 3)
    path = begun.write_checkpoint(tmp_path)
    saved = load_checkpoint(path)
    assert {array.dtype for array in saved.weights.values()} == {np.dtype(np.float32)}
    resumed = make_trainer("cuda", precision)
    resumed.resume(saved)
    np.testing.assert_allclose(np.concatenate([half, losses_of(resumed, 3)]), whole, rtol=1e-3)
    full = make_trainer("cuda")  # and float32 goes on from it too
    full.resume(saved)
    assert losses_of(full, 1)[0, 0] == pytest.approx(whole[3, 0], abs=0.03)
