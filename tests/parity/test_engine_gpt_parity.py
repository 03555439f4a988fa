"""minilm's GPT against the same model in PyTorch, with the same weights: logits, loss, every gradient, twenty steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import optim
from minilm.models import GPT, GPTConfig

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")

TF = torch.nn.functional
torch.set_num_threads(1)  # small arrays: more threads only wait for each other

CONFIGS = {
    "nanogpt": GPTConfig(vocab_size=37, context_length=16, num_layers=3, num_heads=4, hidden_size=32),
    "gpt2": GPTConfig(
        vocab_size=37, context_length=16, num_layers=2, num_heads=2, hidden_size=24, bias=True, activation="gelu_tanh"
    ),
    "llama": GPTConfig.llama(vocab_size=37, context_length=16, num_layers=2, hidden_size=32, intermediate_size=40),
}


def torch_gpt(c, w, ids, labels=None, mask=None):
    """The model as a function of its weights `w` (name → tensor), in PyTorch's own operations."""
    B, T = ids.shape

    def linear(x, name):
        return TF.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def norm(x, name):
        if c.norm == "rms_norm":
            return TF.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], c.norm_eps)
        return TF.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w.get(f"{name}.bias"), c.norm_eps)

    def turn(x):
        """Rotary positions as a product of complex numbers."""
        half = x.shape[-1] // 2
        theta = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(T, dtype=torch.float64)[:, None] * theta
        z = torch.complex(x[..., :half], x[..., half:])
        z = z * torch.complex(angle.cos(), angle.sin()).to(z.dtype)
        return torch.cat([z.real, z.imag], -1)

    x = w["token_embedding.weight"][ids]
    if c.positions == "learned":
        x = x + w["position_embedding.weight"][:T]
    kv_heads = c.num_kv_heads or c.num_heads
    seen = torch.ones(T, T, dtype=torch.bool).tril()[None, None]
    if mask is not None:
        seen = seen & mask[:, None, None, :].bool()
    for i in range(c.num_layers):
        block = f"blocks.{i}"
        q, k, v = linear(norm(x, f"{block}.attention_norm"), f"{block}.attention.query_key_value").split(
            [c.hidden_size, kv_heads * c.head_dim, kv_heads * c.head_dim], -1
        )
        q, k, v = (a.view(B, T, -1, c.head_dim).transpose(1, 2) for a in (q, k, v))
        if c.positions == "rotary":
            q, k = turn(q), turn(k)
        k, v = (a.repeat_interleave(c.num_heads // kv_heads, 1) for a in (k, v))
        S = (q @ k.transpose(-1, -2) / math.sqrt(c.head_dim)).masked_fill(~seen, -torch.inf)
        y = (torch.softmax(S, -1) @ v).transpose(1, 2).reshape(B, T, c.hidden_size)
        x = x + linear(y, f"{block}.attention.output")
        h = norm(x, f"{block}.feed_forward_norm")
        up = linear(h, f"{block}.feed_forward.up")
        if c.activation == "swiglu":
            up = TF.silu(linear(h, f"{block}.feed_forward.gate")) * up
        else:
            up = TF.gelu(up, approximate="tanh" if c.activation == "gelu_tanh" else "none")
        x = x + linear(up, f"{block}.feed_forward.down")
    x = norm(x, "final_norm")
    logits = x @ (w["token_embedding.weight"] if c.tie_embeddings else w["head.weight"]).T
    return logits, None if labels is None else TF.cross_entropy(logits.flatten(0, 1), labels.flatten())


def make(name, dtype, larger_weights=True):
    """A model with weights large enough that attention is far from uniform, the same weights for PyTorch, and a batch."""
    rng = np.random.default_rng(4)
    config = CONFIGS[name]
    model = GPT(config, rng)
    if dtype == np.float64:
        model.double()
    if larger_weights:
        for p in model.parameters():
            p.data[...] += (rng.standard_normal(p.shape) * 0.15).astype(dtype)
    weights = {n: torch.tensor(p.data.copy(), requires_grad=True) for n, p in model.named_parameters()}
    ids, labels = rng.integers(0, 37, (2, 3, 16))
    labels[0, :5] = -100
    return config, model, weights, ids, labels


def relative(got, want):
    """‖got − want‖ / ‖want‖."""
    want = want.detach().numpy()
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("padded", [False, True])
def test_logits_loss_and_every_gradient(name, dtype, tolerance, padded):
    config, model, weights, ids, labels = make(name, dtype)
    mask = None
    if padded:
        mask = np.ones(ids.shape, int)
        mask[1, 12:] = 0
        labels[1, 12:] = -100
    logits, loss = model(ids, labels, attention_mask=mask)
    want, want_loss = torch_gpt(
        config, weights, torch.tensor(ids), torch.tensor(labels), None if mask is None else torch.tensor(mask)
    )
    assert logits.dtype == loss.dtype == dtype
    assert relative(logits.data, want) < tolerance
    assert loss.item() == pytest.approx(want_loss.item(), rel=tolerance)
    loss.backward()
    want_loss.backward()
    for parameter_name, p in model.named_parameters():
        assert p.grad is not None, parameter_name
        assert p.grad.dtype == dtype
        assert relative(p.grad, weights[parameter_name].grad) < tolerance, parameter_name


@pytest.mark.parametrize("name", CONFIGS)
def test_twenty_steps_of_training(name):
    """AdamW, clipping and a cosine schedule in float32: the losses stay within 1e-4 of PyTorch's."""
    config, model, weights, ids, labels = make(name, np.float32, larger_weights=False)
    ours = optim.AdamW(optim.decay_groups(model.parameters(), 0.1), lr=1e-3, betas=(0.9, 0.99))
    scheduler = optim.LRScheduler(ours, optim.warmup_cosine(5, 20, final=0.1))
    groups = [
        {"params": [weights[n] for n, p in model.named_parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [weights[n] for n, p in model.named_parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, 0.99))
    losses = []
    for _ in range(20):
        for group in theirs.param_groups:
            group["lr"] = scheduler.get_last_lr()[0]
        _, loss = model(ids, labels)
        _, want = torch_gpt(config, weights, torch.tensor(ids), torch.tensor(labels))
        losses.append(loss.item())
        assert loss.item() == pytest.approx(want.item(), rel=1e-4)
        ours.zero_grad()
        theirs.zero_grad()
        loss.backward()
        want.backward()
        norm = ours.clip_grad_norm(1.0)
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(weights.values(), 1.0).item(), rel=1e-4)
        for parameter_name, p in model.named_parameters():
            assert relative(p.grad, weights[parameter_name].grad) < 1e-4, parameter_name
        ours.step()
        theirs.step()
        scheduler.step()
    assert losses[-1] < losses[0] - 0.1, "nothing was learned"
