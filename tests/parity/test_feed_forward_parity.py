"""The feed-forward network as one function against PyTorch: on the matrix unit, where there is one, and beside it."""

import numpy as np
import pytest

import minilm
from minilm import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; see requirements.txt beside this file")

ACTIVATIONS = {
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
}
SHAPES = {  # rows, inputs, hidden, outputs: what the unit takes, too few rows, odd sizes
    "whole tiles": (288, 64, 256, 96),
    "few rows": (40, 64, 256, 64),
    "odd": (300, 33, 70, 29),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biases", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2e-6), ("float64", 1e-13)])
def test_values_and_gradients(activation, shape, biases, dtype, allowed):
    rows, inputs, hidden, outputs = SHAPES[shape]
    rng = np.random.default_rng(rows)
    sizes = [(rows, inputs), (hidden, inputs), (outputs, hidden), (hidden,), (outputs,), (rows, outputs)]
    arrays = [rng.standard_normal(size).astype(dtype) for size in sizes]
    for weight in arrays[1:3]:
        weight /= np.sqrt(weight.shape[1]).astype(dtype)
    cotangent = rng.standard_normal((rows, outputs)).astype(dtype)
    ours = [minilm.Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.from_numpy(a).requires_grad_() for a in arrays]

    x, W_in, W_out, b_in, b_out, residual = ours
    given = (b_in, b_out) if biases else (None, None)
    y = F.feed_forward(x, W_in, W_out, *given, activation=activation, residual=residual)
    y.backward(cotangent)

    x, W_in, W_out, b_in, b_out, residual = theirs
    given = (b_in, b_out) if biases else (None, None)
    h = ACTIVATIONS[activation](torch.nn.functional.linear(x, W_in, given[0]))
    wanted = torch.nn.functional.linear(h, W_out, given[1]) + residual
    wanted.backward(torch.from_numpy(cotangent))

    pairs = [(y.data, wanted.detach())]
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if biases or i not in (3, 4):
            pairs.append((a.grad, b.grad))
    for found, value in pairs:
        error = np.linalg.norm(found - value.numpy()) / np.linalg.norm(value.numpy())
        assert error <= allowed
