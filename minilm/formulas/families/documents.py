"""What the documents have wrong: each of their formulas as it stands there, and numbers that show where it fails.

The functions here do what the documents say and are used nowhere else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import KEYS, QUERIES, VALUES, WORDS, K, Q, V, softmax
from minilm.formulas.families.layers import CONTEXT, HIDDEN, W1, W2, X, attend, normalized
from minilm.formulas.families.positions import WORD, sinusoids

RIGHT = Text("what is right", "正确的结果")
ENTRY = Letter("X", "(T, d)", Text("the words as rows", "各行是词"))
OTHER_FEED_FORWARD = -2 * W2  # a second feed-forward network: the output ought to depend on it


def unscaled_weights(q: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return softmax(keys @ q)  # [eq:unscaled-weights]


def positions_multiplied(x: np.ndarray, PE: np.ndarray) -> np.ndarray:
    return x * PE  # [eq:positions-multiplied]


def block_side_by_side(x: np.ndarray) -> np.ndarray:
    return normalized(x + attend(x, x)) + normalized(x + attend(x, x))  # [eq:block-side-by-side]


def decoder_side_by_side(x: np.ndarray, encoder_of_x: np.ndarray) -> np.ndarray:
    return normalized(x + attend(x, x)) + normalized(x + encoder_of_x)  # [eq:decoder-side-by-side]


def values_first(Q: np.ndarray, K: np.ndarray, V: np.ndarray) -> np.ndarray:
    S = Q @ K.T  # [eq:values-first]
    W = softmax(S)  # [eq:values-first]
    return V @ W  # [eq:values-first]


def normalized_twice(x: np.ndarray) -> np.ndarray:
    residual = x + attend(x, x)  # [eq:normalized-twice]
    return normalized(normalized(residual))  # [eq:normalized-twice]


def decoder_without_context(x: np.ndarray, context: np.ndarray) -> np.ndarray:
    residual = x + attend(x, x)  # [eq:decoder-without-context]
    return normalized(normalized(residual))  # [eq:decoder-without-context]: context is never read


def softmax_of_one_number(X: np.ndarray) -> np.ndarray:
    weights = [softmax(np.array([x @ x / math.sqrt(X.shape[1])])) for x in X]  # [eq:softmax-of-one-number]
    return np.sum([w[0] * X for w in weights], axis=0)  # [eq:softmax-of-one-number]


def encoder_block(x: np.ndarray, down: np.ndarray = W2) -> np.ndarray:
    """The block as it should be; down: W₂ of its feed-forward network."""
    h = normalized(x + attend(x, x))
    return normalized(h + np.maximum(h @ W1.T, 0) @ down.T)


def decoder_block(x: np.ndarray, context: np.ndarray) -> np.ndarray:
    """The decoder block as it should be."""
    seen = np.where(np.tri(len(x), dtype=bool), x @ x.T / math.sqrt(x.shape[1]), -np.inf)
    h = normalized(x + softmax(seen) @ x)
    u = normalized(h + attend(h, context))
    return normalized(u + np.maximum(u @ W1.T, 0) @ W2.T)


# --- counter-examples -------------------------------------------------------------------------------------------------


def wide_query_and_keys() -> tuple[np.ndarray, np.ndarray]:
    """A query and 4 keys with d_k = 256 independent numbers of variance 1."""
    generator = np.random.default_rng(0)
    return generator.standard_normal(256), generator.standard_normal((4, 256))


def compare_weights() -> tuple[Any, Any]:
    q, keys = wide_query_and_keys()
    return unscaled_weights(q, keys), softmax(keys @ q / math.sqrt(256))


def weights_example() -> list[Step]:
    q, keys = wide_query_and_keys()
    wrong, right = compare_weights()
    products = np.random.default_rng(1).standard_normal((2, 20000, 64))
    return [
        Step(
            "Var(q·k) = mean((q·k)²)",
            float(((products[0] * products[1]).sum(1) ** 2).mean()),
            Text("20000 pairs with d_k = 64: about 64", "20000 对，d_k = 64：约为 64"),
        ),
        Step("s = K q", keys @ q, Text("one query, 4 keys, d_k = 256", "一个查询，4 个键，d_k = 256")),
        Step("a = softmax(s)", wrong, Text("one key takes all", "一个键独占全部权重")),
        Step(
            "g = max_j a_j (1 − a_j)",
            float((wrong * (1 - wrong)).max()),
            Text("the slope of softmax: nothing is learned through it", "softmax 的斜率几乎为 0，学不到东西"),
        ),
        Step("z = s/√d_k", keys @ q / 16),
        Step("a′ = softmax(z)", right, RIGHT),
        Step("g′ = max_j a′_j (1 − a′_j)", float((right * (1 - right)).max())),
    ]


def compare_positions() -> tuple[Any, Any]:
    x, PE = np.tile(WORD, (3, 1)), sinusoids(3, 4)
    return positions_multiplied(x, PE), x + PE


def positions_example() -> list[Step]:
    PE = sinusoids(3, 4)
    other = np.array([9.0, 1.0, 9.0, 2.0])
    wrong, right = compare_positions()
    return [
        Step("x", WORD, Text("one word", "一个词")),
        Step("x₂", other, Text("another word", "另一个词")),
        Step("PE", PE, Text("positions 0, 1 and 2; sin 0 = 0", "位置 0、1、2；sin 0 = 0")),
        Step(
            "p = x PE₀",
            wrong[0],
            Text("the product at position 0: half of the word is gone", "位置 0 处相乘：词的一半没有了"),
        ),
        Step(
            "p₂ = x₂ PE₀", other * PE[0], Text("the other word has become the same vector", "另一个词变成了同一个向量")
        ),
        Step("y = x + PE₀", right[0], RIGHT),
        Step("y₂ = x₂ + PE₀", other + PE[0]),
    ]


def compare_block() -> tuple[Any, Any]:
    return block_side_by_side(X), encoder_block(X)


def block_example() -> list[Step]:
    wrong, right = compare_block()
    return [
        Step("x", X),
        Step("n = Norm(x + A(x))", normalized(X + attend(X, X))),
        Step("H = n + n", wrong, Text("both terms are the same: H = 2 n", "两项完全相同：H = 2 n")),
        Step(
            "v = mean(H²)",
            (wrong**2).mean(axis=1),
            Text("the variance is 4, so it is not even normalized", "方差是 4，连归一化都谈不上"),
        ),
        Step("y = Norm(h + FFN(h))", right, RIGHT),
        Step(
            "y₂ = Norm(h + FFN₂(h))",
            encoder_block(X, OTHER_FEED_FORWARD),
            Text("another feed-forward network; H cannot tell the two apart", "换一个前馈网络；H 却分辨不出两者"),
        ),
    ]


def compare_decoder() -> tuple[Any, Any]:
    return decoder_side_by_side(X, encoder_block(X)), decoder_block(X, CONTEXT)


def decoder_example() -> list[Step]:
    wrong, right = compare_decoder()
    other = CONTEXT[::-1] * 3
    return [
        Step("x", X, Text("the decoder's input", "解码器的输入")),
        Step("C", CONTEXT, Text("what the encoder made of one source sentence", "编码器对一个源句的输出")),
        Step("C₂", other, Text("and of another", "对另一个源句的输出")),
        Step(
            "Y = Norm(x + A(x)) + Norm(x + Encoder(x))",
            wrong,
            Text("the same for C and C₂: the source is not read", "对 C 和 C₂ 都一样：根本没有读源句"),
        ),
        Step("y = decoder-block(x, C)", right, RIGHT),
        Step(
            "y₂ = decoder-block(x, C₂)",
            decoder_block(X, other),
            Text("another source, another output", "源句不同，输出也不同"),
        ),
    ]


def compare_values_first() -> tuple[Any, Any]:
    square = V[[0, 2]].T  # (2, 2), so that V W exists at all
    keys = K[:2]
    return values_first(Q, keys, square), softmax(Q @ keys.T / math.sqrt(3)) @ square


def values_first_example() -> list[Step]:
    wrong, right = compare_values_first()
    try:
        values_first(Q, K, V[:, :1])
        message = "it can be formed"
    except ValueError:
        message = "(3, 1) times (2, 3): the inner lengths 1 and 2 differ"
    square = V[[0, 2]].T
    return [
        Step("shapes = V W", message, Text("2 queries, 3 keys, values of 1 number", "2 个查询、3 个键、值只有 1 维")),
        Step(
            "V", square, Text("with 2 keys and values of 2 numbers V W exists ...", "2 个键、值为 2 维时 V W 才存在……")
        ),
        Step("W = softmax(Q Kᵀ)", softmax(Q @ K[:2].T)),
        Step(
            "H = V W", wrong, Text("... and mixes the features of V, not its rows", "……但混合的是 V 的特征，而不是各行")
        ),
        Step("W′ = softmax(Q Kᵀ/√d_k)", softmax(Q @ K[:2].T / math.sqrt(3))),
        Step("O = W′ V", right, RIGHT),
    ]


def compare_normalized_twice() -> tuple[Any, Any]:
    return normalized_twice(X), encoder_block(X)


def normalized_twice_example() -> list[Step]:
    wrong, right = compare_normalized_twice()
    once = normalized(X + attend(X, X))
    return [
        Step("x", X),
        Step("N = Norm(x + A(x))", once),
        Step("H = Norm(N)", wrong, Text("normalized again", "再归一化一次")),
        Step(
            "δ = max|H − N|",
            float(np.abs(wrong - once).max()),
            Text("the second norm does nothing", "第二次归一化什么也没做"),
        ),
        Step("y = Norm(h + FFN(h))", right, RIGHT),
        Step(
            "y₂ = Norm(h + FFN₂(h))",
            encoder_block(X, OTHER_FEED_FORWARD),
            Text("another feed-forward network changes it; H has none", "换一个前馈网络结果就变；H 里没有前馈网络"),
        ),
    ]


def compare_without_context() -> tuple[Any, Any]:
    return decoder_without_context(X, CONTEXT), decoder_block(X, CONTEXT)


def without_context_example() -> list[Step]:
    wrong, right = compare_without_context()
    other = CONTEXT[::-1] * 3
    change = float(np.abs(decoder_without_context(X, other) - wrong).max())
    return [
        Step("x", X),
        Step("C", CONTEXT, Text("one source sentence", "一个源句")),
        Step("C₂", other, Text("another", "另一个源句")),
        Step("H = Norm(Norm(x + A(x)))", wrong),
        Step("δ = max|H(C₂) − H(C)|", change, Text("the source makes no difference at all", "换了源句，结果毫无变化")),
        Step("y = decoder-block(x, C)", right, RIGHT),
        Step("δ′ = max|y(C₂) − y(C)|", float(np.abs(decoder_block(X, other) - right).max())),
    ]


def compare_one_number() -> tuple[Any, Any]:
    return softmax_of_one_number(WORDS), softmax(WORDS @ WORDS.T / 2) @ WORDS


def one_number_example() -> list[Step]:
    wrong, right = compare_one_number()
    numbers = (WORDS * WORDS).sum(axis=1) / 2
    return [
        Step(
            "X",
            WORDS,
            Text("the three words of `minilm explain self-attention`", "与 minilm explain self-attention 相同的三个词"),
        ),
        Step("s_i = x_i x_iᵀ/√d_k", numbers, Text("one number for each word", "每个词只得到一个数")),
        Step(
            "w_i = softmax(s_i)",
            np.ones(3),
            Text("softmax of a single number is 1, whatever it is", "单个数的 softmax 总是 1"),
        ),
        Step("X′ = Σ_i w_i X", wrong, Text("3 X: no word has looked at another", "就是 3 X：没有一个词看过别的词")),
        Step(
            "W = softmax(X Xᵀ/√d_k)",
            softmax(WORDS @ WORDS.T / 2),
            Text("one row of weights per word", "每个词一行权重"),
        ),
        Step("Y = W X", right, RIGHT),
    ]


FORMULAS = (
    Formula(
        "unscaled-weights",
        Text("weights without √d_k", "没有除以 √d_k 的权重"),
        "a_ij = exp(q_i·k_j) / Σ_j exp(q_i·k_j)",
        r"a_{ij} = \frac{\exp(q_i \cdot k_j)}{\sum_{j'} \exp(q_i \cdot k_{j'})}",
        Text(
            "The scores have the variance d_k. With wide queries and keys one weight is nearly 1, the others nearly 0, and the "
            "gradient through softmax vanishes.",
            "分数的方差是 d_k。维数一高，一个权重接近 1，其余接近 0，softmax 处的梯度就消失了。",
        ),
        (Letter("q_i, k_j", "(d_k,)", Text("a query and a key", "一个查询和一个键")),),
        weights_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/properties/test_mutants.py::test_mutant_is_caught",
        ),
        (("F4", "004 §3.1"),),
        (),
        "attention-weights",
        compare_weights,
    ),
    Formula(
        "positions-multiplied",
        Text("positions multiplied instead of added", "位置编码写成相乘"),
        "word_embedding(w) = Embedding(w) · PositionalEncoding(p)",
        r"\mathrm{word\_embedding}(w) = \mathrm{Embedding}(w) \cdot \mathrm{PositionalEncoding}(p)",
        Text(
            "Where a sine is 0 a product erases what the word said; two different words become the same. The Transformer adds.",
            "正弦为 0 的地方，相乘会抹掉词的内容，不同的词变成一样的。Transformer 用的是相加。",
        ),
        (
            Letter("x", "(n,)", Text("the word's embedding", "词嵌入")),
            Letter("PE", "(T, n)", Text("the sinusoids", "正弦编码")),
        ),
        positions_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/models/test_transformer.py::test_what_goes_into_the_first_block",
            "tests/models/test_bert.py::test_the_embeddings_are_added_and_normalized",
        ),
        (("F6", "002 §4.2"),),
        (),
        "sinusoidal-positions",
        compare_positions,
    ),
    Formula(
        "block-side-by-side",
        Text("an encoder block with its parts side by side", "编码器块写成两项并排相加"),
        "H = LayerNorm(X + SelfAttention(X)) + LayerNorm(X + SelfAttention(X))",
        r"H = \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))"
        "\n"
        r"  + \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))",
        Text(
            "Twice the same term, and no feed-forward network. The sub-layers follow one another, and the second is the "
            "feed-forward network.",
            "两项一模一样，也没有前馈网络。正确的写法是两个子层依次相接，第二个是前馈网络。",
        ),
        (HIDDEN,),
        block_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/models/test_bert.py::test_a_block_by_its_formula",
        ),
        (("F8", "003 §4.1.2"),),
        (),
        "block",
        compare_block,
    ),
    Formula(
        "decoder-side-by-side",
        Text("a decoder block with its parts side by side", "解码器块写成两项并排相加"),
        "Y = LayerNorm(X + SelfAttention(X)) + LayerNorm(X + Encoder(X))",
        r"Y = \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))"
        "\n"
        r"  + \mathrm{LayerNorm}(X + \mathrm{Encoder}(X))",
        Text(
            "The encoder is applied to the decoder's own input, so the source sentence is never read. Cross-attention "
            "takes its "
            "keys and values from what the encoder made of the source; the sub-layers stand in sequence, then comes the "
            "feed-forward network.",
            "这里把编码器用在解码器自己的输入上，源句根本没有读到。交叉注意力的键和值应取自编码器对源句的输出；各子层依次相接，最后是前馈网络。",
        ),
        (HIDDEN,),
        decoder_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",
        ),
        (("F9", "003 §4.1.3"),),
        (),
        "decoder-block",
        compare_decoder,
    ),
    Formula(
        "values-first",
        Text("attention with the last product the wrong way round", "最后一步乘反了的注意力"),
        "S = Q Kᵀ;  W = softmax(S);  H = V W",
        r"S = Q K^\top;\quad W = \mathrm{softmax}(S);\quad H = V W",
        Text(
            "√d_k is lost, and V W has no meaning: W has a row per query and a column per key, so it stands on "
            "the left, H = W V.",
            "漏了 √d_k，而且 V W 没有意义：W 的行对应查询、列对应键，应放在左边，H = W V。",
        ),
        (QUERIES, KEYS, VALUES),
        values_first_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/kernels/test_reference_attention.py::test_attention_in_einsum",
        ),
        (("F10", "003 §4.2.1"),),
        (),
        "attention",
        compare_values_first,
    ),
    Formula(
        "normalized-twice",
        Text("an encoder block that normalizes twice", "归一化两次的编码器块"),
        "X′ = SelfAttention(X);  X″ = X + X′;  X‴ = LayerNorm(X″);  H = LayerNorm(X‴)",
        r"X' = \mathrm{SelfAttention}(X);\; X'' = X + X'"
        "\n"
        r"   X''' = \mathrm{LayerNorm}(X'');\; H = \mathrm{LayerNorm}(X''')",
        Text(
            'Its last step is said to be "attention again" and is a second norm, which changes nothing but for ε. The '
            "feed-forward sub-layer is missing.",
            "最后一步文字上说“再做一次注意力”，写出来却是第二次归一化，除 ε 的影响外毫无作用。缺了前馈子层。",
        ),
        (ENTRY,),
        normalized_twice_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_layers.py::test_transformer_block",
        ),
        (("F11", "003 §4.2.2"),),
        (),
        "block",
        compare_normalized_twice,
    ),
    Formula(
        "decoder-without-context",
        Text("a decoder block that never reads the encoder", "从不读编码器的解码器块"),
        "X′ = SelfAttention(X);  X″ = X + X′;  X‴ = LayerNorm(X″);  H = LayerNorm(X‴)",
        r"X' = \mathrm{SelfAttention}(X);\; X'' = X + X'"
        "\n"
        r"   X''' = \mathrm{LayerNorm}(X'');\; H = \mathrm{LayerNorm}(X''')",
        Text(
            'An "encoder attention" is named and never formed: no formula reads the encoder\'s output. It is a sub-layer of '
            "its "
            "own, between self-attention and feed-forward.",
            "文中提到“编码器注意力”，却没有写出来：没有一个式子读编码器的输出。它应是自注意力与前馈网络之间的一个独立子层。",
        ),
        (ENTRY, Letter("C", "(S, d)", Text("the encoder's output", "编码器的输出"))),
        without_context_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",
        ),
        (("F12", "003 §4.2.3"),),
        (),
        "decoder-block",
        compare_without_context,
    ),
    Formula(
        "softmax-of-one-number",
        Text("the worked example with the softmax of one number", "算例中对单个数取 softmax"),
        "X = [x₁, x₂, x₃],  X′ = Σ_i softmax(x_i x_iᵀ/√d_k) X",
        r"X' = \sum_i \mathrm{softmax}\!\left(\frac{x_i x_i^\top}{\sqrt{d_k}}\right) X",
        Text(
            "x_i x_iᵀ is one number and its softmax is 1, so X′ = 3 X whatever the words are. Row i needs softmax(x_i "
            "Xᵀ/√d_k) X.",
            "x_i x_iᵀ 是一个数，它的 softmax 是 1，所以不管是什么词，X′ 都等于 3 X。第 i 行应是 softmax(x_i Xᵀ/√d_k) X。",
        ),
        (ENTRY,),
        one_number_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/formulas/test_formula_examples.py::test_the_numbers_of_the_worked_examples",
        ),
        (("F13", "003 §4.3"),),
        (),
        "self-attention",
        compare_one_number,
    ),
)
