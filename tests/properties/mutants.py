"""Seeded bugs: one replaced line each, and the loader that builds an engine with the bug in it.

The engine's source is loaded a second time under another name (`mutated_minilm`), with the replacement made in memory. What
ought to notice a bug stands beside it: rows of the gradient table, or laws.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import re
import sys
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import NamedTuple

import minilm
import minilm_kernels

ROOTS = {"mutated_minilm": Path(minilm.__file__).parent, "mutated_minilm_kernels": Path(minilm_kernels.__file__).parent}
PARTS = ("minilm.functional", "minilm.tensor")  # what is loaded: not nn, optim, models


class Mutant(NamedTuple):
    name: str
    file: str  # relative to minilm/, or kernels/reference.py
    old: str
    new: str
    caught_by: tuple[str, ...]  # rows or laws that must notice, the first one suffices


A, B, R, S = "functional/arithmetic.py", "functional/_broadcast.py", "functional/reductions.py", "functional/shape.py"
N, V, L, E = "functional/normalization.py", "functional/activations.py", "functional/loss.py", "functional/embedding.py"
P, O, C = "functional/products.py", "functional/positions.py", "functional/attention.py"
K, T = "kernels/reference.py", "tape.py"
ATTENTION = ("scaled_dot_product_attention", "attention_composed")

HIDDEN = "~as_array(key_padding_mask).astype(bool)[:, None, None, :]"  # a line too long to write out twice

MUTANTS = [
    Mutant("unbroadcast forgotten", B, "unbroadcast(dy(dz), y_shape)", "dy(dz)", ("add",)),
    Mutant("unbroadcast: length-1 axes forgotten", B, "axis=(*range(new_axes), *repeated)", "axis=(*range(new_axes),)", ("mul",)),
    Mutant("unbroadcast: new axes averaged", B, "gradient.sum(", "gradient.mean(", ("add", "broadcast_to")),
    Mutant("sub: sign of the second operand", A, "lambda dz: -dz)", "lambda dz: dz)", ("sub",)),
    Mutant("mul: operands swapped", A, "lambda dz: dz * b, lambda dz: dz * a)", "lambda dz: dz * a, lambda dz: dz * b)", ("mul",)),
    Mutant("div: z/y² instead of z/y", A, "-dz * z / b)", "-dz * z / b / b)", ("div",)),
    Mutant("pow: factor y forgotten", A, "lambda dz: dz * b * a **", "lambda dz: dz * a **", ("pow",)),
    Mutant("pow: no logarithm", A, "dz * z * xp.log(xp.where(a > 0, a, 1))", "dz * z", ("pow",)),
    Mutant("sqrt: factor 2", A, "dy / (2 * y)", "dy / y", ("sqrt",)),
    Mutant("log: times x", A, "return (dy / a,)", "return (dy * a,)", ("log",)),
    Mutant("exp: passes through", A, "return (dy * y,)", "return (dy,)", ("exp",)),
    Mutant("maximum: the loser gets it", A, "lambda dz: dz * share, lambda dz: dz * (1 - share)",
           "lambda dz: dz * (1 - share), lambda dz: dz * share", ("maximum", "minimum")),
    Mutant("tanh: 1 − y", V, "dy * (1 - y * y)", "dy * (1 - y)", ("tanh",)),
    Mutant("sigmoid: no 1 − σ", V, "dy * y * (1 - y)", "dy * y", ("sigmoid",)),
    Mutant("relu: passes through", V, "dy * positive", "dy", ("relu",)),
    Mutant("silu: no x σ (1 − σ)", V, "dy * s * (1 + a * (1 - s))", "dy * s", ("silu",)),
    Mutant("gelu: no x φ(x)", V, "slope = a * bell", "slope = 0 * bell", ("gelu",)),
    Mutant("gelu: density without √2π", V, "slope *= 1 / math.sqrt(2 * math.pi)", "pass", ("gelu",)),
    Mutant("gelu tanh: cubic's factor 3", V, "slope *= 3 * c * k", "slope *= c * k", ("gelu",)),
    Mutant("sum: divided by n", R, "restore_axes(dy, shape, dim, keepdim), shape),)",
           "restore_axes(dy, shape, dim, keepdim) / count(shape, dim), shape),)", ("sum",)),
    Mutant("mean: not divided", R, "restore_axes(dy / n, shape", "restore_axes(dy, shape", ("mean",)),
    Mutant("reductions: axis not restored", R, "tuple(1 if i in axes else n for", "tuple(n if i in axes else n for", ("sum",)),
    Mutant("var: n instead of n − correction", R, "centred * (2 / n)", "centred * (2 / count(shape, dim))", ("var",)),
    Mutant("var: factor 2", R, "centred * (2 / n)", "centred * (1 / n)", ("var",)),
    Mutant("max: first axis's ties only", R, "(restore_axes(dy, shape, dim, keepdim) * share)", "(dy * share)", ("max", "min")),
    Mutant("logsumexp: not normalized", R, "* e / xp.where(total == 0, 1, total),)", "* e,)", ("logsumexp",)),
    Mutant("permute: not inverted", S, "lambda dy: (dy.transpose(inverse),)", "lambda dy: (dy.transpose(order),)", ("permute",)),
    Mutant("concatenate: cut at other places", S, "xp.split(dy, ends[:-1], axis=dim)",
           "xp.split(dy[::-1], ends[:-1], axis=dim)", ("concatenate",)),
    Mutant("stack: wrong axis", S, "xp.moveaxis(dy, dim, 0)", "xp.moveaxis(dy, 0, dim)", ("stack",)),
    Mutant("where: condition turned round", S, "unbroadcast(xp.where(condition, dz, zero), x_shape)",
           "unbroadcast(xp.where(condition, zero, dz), x_shape)", ("where",)),
    Mutant("masked_fill: gradient of the filled", S, "xp.where(mask, xp.zeros((), dy.dtype), dy)", "dy", ("masked_fill",)),
    Mutant("indexing: repeats overwrite", T, "array_namespace(total).add.at(total, partial.index, partial.values)",
           "total[partial.index] += partial.values", ("getitem", "gather")),
    Mutant("embedding: repeats overwrite", T, "add_rows(total, partial.index, partial.values)",
           "total[partial.index] += partial.values", ("embedding",)),
    Mutant("paths that meet: the last one wins", T, "self.cotangent = self.cotangent + cotangent",
           "self.cotangent = cotangent", ("mse_loss",)),
    Mutant("paths that meet: added into another's array", T, "self.cotangent = self.cotangent + cotangent",
           "self.cotangent += cotangent", ("paths_that_meet_add_up",)),
    Mutant("paths that meet: a slice overwrites", T, "total[partial.index] += partial.values", "total[partial.index] = partial.values",
           ("paths_that_meet_add_up",)),
    Mutant("softmax: no sum term", N, "dx -= y * dx.sum(axis=dim, keepdims=True)", "pass", ("softmax",)),
    Mutant("softmax: wrong axis", N, "dx.sum(axis=dim, keepdims=True)", "dx.sum(axis=0, keepdims=True)", ("softmax",)),
    Mutant("log_softmax: no sum term", N, "dy - xp.exp(y) * dy.sum(axis=dim, keepdims=True)", "dy", ("log_softmax",)),
    Mutant("layer_norm: no mean term", N, "dx = dxhat - dxhat.mean(axis=-1, keepdims=True)", "dx = dxhat.copy()", ("layer_norm",)),
    Mutant("layer_norm: no variance term", N, 'dx -= xhat * (xp.einsum("...i,...i->...", dxhat, xhat)[..., None] / n)', "pass",
           ("layer_norm",)),
    Mutant("layer_norm: not divided by σ", N, "dx *= rstd", "pass", ("layer_norm",)),
    Mutant("norms: weight's gradient without x̂", N, "(dy * xhat).reshape(-1, n)", "dy.reshape(-1, n)", ("rms_norm",)),
    Mutant("rms_norm: sum instead of mean", N, "dx = dxhat - xhat * (xp.einsum(\"...i,...i->...\", dxhat, xhat)[..., None] / n)",
           "dx = dxhat - xhat * xp.einsum(\"...i,...i->...\", dxhat, xhat)[..., None]", ("rms_norm",)),
    Mutant("matmul: dX not transposed", P, "dZ @ Y.swapaxes(-1, -2)", "dZ @ Y", ("matmul",)),
    Mutant("linear: dW averaged over rows", P, "dW = dY.T @ X", "dW = dY.T @ X / len(X)", ("linear",)),
    Mutant("linear: db without the sum", P, "dY.sum(axis=0)", "dY[0]", ("linear",)),
    Mutant("dropout: not scaled", E, "scale *= 1 / (1 - p)", "pass", ("dropout_is_scaled",)),
    Mutant("dropout: gradient not masked", E, "return (dy * scale,)", "return (dy,)", ("dropout",)),
    Mutant("cross_entropy: mean over the ignored too", L, "n = int(counted.sum())", "n = len(Z)", ("cross_entropy_is_a_mean_of_log_softmax",)),
    Mutant("cross_entropy: the ignored get a gradient", L, "per_row = xp.where(counted, per_row, xp.zeros((), Z.dtype))",
           "per_row = xp.asarray(per_row)", ("cross_entropy",)),
    Mutant("cross_entropy: smoothing not in the gradient", L, "dZ -= (eps / C) * per_row", "pass", ("cross_entropy",)),
    Mutant("cross_entropy: soft targets' mass is 1", L, "dZ = mass[:, None] * P", "dZ = P.copy()", ("cross_entropy",)),
    Mutant("rotary: turned on instead of back", O, "rotate(dy, -1)", "rotate(dy, 1)", ("rotary",)),
    Mutant("attention: no scale in dQ", K, "dQ *= Q.dtype.type(scale)", "pass", ATTENTION[:1]),
    Mutant("attention: no sum term in dS", K, "dS -= delta", "pass", ATTENTION[:1]),
    Mutant("attention: dV from W before dropout", K, "dV = (grouped(P, H_kv)", "dV = (grouped(W, H_kv)", ATTENTION[:1]),
    Mutant("attention: dropout not in dW", K, "dW *= keep", "pass", ATTENTION[:1]),
    Mutant("attention: groups share the first head's dK", K, "@ grouped(Q, H_kv)).sum(axis=2)", "@ grouped(Q, H_kv))[:, :, 0]",
           ATTENTION[:1]),
    Mutant("attention: bias gradient not summed", K, "_sum_to(dS, bias_shape)", "dS.copy()", ATTENTION[:1]),
    Mutant("attention: scale 1/D", K, "scale = 1 / math.sqrt(D) if", "scale = 1 / D if", ("equals_the_formula",)),
    Mutant("attention: causal mask one too far", K, "j <= i + (Tk - Tq)", "j <= i + (Tk - Tq) + 1", ("causal_weights_are_a_triangle",)),
    Mutant("attention: causal mask aligned to the start", K, "j <= i + (Tk - Tq)", "j <= i", ("a_prefix_does_not_know_the_future",)),
    Mutant("attention: softmax over the queries", K, "total = W.sum(axis=-1, keepdims=True)", "total = W.sum(axis=-2, keepdims=True)",
           ("rows_sum_to_one",)),
    Mutant("attention: padding turned round", K, "xp.where(key_padding_mask, 0, -xp.inf)", "xp.where(key_padding_mask, -xp.inf, 0)",
           ("hidden_keys_do_not_matter",)),
    Mutant("attention: a blind row is NaN", K, "m == -xp.inf, xp.zeros((), S.dtype), m", "m == xp.inf, xp.zeros((), S.dtype), m",
           ("a_query_without_keys_is_zero_with_zero_gradient",)),
    Mutant("attention: maximum not subtracted", K, "    S -= xp.where(m == -xp.inf, xp.zeros((), S.dtype), m)\n", "",
           ("extreme_scores_do_not_overflow",)),
    Mutant("attention: groups interleaved", K, "return a.reshape(B, H_kv, H // H_kv, T, D)",
           "return a.reshape(B, H // H_kv, H_kv, T, D).swapaxes(1, 2)", ("grouped_queries_are_repeated_keys",)),
    Mutant("composed: mask after softmax", C,
           "        S = masked_fill(S, HIDDEN, -xp.inf)\n    W = dropout(softmax(S, dim=-1), dropout_p, generator=generator)\n",
           "        pass\n    W = dropout(softmax(S, dim=-1), dropout_p, generator=generator)\n"
           "    if key_padding_mask is not None:\n        W = masked_fill(W, HIDDEN, 0.0)\n",
           ("hidden_keys_do_not_matter",)),
    Mutant("composed: no scale", C, ") * (1 / math.sqrt(D) if scale is None else scale)", ")", ("equals_the_formula",)),
    Mutant("composed: mask forgotten when causal", C, "if attn_mask is not None:\n        S =",
           "if attn_mask is not None and not is_causal:\n        S =", ("equals_the_formula",)),
]  # fmt: skip


def source_of(file: str) -> Path:
    if file.startswith("kernels/"):
        return ROOTS["mutated_minilm_kernels"] / file.removeprefix("kernels/")
    return ROOTS["mutated_minilm"] / file


def mutated_source(mutant: Mutant) -> str:
    """The file with the bug in it. Raises AssertionError if the line is no longer there exactly once: a stale mutant."""
    text = source_of(mutant.file).read_text(encoding="utf-8")
    mutant = mutant._replace(old=mutant.old.replace("HIDDEN", HIDDEN), new=mutant.new.replace("HIDDEN", HIDDEN))
    if text.count(mutant.old) != 1:
        raise AssertionError(f"stale mutant {mutant.name!r}: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


@functools.cache
def compiled(path: Path) -> CodeType:
    return compile_renamed(path.read_text(encoding="utf-8"), path)


def compile_renamed(text: str, path: Path) -> CodeType:
    return compile(re.sub(r"\b(minilm|minilm_kernels)\b(?=[. ])", r"mutated_\1", text), str(path), "exec", dont_inherit=True)


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds mutated_minilm and mutated_minilm_kernels; the top package is empty, so that only what is needed loads."""

    def __init__(self, mutant: Mutant | None):
        self.changed = {source_of(mutant.file): mutated_source(mutant)} if mutant else {}

    def find_spec(self, name, path=None, target=None):
        top, *rest = name.split(".")
        if top not in ROOTS:
            return None
        base = ROOTS[top].joinpath(*rest)
        file, package = (base / "__init__.py", True) if base.is_dir() else (base.with_suffix(".py"), False)
        spec = importlib.machinery.ModuleSpec(name, self, origin=str(file), is_package=package)
        spec.loader_state = file
        return spec

    def exec_module(self, module):
        file = module.__spec__.loader_state
        if module.__name__ == "mutated_minilm":
            return
        changed = self.changed.get(file)
        exec(compiled(file) if changed is None else compile_renamed(changed, file), module.__dict__)


def load_engine(mutant: Mutant | None = None) -> SimpleNamespace:
    """An engine (F, Tensor) of its own, with the mutant's bug in it, or without any."""
    loader = Loader(mutant)
    sys.meta_path.insert(0, loader)
    try:
        for part in PARTS:
            importlib.import_module(f"mutated_{part}")
        return SimpleNamespace(
            F=sys.modules["mutated_minilm.functional"], Tensor=sys.modules["mutated_minilm.tensor"].Tensor
        )
    finally:
        sys.meta_path.remove(loader)
        for name in [name for name in sys.modules if name.split(".")[0] in ROOTS]:
            del sys.modules[name]
