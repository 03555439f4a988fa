"""Random graphs against a reference that knows no tape: the Jacobian of every node, carried forward by the chain rule.

All values are vectors of four numbers. The reference computes, for each node and each leaf, the whole 4 × 4 matrix
∂node/∂leaf = Σ over operands ∂node/∂operand · ∂operand/∂leaf: naive, and right. Graphs share nodes, cut nodes apart, read
one node often, and use leaves that need no gradient, so sums of cotangents meet in every order, whole and partial ones.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.gradcheck import SEEDS

from minilm import Tensor
from minilm import functional as F

I, FLIP = np.eye(4), np.eye(4)[::-1]
PICK = np.array([1, 1, 3, 0])
MIX = np.array([[1.0, 0.5, 0, 0], [0, 1, -0.5, 0], [0, 0, 1, 0.25], [0.5, 0, 0, 1]])
UPPER, LOWER = np.diag([1.0, 1, 0, 0]), np.diag([0, 0, 1.0, 1])

# name → (operation on tensors, value, Jacobians for each operand)
UNARY = {
    "tanh": (F.tanh, np.tanh, lambda a: np.diag(1 - np.tanh(a) ** 2)),
    "neg": (F.neg, np.negative, lambda a: -I),
    "flip": (lambda x: x[::-1], lambda a: a[::-1], lambda a: FLIP),
    "pick": (lambda x: x[PICK], lambda a: a[PICK], lambda a: I[PICK]),
    "mix": (lambda x: x @ MIX.T, lambda a: MIX @ a, lambda a: MIX),
    "mean": (
        lambda x: x.mean(keepdim=True) + np.zeros(4),
        lambda a: np.full(4, a.mean()),
        lambda a: np.full((4, 4), 0.25),
    ),
    "first": (lambda x: F.broadcast_to(x[0], 4), lambda a: np.full(4, a[0]), lambda a: np.tile(I[0], (4, 1))),
    "reshape": (lambda x: x.reshape(2, 2).T.reshape(4), lambda a: a[[0, 2, 1, 3]], lambda a: I[[0, 2, 1, 3]]),
    "roll": (lambda x: F.cat([x[1:], x[:1]]), lambda a: np.roll(a, -1), lambda a: np.roll(I, -1, 0)),
    "detach": (Tensor.detach, lambda a: a, lambda a: 0 * I),
    "rows": (lambda x: F.embedding(PICK, x.reshape(4, 1)).reshape(4), lambda a: a[PICK], lambda a: I[PICK]),
}
BINARY = {
    "add": (F.add, np.add, lambda a, b: (I, I)),
    "sub": (F.sub, np.subtract, lambda a, b: (I, -I)),
    "mul": (F.mul, np.multiply, lambda a, b: (np.diag(b), np.diag(a))),
    "halves": (
        lambda x, y: F.cat([x.split(2)[0], y.split(2)[1]]),
        lambda a, b: np.concatenate([a[:2], b[2:]]),
        lambda a, b: (UPPER, LOWER),
    ),
    "max": (
        F.maximum,
        np.maximum,
        lambda a, b: tuple(np.diag(d) for d in ((np.sign(a - b) + 1) / 2, (np.sign(b - a) + 1) / 2)),
    ),
}


@st.composite
def programs(draw):
    """A number of leaves, which of them need a gradient, and a list of (operation, operand, operand)."""
    needed = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    steps = []
    for i in range(draw(st.integers(1, 25))):
        name = draw(st.sampled_from([*UNARY, *BINARY, "add", "roll"]))  # these two hand arrays on without copying
        operand = st.integers(0, len(needed) + i - 1)
        steps.append((name, draw(operand), draw(operand)))
    return [True, *needed], steps


@settings(max_examples=150)
@given(program=programs(), seed=SEEDS)
def test_random_graph(program, seed):
    needed, steps = program
    rng = np.random.default_rng(seed)
    leaves = [Tensor(rng.uniform(-1, 1, 4), requires_grad=need) for need in needed]
    tensors = list(leaves)
    values = [t.data.copy() for t in leaves]
    jacobians = [{j: I if i == j else 0 * I for j in range(len(leaves))} for i in range(len(leaves))]
    for name, i, j in steps:
        if name in UNARY:
            operation, value, jacobian = UNARY[name]
            operands, local = (i,), (jacobian(values[i]),)
        else:
            operation, value, jacobian = BINARY[name]
            operands, local = (i, j), jacobian(values[i], values[j])
        tensors.append(operation(*(tensors[k] for k in operands)))
        values.append(value(*(values[k] for k in operands)))
        jacobians.append({n: sum(J @ jacobians[k][n] for J, k in zip(local, operands)) for n in range(len(leaves))})

    # the loss looks at the last node and at one in the middle
    middle = len(tensors) // 2
    c, d = rng.standard_normal((2, 4))
    loss = (tensors[-1] * c).sum() + (tensors[middle] * d).sum() + (leaves[0] * 0).sum()
    loss.backward(retain_graph=True)
    for n, x in enumerate(leaves):
        want = c @ jacobians[-1][n] + d @ jacobians[middle][n]
        if not needed[n]:
            assert x.grad is None
            continue
        if x.grad is None:
            assert not want.any(), "a leaf that the loss depends on got no gradient"
        else:
            np.testing.assert_allclose(x.grad, want, rtol=1e-9, atol=1e-9)

    # once more: the graph was kept, the gradients double
    before = [None if x.grad is None else x.grad.copy() for x in leaves]
    loss.backward()
    for x, once in zip(leaves, before, strict=True):
        assert once is None or np.allclose(x.grad, 2 * once, rtol=1e-12, atol=1e-12)
    assert all(np.array_equal(t.data, v) or np.allclose(t.data, v) for t, v in zip(tensors, values))
