"""Assignment 2, attention. The source of the notebook: text in two languages, stubs and solutions, visible and hidden tests.

How it is written: lessons/course/sources.py. Wrong solutions that the tests must catch: a2_attention.wrong.toml.
"""
# ruff: noqa: E402, E501, F821, N816

# %% [markdown] lang="en"
# # Assignment 2: attention
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V$$
#
# One line, and the heart of every Transformer. You write it forward and backward, with masks and heads, and then once more the way fast kernels do: without ever storing
# the table of weights. 100 points, 3 to 5 hours, after chapters 4 and 12.
#
# **How to work.** Run the cells from top to bottom (Shift + Enter). Write your code where it says `YOUR CODE HERE` and
# delete the line `raise NotImplementedError()`. The cell below it checks what you wrote; when it is silent, you are right so far, and
# when it is not, it says what was expected. There are also **hidden tests**: the same questions with other shapes and numbers.
#
# - Use NumPy, and Numba in the last task; no other library. Add cells of your own wherever you like, but do not delete, copy or split the cells that are there, and do not rename the file.
# - Each task is graded by itself. Where a task builds on an earlier one, the notebook imports minilm's version first, so an
#   earlier mistake costs nothing later.
# - Before you hand in: *Kernel → Restart & Run All*.
#
# **Shapes.** $Q$ is $(\dots, T_q, d_k)$, one row for each query; $K$ is $(\dots, T_k, d_k)$ and $V$ is $(\dots, T_k, d_v)$. The dots may be nothing, a batch, or a batch and heads: write `@`,
# `swapaxes(-1, -2)` and `axis=-1`, and they take care of themselves.

# %% [markdown] lang="zh"
# # 作业 2：注意力
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V$$
#
# 只有一行，却是每个 Transformer 的核心。你要写出它的前向和反向，加上掩码和多头，然后照快速内核的做法再写一遍：始终不存整张权重表。
# 共 100 分，约 3 到 5 小时，学完第 4 章和第 12 章后做。
#
# **怎么做。** 从上到下逐个运行单元格（Shift + Enter）。在写着“在这里写你的代码”的地方写代码，并删去 `raise NotImplementedError()` 这一行。
# 下面的单元格会检查你写的内容：没有输出，说明到目前为止是对的；有输出，它会告诉你应当得到什么。此外还有**隐藏测试**：同样的问题，换成别的形状和数。
#
# - 只用 NumPy，最后一题用 Numba，不用其他库。可以在任何地方加自己的单元格，但不要删除、复制或拆分已有的单元格，也不要改文件名。
# - 各题单独计分。如果某题要用到前面的题，笔记本会先导入 minilm 的版本，所以前面的错误不会影响后面的得分。
# - 提交前请执行 *Kernel → Restart & Run All*。
#
# **形状。** $Q$ 是 $(\dots, T_q, d_k)$，每个查询一行；$K$ 是 $(\dots, T_k, d_k)$，$V$ 是 $(\dots, T_k, d_v)$。省略号处可以什么都没有，可以是批，也可以是批和头：用 `@`、
# `swapaxes(-1, -2)` 和 `axis=-1` 来写，这些轴就不用操心了。

# %% role="given"
import checks
import numpy as np

# %% [markdown] lang="en"
# ## 1. Softmax (10 points)
#
# $$\mathrm{softmax}(x)_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# along an axis. It must be right for scores of any size: $e^{1000}$ is infinity for a computer, and $e^{-1000}$ is zero. Which number can you subtract from all $x_i$ of a slice so that nothing overflows and the
# sum cannot become zero?

# %% [markdown] lang="zh"
# ## 1. Softmax（10 分）
#
# $$\mathrm{softmax}(x)_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# 沿给定的轴计算。分数不论多大多小，结果都要对：对计算机来说 $e^{1000}$ 是无穷大，$e^{-1000}$ 是零。从一个切片的所有 $x_i$ 中减去哪个数，既不会溢出，和也不会变成零？


# %% task="softmax"
def softmax(x, axis=-1):
    """exp(x_i) / Σ_j exp(x_j) along the axis.  Returns an array of x's shape; each slice along the axis sums to 1."""
    ### BEGIN SOLUTION
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
    ### END SOLUTION


# %% test="softmax" points=6
x = np.log([[1.0, 3.0], [2.0, 2.0]])
before = x.copy()
checks.close(
    softmax(x),
    [[0.25, 0.75], [0.5, 0.5]],
    "softmax(log [[1, 3], [2, 2]])",
    checks.tr(
        "By default the sum runs over the last axis: each row sums to 1.", "默认沿最后一个轴求和：每一行之和为 1。"
    ),
)
checks.unchanged([x], [before], "softmax")
checks.close(
    softmax(x, axis=0),
    [[1 / 3, 0.6], [2 / 3, 0.4]],
    "softmax(log [[1, 3], [2, 2]], axis=0)",
    checks.tr("With axis=0 each column sums to 1.", "axis=0 时每一列之和为 1。"),
)
checks.close(
    softmax(np.array([1000.0, 1000.0])),
    [0.5, 0.5],
    "softmax([1000, 1000])",
    checks.tr(
        "exp(1000) overflows. Shift first: softmax(x) = softmax(x − c) for every number c.",
        "exp(1000) 会溢出。先平移：对任何数 c，softmax(x) = softmax(x − c)。",
    ),
)

# %% hidden="softmax" points=4
from minilm import functional as F
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for shape, axis, size in [((7,), -1, 1.0), ((3, 4), 0, 5.0), ((2, 3, 4), 1, 100.0), ((2, 2, 6), -1, 2000.0)]:
    x = size * rng.normal(size=shape)
    before = x.copy()
    checks.close(softmax(x, axis), F.softmax(Tensor(x), axis).data, f"softmax(x {shape}, axis={axis}), |x| ~ {size:g}")
    checks.unchanged([x], [before], "softmax")
