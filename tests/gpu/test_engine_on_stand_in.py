"""The engine on CuPy's arrays: every family of models computes on the stand-in what it computes on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import stand_in
from gpu.engine_cases import CASES, gpt_of, loss_and_gradients, words
from hypothesis import given, settings
from properties.gradcheck import SEEDS, outputs_of
from properties.test_gradients import ROWS

import minilm_kernels
from minilm import Tensor, nn, optim
from minilm import functional as F
from minilm.devices import batch_to_device, to_device, to_host
from minilm.errors import InputError
from minilm_kernels.conditions import sent_checked

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("cupy")


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_the_cpus(name):
    model, batch = CASES[name]()
    loss, gradients = loss_and_gradients(model, batch)
    there, batch = CASES[name]()
    there.to("cuda")
    moved = batch_to_device(batch, "cuda")
    stand_in.transfers.clear()
    with sent_checked():
        loss_there, gradients_there = loss_and_gradients(there, moved)
    # the buckets of T5's distances go to the device once, for the encoder and for the decoder
    assert len(stand_in.transfers.in_) == (2 if name == "t5" else 0), stand_in.transfers.in_
    # the reference of the loss counts its rows on the host; CuPy's kernel does not
    assert [entry for entry in stand_in.transfers.out if not entry[1].startswith("loss.py")] == []
    assert float(loss_there) == pytest.approx(float(loss), rel=1e-6)
    assert gradients_there.keys() == gradients.keys()
    for key, gradient in gradients.items():
        atol = 1e-6 * np.abs(gradient).max()
        np.testing.assert_allclose(to_host(gradients_there[key]), gradient, rtol=1e-5, atol=atol, err_msg=key)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_the_host_is_understood_too(name):
    """Nobody has to move ids, masks and labels: they go where the model is."""
    model, batch = CASES[name]()
    loss, _ = loss_and_gradients(model, batch)
    there, batch = CASES[name]()
    assert float(loss_and_gradients(there.to("cuda"), batch)[0]) == pytest.approx(float(loss), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "gpt_in_llamas_layout", "bert_masked_lm", "t5"])
def test_cupys_kernels_serve_by_themselves(name):
    """Nothing is chosen: the arrays' type sends every call to the CUDA kernels (run by g++ here)."""
    if os.environ.get("MINILM_KERNELS"):
        pytest.skip("MINILM_KERNELS chooses kernels")
    model, batch = CASES[name]()
    with minilm_kernels.use_kernels("reference"):
        loss, gradients = loss_and_gradients(model, batch)
    there, batch = CASES[name]()
    there.to("cuda")
    assert minilm_kernels.active(next(there.parameters()).data) == "cupy"
    moved = batch_to_device(batch, "cuda")
    stand_in.transfers.clear()
    with sent_checked():
        loss_there, gradients_there = loss_and_gradients(there, moved)
    assert len(stand_in.transfers.in_) == (2 if name == "t5" else 0)
    assert stand_in.transfers.out == []
    assert float(loss_there) == pytest.approx(float(loss), rel=1e-5)
    for key, gradient in gradients.items():
        atol = 1e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(to_host(gradients_there[key]), gradient, rtol=1e-4, atol=atol, err_msg=key)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_function_and_its_derivative_are_the_cpus(name):
    """Each row of the table of gradient checks, a few draws of each; masks and ids are those of the host."""

    @settings(max_examples=3)
    @given(case=ROWS[name], seed=SEEDS)
    def check(case, seed):
        function, inputs = case
        found = []
        for device in ("cpu", "cuda"):
            tensors = [Tensor(to_device(np.array(x), device), requires_grad=True) for x in inputs]
            outputs = outputs_of(function(F, *tensors))
            draws = np.random.default_rng(seed)
            cotangents = [to_device(np.asarray(draws.standard_normal(y.shape)), device) for y in outputs]
            for y, c in zip(outputs, cotangents):
                y.backward(c, retain_graph=y is not outputs[-1])
            found.append(
                [to_host(a) for a in (*(y.data for y in outputs), *(t.grad for t in tensors)) if a is not None]
            )
        for here, there in zip(*found, strict=True):
            np.testing.assert_allclose(
                there, here, rtol=1e-9, atol=1e-12
            )  # a BLAS rounds by where an array lies in memory

    check()


