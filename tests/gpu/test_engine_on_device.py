"""On a real GPU, `pytest -m gpu`: models, derivatives, training and generation are those of the CPU. Skipped without one."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from finetuning.finetune_files import ALL
from generation.generation_models import FAMILIES
from generation.generation_models import ROWS as PROMPTS
from gpu.engine_cases import CASES, V, gpt_of, loss_and_gradients, rng
from gpu.test_tasks_on_stand_in import CALLS, answers, called, near, weights
from hypothesis import given, settings
from properties.gradcheck import SEEDS, outputs_of
from properties.kernel_backends import why_not
from properties.test_gradients import ROWS

import minilm_kernels
from minilm import Tensor
from minilm import functional as F
from minilm.data import RandomWindows
from minilm.devices import batch_to_device, to_device, to_host
from minilm.finetuning import finetune
from minilm.generation import generate
from minilm.training import CorpusTrainer, TrainingConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(why_not("cupy")), reason=str(why_not("cupy"))),
    pytest.mark.filterwarnings("ignore:heads of"),
]
HALVES = [
    "float16",
    pytest.param("bfloat16", marks=pytest.mark.skipif(find_spec("ml_dtypes") is None, reason="needs ml_dtypes")),
]


def on_device(name):
    model, batch = CASES[name]()
    return model.to("cuda"), batch_to_device(batch, "cuda")


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_the_cpus(name):
    """With the kernels that each side takes by itself."""
    with minilm_kernels.use_kernels("reference"):
        loss, gradients = loss_and_gradients(*CASES[name]())
    model, batch = on_device(name)
    assert minilm_kernels.active(next(model.parameters()).data) == "cupy"
    loss_there, gradients_there = loss_and_gradients(model, batch)
    assert float(loss_there) == pytest.approx(float(loss), rel=1e-5)
    assert gradients_there.keys() == gradients.keys()
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    for key, gradient in gradients.items():
        # some gradients are 0 but for the rounding of what cancels (scores of answers do not change with a common summand)
        atol = max(1e-5 * np.abs(gradient).max(), 1e-7 * largest)
        np.testing.assert_allclose(to_host(gradients_there[key]), gradient, rtol=1e-4, atol=atol, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_again(name):
    found = [loss_and_gradients(*on_device(name)) for _ in range(2)]
    assert float(found[0][0]) == float(found[1][0])
    for key, gradient in found[0][1].items():
        np.testing.assert_array_equal(to_host(gradient), to_host(found[1][1][key]), err_msg=key)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_function_and_its_derivative_are_the_cpus(name):
    """Each row of the table of gradient checks, a few draws of each, in float64."""

    @settings(max_examples=3)
    @given(case=ROWS[name], seed=SEEDS)
    def check(case, seed):
        function, inputs = case
        found = []
        for device, kernels in (("cpu", "reference"), ("cuda", "cupy")):
            with minilm_kernels.use_kernels(kernels):
                tensors = [Tensor(to_device(np.array(x), device), requires_grad=True) for x in inputs]
                outputs = outputs_of(function(F, *tensors))
                draws = np.random.default_rng(seed)
                cotangents = [to_device(np.asarray(draws.standard_normal(y.shape)), device) for y in outputs]
                for y, c in zip(outputs, cotangents):
                    y.backward(c, retain_graph=y is not outputs[-1])
            arrays = (*(y.data for y in outputs), *(t.grad for t in tensors))
            found.append([to_host(a) for a in arrays if a is not None])
        for here, there in zip(*found, strict=True):
            np.testing.assert_allclose(there, here, rtol=1e-8, atol=1e-10)

    check()


# --- training ---------------------------------------------------------------------------------------------------------


def make_trainer(device, precision="float32", **changes):
    options = {"max_steps": 8, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2, "logging_steps": 3}
    config = TrainingConfig(**{**options, "eval_steps": 100, "save_steps": 100, **changes})
    batches = RandomWindows(rng().integers(0, V, 200), config.batch_size, 8, np.random.default_rng(1))
    trainer = CorpusTrainer(gpt_of(dropout=0.1).to(device), config, batches)
    trainer.compute_in(precision)
    return trainer


def losses_of(device, precision="float32", steps=8, **changes):
    """Loss and norm of each step, read as a log reads them."""
    trainer, seen = make_trainer(device, precision, **changes), []
    for _ in range(steps):
        trainer.training_step()
        trainer.step += 1
        seen.append((float(trainer.loss), float(trainer.grad_norm)))
    return np.array(seen)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2}, {"optimizer": "sgd"}])
def test_a_training_has_the_cpus_losses(changes):
    here, there, again = (losses_of(device, **changes) for device in ("cpu", "cuda", "cuda"))
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(there, again)


@pytest.mark.parametrize("precision", HALVES)
def test_a_training_in_16_bits_is_near_it(precision):
    here, there, again = losses_of("cpu"), *(losses_of("cuda", precision) for _ in range(2))
    np.testing.assert_allclose(there[:, 0], here[:, 0], rtol=0.02)
    np.testing.assert_array_equal(there, again)


def test_a_step_in_float16_that_overflows_is_left_out():
    trainer = make_trainer("cuda", "float16")
    trainer.training_step()
    before, steps = trainer.optimizer.flat.data.get(), trainer.optimizer.steps
    trainer.scaler.scale = 2.0**40
    trainer.training_step()
    np.testing.assert_array_equal(trainer.optimizer.flat.data.get(), before)
    assert trainer.optimizer.steps == steps
    assert (trainer.scaler.scale, trainer.scaler.skipped_steps) == (2.0**39, 1)


# --- generation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("options", [
    {"max_new_tokens": 6}, {"max_new_tokens": 6, "use_cache": False}, {"max_new_tokens": 5, "num_beams": 3},
    {"max_new_tokens": 6, "do_sample": True, "num_return_sequences": 2},
], ids=["greedy", "no cache", "beams", "sampled"])  # fmt: skip
def test_the_cpus_texts(family, options):
    texts = [
        generate(model, PROMPTS, generator=np.random.default_rng(0), pad_token_id=0, **options)
        for model in (family(), family().to("cuda"))
    ]
    np.testing.assert_array_equal(*texts)


# --- whole jobs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize("precision", ["float32", *HALVES])
def test_a_fine_tuning(tmp_path, task, precision):
    """Three steps of AdamW, which divides small gradients by themselves: a weight may end a step's length elsewhere."""
    options = ALL[task](tmp_path)
    here = finetune(replace(options, out=str(tmp_path / "cpu")), print, progress=False)
    options = replace(options, device="cuda", precision=precision, out=str(tmp_path / "cuda"))
    there = finetune(options, print, progress=False)
    found, wanted = weights(there.folder), weights(here.folder)
    assert found.keys() == wanted.keys()
    moved = [np.abs(found[name] - array).ravel() for name, array in wanted.items()]
    assert np.concatenate(moved).max() <= 4e-3
    assert np.concatenate(moved).mean() <= (1e-5 if precision == "float32" else 1e-3)
    assert len(answers(there.folder)) == len(answers(here.folder))


@pytest.mark.parametrize("task", CALLS)
def test_a_pipeline(task):
    near(*(called(task, device) for device in ("cuda", "cpu")))


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_elements_read_several_times_get_a_gradient_in_a_fixed_order(dtype):
    """x[index] with arrays, whose gradient adds at places that repeat; and a sum over what was broadcast."""
    x = Tensor(to_device(rng().standard_normal((7, 5)).astype(np.float32), "cuda")).astype(dtype)
    rows, columns = (rng().integers(0, n, (40, 1)) for n in (7, 5))
    found = []
    for _ in range(2):
        leaf = Tensor(x.data, requires_grad=True)
        picked = leaf[to_device(rows, "cuda"), to_device(columns, "cuda")] + leaf[0]
        (picked * picked).sum().backward()
        assert leaf.grad.dtype == leaf.dtype
        found.append(to_host(leaf.grad))
    np.testing.assert_array_equal(*found)
    host = Tensor(to_host(x.data).astype(np.float64), requires_grad=True)
    picked = host[rows, columns] + host[0]
    (picked * picked).sum().backward()
    size = {"float32": 1e-6, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(found[0].astype(np.float64), host.grad, rtol=0, atol=size * np.abs(host.grad).max())
