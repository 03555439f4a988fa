"""What must be true of a call, one function per kernel, for all backends: so a wrong call gets the same answer from each.

A check has its kernel's signature and returns nothing. It runs before every call, so it costs a few microseconds at most:
it looks at shapes and dtypes, and only ids and targets are read. What it finds wrong is one sentence that says what
was wrong and what was expected: TypeError for a dtype, IndexError for ids and targets, ValueError for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minilm_kernels.conditions import (
    Array,
    Shape,
    apart,
    booleans,
    broadcasts,
    features,
    floats,
    integers,
    is_bool,
    not_negative,
    randomness,
    values_count,
    writable,
)
from minilm_kernels.formulas.activations import FUNCTIONS

REDUCTIONS = ("mean", "sum", "none")


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = False,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> None:
    floats("attention", ("query", "key", "value"), (query, key, value))
    q, k, v = query.shape, key.shape, value.shape
    if not len(q) == len(k) == len(v) == 4:
        raise ValueError(f"attention wants arrays (batch, heads, positions, head_dim); got {_shapes(q, k, v)}")
    if q[0] != k[0] or k[:3] != v[:3] or q[3] != k[3]:
        raise ValueError(f"attention: batch, key heads, key positions and head_dim must agree; got {_shapes(q, k, v)}")
    if k[1] == 0 or q[1] % k[1]:
        raise ValueError(f"attention: {q[1]} query heads cannot share {k[1]} key heads evenly; got {_shapes(q, k, v)}")
    if q[3] == 0:
        raise ValueError(f"attention needs a head_dim of at least 1; got {_shapes(q, k, v)}")
    if key_padding_mask is not None:
        booleans("attention", "key_padding_mask", key_padding_mask, query)
        if key_padding_mask.shape != (q[0], k[2]):
            raise ValueError(
                f"attention: key_padding_mask has shape {key_padding_mask.shape}; it needs one entry for each key of each "
                f"sequence, {(q[0], k[2])}"
            )
    if bias is not None:
        if is_bool(bias):
            booleans("attention", "bias", bias, query)
        else:
            floats("attention", ("query", "bias"), (query, bias), (), "booleans (True where a key may be seen) or ")
        full = (q[0], q[1], q[2], k[2])
        if not broadcasts(bias.shape, full):
            raise ValueError(
                f"attention: bias has shape {bias.shape}, which does not broadcast to (batch, heads, query positions, key "
                f"positions) = {full}"
            )
    if dropout or seed is not None:
        randomness("attention", dropout, seed)


def attention_decode(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = True,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
) -> None:
    attention(query, key, value, causal=causal, key_padding_mask=key_padding_mask, bias=bias, scale=scale)


def linear(
    x: Array, weight: Array, bias: Array | None = None, *, activation: str | None = None, residual: Array | None = None
) -> None:
    floats("linear", ("x", "weight", "bias", "residual"), (x, weight), (bias, residual))
    if weight.ndim != 2:
        raise ValueError(f"linear wants a weight (out, in); got one of shape {weight.shape}")
    out, n = weight.shape
    if x.ndim == 0 or x.shape[-1] != n:
        raise ValueError(f"linear: x {x.shape} has other features than the weight {weight.shape} expects, {n}")
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"linear: the bias has shape {bias.shape}; the weight {weight.shape} wants {(out,)}")
    if residual is not None and residual.shape != (*x.shape[:-1], out):
        raise ValueError(
            f"linear: the residual has shape {residual.shape}; it is added to the result {(*x.shape[:-1], out)}"
        )
    if activation is not None and activation not in FUNCTIONS:
        names = ", ".join(map(repr, FUNCTIONS))
        raise ValueError(f"linear: unknown activation {activation!r}; it is None or one of {names}")


def feed_forward(
    x: Array,
    weight_in: Array,
    weight_out: Array,
    bias_in: Array | None = None,
    bias_out: Array | None = None,
    *,
    activation: str,
    residual: Array | None = None,
) -> None:
    names = ("x", "weight_in", "weight_out", "bias_in", "bias_out", "residual")
    floats("feed_forward", names, (x, weight_in, weight_out), (bias_in, bias_out, residual))
    if weight_in.ndim != 2 or weight_out.ndim != 2 or weight_out.shape[1] != weight_in.shape[0]:
        raise ValueError(
            f"feed_forward wants weights (hidden, in) and (out, hidden); got {weight_in.shape} and {weight_out.shape}"
        )
    (hidden, n), out = weight_in.shape, weight_out.shape[0]
    if x.ndim == 0 or x.shape[-1] != n:
        raise ValueError(f"feed_forward: x {x.shape} has other features than weight_in {weight_in.shape} expects, {n}")
    for name, bias, length in (("bias_in", bias_in, hidden), ("bias_out", bias_out, out)):
        if bias is not None and bias.shape != (length,):
            raise ValueError(f"feed_forward: {name} has shape {bias.shape}; the weights want {(length,)}")
    if residual is not None and residual.shape != (*x.shape[:-1], out):
        raise ValueError(
            f"feed_forward: the residual has shape {residual.shape}; it is added to the result {(*x.shape[:-1], out)}"
        )
    if activation not in FUNCTIONS:
        names_of = ", ".join(map(repr, FUNCTIONS))
        raise ValueError(f"feed_forward: unknown activation {activation!r}; it is one of {names_of}")


def attention_backward(
    grad_output: Array,
    residuals: Any,
    *,
    bias_gradient: bool = True,
    out: tuple[Array, Array, Array] | None = None,
) -> None:
    """What cotangent() leaves; `residuals` are the backend's own, which all keep query, key and value."""
    if out is None:
        return
    names = ("query", "key", "value")
    if len(out) != 3:
        raise ValueError(f"attention_backward: out holds places for {', '.join(names)}; it has {len(out)}")
    floats("attention_backward", ("grad_output", *(f"out[{i}]" for i in range(3))), (grad_output, *out))
    for place, name in zip(out, names):
        shape = getattr(residuals, name).shape
        if place.shape != shape:
            raise ValueError(f"attention_backward: out for the {name} has shape {place.shape}; the {name} has {shape}")
        if place.size and place.strides[-1] != place.itemsize:
            raise ValueError(f"attention_backward: the features of out for the {name} must lie together in memory")
        writable("attention_backward", f"out for the {name}", place)


