"""Words and where they stand: the embedding table, sinusoids, rotary and relative positions."""

from __future__ import annotations

import math

import numpy as np

from minilm import functional as F
from minilm import nn
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE
from minilm.tensor import Tensor

WORD = np.array([0.5, 1.0, -0.5, 2.0])  # one word; it stands at positions 0, 1 and 2


def sinusoids(positions: int, n: int) -> np.ndarray:
    """PE[t, 2i] = sin(t/10000^(2i/n)), PE[t, 2i + 1] = cos of the same."""
    t, i = np.arange(positions)[:, None], np.arange(0, n, 2)
    angles = t / 10000 ** (i / n)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(positions, n)


def embedding_example() -> list[Step]:
    W, ids = np.array([[0.0, 0.5], [1.0, -1.0], [2.0, 3.0]]), np.array([2, 0, 2])
    onehot = np.eye(3)[ids]
    return [
        Step("W", W, Text("3 words of 2 numbers", "3 个词，各 2 维")),
        Step("ids", ids),
        Step("H = one-hot(ids)", onehot),
        Step("y = H W", onehot @ W, Text("rows 2, 0 and 2 of W", "W 的第 2、0、2 行")),
        Step("engine = embedding(ids, W)", F.embedding(ids, Tensor(W)).data, ENGINE),
    ]


def sinusoidal_example() -> list[Step]:
    x = np.tile(WORD, (3, 1))
    angles = np.arange(3)[:, None] / 10000 ** (np.array([0.0, 2.0]) / 4)
    PE = sinusoids(3, 4)
    return [
        Step("x", x, Text("the same word at positions 0, 1 and 2", "同一个词站在位置 0、1、2")),
        Step("θ = t/10000^(2i/n)", angles, Text("n = 4, i = 0 and 1", "n = 4，i = 0 和 1")),
        Step("PE = (sin θ, cos θ)", PE, Text("sine and cosine take turns", "正弦与余弦交替")),
        Step("y = x + PE", x + PE, Text("three different vectors of one word", "同一个词，三个不同的向量")),
        Step("engine = SinusoidalPositions(3, 4)(x)", nn.SinusoidalPositions(3, 4)(Tensor(x)).data, ENGINE),
    ]


def rotary_example() -> list[Step]:
    x = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    theta = np.array([0.0, 1.0, 2.0])
    turned = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    engine = nn.RotaryPositions(3, 2)(Tensor(x[None, None])).data[0, 0]
    return [
        Step("x", x, Text("the same pair of features at positions 0, 1 and 2", "位置 0、1、2 上相同的一对特征")),
        Step(
            "θ = t",
            theta,
            Text("in radians; the first pair turns by 1 per position", "弧度；第一对特征每个位置转 1 弧度"),
        ),
        Step("y = (x₁ cos θ − x₂ sin θ, x₁ sin θ + x₂ cos θ)", turned),
        Step("d₀₁ = y₀·y₁", float(turned[0] @ turned[1]), Text("depends on the distance only", "只取决于距离")),
        Step(
            "d₁₂ = y₁·y₂",
            float(turned[1] @ turned[2]),
            Text("the same distance, the same product", "距离相同，内积相同"),
        ),
        Step("engine = RotaryPositions(3, 2)(x)", engine, ENGINE),
    ]


def buckets_example() -> list[Step]:
    from minilm.models.t5_positions import relative_position_bucket

    r = np.array([0, 1, 3, 4, 6, 8, 16, 40])
    far = 4 + np.floor(np.log(np.maximum(r, 4) / 4) / math.log(4) * 4)
    buckets = np.where(r < 4, r, np.minimum(7, far)).astype(np.int64)
    return [
        Step(
            "r",
            r,
            Text("how far back the key stands; n = 8, max_distance = 16", "键在多远之前；n = 8，max_distance = 16"),
        ),
        Step("f = 4 + ⌊ln(r/4)/ln(16/4) · 4⌋", far.astype(np.int64), Text("for r ≥ n/2 = 4", "用于 r ≥ n/2 = 4")),
        Step("bucket = r if r < 4 else min(7, f)", buckets),
        Step("engine = relative_position_bucket(−r)", relative_position_bucket(-r, False, 8, 16), ENGINE),
    ]


