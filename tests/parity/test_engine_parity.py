"""The engine against PyTorch in float64: functions with their gradients, optimizers, clipping."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import Parameter, Tensor, optim
from minilm import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")

TF = torch.nn.functional
torch.set_num_threads(1)  # small arrays: more threads only wait for each other


def normal(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape)


def compare(ours, theirs, arrays, tolerance=1e-9, seed=0):
    """Values and all gradients of two functions of the same arrays, for a random cotangent."""
    mine = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=tolerance, atol=tolerance)
    c = np.asarray(np.random.default_rng(seed).standard_normal(y.shape))
    y.backward(c)
    z.backward(torch.tensor(c))
    for i, (a, b) in enumerate(zip(mine, other)):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=tolerance, atol=tolerance, err_msg=f"gradient {i}")


SHAPES = [(7,), (3, 5), (2, 3, 4), (1, 1, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (F.gelu, TF.gelu),
        (lambda x: F.gelu(x, approximate="tanh"), lambda x: TF.gelu(x, approximate="tanh")),
        (F.silu, TF.silu),
        (F.relu, TF.relu),
        (F.sigmoid, torch.sigmoid),
        (F.tanh, torch.tanh),
        (F.exp, torch.exp),
        (F.abs, torch.abs),
        (lambda x: F.sqrt(F.abs(x)), lambda x: torch.sqrt(torch.abs(x))),
        (lambda x: F.log(x * x), lambda x: torch.log(x * x)),
        (lambda x: x**3, lambda x: x**3),
        (lambda x: F.softmax(x, dim=0), lambda x: torch.softmax(x, 0)),
        (lambda x: F.log_softmax(x, dim=-1), lambda x: torch.log_softmax(x, -1)),
        (lambda x: F.logsumexp(x, dim=-1), lambda x: torch.logsumexp(x, -1)),
        (lambda x: F.var(x, dim=-1), lambda x: torch.var(x, -1)),
        (
            lambda x: F.var(x, dim=-1, correction=0, keepdim=True),
            lambda x: torch.var(x, -1, correction=0, keepdim=True),
        ),
        (F.mean, torch.mean),
        (lambda x: F.sum(x, dim=0), lambda x: torch.sum(x, 0)),
        (lambda x: F.max(x, dim=-1), lambda x: torch.amax(x, -1)),
        (lambda x: F.min(x), lambda x: torch.amin(x)),
        (lambda x: F.layer_norm(x), lambda x: TF.layer_norm(x, x.shape[-1:])),
        (lambda x: F.rms_norm(x, eps=1e-6), lambda x: TF.rms_norm(x, x.shape[-1:], eps=1e-6)),
        (lambda x: F.maximum(x, x * x), lambda x: torch.maximum(x, x * x)),
        (lambda x: x[..., ::2], lambda x: x[..., ::2]),
        (lambda x: F.flatten(x), lambda x: torch.flatten(x)),
        (lambda x: F.unsqueeze(x, 1), lambda x: torch.unsqueeze(x, 1)),
        (lambda x: F.squeeze(x), lambda x: torch.squeeze(x)),
        (lambda x: F.masked_fill(x, x.data > 0, 0.5), lambda x: x.masked_fill(x > 0, 0.5)),
        (lambda x: F.mse_loss(x, x * 2 + 1), lambda x: TF.mse_loss(x, x * 2 + 1)),
    ],
)
def test_functions_of_one_array(ours, theirs, shape):
    compare(ours, theirs, [normal(*shape)])


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"),
    [
        (F.matmul, torch.matmul, [(3, 4), (4, 2)]),
        (F.matmul, torch.matmul, [(2, 1, 3, 4), (5, 4, 2)]),
        (F.matmul, torch.matmul, [(4,), (2, 4, 3)]),
        (F.matmul, torch.matmul, [(2, 3, 4), (4,)]),
        (F.linear, TF.linear, [(2, 3, 4), (5, 4), (5,)]),
        (F.linear, TF.linear, [(4,), (5, 4)]),
        (lambda x, *p: F.layer_norm(x, *p, 1e-3), lambda x, *p: TF.layer_norm(x, (6,), *p, 1e-3), [(2, 3, 6), (6,), (6,)]),
        (lambda x, g: F.rms_norm(x, g, 1e-3), lambda x, g: TF.rms_norm(x, (6,), g, 1e-3), [(2, 3, 6), (6,)]),
        (F.div, torch.div, [(2, 1, 3), (4, 1)]),
        (lambda x, y: F.pow(F.exp(x), y), lambda x, y: torch.exp(x) ** y, [(2, 3), (3,)]),
        (lambda x, y: F.cat([x, y], dim=1), lambda x, y: torch.cat([x, y], dim=1), [(2, 3), (2, 1)]),
        (lambda x, y: F.stack([x, y], dim=-1), lambda x, y: torch.stack([x, y], dim=-1), [(2, 3), (2, 3)]),
        (lambda x, y: F.where(np.eye(3) > 0, x, y), lambda x, y: torch.where(torch.eye(3) > 0, x, y), [(3, 3), (3, 1)]),
    ],
)  # fmt: skip
def test_functions_of_several_arrays(ours, theirs, shapes):
    compare(ours, theirs, [normal(*shape) + 0.01 * i for i, shape in enumerate(shapes)])


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embedding(padding_idx):
    ids = np.array([[0, 2, 2], [4, 0, 2]])
    compare(
        lambda W: F.embedding(ids, W, padding_idx=padding_idx),
        lambda W: TF.embedding(torch.tensor(ids), W, padding_idx=padding_idx),
        [normal(5, 3)],
    )


def test_gather():
    index = np.random.default_rng(0).integers(0, 4, (2, 6, 3))
    compare(lambda x: F.gather(x, 1, index), lambda x: torch.gather(x, 1, torch.tensor(index)), [normal(2, 4, 3)])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["indices", "ignored", "soft", "many axes"])
def test_cross_entropy(reduction, smoothing, kind):
    rng = np.random.default_rng(0)
    shape = (3, 4, 5) if kind == "many axes" else (6, 5)
    targets = rng.dirichlet(np.ones(5), 6) if kind == "soft" else rng.integers(0, 5, shape[:-1])
    if kind == "ignored":
        targets[1:4] = -100
    options = {"label_smoothing": smoothing, "reduction": reduction}
    theirs = lambda z: TF.cross_entropy(  # noqa: E731  theirs has the classes second
        z.movedim(-1, 1), torch.tensor(targets), **options
    )
    compare(lambda z: F.cross_entropy(z, targets, **options), theirs, [normal(*shape)])


@pytest.mark.parametrize("ours", [F.scaled_dot_product_attention, F.attention_composed])
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_attention(ours, mask, kv_heads, scale):
    T = 5
    arrays = [normal(2, 4, T, 3), normal(2, kv_heads, T, 3), normal(2, kv_heads, T, 2)]
    seen = np.random.default_rng(1).random((2, 1, T, T)) < 0.7
    seen[..., 0] = True
    if mask == "float":
        compare(
            lambda q, k, v, m: ours(q, k, v, m, scale=scale),
            lambda q, k, v, m: TF.scaled_dot_product_attention(q, k, v, m, scale=scale, enable_gqa=True),
            [*arrays, normal(2, 4, T, T)],
        )
        return
    options = {"is_causal": mask == "causal", "scale": scale}
    compare(
        lambda q, k, v: ours(q, k, v, seen if mask == "bool" else None, **options),
        lambda q, k, v: TF.scaled_dot_product_attention(
            q, k, v, torch.tensor(seen) if mask == "bool" else None, enable_gqa=True, **options
        ),
        arrays,
    )


# --- optimizers ---------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_optimizer_over_twenty_steps(name, options, clip):
    """Two groups with their own options, an idle parameter, gradients of very different sizes, clipping."""
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (3,), (2,), ()]
    start = [np.asarray(rng.standard_normal(s)) for s in shapes]
    mine = [Parameter(a.copy()) for a in start]
    other = [torch.nn.Parameter(torch.tensor(a)) for a in start]

    def groups(p):
        return [{"params": p[:2], "weight_decay": 0.3}, {"params": p[2:], "lr": 0.01}]

    ours = getattr(optim, name)(groups(mine), **options)
    theirs = getattr(torch.optim, name)(groups(other), **options)
    for step in range(20):
        for i, shape in enumerate(shapes):
            if i == 2:
                continue  # never gets a gradient
            g = np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 2))
            mine[i].grad, other[i].grad = g.copy(), torch.tensor(g)
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(other, clip)
            got = ours.clip_grad_norm(clip) if step % 2 else optim.clip_grad_norm_(mine, clip)
            assert got == pytest.approx(norm.item(), rel=1e-12)
        ours.step()
        theirs.step()
        ours.zero_grad()
        theirs.zero_grad()
        for a, b in zip(mine, other):
            np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules_match_pytorchs_after_the_warm_up(name):
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = (
        torch.optim.lr_scheduler.LinearLR(theirs, 1.0, 0.1, total_iters=50)
        if name == "linear"
        else torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 50, eta_min=0.1)
    )
    ours = optim.make_schedule(name, 0, 50, final=0.1)
    for step in range(51):
        assert ours(step) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        theirs.step()
        scheduler.step()