checks.close(
    softmax(np.array([[-1000.0, -1000.0], [1000.0, 1000.0]])),
    np.full((2, 2), 0.5),
    "softmax([[−1000, −1000], [1000, 1000]])",
)

# %% [markdown] lang="en"
# ## 2. Scaled dot-product attention (14 points)
#
# $S = QK^\top/\sqrt{d_k}$ holds a score for each query and key, $W = \mathrm{softmax}(S)$ a weight, and $O = WV$ mixes the rows of $V$ by them. The softmax runs over the **keys**: what one query sees sums to 1.
# Return both, $O$ and $W$. From here on `softmax(x, axis=-1)` is minilm's.

# %% [markdown] lang="zh"
# ## 2. 缩放点积注意力（14 分）
#
# $S = QK^\top/\sqrt{d_k}$ 中，每个查询和键有一个分数；$W = \mathrm{softmax}(S)$ 是权重；$O = WV$ 按权重混合 $V$ 的各行。softmax 沿**键**计算：一个查询所看到的权重之和为 1。
# 返回 $O$ 和 $W$ 两者。从这里起，`softmax(x, axis=-1)` 是 minilm 的版本。

# %% role="given"
from minilm import functional as F
from minilm.tensor import Tensor


def softmax(x, axis=-1):
    """minilm's softmax, on arrays."""
    return F.softmax(Tensor(x), axis).data


# %% task="attention"
def attention(Q, K, V):
    """softmax(Q Kᵀ / √d_k) V.  Returns (O, W): (..., Tq, d_v) and the weights (..., Tq, Tk)."""
    ### BEGIN SOLUTION
    S = Q @ K.swapaxes(-1, -2) / np.sqrt(Q.shape[-1])
    W = softmax(S)
    return W @ V, W
    ### END SOLUTION


