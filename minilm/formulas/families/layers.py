"""Layers and how blocks are put together: norms, feed-forward, residuals, encoder and decoder blocks, adapters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import functional as F
from minilm import nn
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE, softmax
from minilm.nn.lora import LowRank
from minilm.tensor import Tensor

FEATURES = Letter("x", "(…, n)", Text("n features of one position", "一个位置的 n 个特征"))
HIDDEN = Letter("x", "(T, d)", Text("one row per position", "每个位置一行"))
NORM = Letter("Norm", "", Text("layer norm", "层归一化"))
X = np.array([[1.0, 0.0, 2.0], [0.0, 2.0, 1.0]])
CONTEXT = np.array([[1.0, 1.0, 0.0], [2.0, 0.0, 1.0]])
W1 = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 1.0, 0.0], [0.5, 0.0, 1.0]])
W2 = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.5, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])


def normalized(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def attend(x: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Attention with the identity for every projection."""
    return softmax(x @ context.T / math.sqrt(x.shape[-1])) @ context


def block_with_plain_weights(cross: bool) -> nn.TransformerBlock:
    """A post-norm block of width 3 in float64: all projections the identity, W₁ and W₂ as above, no biases."""
    block: Any = nn.TransformerBlock(
        3, 1, intermediate_size=4, activation="relu", norm_first=False, bias=False, cross=cross
    ).double()
    block.attention.query_key_value.weight.data[...] = np.concatenate([np.eye(3)] * 3)
    block.attention.output.weight.data[...] = np.eye(3)
    if cross:
        block.cross_attention.query.weight.data[...] = np.eye(3)
        block.cross_attention.key_value.weight.data[...] = np.concatenate([np.eye(3)] * 2)
        block.cross_attention.output.weight.data[...] = np.eye(3)
    block.feed_forward.up.weight.data[...] = W1
    block.feed_forward.down.weight.data[...] = W2
    return block


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


def block_example() -> list[Step]:
    a = attend(X, X)
    h = normalized(X + a)
    f = np.maximum(h @ W1.T, 0) @ W2.T
    engine = block_with_plain_weights(False)(Tensor(X[None]))
    return [
        Step("x", X, Text("2 positions; all projections are the identity", "2 个位置；各投影矩阵都取单位阵")),
        Step("W₁", W1, Text("of the feed-forward network", "前馈网络的第一个矩阵")),
        Step("W₂", W2),
        Step("A = Attention(x, x, x)", a),
        Step("R = x + A", X + a, Text("the residual connection", "残差连接")),
        Step("h = Norm(R)", h, Text("first sub-layer done", "第一个子层到此为止")),
        Step("f = max(h W₁ᵀ, 0) W₂ᵀ", f, Text("the feed-forward network reads h, not x", "前馈网络读的是 h，不是 x")),
        Step("y = Norm(h + f)", normalized(h + f)),
        Step("engine = TransformerBlock(3, 1, norm_first=False)(x)", engine.data[0], ENGINE),
    ]


def decoder_example() -> list[Step]:
    S = X @ X.T / math.sqrt(3)
    W = softmax(np.where(np.tri(2, dtype=bool), S, -np.inf))
    h = normalized(X + W @ X)
    c = attend(h, CONTEXT)
    u = normalized(h + c)
    f = np.maximum(u @ W1.T, 0) @ W2.T
    engine = block_with_plain_weights(True)(Tensor(X[None]), causal=True, context=Tensor(CONTEXT[None]))
    return [
        Step(
            "x",
            X,
            Text("2 target positions; all projections are the identity", "目标端 2 个位置；各投影矩阵都取单位阵"),
        ),
        Step("C", CONTEXT, Text("the encoder's output, 2 source positions", "编码器输出，源端 2 个位置")),
        Step("W₁", W1),
        Step("W₂", W2),
        Step(
            "W = softmax(mask(x xᵀ/√3))",
            W,
            Text("causal: position 1 sees itself only", "因果掩码：位置 1 只看得见自己"),
        ),
        Step("h = Norm(x + W x)", h, Text("1st sub-layer: causal self-attention", "第一子层：因果自注意力")),
        Step("c = Attention(h, C, C)", c, Text("queries from h, keys and values from C", "查询来自 h，键和值来自 C")),
        Step("u = Norm(h + c)", u, Text("2nd sub-layer: cross-attention", "第二子层：交叉注意力")),
        Step("f = max(u W₁ᵀ, 0) W₂ᵀ", f),
        Step("y = Norm(u + f)", normalized(u + f), Text("3rd sub-layer: feed-forward", "第三子层：前馈网络")),
        Step("engine = TransformerBlock(3, 1, cross=True)(x, C)", engine.data[0], ENGINE),
    ]