def linear_backward(
    grad_output: Array,
    residuals: Any,
    *,
    needs: tuple[bool, bool] = (True, True),
    weight_out: Array | None = None,
    accumulate: bool = False,
) -> None:
    """What cotangent() leaves; `residuals` are the backend's own, which all keep the weight."""
    if weight_out is None:
        if accumulate:
            raise ValueError("linear_backward: accumulate adds to `weight_out`, which was not given")
        return
    floats("linear_backward", ("grad_output", "weight_out"), (grad_output, weight_out))
    if weight_out.shape != residuals.weight.shape:
        raise ValueError(
            f"linear_backward: weight_out has shape {weight_out.shape}; the weight has {residuals.weight.shape}"
        )
    writable("linear_backward", "weight_out", weight_out)
    apart("linear_backward", weight_out, ("grad_output", "weight"), (grad_output, residuals.weight))


def feed_forward_backward(
    grad_output: Array,
    residuals: Any,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[Array | None, Array | None] = (None, None),
    accumulate: tuple[bool, bool] = (False, False),
) -> None:
    """What cotangent() leaves; `residuals` are the backend's own, which all keep both weights."""
    if len(out) != 2 or len(accumulate) != 2:
        raise ValueError("feed_forward_backward: out and accumulate have a place for weight_in and one for weight_out")
    for i, (place, weight) in enumerate(zip(out, (residuals.up.weight, residuals.down.weight))):
        if place is None:
            if accumulate[i]:
                raise ValueError(f"feed_forward_backward: accumulate adds to out[{i}], which was not given")
            continue
        floats("feed_forward_backward", ("grad_output", f"out[{i}]"), (grad_output, place))
        if place.shape != weight.shape:
            raise ValueError(f"feed_forward_backward: out[{i}] has shape {place.shape}; the weight has {weight.shape}")
        writable("feed_forward_backward", f"out[{i}]", place)
        apart("feed_forward_backward", place, ("grad_output", "weight"), (grad_output, weight))