# %% test="attention" points=9
Q = np.array([[2 * np.log(3.0), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
K = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
V = np.array([[10.0, 0.0], [0.0, 10.0], [20.0, 5.0]])
before = Q.copy(), K.copy(), V.copy()
O, W = checks.pair(attention(Q, K, V), "attention(Q, K, V)", 2)
checks.unchanged((Q, K, V), before, "attention")
checks.close(
    W,
    [[0.6, 0.2, 0.2], [1 / 3, 1 / 3, 1 / 3]],
    checks.tr("W for Q (2, 4), K (3, 4)", "Q (2, 4)、K (3, 4) 时的 W"),
    checks.tr(
        "Here Q Kᵀ is [[2 log 3, 0, 0], [0, 0, 0]] and d_k = 4, so the scores are [[log 3, 0, 0], [0, 0, 0]].",
        "这里 Q Kᵀ 是 [[2 log 3, 0, 0], [0, 0, 0]]，d_k = 4，所以分数是 [[log 3, 0, 0], [0, 0, 0]]。",
    ),
)
checks.close(
    O,
    [[10.0, 3.0], [10.0, 5.0]],
    checks.tr("O for V (3, 2)", "V (3, 2) 时的 O"),
    checks.tr("Row i of O is Σ_j W_ij V_j.", "O 的第 i 行是 Σ_j W_ij V_j。"),
)
Q3, K3, V3 = np.stack([Q, -Q]), np.stack([K, K]), np.stack([V, V])
O3, W3 = checks.pair(attention(Q3, K3, V3), checks.tr("attention of a batch of 2", "批大小为 2 的 attention"), 2)
checks.close(
    W3.sum(axis=-1), np.ones((2, 2)), checks.tr("W.sum(axis=-1) for a batch of 2", "批大小为 2 时的 W.sum(axis=-1)")
)
checks.close(
    O3[0],
    O,
    checks.tr("The first O of a batch", "批中第一个 O"),
    checks.tr(
        "Each batch element by itself: transpose the last two axes only.", "批中各元素互不相干：只转置最后两个轴。"
    ),
)

# %% hidden="attention" points=5
from minilm_kernels import reference

rng = np.random.default_rng(SEED)
for shape, Tq, Tk, d, dv in [((1, 1), 1, 1, 1, 1), ((1, 1), 3, 5, 4, 2), ((2, 3), 4, 4, 8, 8), ((2, 1), 6, 2, 16, 3)]:
    Q, K, V = (rng.normal(size=(*shape, *rest)) for rest in [(Tq, d), (Tk, d), (Tk, dv)])
    Q *= 3
    before = Q.copy(), K.copy(), V.copy()
    want, kept = reference.attention(Q, K, V)
    what = f"attention(Q {Q.shape}, K {K.shape}, V {V.shape})"
    O, W = checks.pair(attention(Q, K, V), what, 2)
    checks.close(O, want, what + ": O")
    checks.close(W, kept.weights, what + ": W")
    checks.close(
        attention(Q[0, 0], K[0, 0], V[0, 0])[0],
        want[0, 0],
        what + checks.tr(", without the batch axes", "，去掉批的轴"),
    )
    checks.unchanged((Q, K, V), before, "attention")

# %% [markdown] lang="en"
# ## 3. The causal mask (6 points)
#
# A language model must not look at the words that it has to predict. `causal_mask(Tq, Tk)` says which key each query may see: a boolean array $(T_q, T_k)$, `True` where it may.
#
# With $T_q = T_k$, query $i$ sees the keys $0, \dots, i$. When a model continues a text, there are fewer queries than keys: the queries are then the **last** $T_q$ positions, so the last query always sees all keys.

# %% [markdown] lang="zh"
# ## 3. 因果掩码（6 分）
#
# 语言模型不能偷看它要预测的词。`causal_mask(Tq, Tk)` 说明每个查询可以看到哪些键：一个布尔数组 $(T_q, T_k)$，可以看到的地方为 `True`。
#
# 当 $T_q = T_k$ 时，查询 $i$ 看得到键 $0, \dots, i$。模型续写文本时，查询比键少：这时查询是**最后** $T_q$ 个位置，所以最后一个查询总是看得到所有的键。


# %% task="causal_mask"
def causal_mask(Tq, Tk):
    """(Tq, Tk) booleans, True where a query may see a key; the queries are the last Tq of Tk positions."""
    ### BEGIN SOLUTION
    return np.arange(Tk) <= np.arange(Tq)[:, None] + (Tk - Tq)
    ### END SOLUTION


# %% test="causal_mask" points=4
mask = causal_mask(3, 3)
checks.close(
    mask,
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
    "causal_mask(3, 3)",
    checks.tr("Query i sees the keys 0 to i, itself included.", "查询 i 看得到键 0 到 i，包括它自己。"),
)
boolean = checks.tr(
    "causal_mask should return a NumPy array of booleans (dtype bool).",
    "causal_mask 应当返回布尔型的 NumPy 数组（dtype 为 bool）。",
)
checks.that(isinstance(mask, np.ndarray) and mask.dtype == bool, boolean)
checks.close(
    causal_mask(2, 4),
    [[1, 1, 1, 0], [1, 1, 1, 1]],
    "causal_mask(2, 4)",
    checks.tr("The two queries are positions 2 and 3 of 4.", "这两个查询是 4 个位置中的第 2 和第 3 个（从 0 数起）。"),
)

# %% hidden="causal_mask" points=2
rng = np.random.default_rng(SEED)
for Tq, Tk in [(1, 1), (1, 7), (5, 5), (3, 8), *((int(q), int(q + k)) for q, k in rng.integers(1, 9, size=(3, 2)))]:
    want = [[j <= i + Tk - Tq for j in range(Tk)] for i in range(Tq)]
    mask = causal_mask(Tq, Tk)
    checks.close(mask, want, f"causal_mask({Tq}, {Tk})")
    checks.that(isinstance(mask, np.ndarray) and mask.dtype == bool, f"causal_mask({Tq}, {Tk}): dtype bool")

# %% [markdown] lang="en"
# ## 4. Softmax with a mask (12 points)
#
# `mask` is boolean and broadcasts to the scores $(\dots, T_q, T_k)$: `True` where a key may be seen. A key that may not be seen must get the weight $0$, and the others of its row must still sum to $1$. So the mask has to be
# applied to the **scores**, before the softmax: what must a score become so that its exponential is 0? Write it for scores of any size.
#
# A query that may see **no key at all** gets the weights 0. Rows like that occur in practice, for padding; they must not become NaN, because one NaN spoils all the gradients of a model.

# %% [markdown] lang="zh"
# ## 4. 带掩码的 softmax（12 分）
#
# `mask` 是布尔数组，可广播为分数的形状 $(\dots, T_q, T_k)$：可以看到键的地方为 `True`。看不到的键权重必须为 $0$，同一行其余权重之和仍须为 $1$。所以掩码要在 softmax 之前作用在**分数**上：分数变成什么，它的指数才是 0？分数不论多大多小，结果都要对。
#
# **一个键也看不到**的查询，权重全为零。这样的行在实际中会出现（填充）；它们不能变成 NaN，因为一个 NaN 会毁掉整个模型的梯度。


# %% task="masked_softmax"
def masked_softmax(S, mask):
    """softmax of the scores S: (..., Tq, Tk) over the keys that mask (True = may be seen) allows.  Returns W of S's shape."""
    ### BEGIN SOLUTION
    S = np.where(mask, S, -np.inf)
    m = S.max(axis=-1, keepdims=True)
    e = np.exp(S - np.where(m == -np.inf, 0, m))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)
    ### END SOLUTION


# %% test="masked_softmax" points=7
S = np.log([[1.0, 3.0, 4.0], [1.0, 3.0, 4.0], [1.0, 3.0, 4.0]])
checks.close(
    masked_softmax(S, np.ones((3, 3), dtype=bool)),
    [[1 / 8, 3 / 8, 4 / 8]] * 3,
    checks.tr("masked_softmax with a mask of True", "掩码全为 True 的 masked_softmax"),
)
causal = np.array([[True, False, False], [True, True, False], [True, True, True]])
before = S.copy()
checks.close(
    masked_softmax(S, causal),
    [[1, 0, 0], [1 / 4, 3 / 4, 0], [1 / 8, 3 / 8, 4 / 8]],
    checks.tr("masked_softmax with the causal mask", "用因果掩码的 masked_softmax"),
    checks.tr(
        "W_ij = exp(S_ij) / Σ exp(S_ik), the sum over the keys k that query i may see, and 0 for the others.",
        "W_ij = exp(S_ij) / Σ exp(S_ik)，只对查询 i 看得到的键 k 求和；其余为 0。",
    ),
)
checks.unchanged([S], [before], "masked_softmax")
nothing = np.array([[True, True, False], [False, False, False], [False, False, True]])
checks.close(
    masked_softmax(S, nothing),
    [[1 / 4, 3 / 4, 0], [0, 0, 0], [0, 0, 1]],
    checks.tr("masked_softmax where query 1 sees no key", "查询 1 看不到任何键的 masked_softmax"),
    checks.tr("A query without keys gets zeros, and no NaN.", "没有键的查询得到零，而不是 NaN。"),
)
checks.close(
    masked_softmax(np.array([[1000.0, 999.0, 5000.0]]), np.array([[True, False, False]])),
    [[1, 0, 0]],
    checks.tr(
        "masked_softmax of [1000, 999, 5000] with the first key visible",
        "[1000, 999, 5000] 只看得到第一个键的 masked_softmax",
    ),
    checks.tr("The largest score to subtract is the largest that may be seen.", "要减去的是看得到的分数中最大的那个。"),
)
checks.close(
    masked_softmax(np.array([[-20000.0, 0.0, 1.0]]), np.array([[True, False, False]])),
    [[1, 0, 0]],
    checks.tr(
        "masked_softmax of [−20000, 0, 1] with the first key visible",
        "[−20000, 0, 1] 只看得到第一个键的 masked_softmax",
    ),
    checks.tr(
        "What stands for a key that may not be seen must be smaller than every score.",
        "代替看不到的键的那个数，必须比任何分数都小。",
    ),
)

# %% hidden="masked_softmax" points=5
import warnings

from minilm_kernels import reference

rng = np.random.default_rng(SEED)
for B, H, Tq, Tk, share, size in [
    (1, 1, 4, 4, 0.5, 1),
    (2, 3, 5, 6, 0.7, 3),
    (2, 2, 3, 9, 0.2, 40),
    (1, 2, 6, 6, 0.9, 1000),
]:
    Q, K = size * rng.normal(size=(B, H, Tq, 1)), rng.normal(size=(B, H, Tk, 1))
    S = Q @ K.swapaxes(-1, -2)
    mask = rng.random((B, 1, Tq, Tk)) < share
    mask[0, 0, 0] = False
    before = S.copy()
    want = reference.attention(Q, K, K, bias=mask)[1].weights
    what = f"masked_softmax(S {S.shape}, mask {mask.shape})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks.close(masked_softmax(S, mask), want, what)
        checks.unchanged([S], [before], "masked_softmax")
        for more in (-30_000, 30_000):
            hint = checks.tr("Scores that may not be seen change nothing.", "看不到的分数不影响结果。")
            checks.close(masked_softmax(np.where(mask, S, S + more), mask), want, what, hint)

# %% [markdown] lang="en"
# ## 5. Softmax backward (8 points)
#
# From here on, derivatives by hand. $\bar W$ (written `dW`) is the gradient of the loss by the weights; wanted is $\bar S$, that by the scores. Along the last axis $\partial W_i/\partial S_j = W_i(\delta_{ij} - W_j)$, so
#
# $$\bar S_j = \sum_i \bar W_i\, W_i\,(\delta_{ij} - W_j).$$
#
# Simplify on paper, then write one line. No array with $i$ and $j$ is needed.

# %% [markdown] lang="zh"
# ## 5. Softmax 的反向（8 分）
#
# 从这里起手写导数。$\bar W$（写作 `dW`）是损失对权重的梯度；要求的是 $\bar S$，即对分数的梯度。沿最后一个轴 $\partial W_i/\partial S_j = W_i(\delta_{ij} - W_j)$，于是
#
# $$\bar S_j = \sum_i \bar W_i\, W_i\,(\delta_{ij} - W_j).$$
#
# 先在纸上化简，再写成一行。不需要同时带 $i$ 和 $j$ 的数组。


# %% task="softmax_backward"
def softmax_backward(dW, W):
    """The gradient by S from that by W = softmax(S) along the last axis; both (..., Tk).  Returns dS of the same shape."""
    ### BEGIN SOLUTION
    return W * (dW - (dW * W).sum(axis=-1, keepdims=True))
    ### END SOLUTION


# %% test="softmax_backward" points=5
W, dW = np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[4.0, 0.0], [1.0, 3.0]])
before = dW.copy(), W.copy()
checks.close(
    softmax_backward(dW, W),
    [[0.75, -0.75], [-0.5, 0.5]],
    "softmax_backward(dW, W)",
    checks.tr(
        "S̄_j = W_j W̄_j − W_j Σ_i W̄_i W_i: the sum runs over the last axis.",
        "S̄_j = W_j W̄_j − W_j Σ_i W̄_i W_i：求和沿最后一个轴。",
    ),
)
checks.unchanged((dW, W), before, "softmax_backward")
checks.close(
    softmax_backward(np.ones((2, 2)), W),
    np.zeros((2, 2)),
    checks.tr("softmax_backward for dW = 1", "dW = 1 时的 softmax_backward"),
    checks.tr("The weights always sum to 1, so Σ W has the gradient 0.", "权重之和恒为 1，所以 Σ W 的梯度是 0。"),
)

