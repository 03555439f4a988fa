"""One step of training: broadcasting undone, gradients clipped, weights moved, the rate scheduled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import optim
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE
from minilm.tensor import Parameter, Tensor

W, G = np.array([1.0, -2.0]), np.array([0.5, 0.1])
GIVEN = (Step("w", W, Text("two weights", "两个权重")), Step("g", G, Text("their gradients", "它们的梯度")))
LETTERS = (
    Letter("w", "", Text("the weights", "权重")),
    Letter("g", "", Text("their gradients", "梯度")),
    Letter("η", "", Text("the learning rate", "学习率")),
)


def stepped(kind: Any, steps: int = 1, **options: Any) -> np.ndarray:
    """The weights after some steps with the same gradient."""
    w = Parameter(W.copy())
    optimizer = kind([w], **options)
    for _ in range(steps):
        w.grad = G.copy()
        optimizer.step()
    return w.data.copy()


def sgd_example() -> list[Step]:
    return [
        *GIVEN,
        Step("v₁ = 0.9 · 0 + g", G, Text("μ = 0.9, η = 0.1", "μ = 0.9，η = 0.1")),
        Step("w₁ = w − 0.1 v₁", W - 0.1 * G),
        Step("v₂ = 0.9 v₁ + g", 1.9 * G, Text("the same gradient again", "同样的梯度再来一次")),
        Step("w₂ = w₁ − 0.1 v₂", W - 0.29 * G),
        Step("engine = SGD, 2 steps", stepped(optim.SGD, 2, lr=0.1, momentum=0.9), ENGINE),
    ]


def adam_steps(decay: float) -> list[Step]:
    m, v = 0.1 * G, 0.001 * G * G
    return [
        *GIVEN,
        Step("m = (1 − β₁) g", m, Text("β₁ = 0.9, started from 0", "β₁ = 0.9，从 0 开始")),
        Step("v = (1 − β₂) g²", v, Text("β₂ = 0.999", "β₂ = 0.999")),
        Step("m̂ = m/(1 − β₁)", m / 0.1, Text("undoes the start from 0 (t = 1)", "消除从 0 开始的影响（t = 1）")),
        Step("v̂ = v/(1 − β₂)", v / 0.001),
        Step(
            "d = m̂/(√v̂ + ε)",
            G / (np.abs(G) + 1e-8),
            Text("±1 at the first step, whatever g is", "第一步总是 ±1，与 g 的大小无关"),
        ),
        Step(
            f"w₁ = w − η d{' − η λ w' if decay else ''}",
            W - 0.1 * G / (np.abs(G) + 1e-8) - 0.1 * decay * W,
            Text("η = 0.1", "η = 0.1"),
        ),
    ]


def adam_example() -> list[Step]:
    return [*adam_steps(0.0), Step("engine = Adam, 1 step", stepped(optim.Adam, lr=0.1), ENGINE)]


def adamw_example() -> list[Step]:
    return [
        *adam_steps(0.5),
        Step("engine = AdamW(λ = 0.5), 1 step", stepped(optim.AdamW, lr=0.1, weight_decay=0.5), ENGINE),
    ]


def clip_example() -> list[Step]:
    g = np.array([3.0, 4.0])
    w = Parameter(np.zeros(2))
    optimizer = optim.SGD([w], lr=1.0)
    w.grad = g.copy()
    optimizer.clip_grad_norm(1.0)
    return [
        Step("g", g, Text("all gradients of the model together", "模型的全部梯度合在一起")),
        Step("n = ‖g‖", 5.0),
        Step(
            "f = min(1, max_norm/(n + ε))",
            1 / 5.000001,
            Text("max_norm = 1, ε = 0.000001", "max_norm = 1，ε = 0.000001"),
        ),
        Step("g′ = f g", g / 5.000001, Text("shorter, the direction stays", "变短，方向不变")),
        Step("engine = clip_grad_norm(1)", np.asarray(w.grad), ENGINE),
    ]


def schedule_example() -> list[Step]:
    t = np.array([0, 1, 2, 6, 10])
    p = np.clip((t - 2) / 8, 0, 1)
    cosine = 0.1 + 0.9 * 0.5 * (1 + np.cos(math.pi * p))
    factor = np.where(t < 2, (t + 1) / 3, cosine)
    schedule = optim.warmup_cosine(2, 10, 0.1)
    return [
        Step("t", t, Text("steps; 2 of warm-up, 10 in all, final = 0.1", "步数；预热 2 步，共 10 步，final = 0.1")),
        Step("p = (t − 2)/8, within 0 and 1", p),
        Step("c = final + (1 − final) ½ (1 + cos π p)", cosine),
        Step("f = (t + 1)/3 if t < 2, else c", factor),
        Step("engine = warmup_cosine(2, 10, 0.1)(t)", np.array([schedule(int(each)) for each in t]), ENGINE),
    ]


def unbroadcast_example() -> list[Step]:
    b = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    dz = np.array([[1.0, 0.5], [2.0, 0.0], [-1.0, 4.0]])
    (Tensor(np.zeros((3, 2))) + b).backward(dz)
    return [
        Step("b", np.array([1.0, 2.0]), Text("added to each of 3 rows", "加到 3 行的每一行上")),
        Step("dZ", dz, Text("the gradient of the sum, 3 rows", "和的梯度，3 行")),
        Step(
            "db = Σ_rows dZ", dz.sum(axis=0), Text("used three times, so three gradients add", "用了三次，三份梯度相加")
        ),
        Step("engine = b.grad", np.asarray(b.grad), ENGINE),
    ]


OPTIMIZER_TESTS = ("tests/optim/test_optimizers.py::test_against_the_formula",)
FORMULAS = (
    Formula(
        "unbroadcast",
        Text("the gradient of broadcasting", "广播的梯度"),
        "db = Σ over the axes along which b was repeated, of dZ",
        r"Z_{ij} = X_{ij} + b_j \quad\Rightarrow\quad \bar b_j = \sum_i \bar Z_{ij}",
        Text(
            "What was repeated in the forward pass gets the sum of all its gradients.",
            "前向时被重复的量，反向时得到它所有梯度之和。",
        ),
        (Letter("dZ", "", Text("the gradient of the result", "结果的梯度")),),
        unbroadcast_example,
        (
            "tests/properties/test_gradients.py::test_gradient",
            "tests/properties/test_mutants.py::test_mutant_is_caught",
        ),
    ),
    Formula(
        "sgd",
        Text("gradient descent with momentum", "带动量的梯度下降"),
        "v ← μ v + g,  w ← w − η v",
        r"v \leftarrow \mu v + g,\quad w \leftarrow w - \eta v",
        Text(
            "A step against the gradient; momentum remembers the steps before.", "逆着梯度走一步；动量记得之前的步子。"
        ),
        LETTERS,
        sgd_example,
        OPTIMIZER_TESTS,
    ),
    Formula(
        "adam",
        Text("Adam", "Adam"),
        "m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − η m̂/(√v̂ + ε)",
        "m \\leftarrow \\beta_1 m + (1 - \\beta_1) g,\\quad v \\leftarrow \\beta_2 v + (1 - \\beta_2) g^2\nw "
        "\\leftarrow w - \\eta\\, \\hat m / (\\sqrt{\\hat v} + \\varepsilon)",
        Text(
            "Every weight has a step of its own, divided by how large its gradients usually are.",
            "每个权重的步长除以它梯度的一般大小。",
        ),
        LETTERS,
        adam_example,
        (*OPTIMIZER_TESTS, "tests/optim/test_optimizers.py::test_the_first_step_of_adam_is_lr_whatever_the_gradient"),
        (),
        ("Kingma & Ba 2015, Adam",),
    ),
    Formula(
        "adamw",
        Text("AdamW", "AdamW"),
        "w ← w − η λ w − η m̂/(√v̂ + ε)",
        r"w \leftarrow w - \eta \lambda w - \eta\, \hat m / (\sqrt{\hat v} + \varepsilon)",
        Text("Adam whose weight decay does not pass through m and v.", "权重衰减不经过 m 和 v 的 Adam。"),
        (*LETTERS, Letter("λ", "", Text("weight decay", "权重衰减"))),
        adamw_example,
        (*OPTIMIZER_TESTS, "tests/kernels/test_reference_products.py::test_adamw_in_scalars"),
        (),
        ("Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization",),
    ),
    Formula(
        "clip",
        Text("gradient clipping", "梯度裁剪"),
        "g ← g · min(1, max_norm/(‖g‖ + 10⁻⁶))",
        r"g \leftarrow g \cdot \min(1,\; c / (\lVert g \rVert + 10^{-6}))",
        Text(
            "A gradient that is too long is shortened; all gradients of the model together.",
            "梯度太长就缩短；模型的全部梯度一起算。",
        ),
        LETTERS[1:2],
        clip_example,
        (
            "tests/optim/test_flat.py::test_clipping_scales_all_gradients_together",
            "tests/kernels/test_reference_products.py::test_clip_by_norm",
        ),
        (),
        ("Pascanu, Mikolov & Bengio 2013",),
    ),
    Formula(
        "warmup-cosine",
        Text("warm-up and cosine", "预热与余弦衰减"),
        "η_t = η · (final + (1 − final) ½ (1 + cos π p)),  after a straight warm-up",
        r"\eta_t = \eta \left(f + (1 - f) \tfrac12 (1 + \cos \pi p)\right)",
        Text("The learning rate rises in a line and falls along a cosine.", "学习率先直线上升，再沿余弦下降。"),
        (Letter("p", "", Text("the progress after the warm-up, from 0 to 1", "预热之后的进度，从 0 到 1")),),
        schedule_example,
        ("tests/optim/test_schedules.py::test_named_points", "tests/optim/test_schedules.py::test_nanogpts_recipe"),
        (),
        ("Loshchilov & Hutter 2017, SGDR",),
    ),
)