@pytest.mark.usefixtures("reference")
def test_the_buckets_of_t5_stay_on_the_device():
    model, batch = CASES["t5"]()
    moved = batch_to_device(batch, model.to("cuda").device)
    with sent_checked():
        loss_and_gradients(model, moved)
        stand_in.transfers.clear()
        loss_and_gradients(model, moved)
    # the encoder's for 7 tokens and the decoder's for 5 were kept
    assert stand_in.transfers.in_ == []


# --- moving -----------------------------------------------------------------------------------------------------------


def test_a_batch_goes_in_one_copy():
    batch = {
        "input_ids": words(3, 7), "mask": words(3, 7) > 4, "halves": np.ones((2, 3), np.float16), "n": 5,
        "bytes": np.arange(5, dtype=np.uint8), "empty": np.zeros((0, 2)), "number": np.array(2.5),
    }  # fmt: skip
    stand_in.transfers.clear()
    moved = batch_to_device(batch, "cuda")
    assert len(stand_in.transfers.in_) == 1
    for name, value in batch.items():
        if isinstance(value, np.ndarray):
            there = to_host(moved[name])
            assert there.dtype == value.dtype
            np.testing.assert_array_equal(there, value)
    assert moved["n"] == 5
    assert batch_to_device(batch, "cpu") is batch


def test_tensors_move_and_gradients_move_back():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x.to("cuda") * 3).cpu()
    assert (str(x.device), str(x.cuda().device), str(y.device)) == ("cpu", "cuda", "cpu")
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert x.to("cpu") is x
    assert x.to("float64").dtype == x.to(np.float64).dtype == np.float64
    assert repr(x.cuda().detach()) == "Tensor([1., 2.])"


def test_two_devices_do_not_mix():
    with pytest.raises(ValueError, match=r"on cpu and cuda; bring them together with \.to"):
        Tensor([1.0, 2.0]).cuda() + Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="on cpu and cuda"):
        F.linear(Tensor(np.ones((2, 3), np.float32)).cuda(), Tensor(np.ones((2, 3))))


def test_a_model_moves_before_its_optimizer_is_made():
    layer = nn.Linear(2, 3)
    optimizer = optim.SGD(layer.parameters())
    with pytest.raises(RuntimeError, match="before you make one"):
        layer.to("cuda")
    assert str(nn.Linear(2, 3).cuda().cpu().device) == "cpu"
    del optimizer


def test_ids_on_the_device_are_checked_unless_they_were():
    model = gpt_of().to("cuda")
    wrong = to_device(np.array([[1, 99]]), "cuda")
    with pytest.raises(IndexError, match="99"):
        model(wrong)
    with pytest.raises(IndexError, match="99"):
        F.cross_entropy(Tensor(np.ones((1, 5), np.float32)).cuda(), np.array([99]))
    with pytest.raises(InputError, match="there is no device 'tpu'"):
        model.to("tpu")


@pytest.mark.usefixtures("reference")
def test_a_step_does_not_wait():
    p = nn.Linear(2, 3).to("cuda")
    optimizer = optim.AdamW(p.parameters())
    F.mse_loss(p(Tensor(np.ones((4, 2), np.float32)).cuda()), np.zeros((4, 3), np.float32)).backward()
    stand_in.transfers.clear()
    optimizer.step()
    assert stand_in.transfers.in_ == stand_in.transfers.out == []


# --- the engine's own tests -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_engines_own_tests_pass_on_the_stand_in():
    """Every test of tensors, functions, layers, optimizers and models, with each tensor on the device."""
    folders = ["test_tensor.py", "test_tape.py", "functional", "nn", "optim", "models", "properties/test_gradients.py"]
    environment = {**os.environ, "MINILM_KERNELS": "reference", "OPENBLAS_NUM_THREADS": "1"}
    paths = [ROOT, ROOT / "kernels", ROOT / "tests", *map(Path, filter(None, [os.environ.get("PYTHONPATH")]))]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gpu.stand_in.suite",
         *(str(ROOT / "tests" / name) for name in folders)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1].lstrip("="))
    assert passed > 700, done.stdout[-300:]