# %% hidden="softmax_backward" points=3
from minilm import functional as F
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for shape in [(5,), (3, 4), (2, 3, 3), (2, 2, 4, 6)]:
    S, dW = Tensor(2 * rng.normal(size=shape), requires_grad=True), rng.normal(size=shape)
    W = F.softmax(S, -1)
    W.backward(dW)
    given = dW, W.data.copy()
    before = [a.copy() for a in given]
    checks.close(softmax_backward(*given), S.grad, f"softmax_backward(dW {shape}, W {shape})")
    checks.unchanged(given, before, "softmax_backward")

# %% [markdown] lang="en"
# ## 6. Attention backward (14 points)
#
# $S = QK^\top/\sqrt{d_k}$, $W = \mathrm{softmax}(S)$, $O = WV$; given is $\bar O$ (`dO`). Go from right to left: from $\bar O$ to $\bar V$ and $\bar W$, from $\bar W$ to $\bar S$, from $\bar S$ to $\bar Q$ and $\bar K$.
# The rule for a product $Z = XY$ is $\bar X = \bar Z Y^\top$ and $\bar Y = X^\top \bar Z$. `softmax_backward(dW, W)` is now minilm's.

# %% [markdown] lang="zh"
# ## 6. 注意力的反向（14 分）
#
# $S = QK^\top/\sqrt{d_k}$，$W = \mathrm{softmax}(S)$，$O = WV$；已知 $\bar O$(`dO`)。从右往左走：由 $\bar O$ 得 $\bar V$ 和 $\bar W$，由 $\bar W$ 得 $\bar S$，由 $\bar S$ 得 $\bar Q$ 和 $\bar K$。
# 乘积 $Z = XY$ 的规则是 $\bar X = \bar Z Y^\top$，$\bar Y = X^\top \bar Z$。`softmax_backward(dW, W)` 现在是 minilm 的版本。


# %% role="given"
def softmax_backward(dW, W):
    """minilm's derivative of softmax, on arrays."""
    with np.errstate(divide="ignore"):
        S = Tensor(np.log(W), requires_grad=True)
    F.softmax(S, -1).backward(dW)
    return S.grad


