"""What the documents say as code, and numbers that show where it fails.

The functions with a tag do what the documents say and are used nowhere else; beside each stands what is right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm.formulas.entry import Letter, Step, Text
from minilm.formulas.families.attention import WORDS, K, Q, V, softmax
from minilm.formulas.families.blocks import CONTEXT, attend
from minilm.formulas.families.layers import W1, W2, X, normalized
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