def encoder_decoder_example() -> list[Step]:
    from minilm.models.transformer import Transformer, TransformerConfig

    config = TransformerConfig(
        vocab_size=5, max_positions=8, num_encoder_layers=1, num_decoder_layers=1, num_heads=1, hidden_size=4,
        dropout=0.0, label_smoothing=0.0,
    )  # fmt: skip
    model: Any = Transformer(config, np.random.default_rng(0)).double()
    source, labels = np.array([[3, 4, 2]]), np.array([[4, 3, 2]])
    encodings = model.encode(source).last_hidden_state
    shifted = np.array([[1, 4, 3]])
    logits = model(encoder_outputs=encodings, decoder_input_ids=shifted).logits.data[0]
    P = softmax(logits)
    losses = -np.log(P[np.arange(3), labels[0]])
    return [
        Step("source", source[0], Text("3 tokens of a vocabulary of 5", "3 个词元，词表大小为 5")),
        Step(
            "labels", labels[0], Text("what the decoder is to say; 2 ends a text", "解码器应当说出的词元；2 表示结束")
        ),
        Step("shifted = (start, labels without the last)", shifted[0], Text("start is 1", "起始词元是 1")),
        Step(
            "C = Encoder(source)",
            encodings.data[0],
            Text("one vector per source token, not one in all", "每个源词元一个向量，不是总共一个"),
        ),
        Step(
            "Z = Head(Decoder(shifted, C))",
            logits,
            Text("row t scores the token t of labels", "第 t 行给 labels 的第 t 个词元打分"),
        ),
        Step("P = softmax(Z)", P),
        Step("l = −ln P(labels_t)", losses),
        Step("L = mean(l)", losses.mean()),
        Step("engine = Transformer(source, labels).loss", model(source, labels=labels).loss.item(), ENGINE),
    ]


def shift_right_example() -> list[Step]:
    from minilm.models.seq2seq import shift_right

    labels = np.array([[7, 8, 9, 2, -100]])
    return [
        Step(
            "labels",
            labels[0],
            Text("the target; −100 is padding that does not count", "目标；−100 是不计入损失的填充"),
        ),
        Step("s = (start, labels without the last)", np.array([1, 7, 8, 9, 2]), Text("start is 1", "起始词元是 1")),
        Step("engine = shift_right(labels, 1, 0)", shift_right(labels, 1, 0)[0], ENGINE),
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
        "block",
        Text("the encoder block: two sub-layers in sequence", "编码器块：两个子层依次相接"),
        "h = Norm(x + Attention(x))\ny = Norm(h + FeedForward(h))",
        "h = \\mathrm{LayerNorm}(x + \\mathrm{Attention}(x))\ny = \\mathrm{LayerNorm}(h + \\mathrm{FFN}(h))",
        Text(
            "First attention, then the feed-forward network; each has a residual connection and a norm, and the second reads "
            "what the first made. (GPT-2 puts the norms before the sub-layers: pre-norm.)",
            "先是注意力，再是前馈网络；各带残差连接和归一化，第二个子层读第一个子层的结果。（GPT-2 把归一化放在子层之前，"
            "称为前置归一化。）",
        ),
        (HIDDEN, Letter("h", "(T, d)", Text("what the first sub-layer made", "第一个子层的结果")), NORM),
        block_example,
        (
            "tests/nn/test_layers.py::test_transformer_block",
            "tests/models/test_bert.py::test_a_block_by_its_formula",
        ),
        (("F17", "004 §3.2"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.1",),
    ),
    Formula(
        "decoder-block",
        Text("the decoder block: three sub-layers in sequence", "解码器块：三个子层依次相接"),
        "h = Norm(x + CausalSelfAttention(x))\nu = Norm(h + CrossAttention(h, C))\ny = Norm(u + FeedForward(u))",
        "h = \\mathrm{LayerNorm}(x + \\mathrm{CausalSelfAttention}(x))\n"
        "u = \\mathrm{LayerNorm}(h + \\mathrm{CrossAttention}(h, C))\ny = \\mathrm{LayerNorm}(u + \\mathrm{FFN}(u))",
        Text(
            "Between self-attention and feed-forward stands a third sub-layer, which reads keys and values from the encoder's "
            "output C.",
            "自注意力与前馈网络之间多一个子层，它的键和值取自编码器的输出 C。",
        ),
        (
            HIDDEN,
            Letter("C", "(S, d)", Text("the encoder's output", "编码器的输出")),
            Letter("h, u", "(T, d)", Text("what the sub-layers made", "各子层的结果")),
            NORM,
        ),
        decoder_example,
        ("tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",),
        (("F17", "004 §3.2"),),
        ("Vaswani et al. 2017, Attention Is All You Need, §3.1",),
    ),
    Formula(
        "encoder-decoder",
        Text("encoder and decoder", "编码器与解码器"),
        "C = Encoder(source),  logits = Head(Decoder(shifted target, C))",
        r"C = \mathrm{Encoder}(x),\quad z = \mathrm{Head}(\mathrm{Decoder}(\mathrm{shift}(y), C))",
        Text(
            'The document gives the decoder "Inputs": that is right once they are the target, moved one place to the right, so '
            "that position t sees only the tokens before t.",
            "文档写解码器的输入是 Inputs：把它理解为右移一位的目标序列就对了，这样位置 t 只看得见 t 之前的词元。",
        ),
        (
            Letter("C", "(S, d)", Text("one vector per source token", "每个源词元一个向量")),
            Letter("logits", "(T, V)", Text("a score for every token of the vocabulary", "词表中每个词元的得分")),
        ),
        encoder_decoder_example,
        (
            "tests/models/test_transformer.py::test_it_learns_to_reverse",
            "tests/models/test_transformer.py::test_padding_future_and_cache",
        ),
        (("F7", "002 §4.2"),),
    ),
    Formula(
        "shift-right",
        Text("the decoder's input", "解码器的输入"),
        "s_1 = start,  s_t = label_(t−1)",
        r"s_1 = \mathrm{start},\quad s_t = y_{t-1}",
        Text(
            "The target moved one place to the right: position t is given token t − 1 and is to say token t.",
            "目标右移一位：位置 t 得到第 t − 1 个词元，要说出第 t 个。",
        ),
        (Letter("label", "(T,)", Text("the target's tokens", "目标序列的词元")),),
        shift_right_example,
        ("tests/models/test_t5.py::test_labels_are_shifted_inside",),
        (("F7", "002 §4.2"),),
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