# %% task="attention_backward"
def attention_backward(dO, Q, K, V, W):
    """The gradients of O = W V, W = softmax(Q Kᵀ / √d_k).  dO: (..., Tq, d_v).  Returns (dQ, dK, dV)."""
    ### BEGIN SOLUTION
    dV = W.swapaxes(-1, -2) @ dO
    dW = dO @ V.swapaxes(-1, -2)
    dS = softmax_backward(dW, W) / np.sqrt(Q.shape[-1])
    dQ = dS @ K
    dK = dS.swapaxes(-1, -2) @ Q
    return dQ, dK, dV
    ### END SOLUTION


# %% test="attention_backward" points=8
Q, K, V = (
    np.array([[0.0, 0.0, 0.0, 0.0]]),
    np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]),
    np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
)
dO, W = np.array([[4.0, 8.0, 2.0]]), np.array([[0.5, 0.5]])
grads = checks.pair(attention_backward(dO, Q, K, V, W), "attention_backward", 3)
checks.close(
    grads[2],
    [[2.0, 4.0, 1.0], [2.0, 4.0, 1.0]],
    "dV",
    checks.tr("O = W V, so V̄_j = Σ_i W_ij Ō_i.", "O = W V，所以 V̄_j = Σ_i W_ij Ō_i。"),
)
checks.close(
    grads[0],
    [[-1.0, 1.0, 0.0, 0.0]],
    "dQ",
    checks.tr(
        "Here W̄ = [[4, 8]] and the softmax's backward makes [[−1, 1]] of it; then the factor 1/√d_k = 1/2, then K.",
        "这里 W̄ = [[4, 8]]，经 softmax 的反向得 [[−1, 1]]；再乘以 1/√d_k = 1/2，再乘 K。",
    ),
)
Q = np.array([[2.0, 4.0, 0.0, 0.0]])
grads = checks.pair(attention_backward(dO, Q, K, V, W), "attention_backward", 3)
checks.close(
    grads[1],
    [[-1.0, -2.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]],
    "dK",
    checks.tr("K̄_j = Σ_i S̄_ij Q_i/√d_k.", "K̄_j = Σ_i S̄_ij Q_i/√d_k。"),
)

# %% hidden="attention_backward" points=6
from minilm_kernels import reference

rng = np.random.default_rng(SEED)
for B, H, Tq, Tk, d, dv in [(1, 1, 1, 3, 2, 2), (1, 1, 4, 4, 4, 4), (2, 3, 5, 2, 3, 6), (2, 1, 3, 7, 8, 1)]:
    Q, K, V = rng.normal(size=(B, H, Tq, d)), rng.normal(size=(B, H, Tk, d)), rng.normal(size=(B, H, Tk, dv))
    O, kept = reference.attention(Q, K, V)
    dO = rng.normal(size=O.shape)
    given = dO, Q, K, V, kept.weights
    before = [a.copy() for a in given]
    grads = checks.pair(attention_backward(*given), "attention_backward", 3)
    checks.unchanged(given, before, "attention_backward")
    for name, got, want in zip(("dQ", "dK", "dV"), grads, reference.attention_backward(dO, kept)):
        checks.close(got, want, f"{name}: Q {Q.shape}, K {K.shape}, V {V.shape}")

# %% [markdown] lang="en"
# ## 7. Many heads (12 points)
#
# One attention gives each position one view of the others. $h$ heads give $h$ of them, at the same cost: each head works on its own $d/h$ of the $d$ features.
#
# $X$ is $(B, T, d)$; the weights are $(d, d)$ each. Project, $Q = X W_q$ and likewise $K$ and $V$; head $r$ owns the columns $r \cdot d/h$ to $(r+1) \cdot d/h$ of each. Let every head attend by itself, put the results
# side by side again, and multiply by $W_o$. `attention(Q, K, V, causal)` is now minilm's, for arrays $(B, h, T, d/h)$, and returns the output alone.

# %% [markdown] lang="zh"
# ## 7. 多头（12 分）
#
# 一次注意力让每个位置以一种方式看其他位置。$h$ 个头给出 $h$ 种方式，计算量不变：每个头只处理 $d$ 个特征中属于自己的 $d/h$ 个。
#
# $X$ 是 $(B, T, d)$；各权重都是 $(d, d)$。先投影，$Q = X W_q$，$K$、$V$ 同理；第 $r$ 个头拥有其中第 $r \cdot d/h$ 到 $(r+1) \cdot d/h$ 列。每个头各自做注意力，再把结果并排拼回去，乘以 $W_o$。
# `attention(Q, K, V, causal)` 现在是 minilm 的版本，数组形状为 $(B, h, T, d/h)$，只返回输出。

# %% role="given"
from minilm_kernels import reference


def attention(Q, K, V, causal):
    """minilm's attention for (B, heads, T, d) arrays: the output, of Q's shape."""
    return reference.attention(Q, K, V, causal=causal)[0]


