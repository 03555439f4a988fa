"""What changes parameters and gradients in place: the embedding's gradient, clipping, AdamW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minilm_kernels.namespace import array_namespace

Array = Any

BLOCK = 1 << 15  # elements worked on at a time: their arrays stay in the core's own cache


def embedding_backward(grad_output: Array, ids: Array, out: Array) -> None:
    """In place: dW[ids[i]] += dy[i], in the order of i. An id that occurs k times gets k parts.    [eq:embedding] [002 §4.2]

    grad_output dy: (*ids.shape, n); ids: integers in [0, rows); out dW: (rows, n), added to.
    """
    array_namespace(out).add.at(out, ids.reshape(-1), grad_output.reshape(ids.size, out.shape[1]))


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
    r"""In place: w ← w − η λ w,  m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − η m̂/(√v̂ + ε).    [eq:adamw]

    m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ) undo the start from zero.    [Kingma & Ba 2015, Loshchilov & Hutter 2019]
    w: parameters; g: gradients (only read); m, v: the running means; each 1-D of one length.
    lr: η; weight_decay: λ; step: t = 1, 2, ...
    """
    beta1, beta2 = betas
    xp = array_namespace(w)
    c = math.sqrt(1 - beta2**step)
    for start in range(0, len(w), BLOCK):
        w_, g_, m_, v_ = (a[start : start + BLOCK] for a in (w, g, m, v))
        if weight_decay:
            w_ *= 1 - lr * weight_decay
        m_ *= beta1
        m_ += (1 - beta1) * g_
        v_ *= beta2
        change = g_ * g_
        change *= 1 - beta2
        v_ += change
        # η m̂/(√v̂ + ε) with v̂ = v/c² and c = √(1 − β₂ᵗ) is (η c/(1 − β₁ᵗ)) m/(√v + ε c)
        change = xp.sqrt(v_)
        change += eps * c
        xp.divide(m_, change, out=change)
        change *= lr * c / (1 - beta1**step)
        w_ -= change


def clip_by_norm(gradients: Sequence[Array], max_norm: float | None) -> float:
    """In place: g ← g · max_norm/(‖g‖ + 10⁻⁶) where ‖g‖ > max_norm, all gradients together.    [eq:clip] [Pascanu et al. 2013]

    gradients: arrays of any shapes; max_norm: None only measures. 10⁻⁶ is PyTorch's, too.
    ‖g‖² = Σ g² is added up in double precision. Where it is no number, nothing is scaled.

    Returns ‖g‖, the norm before.
    """
    norm = math.sqrt(sum(squared_norm(gradient) for gradient in gradients))
    if max_norm is not None and norm > max_norm:
        for gradient in gradients:
            gradient *= gradient.dtype.type(max_norm / (norm + 1e-6))
    return norm


def squared_norm(array: Array) -> float:
    """Σ x² in double precision, a block at a time."""
    flat = array.reshape(-1)
    blocks = (flat[start : start + BLOCK].astype("float64") for start in range(0, flat.size, BLOCK))
    return sum(float(block @ block) for block in blocks)
