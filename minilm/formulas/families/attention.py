"""Attention: projections, weights, the weighted sum, heads, and reading from another sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import functional as F
from minilm import nn
from minilm.formulas.entry import Formula, Letter, Step, Text

Q = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
K = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 1.0]])
V = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
WORDS = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]])  # three words, d = 4
ENGINE = Text("the engine's own function gives", "用引擎自己的函数算得")
QUERIES = Letter("Q", "(T_q, d_k)", Text("queries: what each position looks for", "查询：每个位置在找什么"))
KEYS = Letter("K", "(T_k, d_k)", Text("keys: what each position offers to be found by", "键：每个位置凭什么被找到"))
VALUES = Letter("V", "(T_k, d_v)", Text("values: what each position hands on", "值：每个位置交出的内容"))
WIDTH_OF_KEYS = Letter("d_k", "", Text("numbers per query and key", "每个查询和键的维数"))


def softmax(S: np.ndarray) -> np.ndarray:
    """exp(S_ij) / Σ_j exp(S_ij), for small numbers."""
    return np.exp(S) / np.exp(S).sum(axis=-1, keepdims=True)


def heads_first(a: np.ndarray) -> np.ndarray:
    """(T, D) as one head of one text, (1, 1, T, D)."""
    return a[None, None]


def attention_example() -> list[Step]:
    S = Q @ K.T
    scaled = S / math.sqrt(3)
    E = np.exp(scaled)
    W = E / E.sum(axis=1, keepdims=True)
    engine = F.scaled_dot_product_attention(heads_first(Q), heads_first(K), heads_first(V)).data[0, 0]
    return [
        Step("Q", Q, Text("2 queries of 3 numbers", "2 个查询，各 3 维")),
        Step("K", K, Text("3 keys", "3 个键")),
        Step("V", V, Text("3 values of 2 numbers", "3 个值，各 2 维")),
        Step("S = Q Kᵀ", S, Text("one score per query and key", "每对查询和键一个分数")),
        Step("Z = S/√d_k", scaled, Text("divided by √3", "除以 √3")),
        Step("E = exp(Z)", E),
        Step("n = Σ_j E_ij", E.sum(axis=1), Text("the sum of each row", "每行之和")),
        Step("W = E/n", W, Text("each row sums to 1", "每行之和为 1")),
        Step("O = W V", W @ V, Text("each row is a mean of the values", "每行是各个值的加权平均")),
        Step("engine = scaled_dot_product_attention(Q, K, V)", engine, ENGINE),
    ]


def linear_example() -> list[Step]:
    X = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 1.0]])
    W = np.array([[1.0, 0.0], [2.0, -1.0], [0.5, 1.0]])
    b = np.array([0.0, 1.0, -0.5])
    from minilm.tensor import Tensor

    return [
        Step("X", X, Text("3 words x_i as rows of 2 numbers", "3 个词 x_i，每行一个，各 2 维")),
        Step("W", W, Text("one row per output: 2 → 3", "每行对应一个输出：2 维变 3 维")),
        Step("b", b),
        Step("q₁ = W x₁", W @ X[0], Text("one word, as a column vector", "单独一个词，写成列向量")),
        Step("P = X Wᵀ", X @ W.T, Text("all words at once; its first row is q₁", "所有词一起算；第一行就是 q₁")),
        Step("Y = P + b", X @ W.T + b),
        Step("engine = linear(X, W, b)", F.linear(Tensor(X), Tensor(W), Tensor(b)).data, ENGINE),
    ]


def weights_example() -> list[Step]:
    q = np.array([2.0, 0.0, 2.0, 0.0])
    keys = WORDS
    s = keys @ q
    z = s / 2
    e = np.exp(z)
    ones = np.eye(3)
    engine = F.attention_composed(heads_first(q[None]), heads_first(keys), heads_first(ones)).data[0, 0, 0]
    return [
        Step("q_i", q, Text("one query, d_k = 4", "一个查询，d_k = 4")),
        Step("K", keys, Text("the keys k_j as rows", "各行是键 k_j")),
        Step("s = K q_i", s, Text("the products q_i·k_j", "内积 q_i·k_j")),
        Step("z = s/√d_k", z, Text("divided by √4", "除以 √4")),
        Step("e = exp(z)", e),
        Step("n = Σ_j e_j", e.sum()),
        Step("a = e/n", e / e.sum(), Text("what q_i takes from each position", "q_i 从各位置取多少")),
        Step(
            "engine = attention(q_i, K, I)",
            engine,
            Text("with V = I the output is the weights", "取 V = I，输出就是权重"),
        ),
    ]


def weighted_sum_example() -> list[Step]:
    a = np.array([0.5, 0.25, 0.25])
    parts = a[:, None] * V
    return [
        Step("a_i", a, Text("the weights of one position", "一个位置的权重")),
        Step("V", V, Text("the values v_j as rows", "各行是值 v_j")),
        Step("P = a_ij v_j", parts, Text("each value times its weight", "每个值乘以它的权重")),
        Step("y_i = Σ_j P_j", parts.sum(axis=0)),
        Step("engine = matmul(a_i, V)", F.matmul(a, V).data, ENGINE),
    ]


def self_attention_example() -> list[Step]:
    X = WORDS
    S = X @ X.T
    Z = S / 2
    W = softmax(Z)
    packed = np.concatenate([X, X, X], axis=1)[None]  # queries, keys and values are the words themselves
    return [
        Step("X", X, Text("three words x₁, x₂, x₃ of d = 4", "三个词 x₁、x₂、x₃，d = 4")),
        Step("S = X Xᵀ", S, Text("row i: x_i beside every word", "第 i 行：x_i 与每个词的内积")),
        Step("Z = S/√d_k", Z, Text("divided by √4", "除以 √4")),
        Step("w₁ = softmax(Z₁)", W[0], Text("the weights of the first word", "第一个词的权重")),
        Step("w₂ = softmax(Z₂)", W[1]),
        Step("w₃ = softmax(Z₃)", W[2]),
        Step("X′ = W X", W @ X, Text("one new vector per word", "每个词一个新向量")),
        Step("engine = self_attention([X X X])", F.self_attention(packed, 1).data[0], ENGINE),
    ]


def softmax_example() -> list[Step]:
    x = np.array([2.0, 1.0, -1.0])
    shifted = x - x.max()
    e = np.exp(shifted)
    return [
        Step("x", x),
        Step("m = max(x)", x.max()),
        Step("z = x − m", shifted, Text("changes nothing and keeps exp from overflowing", "结果不变，且 exp 不会溢出")),
        Step("e = exp(z)", e),
        Step("n = Σ_j e_j", e.sum()),
        Step("y = e/n", e / e.sum(), Text("sums to 1", "和为 1")),
        Step("engine = softmax(x)", F.softmax(x).data, ENGINE),
    ]


def matmul_example() -> list[Step]:
    X, Y = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]), np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    return [
        Step("X", X),
        Step("Y", Y),
        Step("Z₁₁ = Σ_k X_1k Y_k1", float(X[0] @ Y[:, 0]), Text("1·1 + 2·2 + 0·0", "1·1 + 2·2 + 0·0")),
        Step("Z = X Y", X @ Y),
        Step("engine = matmul(X, Y)", F.matmul(X, Y).data, ENGINE),
    ]


def multi_head_example() -> list[Step]:
    X = WORDS
    layer: Any = nn.MultiHeadAttention(4, 2, bias=False).double()
    layer.query_key_value.weight.data[...] = np.concatenate([np.eye(4)] * 3)
    layer.output.weight.data[...] = np.eye(4)[::-1]
    heads = [X[:, :2], X[:, 2:]]
    weights = [softmax(head @ head.T / math.sqrt(2)) for head in heads]
    joined = np.concatenate([w @ head for w, head in zip(weights, heads)], axis=1)
    return [
        Step("X", X, Text("3 words of 4 numbers; W_Q = W_K = W_V = I", "3 个词，各 4 维；W_Q = W_K = W_V = I")),
        Step("W_O", np.eye(4)[::-1], Text("turns the order of the features round", "把特征次序倒过来")),
        Step("X₁ = X[:, :2]", heads[0], Text("what head 1 sees", "第 1 个头看到的部分")),
        Step("X₂ = X[:, 2:]", heads[1], Text("what head 2 sees", "第 2 个头看到的部分")),
        Step("A₁ = softmax(X₁ X₁ᵀ/√2)", weights[0]),
        Step("A₂ = softmax(X₂ X₂ᵀ/√2)", weights[1]),
        Step("C = Concat(A₁ X₁, A₂ X₂)", joined),
        Step("Y = C W_Oᵀ", joined @ np.eye(4)[::-1].T),
        Step("engine = MultiHeadAttention(4, 2)(X)", layer(X[None]).data[0], ENGINE),
    ]


def cross_attention_example() -> list[Step]:
    x, encodings = WORDS[:2, :2], np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 0.0]])
    S = x @ encodings.T
    W = softmax(S / math.sqrt(2))
    layer: Any = nn.MultiHeadAttention(2, 1, bias=False, cross=True).double()
    layer.query.weight.data[...] = np.eye(2)
    layer.key_value.weight.data[...] = np.concatenate([np.eye(2)] * 2)
    layer.output.weight.data[...] = np.eye(2)
    from minilm.tensor import Tensor

    return [
        Step("H", x, Text("the decoder's 2 positions: the queries", "解码器的 2 个位置：作查询")),
        Step("C", encodings, Text("the encoder's 3 outputs: keys and values", "编码器的 3 个输出：作键和值")),
        Step("S = H Cᵀ", S, Text("2 rows, 3 columns", "2 行 3 列")),
        Step("W = softmax(S/√2)", W),
        Step("U = W C", W @ encodings, Text("as many rows as the decoder has positions", "行数等于解码器的位置数")),
        Step(
            "engine = MultiHeadAttention(cross=True)(H, C)",
            layer(Tensor(x[None]), Tensor(encodings[None])).data[0],
            ENGINE,
        ),
    ]


FORMULAS = (
    Formula(
        "attention",
        Text("scaled dot-product attention", "缩放点积注意力"),
        "Attention(Q, K, V) = softmax(Q Kᵀ/√d_k) V",
        r"\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V",
        Text(
            "Every query is compared with every key; softmax makes weights of the scores, and the result is the mean of the "
            "values with these weights. Dividing by √d_k keeps the scores' variance at 1, so that softmax does not saturate.",
            "每个查询与每个键比较得分，softmax 把分数变成权重，结果是各个值按权重的平均。除以 √d_k 使分数的方差保持为 "
            "1，softmax 才不会饱和。",
        ),
        (QUERIES, KEYS, VALUES, WIDTH_OF_KEYS),
        attention_example,
        (
            "tests/kernels/test_reference_attention.py::test_attention_in_einsum",
            "tests/properties/test_attention_laws.py::test_law",
            "tests/properties/test_attention_laws.py::test_fused_equals_composed",
        ),
        (("F1", "000 §4.2, 001 §4.1, 003 §2.1, 003 §4.1.1"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.2.1",),
    ),
    Formula(
        "linear",
        Text("linear layer; queries, keys and values", "线性层；查询、键和值的投影"),
        "q_i = W_q x_i,  k_i = W_k x_i,  v_i = W_v x_i\nall words at once:  Y = X Wᵀ + b",
        "q_i = W_q x_i,\\quad k_i = W_k x_i,\\quad v_i = W_v x_i\nY = X W^\\top + b",
        Text(
            "Three matrices make three vectors of each word. The documents write a word as a column; code keeps words as rows "
            "and multiplies by Wᵀ from the right, which is the same.",
            "三个矩阵把每个词变成三个向量。文档把词写成列向量；代码里一行一个词，从右边乘 Wᵀ，两者等价。",
        ),
        (
            Letter("X", "(T, in)", Text("the words x_i as rows", "各行是词 x_i")),
            Letter("W", "(out, in)", Text("one row per output", "每行对应一个输出")),
            Letter("b", "(out,)", Text("the bias", "偏置")),
        ),
        linear_example,
        ("tests/kernels/test_reference_products.py::test_linear_in_einsum", "tests/nn/test_layers.py::test_linear"),
        (("F3", "004 §3.1"),),
    ),
    Formula(
        "attention-weights",
        Text("the attention weights", "注意力权重"),
        "a_ij = exp(q_i·k_j/√d_k) / Σ_j exp(q_i·k_j/√d_k)",
        r"a_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt{d_k})}{\sum_{j'} \exp(q_i \cdot k_{j'} / \sqrt{d_k})}",
        Text(
            "How much position i takes from position j. For q and k with independent entries of variance 1 the product q·k has "
            "the variance d_k, so it is divided by √d_k.",
            "位置 i 从位置 j 取多少。若 q、k 的各分量独立且方差为 1，则 q·k 的方差是 d_k，所以要除以 √d_k。",
        ),
        (
            Letter("q_i", "(d_k,)", Text("a query", "查询")),
            Letter("k_j", "(d_k,)", Text("a key", "键")),
            Letter("a_ij", "(T_q, T_k)", Text("the weights; each row sums to 1", "权重；每行之和为 1")),
        ),
        weights_example,
        (
            "tests/nn/test_attention_weights.py::test_weights_are_the_softmax_of_the_scores",
            "tests/properties/test_attention_laws.py::test_law",
        ),
        (),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.2.1 and its footnote 4",),
    ),
    Formula(
        "weighted-sum",
        Text("the weighted sum of the values", "值的加权和"),
        "y_i = Σ_j a_ij v_j",
        r"y_i = \sum_j a_{ij} v_j",
        Text("The output of a position is the mean of all values, weighted.", "一个位置的输出是所有值的加权平均。"),
        (
            Letter("a_ij", "(T_q, T_k)", Text("the attention weights", "注意力权重")),
            Letter("v_j", "(d_v,)", Text("a value", "值")),
        ),
        weighted_sum_example,
        ("tests/nn/test_attention_weights.py::test_the_result_is_weights_times_values",),
        (("F5", "004 §3.1"),),
    ),
    Formula(
        "self-attention",
        Text("self-attention of a sentence, row by row", "一句话的自注意力，逐行计算"),
        "x′_i = softmax(x_i Xᵀ/√d_k) X",
        r"x'_i = \mathrm{softmax}\!\left(\frac{x_i X^\top}{\sqrt{d_k}}\right) X",
        Text(
            "Row i compares the word x_i with all words of the sentence. This is the worked example of [003 §4.3] done again: "
            "queries, keys and values are the words themselves.",
            "第 i 行拿词 x_i 与句中所有词比较。这里把 [003 §4.3] 的算例重新做一遍：查询、键和值都是词向量本身。",
        ),
        (
            Letter("X", "(T, d)", Text("the words as rows", "各行是词")),
            Letter("x_i", "(d,)", Text("row i of X", "X 的第 i 行")),
        ),
        self_attention_example,
        ("tests/properties/test_attention_laws.py::test_law",),
    ),
    Formula(
        "multi-head",
        Text("multi-head attention", "多头注意力"),
        "MultiHead(X) = Concat(head_1, …, head_h) W_Oᵀ\nhead_i = Attention(X W_Qᵢᵀ, X W_Kᵢᵀ, X W_Vᵢᵀ)",
        "\\mathrm{MultiHead}(X) = \\mathrm{Concat}(\\mathrm{head}_1, \\dots, \\mathrm{head}_h) W_O^\\top\n"
        "\\mathrm{head}_i = \\mathrm{Attention}(X W_{Q,i}^\\top, X W_{K,i}^\\top, X W_{V,i}^\\top)",
        Text(
            "Several attentions side by side, each on its own few features, so that a word can look at different words for "
            "different reasons. The document says this in words; here is the formula.",
            "几个注意力并排，各看一部分特征，一个词便能出于不同的原因看不同的词。文档只用文字说明，这里给出公式。",
        ),
        (
            Letter("h", "", Text("the number of heads", "头数")),
            Letter("W_Qᵢ", "(d/h, d)", Text("the projection of head i", "第 i 个头的投影")),
            Letter("W_O", "(d, d)", Text("mixes the heads", "把各头混合")),
        ),
        multi_head_example,
        (
            "tests/nn/test_multi_head_attention.py::test_against_the_formula",
            "tests/nn/test_attention_weights.py::test_the_result_is_weights_times_values",
        ),
        (("F17", "004 §3.2"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.2.2",),
    ),
    Formula(
        "cross-attention",
        Text("encoder-decoder attention", "交叉注意力（编码器与解码器之间）"),
        "U = Attention(H W_Qᵀ, C W_Kᵀ, C W_Vᵀ)",
        r"U = \mathrm{Attention}(H W_Q^\top, C W_K^\top, C W_V^\top)",
        Text(
            "The decoder asks, the encoder answers: queries come from the decoder's states, keys and values from "
            "the encoder's output.",
            "解码器提问，编码器回答：查询来自解码器的状态，键和值来自编码器的输出。",
        ),
        (
            Letter("H", "(T, d)", Text("the decoder's states", "解码器的状态")),
            Letter(
                "C",
                "(S, d)",
                Text("the encoder's output, one vector per source token", "编码器的输出，每个源词元一个向量"),
            ),
        ),
        cross_attention_example,
        (
            "tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",
            "tests/nn/test_multi_head_attention.py::test_context_may_have_another_length",
        ),
        (("F17", "004 §3.2"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.2.3",),
    ),
    Formula(
        "softmax",
        Text("softmax", "softmax"),
        "softmax(x)_i = exp(x_i) / Σ_j exp(x_j)",
        r"\mathrm{softmax}(x)_i = \frac{\exp(x_i)}{\sum_j \exp(x_j)}",
        Text("Makes probabilities of any numbers: positive, with the sum 1.", "把任意一组数变成概率：都为正，和为 1。"),
        (Letter("x", "(n,)", Text("any numbers", "任意实数")),),
        softmax_example,
        (
            "tests/functional/test_forward.py::test_value",
            "tests/functional/test_forward.py::test_a_slice_of_minus_infinity",
            "tests/properties/test_gradients.py::test_gradient",
        ),
        (("", "001 §4.1"),),
    ),
    Formula(
        "matmul",
        Text("matrix product", "矩阵乘法"),
        "Z_ij = Σ_k X_ik Y_kj",
        r"Z_{ij} = \sum_k X_{ik} Y_{kj}",
        Text("Every row of X with every column of Y.", "X 的每一行与 Y 的每一列作内积。"),
        (
            Letter("X", "(n, k)", Text("the left factor", "左边的矩阵")),
            Letter("Y", "(k, m)", Text("the right factor", "右边的矩阵")),
        ),
        matmul_example,
        ("tests/kernels/test_reference_products.py::test_matmul", "tests/properties/test_gradients.py::test_gradient"),
    ),
)