# %% task="multi_head"
def multi_head(X, W_q, W_k, W_v, W_o, num_heads, causal=False):
    """Self-attention of X: (B, T, d) in num_heads heads.  Returns (B, T, d)."""
    B, T, d = X.shape
    ### BEGIN SOLUTION
    Q, K, V = ((X @ W).reshape(B, T, num_heads, d // num_heads).swapaxes(1, 2) for W in (W_q, W_k, W_v))
    O = attention(Q, K, V, causal)  # (B, h, T, d/h)
    return O.swapaxes(1, 2).reshape(B, T, d) @ W_o
    ### END SOLUTION


# %% test="multi_head" points=7
from minilm_kernels import use_kernels


def minilm_heads(X, W_q, W_k, W_v, W_o, num_heads, causal):
    """minilm's own self-attention with many heads."""
    with use_kernels("reference"):
        return F.self_attention(X @ np.concatenate([W_q, W_k, W_v], axis=1), num_heads, is_causal=causal).data @ W_o


X = np.random.default_rng(1).normal(size=(2, 3, 4))
weights = np.random.default_rng(2).normal(size=(4, 4, 4))
one = np.eye(4)
checks.close(
    multi_head(X, one, one, one, one, 1),
    minilm_heads(X, one, one, one, one, 1, False),
    checks.tr("multi_head with one head and all weights the identity", "一个头、所有权重为单位矩阵的 multi_head"),
)
checks.close(
    multi_head(X, *weights, 2),
    minilm_heads(X, *weights, 2, False),
    checks.tr("multi_head of X (2, 3, 4) with 2 heads", "X (2, 3, 4)、2 个头的 multi_head"),
    checks.tr(
        "(B, T, d) → (B, T, h, d/h) → (B, h, T, d/h), and the same way back. A reshape straight to (B, h, T, d/h) mixes positions and heads.",
        "(B, T, d) → (B, T, h, d/h) → (B, h, T, d/h)，回来时照原路。直接 reshape 成 (B, h, T, d/h) 会把位置和头混在一起。",
    ),
)
checks.close(
    multi_head(X, *weights, 4, causal=True),
    minilm_heads(X, *weights, 4, True),
    checks.tr("multi_head with 4 heads, causal", "4 个头、因果的 multi_head"),
)

# %% hidden="multi_head" points=5
rng = np.random.default_rng(SEED)
for B, T, d, h, causal in [
    (1, 1, 2, 1, False),
    (2, 5, 6, 3, False),
    (3, 4, 8, 2, True),
    (2, 6, 12, 4, True),
    (1, 7, 5, 5, False),
]:
    X, weights = rng.normal(size=(B, T, d)), rng.normal(size=(4, d, d)) / np.sqrt(d)
    checks.close(
        multi_head(X, *weights, h, causal=causal),
        minilm_heads(X, *weights, h, causal),
        f"multi_head(X {X.shape}, num_heads={h}, causal={causal})",
    )

# %% [markdown] lang="en"
# ## 8. Online softmax (12 points)
#
# The table $W$ of a text of 100,000 tokens has $10^{10}$ numbers. It need not exist: the keys can be read block by block, if three things are carried along for the query:
#
# - $m$, the largest score so far; $\quad\ell = \sum_j e^{s_j - m}$, the sum so far; $\quad o = \sum_j e^{s_j - m}\, v_j$, the output so far, not yet divided.
#
# When a block brings a larger score, $m$ grows to $m'$, and what was computed with the old one is corrected by the factor $e^{m - m'}$. At the end the answer is $o/\ell$.
#
# Write `online_attention(q, K, V, block)` for **one** query $q$ of shape $(d_k,)$. Look at no more than `block` keys at a time, each key once, and keep nothing that grows
# with their number. At the start there is no score yet: $m = -\infty$, $\ell = 0$, $o = 0$.

# %% [markdown] lang="zh"
# ## 8. 在线 softmax（12 分）
#
# 一段 10 万词元的文本，权重表 $W$ 有 $10^{10}$ 个数。它不必存在：键可以一块一块地读，只要为查询随时带着三样东西：
#
# - $m$，至今最大的分数；$\quad\ell = \sum_j e^{s_j - m}$，至今的和；$\quad o = \sum_j e^{s_j - m}\, v_j$，至今的输出，尚未相除。
#
# 当一块带来更大的分数时，$m$ 变为 $m'$，用旧的 $m$ 算出的量乘以因子 $e^{m - m'}$ 加以修正。最后的答案是 $o/\ell$。
#
# 请为**一个**查询 $q$（形状 $(d_k,)$）写 `online_attention(q, K, V, block)`。每次最多看 `block` 个键，每个键只看一次，也不要留下随键的个数增长的东西。开始时还没有分数：$m = -\infty$，$\ell = 0$，$o = 0$。


# %% task="online_attention"
def online_attention(q, K, V, block):
    """softmax(q Kᵀ / √d_k) V for one query q: (d_k,), reading K: (Tk, d_k) and V: (Tk, d_v) block by block.  Returns (d_v,)."""
    ### BEGIN SOLUTION
    m, l, o = -np.inf, 0.0, np.zeros(V.shape[1])
    for start in range(0, len(K), block):
        s = K[start : start + block] @ q / np.sqrt(len(q))
        larger = max(m, s.max())
        correction = np.exp(m - larger)
        e = np.exp(s - larger)
        l = l * correction + e.sum()
        o = o * correction + e @ V[start : start + block]
        m = larger
    return o / l
    ### END SOLUTION


# %% test="online_attention" points=7
class Counted(np.ndarray):
    """Keys that refuse to be multiplied more than `most` rows at a time."""

    most = 10**9

    def __matmul__(self, other):
        self.rows(self)
        return np.asarray(self) @ np.asarray(other)

    def __rmatmul__(self, other):
        self.rows(self)
        return np.asarray(other) @ np.asarray(self)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        for each in inputs:
            if isinstance(each, Counted):
                self.rows(each)
        if "out" in options:  # s /= 2
            options["out"] = (*map(np.asarray, options["out"]),)
        return getattr(ufunc, method)(
            *(np.asarray(each) if isinstance(each, Counted) else each for each in inputs), **options
        )

    @staticmethod
    def rows(array):
        checks.that(
            not [n for n in array.shape if n > Counted.most],
            checks.tr(
                f"An array of shape {array.shape} of keys or values was used at once; only blocks of {Counted.most} are allowed.",
                f"一次用了形状为 {array.shape} 的键或值；每次只允许 {Counted.most} 个。",
            ),
        )


def in_blocks(q, K, V, block):
    """online_attention with keys and values that may be used only block by block."""
    Counted.most = sorted((block, K.shape[1], V.shape[1]))[-1]
    return online_attention(q, K.view(Counted), V.view(Counted), block)


def at_once(q, K, V):
    """The same with the whole row of weights."""
    return reference.attention(*(a[None, None] for a in (q[None], K, V)))[0][0, 0, 0]


q, K, V = np.array([2.0]), np.log([[1.0], [2.0], [1.0], [4.0]]) / 2, np.array([[8.0], [0.0], [16.0], [24.0]])
for block in (4, 2, 1, 3, 9):
    checks.close(
        in_blocks(q, K, V, block),
        [15.0],
        checks.tr(f"online_attention of 4 keys in blocks of {block}", f"4 个键、每块 {block} 个的 online_attention"),
        checks.tr(
            "The weights are 1/8, 2/8, 1/8, 4/8, however the keys are cut into blocks.",
            "无论怎样分块，权重都是 1/8、2/8、1/8、4/8。",
        ),
    )
K = np.array([[0.0], [500.0], [1000.0]])
checks.close(
    in_blocks(q, K, np.array([[1.0], [2.0], [3.0]]), 1),
    [3.0],
    checks.tr("online_attention with scores 0, 1000, 2000", "分数为 0、1000、2000 的 online_attention"),
    checks.tr("exp(1000) overflows: subtract the largest score so far.", "exp(1000) 会溢出：要减去至今最大的分数。"),
)
checks.close(
    in_blocks(q, -K[1:], np.array([[1.0], [2.0]]), 1),
    [1.0],
    checks.tr("online_attention with scores −1000, −2000", "分数为 −1000、−2000 的 online_attention"),
    checks.tr(
        "m starts at −∞ and never falls: it is the largest of all the scores so far, not of the last block.",
        "m 从 −∞ 开始，永不变小：它是至今所有分数中最大的，而不是最后一块中最大的。",
    ),
)
long = np.random.default_rng(3).normal(size=(40, 2))
checks.close(
    in_blocks(np.array([1.0, -1.0]), long, long, 4),
    at_once(np.array([1.0, -1.0]), long, long),
    checks.tr("online_attention of 40 keys in blocks of 4", "40 个键、每块 4 个的 online_attention"),
)

# %% hidden="online_attention" points=5
rng = np.random.default_rng(SEED)
for Tk, d, dv, block, size, shift in [
    (1, 3, 2, 4, 1, 0),
    (17, 4, 3, 5, 1, 0),
    (64, 8, 8, 16, 3, 0),
    (33, 6, 1, 8, 3000, 0),
    (20, 5, 2, 6, 1, -9000),
    (20, 5, 2, 6, 1, 9000),
]:
    q, K, V = size * rng.normal(size=d), rng.normal(size=(Tk, d)), rng.normal(size=(Tk, dv))
    K += shift * q / (q @ q)  # all scores shifted
    for order in (
        np.arange(Tk),
        np.argsort(K @ q),
        np.argsort(-(K @ q)),
    ):  # the maximum grows in every block, or in none
        checks.close(
            in_blocks(q, K[order], V[order], block),
            at_once(q, K, V),
            f"online_attention(q ({d},), K ({Tk}, {d}), V ({Tk}, {dv}), block={block})",
        )
import tracemalloc

q, K, V = rng.normal(size=4), rng.normal(size=(20_000, 4)), rng.normal(size=(20_000, 4))
tracemalloc.start()
in_blocks(q, K, V, 100)
most = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
checks.that(
    most < 100_000,
    checks.tr(
        f"online_attention kept {most:,} bytes for 20,000 keys in blocks of 100: nothing may grow with the keys.",
        f"20000 个键、每块 100 个时，online_attention 占用了 {most:,} 字节：占用的内存不应随键的个数增长。",
    ),
)

# %% [markdown] lang="en"
# ## 9. A kernel (12 points)
#
# Now in Numba, which compiles Python loops to machine code. Write `attention_kernel(Q, K, V, causal)` for $Q: (T_q, d_k)$, $K: (T_k, d_k)$, $V: (T_k, d_v)$. For each query go through the keys **once**, one at a time, with $m$, $\ell$ and $o$ of task 8.
# No array of $T_q \times T_k$ or $T_k$ numbers: besides the result, a few numbers are enough.
#
# With `causal`, query $i$ sees the keys $j \le i + T_k - T_q$, as in task 3; stop the loop there instead of masking. A query without keys gets zeros. Use `math.exp` for single numbers. The first call takes some seconds: that is the compiler.
# Where it stops with a long `TypingError`, call `attention_kernel.py_func(Q, K, V, False)`: the same function as plain Python, with Python's own messages.

# %% [markdown] lang="zh"
# ## 9. 内核（12 分）
#
# 现在用 Numba，它把 Python 循环编译成机器码。请写 `attention_kernel(Q, K, V, causal)`，$Q: (T_q, d_k)$，$K: (T_k, d_k)$，$V: (T_k, d_v)$。对每个查询，把键从头到尾走**一遍**，一次一个，带着第 8 题的 $m$、$\ell$ 和 $o$。
# 不要有 $T_q \times T_k$ 或 $T_k$ 个数的数组：除了结果，几个数就够了。
#
# 若 `causal` 为真，查询 $i$ 看得到键 $j \le i + T_k - T_q$（同第 3 题）；让循环到此为止，而不是去加掩码。没有键的查询得到零。单个数的指数用 `math.exp`。第一次调用要几秒钟：那是在编译。
# 如果编译器报出很长的 `TypingError`，可以调用 `attention_kernel.py_func(Q, K, V, False)`：同一个函数按普通 Python 运行，报错也是 Python 的。

# %% role="given"
import math

from numba import njit


# %% task="attention_kernel"
@njit
def attention_kernel(Q, K, V, causal):
    """softmax(Q Kᵀ / √d_k) V, one pass over the keys for each query, nothing of size Tk stored.  Returns (Tq, d_v)."""
    Tq, d = Q.shape
    Tk, dv = V.shape
    O = np.zeros((Tq, dv))
    ### BEGIN SOLUTION
    scale = 1 / math.sqrt(d)
    for i in range(Tq):
        m, l = -np.inf, 0.0
        for j in range(min(Tk, i + Tk - Tq + 1) if causal else Tk):
            s = 0.0
            for c in range(d):
                s += Q[i, c] * K[j, c]
            s *= scale
            if s > m:
                correction = math.exp(m - s)
                l *= correction
                for c in range(dv):
                    O[i, c] *= correction
                m = s
            e = math.exp(s - m)
            l += e
            for c in range(dv):
                O[i, c] += e * V[j, c]
        if l > 0:
            for c in range(dv):
                O[i, c] /= l
    ### END SOLUTION
    return O


# %% test="attention_kernel" points=7
def kernel_is_right(Q, K, V, causal, what, hint=""):
    want = reference.attention(*(a[None, None] for a in (Q, K, V)), causal=causal)[0][0, 0]
    if causal and len(Q) == 1 < len(K):
        want = reference.attention(*(a[None, None] for a in (Q, K, V)))[0][0, 0]
    checks.close(attention_kernel(Q, K, V, causal), want, what, hint)


checks.that(
    hasattr(attention_kernel, "py_func"),
    checks.tr(
        "attention_kernel is plain Python now: keep @njit above it.",
        "attention_kernel 现在是普通的 Python 函数：请保留上面的 @njit。",
    ),
)
rng = np.random.default_rng(4)
Q, K, V = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
kernel_is_right(
    Q,
    K,
    V,
    False,
    checks.tr(
        "attention_kernel(Q (4, 3), K (4, 3), V (4, 2), False)", "attention_kernel(Q (4, 3), K (4, 3), V (4, 2), False)"
    ),
    checks.tr(
        "O_i = Σ_j exp(s_ij − m) v_j / Σ_j exp(s_ij − m), s_ij = q_i·k_j/√d_k.",
        "O_i = Σ_j exp(s_ij − m) v_j / Σ_j exp(s_ij − m),s_ij = q_i·k_j/√d_k。",
    ),
)
kernel_is_right(
    Q,
    K,
    V,
    True,
    checks.tr("the same, causal", "同上，因果"),
    checks.tr("Query i sees the keys 0 to i + Tk − Tq.", "查询 i 看得到键 0 到 i + Tk − Tq。"),
)
kernel_is_right(
    Q[2:],
    K,
    V,
    True,
    checks.tr(
        "attention_kernel(Q (2, 3), K (4, 3), V (4, 2), True)", "attention_kernel(Q (2, 3), K (4, 3), V (4, 2), True)"
    ),
    checks.tr(
        "The queries are the last 2 of 4 positions: query 0 sees the keys 0, 1, 2.",
        "查询是 4 个位置中的最后 2 个：查询 0 看得到键 0、1、2。",
    ),
)
kernel_is_right(
    1000 * Q,
    K,
    V,
    False,
    checks.tr("attention_kernel with scores in the thousands", "分数上千的 attention_kernel"),
    checks.tr("Subtract the largest score so far, as in task 8.", "要像第 8 题那样减去至今最大的分数。"),
)
kernel_is_right(
    np.ones((1, 3)),
    K - 2000,
    V,
    False,
    checks.tr("attention_kernel with all scores far below zero", "所有分数都远小于零的 attention_kernel"),
    checks.tr("m starts at −∞: there is no score yet.", "m 从 −∞ 开始：那时还没有分数。"),
)

# %% hidden="attention_kernel" points=5
rng = np.random.default_rng(SEED)
for Tq, Tk, d, dv, size in [
    (1, 1, 1, 1, 1),
    (5, 9, 4, 3, 1),
    (16, 16, 8, 8, 3),
    (1, 12, 6, 2, 1),
    (3, 7, 2, 5, 500),
    (6, 4, 3, 3, 1),
]:
    Q, K, V = size * rng.normal(size=(Tq, d)), rng.normal(size=(Tk, d)), rng.normal(size=(Tk, dv))
    for causal in (False, True):
        kernel_is_right(Q, K, V, causal, f"attention_kernel(Q ({Tq}, {d}), K ({Tk}, {d}), V ({Tk}, {dv}), {causal})")
    down = np.argsort(-(K @ Q[0]))
    kernel_is_right(
        Q,
        K[down],
        V[down],
        False,
        checks.tr("attention_kernel with the largest score first", "最大分数在最前的 attention_kernel"),
    )
    low = K - 9000 * Q[0] / (Q[0] @ Q[0])
    kernel_is_right(
        Q[:1],
        low,
        V,
        False,
        checks.tr("attention_kernel with scores far below zero", "分数远小于零的 attention_kernel"),
    )
import tracemalloc

Q, K, V = rng.normal(size=(1, 8)), rng.normal(size=(200_000, 8)), rng.normal(size=(200_000, 8))
tracemalloc.start()
attention_kernel(Q, K, V, False)
most = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
checks.that(
    most < 200_000,
    checks.tr(
        f"attention_kernel allocated {most:,} bytes for one query and 200,000 keys: nothing may grow with the keys.",
        f"一个查询、200000 个键时，attention_kernel 分配了 {most:,} 字节：占用的内存不应随键的个数增长。",
    ),
)

# %% [markdown] lang="en"
# ## How fast is it?
#
# No points here. Both compute the same; the first stores $W$, the second does not. Try other sizes, `@njit(fastmath=True)`, or several threads with `prange`, and read chapter 12 for the rungs above this one.

# %% [markdown] lang="zh"
# ## 有多快？
#
# 这里不计分。两者算的是同一件事；前者存下 $W$，后者不存。试试别的大小，试试 `@njit(fastmath=True)`，或用 `prange` 开几个线程；更上面的几级阶梯见第 12 章。

# %%
import time

rng = np.random.default_rng(0)
Q, K, V = rng.normal(size=(3, 1024, 64))
for name, run in [
    ("NumPy", lambda: attention(Q[None, None], K[None, None], V[None, None], True)),
    ("Numba", lambda: attention_kernel(Q, K, V, True)),
]:
    run()
    start = time.perf_counter()
    run()
    print(f"{name}: {1000 * (time.perf_counter() - start):.1f} ms")