def matmul(a: Array, b: Array, *, out: Array | None = None, accumulate: bool = False) -> None:
    floats("matmul", ("a", "b", "out"), (a, b), (out,))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul wants (M, K) and (K, N) with one K; got {a.shape} and {b.shape}")
    if out is None:
        if accumulate:
            raise ValueError("matmul: accumulate adds to `out`, which was not given")
        return
    if out.shape != (a.shape[0], b.shape[1]):
        raise ValueError(f"matmul: out has shape {out.shape}; the result has {(a.shape[0], b.shape[1])}")
    writable("matmul", "out", out)
    apart("matmul", out, ("a", "b"), (a, b))


def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5) -> None:
    floats("layer_norm", ("x", "weight", "bias"), (x,), (weight, bias))
    features("layer_norm", x, ("weight", "bias"), (weight, bias))
    not_negative("layer_norm", "eps", eps)


def layer_norm_backward(grad_output: Array, residuals: Any, *, add: Array | None = None) -> None:
    _added("layer_norm_backward", grad_output, add)


def rms_norm_backward(grad_output: Array, residuals: Any, *, add: Array | None = None) -> None:
    _added("rms_norm_backward", grad_output, add)


def _added(kernel: str, grad_output: Array, add: Array | None) -> None:
    if add is None:
        return
    floats(kernel, ("grad_output", "add"), (grad_output, add))
    if add.shape != grad_output.shape:
        raise ValueError(f"{kernel}: add has shape {add.shape}; it is added to the cotangent of x, {grad_output.shape}")


def rms_norm(x: Array, weight: Array | None = None, *, eps: float = 1e-6) -> None:
    floats("rms_norm", ("x", "weight"), (x,), (weight,))
    features("rms_norm", x, ("weight",), (weight,))
    not_negative("rms_norm", "eps", eps)


def gelu(x: Array, *, approximate: str = "none") -> None:
    floats("gelu", ("x",), (x,))
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}; it is 'none' (erf) or 'tanh'")


