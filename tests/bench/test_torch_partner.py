"""The PyTorch partner is the same model, and the comparison notices when it is not."""

from dataclasses import replace

import numpy as np
import pytest

from minilm.bench import recipe, train
from minilm.bench.engines import MinilmEngine, TorchEngine
from minilm.bench.recipes import RECIPES
from minilm.bench.torch_gpt import build, copy_weights
from minilm.errors import InputError
from minilm.models import GPT, GPTConfig

torch = pytest.importorskip("torch", reason="PyTorch is the benchmarks' partner; pip install torch")

SMALL = GPTConfig(vocab_size=11, context_length=8, num_layers=2, num_heads=2, hidden_size=16)
TINY = replace(RECIPES["char"], model=SMALL, batch_size=3, block=1, total_steps=6, warmup_steps=2)
GPT2 = replace(TINY, model=replace(SMALL, bias=True, activation="gelu_tanh", intermediate_size=24))


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pair(made):
    ours = MinilmEngine(made, seed=1)
    if made.model.bias:  # they start at zero, where a forgotten one would not show
        for name, weight in ours.weights().items():
            if name.endswith("bias"):
                weight[...] = np.random.default_rng(2).standard_normal(weight.shape)
    return ours, TorchEngine(made, threads=1, like=ours)


@pytest.mark.parametrize("made", [TINY, GPT2], ids=["nanogpt", "gpt2"])
@pytest.mark.parametrize("free_run", [False, True])
def test_both_engines_agree(made, free_run, capsys):
    result = train.check(made, *pair(made), steps=5, free_run=free_run)
    assert result["agree"], capsys.readouterr().out
    assert result["worst_gradient"] < 1e-5


@pytest.mark.parametrize("what", ["gradient", "loss", "optimizer"])
def test_a_difference_is_noticed(what, capsys):
    ours, theirs = pair(TINY)
    if what == "gradient":
        gradients = ours.gradients
        ours.gradients = lambda: {**gradients(), "final_norm.weight": gradients()["final_norm.weight"] * 1.001}
    elif what == "loss":
        forward_backward = ours.forward_backward
        ours.forward_backward = lambda *batch: forward_backward(*batch) * 1.001
    else:
        ours.optimizer.param_groups[0]["betas"] = (0.8, 0.99)
    assert not train.check(TINY, ours, theirs, steps=3)["agree"]
    assert "DO NOT AGREE" in capsys.readouterr().out


def test_copied_weights_give_the_same_logits():
    model = GPT(GPT2.model, np.random.default_rng(0))
    other = build(GPT2.model)
    copy_weights(model.state_dict(), other)
    ids = np.random.default_rng(1).integers(0, 11, (2, 8))
    with torch.no_grad():
        expected = other(torch.from_numpy(ids))[0].numpy()
    np.testing.assert_allclose(model(ids)[0].data, expected, rtol=1e-4, atol=1e-6)


def test_another_layout_is_refused():
    with pytest.raises(InputError, match="nanoGPT's layout"):
        build(replace(SMALL, positions="rotary"))
    with pytest.raises(InputError, match="no dropout"):
        build(replace(SMALL, dropout=0.1))


def test_weights_of_another_model_are_refused():
    deeper = GPT(replace(SMALL, num_layers=3), np.random.default_rng(0))
    with pytest.raises(InputError, match=r"no place for blocks\.2"):
        copy_weights(deeper.state_dict(), build(SMALL))


def test_one_seed_gives_both_engines_the_same_run():
    tokens = np.random.default_rng(0).integers(0, 11, 500)
    losses = []
    for engine in pair(TINY):
        losses.append(recipe.run(engine, TINY, tokens[:400], tokens[400:], seed=4)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_steps_are_counted_per_engine():
    times = train.time_steps(replace(TINY, block=2), pair(TINY), steps=5, pause=0.0)
    assert {name: len(values) for name, values in times.items()} == {"minilm": 5, "PyTorch": 5}
