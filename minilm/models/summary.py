"""A model as a table: layers, shapes, parameters, cost per token, memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minilm_kernels as kernels
from minilm.models.gpt import GPT, GPTConfig
from minilm.nn import Module
from minilm.nn.layers import FUSED_ACTIVATIONS


@dataclass(frozen=True)
class Cost:
    """What a GPT costs.

    parameters        numbers to train
    forward_flops     floating-point operations of one forward pass, per token, at full context
    training_flops    the same for forward and backward: three times as many
    state_bytes       weights, gradients and Adam's two arrays
    activation_bytes  what the forward pass keeps for the backward pass, for one batch, with the kernels that serve now
    """

    parameters: int
    forward_flops: int
    training_flops: int
    state_bytes: int
    activation_bytes: int

    @property
    def training_bytes(self) -> int:
        return self.state_bytes + self.activation_bytes


def estimate_cost(model: GPT, batch_size: int) -> Cost:
    r"""Count the products: 2 n m FLOPs for a matrix (n, m) applied to a vector, 4 T · hidden for attention to T tokens.

    Forward per token: Σ 2 n m over the matrices + layers · 4 T hidden; backward costs twice the forward pass.
    [Kaplan et al. 2020 §2.1]. Norms, activations and softmax are left out: a few per cent.
    Activations: see kept_per_token(); float32.
    """
    c = model.config
    T, H, L = c.context_length, c.hidden_size, c.num_layers
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name)
    head = c.vocab_size * H if model.head is None else 0  # a tied head multiplies with the embedding table
    forward = 2 * (matrices + head) + 4 * L * T * H
    parameters = model.num_parameters()
    fused = kernels.active() == "numba"
    again = fused and hidden_comes_again(c, T * batch_size)
    activations = kept_per_token(c, fused, again) * T * batch_size
    return Cost(parameters, forward, 3 * forward, 4 * 4 * parameters, 4 * activations)


def hidden_comes_again(c: GPTConfig, tokens: int) -> bool:
    """Whether the Numba kernels compute what follows the feed-forward network's activation again, instead of keeping it."""
    from minilm_kernels.cpu.feed_forward_call import on_unit

    H = c.hidden_size
    return c.activation in FUSED_ACTIVATIONS and on_unit(
        tokens, H, c.intermediate_size or 4 * H, H, np.dtype(np.float32)
    )


def kept_per_token(c: GPTConfig, fused: bool, again: bool = False) -> int:
    """How many numbers per token stay in memory from the forward pass to the backward pass, at full context.

    These are the results of all operations, which the tape holds, and what the kernels save beside them. The fused
    kernels save a few numbers per row and compute the rest again. The reference saves the normalized x̂ of each
    norm, and for each head a row of attention weights, T numbers (and with dropout as many again for the mask).
    again: see hidden_comes_again().
    """
    H, heads, T = c.hidden_size, c.num_heads, c.context_length
    kv = 2 * (c.num_kv_heads or heads) * c.head_dim
    inner = c.intermediate_size or 4 * H
    drops = c.dropout > 0
    norm = H + (2 if fused else H + 1)  # y, and the statistics, of the reference also x̂
    projected = (H + kv) + (H + kv // 2 if c.positions == "rotary" else 0)  # q, k, v, and q, k turned
    weights = 2 * heads if fused else heads * T * (2 if drops else 1)
    # the heads' outputs, which the reference copies to merge them; where nothing turns q and k that is one operation
    heads_out = H if fused or c.positions != "rotary" else 2 * H
    branch_end = 2 * H if drops else H  # before dropout, and with the residual
    # before the activation (or gate and up), and after
    feed_forward = inner * (3 if c.activation == "swiglu" else 1 if again else 2)
    block = 2 * norm + projected + weights + heads_out + 2 * branch_end + feed_forward
    embedded = H + (H if c.positions == "learned" else 0) + (2 * H if drops else 0)  # + positions, dropout
    return embedded + c.num_layers * block + norm + 2 * c.vocab_size  # logits and their gradient


def summary(model: GPT, batch_size: int = 12) -> str:
    """The model as a table, a line per layer that owns parameters, then its cost."""
    rows = [("layer", "kind", "shape", "parameters")]
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [(key, p) for key, p in vars(module).items() if key in own_parameter_names(module)]
        for key, parameter in own:
            tied = id(parameter) in seen
            seen.add(id(parameter))
            rows.append((
                f"{name}.{key}" if name else key,
                type(module).__name__,
                " × ".join(map(str, parameter.shape)),
                "tied" if tied else f"{parameter.numel():,}",
            ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{r[0]:<{widths[0]}}  {r[1]:<{widths[1]}}  {r[2]:<{widths[2]}}  {r[3]:>{widths[3]}}".rstrip() for r in rows
    ]
    rule = "─" * (sum(widths) + 6)
    cost = estimate_cost(model, batch_size)
    T = model.config.context_length
    lines = [lines[0], rule, *lines[1:], rule]
    if model.head is None:
        lines.append("the output head is the token embedding (tied)")
    lines += [
        f"parameters             {cost.parameters:>16,}",
        f"FLOPs per token        {cost.forward_flops:>16,}  forward, at the full context of {T}",
        f"                       {cost.training_flops:>16,}  forward and backward",
        f"memory for training    {readable_bytes(cost.training_bytes):>16}  at batch size {batch_size}: "
        f"{readable_bytes(cost.state_bytes)} weights, gradients and Adam, {readable_bytes(cost.activation_bytes)} activations",
    ]
    return "\n".join(lines)


def own_parameter_names(module: Module) -> list[str]:
    """The parameters of the module itself, not of its parts."""
    return [name for name, _ in module.named_parameters() if "." not in name]


def readable_bytes(n: float) -> str:
    """1234567 → "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"
