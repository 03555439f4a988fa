"""Layers: norms, feed-forward, activations, dropout, adapters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import functional as F
from minilm import nn
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE
from minilm.nn.lora import LowRank
from minilm.tensor import Tensor

FEATURES = Letter("x", "(…, n)", Text("n features of one position", "一个位置的 n 个特征"))
HIDDEN = Letter("x", "(T, d)", Text("one row per position", "每个位置一行"))
X = np.array([[1.0, 0.0, 2.0], [0.0, 2.0, 1.0]])
W1 = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 1.0, 0.0], [0.5, 0.0, 1.0]])
W2 = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.5, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])


def normalized(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def layer_norm_example() -> list[Step]:
    x = np.array([1.0, 2.0, 4.0, 5.0])
    mean, variance = x.mean(), x.var()
    return [
        Step("x", x, Text("4 features of one word", "一个词的 4 个特征")),
        Step("μ = mean(x)", mean),
        Step("c = x − μ", x - mean),
        Step("σ² = mean(c²)", variance),
        Step("σ = √(σ² + ε)", math.sqrt(variance + 1e-5), Text("ε = 0.00001", "ε = 0.00001")),
        Step(
            "y = c/σ",
            (x - mean) / math.sqrt(variance + 1e-5),
            Text("mean 0, variance 1; here g = 1, b = 0", "均值 0、方差 1；这里 g = 1、b = 0"),
        ),
        Step("engine = layer_norm(x)", F.layer_norm(x).data, ENGINE),
    ]


def rms_norm_example() -> list[Step]:
    x = np.array([3.0, -4.0])
    square = (x * x).mean()
    return [
        Step("x", x),
        Step("s = mean(x²)", square),
        Step("r = √(s + ε)", math.sqrt(square + 1e-6), Text("ε = 0.000001", "ε = 0.000001")),
        Step("y = x/r", x / math.sqrt(square + 1e-6)),
        Step("engine = rms_norm(x)", F.rms_norm(x).data, ENGINE),
    ]


def feed_forward_example() -> list[Step]:
    layer: Any = nn.FeedForward(3, 4, "relu", bias=False).double()
    layer.up.weight.data[...], layer.down.weight.data[...] = W1, W2
    u = X @ W1.T
    h = np.maximum(u, 0)
    return [
        Step("x", X, Text("2 positions of 3 numbers", "2 个位置，各 3 维")),
        Step("W₁", W1, Text("3 → 4", "3 维变 4 维")),
        Step("W₂", W2, Text("4 → 3", "4 维变回 3 维")),
        Step("u = x W₁ᵀ", u),
        Step("h = max(u, 0)", h, Text("f is relu here", "这里 f 取 relu")),
        Step("y = h W₂ᵀ", h @ W2.T, Text("each row depends on its own row of x only", "每一行只取决于 x 的同一行")),
        Step("engine = FeedForward(3, 4)(x)", layer(Tensor(X)).data, ENGINE),
    ]


def dropout_example() -> list[Step]:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    engine = F.dropout(x, 0.5, True, np.random.default_rng(1)).data
    keep = (engine != 0).astype(np.int64)
    return [
        Step("x", x),
        Step("keep", keep, Text("drawn: 0 with the probability p = 0.5", "随机抽取：以概率 p = 0.5 取 0")),
        Step(
            "y = x keep/(1 − p)",
            x * keep / 0.5,
            Text("what stays is doubled, so the mean stays", "留下的加倍，均值不变"),
        ),
        Step("engine = dropout(x, 0.5)", engine, ENGINE),
    ]


def gelu_example() -> list[Step]:
    x = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    phi = np.array([0.5 * (1 + math.erf(each / math.sqrt(2))) for each in x])
    return [
        Step("x", x),
        Step(
            "Φ = ½ (1 + erf(x/√2))",
            phi,
            Text("the share of a normal distribution below x", "标准正态分布小于 x 的比例"),
        ),
        Step("y = x Φ", x * phi),
        Step("engine = gelu(x)", F.gelu(x).data, ENGINE),
    ]


def silu_mul_example() -> list[Step]:
    gate, up = np.array([-1.0, 0.0, 2.0]), np.array([3.0, 1.0, 0.5])
    s = 1 / (1 + np.exp(-gate))
    return [
        Step("a", gate, Text("the gate", "门")),
        Step("u", up),
        Step("σ = 1/(1 + e^−a)", s),
        Step("silu = a σ", gate * s),
        Step("y = silu u", gate * s * up),
        Step("engine = silu_mul(a, u)", F.silu_mul(gate, up).data, ENGINE),
    ]


def lora_example() -> list[Step]:
    x, A, B = np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, -1.0, 0.5]]), np.array([[2.0], [0.5]])
    layer = LowRank((0, 2), 3, 1, 4.0, np.float64, np.random.default_rng(0))
    layer.A.data[...], layer.B.data[...] = A, B
    return [
        Step("x", x),
        Step("A", A, Text("rank r = 1, α = 4", "秩 r = 1，α = 4")),
        Step("B", B),
        Step("h = x Aᵀ", x @ A.T),
        Step(
            "y = (α/r) h Bᵀ",
            4 * (x @ A.T) @ B.T,
            Text("is added to the frozen layer's output", "加到被冻结的层的输出上"),
        ),
        Step("ΔW = (α/r) B A", 4 * B @ A, Text("the same as one matrix", "合成一个矩阵")),
        Step("engine = LowRank(x)", layer(Tensor(x)).data, ENGINE),
    ]


FORMULAS = (
    Formula(
        "layer-norm",
        Text("layer normalization", "层归一化"),
        "LayerNorm(x) = (x − μ)/√(σ² + ε) ⊙ g + b,  μ = mean(x),  σ² = mean((x − μ)²)",
        r"\mathrm{LayerNorm}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \odot g + b",
        Text(
            "Every position is brought to mean 0 and variance 1 over its own features; g and b are learned. The "
            "document leaves "
            "g, b and ε out; ε keeps a constant row from dividing by 0.",
            "每个位置在自己的特征上变成均值 0、方差 1；g 和 b 是学出来的。文档省去了 g、b 和 ε；有了 ε，"
            "各特征全相等的行也不会除以 0。",
        ),
        (
            FEATURES,
            Letter("μ, σ²", "(…, 1)", Text("mean and variance over the features", "特征上的均值和方差")),
            Letter("g, b", "(n,)", Text("gain and bias", "增益和偏置")),
        ),
        layer_norm_example,
        (
            "tests/kernels/test_reference_rows.py::test_layer_norm",
            "tests/nn/test_layers.py::test_layer_norm",
            "tests/properties/test_gradients.py::test_gradient",
        ),
        (("F14", "003 §4.3"), ("F17", "004 §3.2")),
        ("Ba, Kiros & Hinton 2016, Layer Normalization",),
    ),
    Formula(
        "rms-norm",
        Text("RMS normalization", "均方根归一化"),
        "RMSNorm(x) = x/√(mean(x²) + ε) ⊙ g",
        r"\mathrm{RMSNorm}(x) = \frac{x}{\sqrt{\mathrm{mean}(x^2) + \varepsilon}} \odot g",
        Text("Layer norm without subtracting the mean.", "不减均值的层归一化。"),
        (FEATURES, Letter("g", "(n,)", Text("gain", "增益"))),
        rms_norm_example,
        ("tests/kernels/test_reference_rows.py::test_rms_norm", "tests/nn/test_layers.py::test_rms_norm"),
        (),
        ("Zhang & Sennrich 2019, Root Mean Square Layer Normalization",),
    ),
    Formula(
        "feed-forward",
        Text("the feed-forward network", "前馈网络"),
        "y = f(x W₁ᵀ + b₁) W₂ᵀ + b₂",
        r"y = f(x W_1^\top + b_1) W_2^\top + b_2",
        Text(
            "Two linear layers with a bend between them, the same for every position and for each by itself. The document says "
            "this in words.",
            "两个线性层，中间一个非线性函数；每个位置各算各的，用的是同一组参数。文档只用文字说明。",
        ),
        (
            HIDDEN,
            Letter("W₁", "(4d, d)", Text("widens", "升维")),
            Letter("W₂", "(d, 4d)", Text("back to the width of x", "变回 x 的宽度")),
            Letter("f", "", Text("relu, gelu or another bend", "relu、gelu 等非线性函数")),
        ),
        feed_forward_example,
        ("tests/nn/test_layers.py::test_feed_forward",),
        (("F17", "004 §3.2"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.3",),
    ),
    Formula(
        "dropout",
        Text("dropout", "丢弃法"),
        "y = x ⊙ keep/(1 − p),  P(keep = 0) = p",
        r"y = \frac{x \odot m}{1 - p},\quad P(m_i = 0) = p",
        Text(
            "While training, elements are dropped at random; the others grow, so that the mean stays.",
            "训练时随机把一些元素置零，其余放大，使均值不变。",
        ),
        (Letter("p", "", Text("the probability of dropping", "置零的概率")),),
        dropout_example,
        (
            "tests/functional/test_forward.py::test_dropout_draws_from_the_generator_that_was_passed",
            "tests/kernels/test_reference_products.py::test_bias_residual_dropout",
        ),
        (),
        ("Srivastava et al. 2014, Dropout",),
    ),
    Formula(
        "gelu",
        Text("GELU", "GELU"),
        "gelu(x) = x Φ(x)",
        r"\mathrm{gelu}(x) = x\,\Phi(x) = \frac{x}{2}\left(1 + \mathrm{erf}\frac{x}{\sqrt 2}\right)",
        Text(
            "A smooth bend: x times the probability that a normal number is smaller.",
            "光滑的非线性函数：x 乘以标准正态变量小于 x 的概率。",
        ),
        (Letter("Φ", "", Text("the cumulative normal distribution", "标准正态分布的累积分布函数")),),
        gelu_example,
        (
            "tests/kernels/test_reference_rows.py::test_activations_and_slopes",
            "tests/kernels/test_reference_rows.py::test_normal_cdf_in_float64",
        ),
        (),
        ("Hendrycks & Gimpel 2016, Gaussian Error Linear Units",),
    ),
    Formula(
        "silu-mul",
        Text("the gate of SwiGLU", "SwiGLU 的门"),
        "y = silu(a) ⊙ u,  silu(a) = a/(1 + e^−a)",
        r"y = \mathrm{silu}(a) \odot u,\quad \mathrm{silu}(a) = \frac{a}{1 + e^{-a}}",
        Text("One half of the features opens and closes the other half.", "一半特征控制另一半特征的通断。"),
        (
            Letter("a", "(…, n)", Text("the gate", "门")),
            Letter("u", "(…, n)", Text("what passes through", "通过门的值")),
        ),
        silu_mul_example,
        ("tests/kernels/test_reference_rows.py::test_silu_mul", "tests/nn/test_layers.py::test_swiglu"),
        (),
        ("Shazeer 2020, GLU Variants Improve Transformer",),
    ),
    Formula(
        "lora",
        Text("low-rank adapters (LoRA)", "低秩适配（LoRA）"),
        "y = (α/r) x Aᵀ Bᵀ,  the same as  ΔW = (α/r) B A",
        r"\Delta W = \frac{\alpha}{r} B A",
        Text(
            "A large matrix stays as it is and learns through two thin ones.",
            "大矩阵保持不动，只训练旁边两个细长的矩阵。",
        ),
        (
            Letter("A", "(r, in)", Text("down to the rank r", "降到秩 r")),
            Letter("B", "(out, r)", Text("back up; starts at 0", "升回来；初值为 0")),
        ),
        lora_example,
        (
            "tests/nn/test_lora.py::test_the_layer_is_its_formula",
            "tests/nn/test_lora.py::test_the_merged_model_says_the_same",
        ),
        (),
        ("Hu et al. 2021, LoRA",),
    ),
)