FORMULAS = (
    Formula(
        "embedding",
        Text("the embedding table", "嵌入表"),
        "y_i = W[ids_i]",
        r"y_i = W_{\mathrm{id}_i}",
        Text(
            "One row of the table per token; the same as one-hot(ids) W.", "每个词元取表中一行；等于 one-hot(ids) W。"
        ),
        (
            Letter("W", "(V, d)", Text("one row per token of the vocabulary", "词表中每个词元一行")),
            Letter("ids", "(T,)", Text("token numbers", "词元编号")),
        ),
        embedding_example,
        (
            "tests/nn/test_layers.py::test_embedding",
            "tests/kernels/test_reference_products.py::test_embedding_backward_in_a_loop",
        ),
        (("", "002 §4.2"),),
    ),
    Formula(
        "sinusoidal-positions",
        Text("positional encoding, added", "位置编码：相加"),
        "y = x + PE\nPE[t, 2i] = sin(t/10000^(2i/n)),  PE[t, 2i+1] = cos(t/10000^(2i/n))",
        "y = x + PE\nPE_{t,2i} = \\sin(t / 10000^{2i/n}),\\quad PE_{t,2i+1} = \\cos(t / 10000^{2i/n})",
        Text(
            "Every position has a vector of its own, which is added to the word's. Attention alone would not know the order.",
            "每个位置有自己的向量，与词向量相加。注意力本身不知道先后次序。",
        ),
        (
            Letter("x", "(T, n)", Text("the words' embeddings", "词嵌入")),
            Letter("PE", "(T, n)", Text("one vector per position", "每个位置一个向量")),
            Letter("t", "", Text("the position, from 0", "位置，从 0 数起")),
        ),
        sinusoidal_example,
        (
            "tests/nn/test_layers.py::test_sinusoidal_positions",
            "tests/models/test_transformer.py::test_what_goes_into_the_first_block",
        ),
        (),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.5",),
    ),
    Formula(
        "rotary",
        Text("rotary positions", "旋转位置编码"),
        "(x_i, x_(i+D/2)) at position t is turned by the angle t θ_i,  θ_i = 10000^(−2i/D)",
        r"\begin{pmatrix}\cos t\theta_i & -\sin t\theta_i\\ \sin t\theta_i & \cos t\theta_i\end{pmatrix}"
        "\n"
        r"\begin{pmatrix}x_i\\ x_{i+D/2}\end{pmatrix}",
        Text(
            "Queries and keys are turned, not added to: their product then depends on the distance of two positions alone.",
            "不是相加，而是把查询和键旋转一个角度：两者的内积于是只取决于两个位置的距离。",
        ),
        (
            Letter("t", "", Text("the position", "位置")),
            Letter("θ_i", "", Text("the angle per position of pair i", "第 i 对特征每个位置转过的角度")),
        ),
        rotary_example,
        (
            "tests/kernels/test_reference_rows.py::test_rotary_is_multiplication_of_complex_numbers",
            "tests/nn/test_layers.py::test_rotary_positions",
        ),
        (),
        ("Su et al. 2021, RoFormer",),
    ),
    Formula(
        "relative-buckets",
        Text("T5's relative positions", "T5 的相对位置"),
        "bucket = r  if r < n/2\nbucket = min(n − 1, n/2 + ⌊ln(r/(n/2))/ln(max/(n/2)) · n/2⌋)  otherwise",
        r"b(r) = \min\!\left(n-1"
        "\n"
        r"   \frac n2 + \left\lfloor \frac{\ln(2r/n)}{\ln(2 r_{\max}/n)} \cdot \frac n2 \right\rfloor\right)",
        Text(
            "Near keys have a bucket each, far ones share; each bucket has a trained number that is added to the score.",
            "近处的键各占一档，远处的键合用；每一档有一个学出来的数，加到注意力分数上。",
        ),
        (
            Letter("r", "", Text("the distance of key and query", "键与查询的距离")),
            Letter("n", "", Text("the number of buckets", "档数")),
        ),
        buckets_example,
        ("tests/models/test_t5.py::test_buckets_by_hand",),
        (),
        ("Raffel et al. 2020, T5, §2.1",),
    ),
)
