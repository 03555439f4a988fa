"""How blocks are put together: residuals, encoder and decoder blocks, the encoder-decoder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import nn
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE, softmax
from minilm.formulas.families.layers import HIDDEN, W1, W2, X, normalized
from minilm.tensor import Tensor

NORM = Letter("Norm", "", Text("layer norm", "层归一化"))
CONTEXT = np.array([[1.0, 1.0, 0.0], [2.0, 0.0, 1.0]])


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


FORMULAS = (
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
)