def silu_mul(gate: Array, up: Array) -> None:
    floats("silu_mul", ("gate", "up"), (gate, up))
    if gate.shape != up.shape:
        raise ValueError(f"silu_mul: gate {gate.shape} and up {up.shape} must have one shape")


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    gradient: bool = True,
) -> None:
    floats("softmax_cross_entropy", ("logits",), (logits,))
    if logits.ndim != 2:
        raise ValueError(f"softmax_cross_entropy wants logits (rows, classes); got {logits.shape}")
    N, C = logits.shape
    integers("softmax_cross_entropy", "targets", targets, logits)
    if targets.shape != (N,):
        raise ValueError(
            f"softmax_cross_entropy: targets have shape {targets.shape}; logits {logits.shape} want {(N,)}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"softmax_cross_entropy: reduction is {reduction!r}; it is one of 'mean', 'sum', 'none'")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"softmax_cross_entropy: label_smoothing {label_smoothing} is not between 0 and 1")
    if N and values_count(targets):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= C:
            outside = targets[((targets < 0) | (targets >= C)) & (targets != ignore_index)]
            if outside.size:
                raise IndexError(
                    f"softmax_cross_entropy: there is a target {int(outside[0])}; the classes are 0 to {C - 1}, and "
                    f"{ignore_index} marks a row that does not count"
                )


def rotary(x: Array, cos: Array, sin: Array) -> None:
    _rotary("rotary", "x", x, cos, sin)


def rotary_backward(grad_output: Array, cos: Array, sin: Array) -> None:
    _rotary("rotary_backward", "grad_output", grad_output, cos, sin)


def _rotary(kernel: str, name: str, x: Array, cos: Array, sin: Array) -> None:
    floats(kernel, (name, "cos", "sin"), (x, cos, sin))
    shape = x.shape
    if len(shape) < 2 or shape[-1] % 2:
        raise ValueError(
            f"{kernel} turns pairs of features: {name} must be (..., positions, even features), not {shape}"
        )
    if cos.shape != sin.shape or cos.shape != (shape[-2], shape[-1] // 2):
        raise ValueError(
            f"{kernel}: cos {cos.shape} and sin {sin.shape} do not fit {name} {shape}; both must be "
            f"{(shape[-2], shape[-1] // 2)}"
        )


def bias_residual_dropout(
    x: Array, bias: Array | None = None, residual: Array | None = None, *, dropout: float = 0.0, seed: int | None = None
) -> None:
    floats("bias_residual_dropout", ("x", "bias", "residual"), (x,), (bias, residual))
    features("bias_residual_dropout", x, ("bias",), (bias,), at_least=0)
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"bias_residual_dropout: the residual {residual.shape} must have the shape of x, {x.shape}")
    if dropout or seed is not None:
        randomness("bias_residual_dropout", dropout, seed)


def embedding_backward(grad_output: Array, ids: Array, out: Array) -> None:
    floats("embedding_backward", ("grad_output", "out"), (grad_output, out))
    integers("embedding_backward", "ids", ids, out)
    if out.ndim != 2:
        raise ValueError(f"embedding_backward adds to a table (rows, features); out has shape {out.shape}")
    rows, n = out.shape
    if grad_output.shape != (*ids.shape, n):
        raise ValueError(
            f"embedding_backward: grad_output has shape {grad_output.shape}; ids {ids.shape} and out {out.shape} want "
            f"{(*ids.shape, n)}"
        )
    writable("embedding_backward", "out", out)
    if ids.size and values_count(ids):
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= rows:
            raise IndexError(f"embedding_backward: ids run from {low} to {high}; the table has rows 0 to {rows - 1}")


def adamw_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    floats("adamw_step", ("w", "g", "m", "v"), (w, g, m, v))
    if w.ndim != 1 or not w.shape == g.shape == m.shape == v.shape:
        raise ValueError(
            f"adamw_step wants four arrays of one axis and one length; got w {w.shape}, g {g.shape}, m {m.shape}, v {v.shape}"
        )
    for name, array in (("w", w), ("m", m), ("v", v)):
        writable("adamw_step", name, array)
    if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
        raise ValueError(f"adamw_step: betas {tuple(betas)} must be at least 0 and below 1")
    for name, number in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        not_negative("adamw_step", name, number)
    if step < 1:
        raise ValueError(f"adamw_step: step is {step}; the first step is 1")


def clip_by_norm(gradients: Sequence[Array], max_norm: float | None) -> None:
    if not isinstance(gradients, list | tuple):
        raise TypeError(f"clip_by_norm wants a list of arrays, not one {type(gradients).__name__}")
    if gradients:
        floats("clip_by_norm", ("gradients",) * len(gradients), gradients)
    if max_norm is not None:
        not_negative("clip_by_norm", "max_norm", max_norm)
        for gradient in gradients:
            writable("clip_by_norm", "a gradient", gradient)


def cotangent(kernel: str, name: str, grad: Array, shape: Shape, dtype: Any) -> None:
    """Raise unless `grad` has the shape and the dtype of the result of the forward call."""
    if not hasattr(grad, "dtype") or grad.dtype != dtype:
        floats(kernel, (name,), (grad,))
        raise TypeError(f"{kernel}: {name} is {grad.dtype}, but the forward call was in {dtype}; cast it")
    if grad.shape != shape:
        raise ValueError(f"{kernel}: {name} has shape {grad.shape}; the forward call returned {shape}")


def _shapes(query: Shape, key: Shape, value: Shape) -> str:
    return f"query {query}, key {key}, value {value}"
