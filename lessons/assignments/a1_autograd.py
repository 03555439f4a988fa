"""Assignment 1, autograd. The source of the notebook: text in two languages, stubs and solutions, visible and hidden tests.

How it is written: lessons/course/sources.py. Wrong solutions that the tests must catch: a1_autograd.wrong.toml.
"""
# ruff: noqa: E402, E501, E731, F821

# %% [markdown] lang="en"
# # Assignment 1: autograd
#
# You write the derivatives of the operations that a neural network is made of, the walk that turns them into `backward()`,
# and the check that proves a derivative right. At the end, what you wrote trains a small network. 100 points, 3 to 5 hours, after chapter 3.
#
# **How to work.** Run the cells from top to bottom (Shift + Enter). Write your code where it says `YOUR CODE HERE` and
# delete the line `raise NotImplementedError()`. The cell below it checks what you wrote; when it is silent, you are right so far, and
# when it is not, it says what was expected. There are also **hidden tests**: the same questions with other shapes and numbers.
#
# - Use NumPy only. Add cells of your own wherever you like, but do not delete, copy or split the cells that are there, and do not rename the file.
# - Each task is graded by itself. Where a task builds on an earlier one, the notebook imports minilm's version first, so an
#   earlier mistake costs nothing later.
# - Before you hand in: *Kernel → Restart & Run All*.

# %% [markdown] lang="zh"
# # 作业 1：自动求导
#
# 你要写出神经网络所用各种运算的导数，写出把它们串成 `backward()` 的那次遍历，再写出证明导数正确的检验。最后，用你自己写的代码训练一个小网络。
# 共 100 分，约 3 到 5 小时，学完第 3 章后做。
#
# **怎么做。** 从上到下逐个运行单元格（Shift + Enter）。在写着“在这里写你的代码”的地方写代码，并删去 `raise NotImplementedError()` 这一行。
# 下面的单元格会检查你写的内容：没有输出，说明到目前为止是对的；有输出，它会告诉你应当得到什么。此外还有**隐藏测试**：同样的问题，换成别的形状和数。
#
# - 只用 NumPy。可以在任何地方加自己的单元格，但不要删除、复制或拆分已有的单元格，也不要改文件名。
# - 各题单独计分。如果某题要用到前面的题，笔记本会先导入 minilm 的版本，所以前面的错误不会影响后面的得分。
# - 提交前请执行 *Kernel → Restart & Run All*。

# %% role="given"
import checks
import numpy as np

# %% [markdown] lang="en"
# ## 1. Undo broadcasting (8 points)
#
# When NumPy computes `x + y` with $x$ of shape $(2, 3)$ and $y$ of shape $(3,)$, it repeats $y$ for each row. A change of $y_j$ then reaches the loss through
# every copy, so its gradient is the **sum** over the copies: $\bar y_j = \sum_i \bar z_{ij}$.
#
# Write `unbroadcast(dz, shape)`: sum `dz` over all the axes along which an operand of that `shape` was repeated, and return an array of exactly that shape.
# Axes are repeated in two ways: new ones appear on the left, and those of length 1 are stretched.

# %% [markdown] lang="zh"
# ## 1. 撤销广播（8 分）
#
# NumPy 计算 `x + y` 时，如果 $x$ 的形状是 $(2, 3)$，$y$ 的形状是 $(3,)$，它会为每一行重复一次 $y$。于是 $y_j$ 的变化会经过每一份副本影响损失，
# 所以它的梯度是各副本之**和**：$\bar y_j = \sum_i \bar z_{ij}$。
#
# 请写 `unbroadcast(dz, shape)`：把 `dz` 沿着形状为 `shape` 的操作数被重复的所有轴求和，返回的数组形状必须恰好是 `shape`。
# 轴被重复有两种方式：左边添上新的轴；长度为 1 的轴被拉长。


# %% task="unbroadcast"
def unbroadcast(dz, shape):
    """Sum dz over the axes along which an operand of this shape was repeated.  Returns an array of this shape."""
    ### BEGIN SOLUTION
    new = dz.ndim - len(shape)
    dz = dz.sum(axis=tuple(range(new)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return dz.sum(axis=stretched, keepdims=True)
    ### END SOLUTION


# %% test="unbroadcast" points=5
dz = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
for shape, want, hint in [
    ((2, 3), dz, checks.tr("Nothing was repeated here.", "这里没有重复任何轴。")),
    ((3,), [3.0, 5.0, 7.0], checks.tr("A new axis on the left: ȳ_j = Σ_i z̄_ij.", "左边添了一个新轴：ȳ_j = Σ_i z̄_ij。")),
    (
        (1, 3),
        [[3.0, 5.0, 7.0]],
        checks.tr(
            "An axis of length 1 was stretched; it stays, with length 1.",
            "长度为 1 的轴被拉长了；它要保留，长度仍为 1。",
        ),
    ),
    (
        (2, 1),
        [[3.0], [12.0]],
        checks.tr("The last axis was stretched: ȳ_i = Σ_j z̄_ij.", "最后一个轴被拉长了：ȳ_i = Σ_j z̄_ij。"),
    ),
    ((), 15.0, checks.tr("A single number was repeated everywhere.", "一个数被重复到了所有位置。")),
]:
    checks.close(unbroadcast(dz, shape), want, f"unbroadcast(dz, {shape})", hint)

# %% hidden="unbroadcast" points=3
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for big, shape in [
    ((4, 2, 3, 5), (3, 1)),
    ((4, 2, 3), (2, 1)),
    ((3, 4, 5), (1, 4, 1)),
    ((6, 1, 2), (1, 2)),
    ((5, 7), (5, 7)),
    ((2, 3, 4), ()),
]:
    dz = rng.normal(size=big)
    before = dz.copy()
    y = Tensor(np.zeros(shape), requires_grad=True)
    (y + np.zeros(big)).backward(dz)
    checks.close(unbroadcast(dz, shape), y.grad, f"unbroadcast(dz {big}, {shape})")
    checks.unchanged([dz], [before], "unbroadcast")

# %% [markdown] lang="en"
# ## Operations
#
# From here on an operation is a function that returns two things: the value $z$, and a function `backward` that takes $\bar z$ (written `dz`, it is
# $\partial L/\partial z$) and returns a **tuple** with the gradient of each operand. Here is addition, complete. `backward` may use all that `add` has computed.

# %% [markdown] lang="zh"
# ## 运算
#
# 从这里起，一个运算是一个返回两样东西的函数：值 $z$，以及函数 `backward`。`backward` 接收 $\bar z$（写作 `dz`，即 $\partial L/\partial z$），
# 返回一个**元组**，依次是各操作数的梯度。下面是写好的加法。`backward` 可以使用 `add` 中算出的一切。

# %% role="given"
from minilm.tensor import Tensor


def unbroadcast(dz, shape):
    """minilm's, from here on: the gradient that y of this shape gets from y + 0 of dz's shape."""
    y = Tensor(np.zeros(shape), requires_grad=True)
    (y + np.zeros(dz.shape)).backward(dz)
    return y.grad


def add(x, y):
    """z = x + y, with broadcasting."""
    z = x + y

    def backward(dz):
        return unbroadcast(dz, x.shape), unbroadcast(dz, y.shape)

    return z, backward


# %% [markdown] lang="en"
# ## 2. Multiplication (10 points)
#
# $z = x \odot y$, element by element, with broadcasting. By the product rule a small change $\mathrm d x$ changes $z$ by $y\,\mathrm d x$.

# %% [markdown] lang="zh"
# ## 2. 乘法（10 分）
#
# $z = x \odot y$，逐元素相乘，可以广播。由乘积法则，$x$ 的微小变化 $\mathrm d x$ 使 $z$ 变化 $y\,\mathrm d x$。


# %% task="multiply"
def multiply(x, y):
    """z = x ⊙ y, with broadcasting.  Returns (z, backward); backward(dz) → (dx, dy)."""
    z = x * y

    def backward(dz):
        ### BEGIN SOLUTION
        return unbroadcast(dz * y, x.shape), unbroadcast(dz * x, y.shape)
        ### END SOLUTION

    return z, backward


# %% test="multiply" points=6
x, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
dz = np.array([[1.0, 0.5], [2.0, -1.0]])
checks.operation(
    multiply,
    (x, y),
    dz,
    x * y,
    ([[5.0, 3.0], [14.0, -8.0]], [[1.0, 1.0], [6.0, -4.0]]),
    "multiply(x, y)",
    checks.tr("∂z/∂x is y, and ∂z/∂y is x.", "∂z/∂x 是 y，∂z/∂y 是 x。"),
)
column, row = np.array([[2.0], [3.0]]), np.array([10.0, 20.0])
checks.operation(
    multiply,
    (column, row),
    np.ones((2, 2)),
    [[20.0, 40.0], [30.0, 60.0]],
    ([[30.0], [30.0]], [5.0, 5.0]),
    "multiply(x (2, 1), y (2,))",
    checks.tr(
        "Each operand was repeated here; its gradient has its own shape.",
        "这里两个操作数都被重复了；梯度的形状与操作数自身相同。",
    ),
)

# %% hidden="multiply" points=4
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for a, b in [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((5, 1, 2), (3, 1)), ((), (2, 2)), ((1,), (6, 1))]:
    x, y = rng.normal(size=a), rng.normal(size=b)
    dz = rng.normal(size=np.broadcast_shapes(a, b))
    s, t = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    (s * t).backward(dz)
    checks.operation(multiply, (x, y), dz, x * y, (s.grad, t.grad), f"multiply(x {a}, y {b})")

# %% [markdown] lang="en"
# ## 3. tanh (6 points)
#
# $z = \tanh x$, with $\tanh' x = 1 - \tanh^2 x$. Look at what is already there before you compute it again.

# %% [markdown] lang="zh"
# ## 3. tanh（6 分）
#
# $z = \tanh x$，其中 $\tanh' x = 1 - \tanh^2 x$。先看看哪些量已经算好了，不必再算一遍。


# %% task="tanh"
def tanh(x):
    """z = tanh(x).  Returns (z, backward); backward(dz) → (dx,)."""
    ### BEGIN SOLUTION
    z = np.tanh(x)

    def backward(dz):
        return (dz * (1 - z * z),)

    return z, backward
    ### END SOLUTION


# %% test="tanh" points=4
x = np.array([0.0, np.log(2.0), -np.log(3.0)])
checks.operation(
    tanh,
    (x,),
    np.array([2.0, 25.0, 100.0]),
    [0.0, 0.6, -0.8],
    ([2.0, 16.0, 36.0],),
    "tanh(x)",
    checks.tr("tanh′(x) = 1 − tanh²(x); multiply it by dz.", "tanh′(x) = 1 − tanh²(x)；再乘以 dz。"),
)

# %% hidden="tanh" points=2
rng = np.random.default_rng(SEED)
x, dz = 3 * rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
checks.operation(tanh, (x,), dz, np.tanh(x), (dz / np.cosh(x) ** 2,), "tanh(x (4, 5))")
checks.operation(tanh, (np.array([-900.0, 900.0]),), np.ones(2), [-1.0, 1.0], ([0.0, 0.0],), "tanh(±900)")

# %% [markdown] lang="en"
# ## 4. Matrix multiplication (12 points)
#
# $Z = XY$ with $X$ of shape $(\dots, n, k)$ and $Y$ of shape $(\dots, k, m)$; NumPy broadcasts the axes before the last two, so one matrix $Y$ can serve a whole
# batch of $X$.
#
# Written out, $z_{ij} = \sum_l x_{il}\, y_{lj}$. So $x_{il}$ reaches $z_{ij}$ for every $j$, with the factor $y_{lj}$: $\;\bar x_{il} = \sum_j \bar z_{ij}\, y_{lj}$.
# Which matrix product is that? The shapes help: $\bar X$ must be $(n, k)$, from $\bar Z$ of shape $(n, m)$ and $Y$ of shape $(k, m)$ or $(m, k)$.

# %% [markdown] lang="zh"
# ## 4. 矩阵乘法（12 分）
#
# $Z = XY$，$X$ 的形状是 $(\dots, n, k)$，$Y$ 的形状是 $(\dots, k, m)$；最后两个轴之前的轴由 NumPy 广播，所以一个矩阵 $Y$ 可以用于一整批 $X$。
#
# 写成分量：$z_{ij} = \sum_l x_{il}\, y_{lj}$。于是 $x_{il}$ 对每个 $j$ 都以系数 $y_{lj}$ 影响 $z_{ij}$：$\;\bar x_{il} = \sum_j \bar z_{ij}\, y_{lj}$。
# 这是哪两个矩阵的乘积？可以借助形状来想：$\bar X$ 是 $(n, k)$，而 $\bar Z$ 是 $(n, m)$，$Y$ 是 $(k, m)$。


# %% task="matmul"
def matmul(x, y):
    """Z = X Y for x: (..., n, k) and y: (..., k, m).  Returns (z, backward); backward(dz) → (dx, dy)."""
    z = x @ y  # (..., n, m)

    def backward(dz):
        ### BEGIN SOLUTION
        dx = dz @ y.swapaxes(-1, -2)
        dy = x.swapaxes(-1, -2) @ dz
        return unbroadcast(dx, x.shape), unbroadcast(dy, y.shape)
        ### END SOLUTION

    return z, backward


# %% test="matmul" points=7
x, y = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
checks.operation(
    matmul,
    (x, y),
    np.array([[1.0, 0.0, 2.0]]),
    [[15.0, 18.0, 21.0]],
    ([[13.0, 22.0]], [[1.0, 0.0, 2.0], [2.0, 0.0, 4.0]]),
    "matmul(x (1, 2), y (2, 3))",
    checks.tr("x̄_il = Σ_j z̄_ij y_lj and ȳ_lj = Σ_i x_il z̄_ij.", "x̄_il = Σ_j z̄_ij y_lj,ȳ_lj = Σ_i x_il z̄_ij。"),
)
batch = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
checks.operation(
    matmul,
    (batch, y),
    np.ones((2, 1, 3)),
    [[[15.0, 18.0, 21.0]], [[33.0, 40.0, 47.0]]],
    ([[[12.0, 21.0]], [[12.0, 21.0]]], [[4.0, 4.0, 4.0], [6.0, 6.0, 6.0]]),
    "matmul(x (2, 1, 2), y (2, 3))",
    checks.tr(
        "y served both matrices of the batch: its gradient is (2, 3), a sum over the batch.",
        "y 用于这一批的两个矩阵：它的梯度形状是 (2, 3)，是对批求和的结果。",
    ),
)

# %% hidden="matmul" points=5
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for a, b in [
    ((3, 4), (4, 2)),
    ((2, 3, 3), (2, 3, 3)),
    ((5, 2, 4), (4, 3)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 3, 2), (6, 2, 4)),
]:
    x, y = rng.normal(size=a), rng.normal(size=b)
    dz = rng.normal(size=(x @ y).shape)
    s, t = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    (s @ t).backward(dz)
    checks.operation(matmul, (x, y), dz, x @ y, (s.grad, t.grad), f"matmul(x {a}, y {b})")

# %% [markdown] lang="en"
# ## 5. Sum over an axis (6 points)
#
# `total(x, axis)` is `x.sum(axis)`: the axis disappears. Each $x_i$ enters the sum once, with the factor 1. So `backward` hands $\bar z$ to every element that was summed. Mind the shapes:
# $\bar z$ has one axis less than $x$. `axis=None` sums everything.

# %% [markdown] lang="zh"
# ## 5. 沿轴求和（6 分）
#
# `total(x, axis)` 即 `x.sum(axis)`：这个轴随之消失。每个 $x_i$ 以系数 1 进入和式一次，所以 `backward` 把 $\bar z$ 交给每个参与求和的元素。注意形状：
# $\bar z$ 比 $x$ 少一个轴。`axis=None` 表示对所有元素求和。


# %% task="total"
def total(x, axis=None):
    """z = Σ x over an axis, which disappears (None: over all).  Returns (z, backward); backward(dz) → (dx,)."""
    z = x.sum(axis)

    def backward(dz):
        ### BEGIN SOLUTION
        if axis is not None:
            dz = np.expand_dims(dz, axis)
        return (np.broadcast_to(dz, x.shape),)
        ### END SOLUTION

    return z, backward


# %% test="total" points=4
x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
hint = checks.tr("x[i, j] went into z[i]: its gradient is dz[i].", "x[i, j] 进入了 z[i]：它的梯度是 dz[i]。")
checks.operation(
    lambda x: total(x, 1),
    (x,),
    np.array([10.0, 20.0]),
    [6.0, 15.0],
    ([[10.0] * 3, [20.0] * 3],),
    "total(x (2, 3), axis=1)",
    hint,
)
hint = checks.tr("x[i, j] went into z[j]: its gradient is dz[j].", "x[i, j] 进入了 z[j]：它的梯度是 dz[j]。")
checks.operation(
    lambda x: total(x, 0),
    (x,),
    np.array([1.0, 2.0, 3.0]),
    [5.0, 7.0, 9.0],
    ([[1.0, 2.0, 3.0]] * 2,),
    "total(x (2, 3), axis=0)",
    hint,
)
checks.operation(
    total,
    (x,),
    np.array(7.0),
    21.0,
    (np.full((2, 3), 7.0),),
    "total(x (2, 3))",
    checks.tr("Every element gets dz.", "每个元素都得到 dz。"),
)

# %% hidden="total" points=2
rng = np.random.default_rng(SEED)
x = rng.normal(size=(3, 3, 3))
for axis, letters in [(0, "jk"), (1, "ik"), (2, "ij"), (-1, "ij"), (-2, "ik")]:
    dz = rng.normal(size=(3, 3))
    want = np.einsum(f"{letters},ijk->ijk", dz, np.ones_like(x))
    checks.operation(
        lambda x, axis=axis: total(x, axis), (x,), dz, x.sum(axis), (want,), f"total(x (3, 3, 3), axis={axis})"
    )

# %% [markdown] lang="en"
# ## 6. Softmax (12 points)
#
# $$z_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# along the last axis. Two things to think about:
#
# - $e^{1000}$ is infinity for a computer. Subtracting the same number from all $x_i$ changes nothing in the formula. Which number makes it safe?
# - Here each $z_i$ depends on *every* $x_j$: $\;\partial z_i/\partial x_j = z_i(\delta_{ij} - z_j)$, with $\delta_{ij} = 1$ if $i = j$ and else $0$.
#   Insert this in $\bar x_j = \sum_i \bar z_i\, \partial z_i/\partial x_j$ on paper and simplify, before you write code. No matrix of all $i, j$ is needed.

# %% [markdown] lang="zh"
# ## 6. Softmax（12 分）
#
# $$z_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# 沿最后一个轴计算。有两点要想清楚：
#
# - 对计算机来说，$e^{1000}$ 是无穷大。而从所有 $x_i$ 中减去同一个数，公式的值不变。减去哪个数才安全？
# - 这里每个 $z_i$ 都依赖于*所有的* $x_j$：$\;\partial z_i/\partial x_j = z_i(\delta_{ij} - z_j)$，当 $i = j$ 时 $\delta_{ij} = 1$，否则为 $0$。
#   写代码之前，先在纸上把它代入 $\bar x_j = \sum_i \bar z_i\, \partial z_i/\partial x_j$ 并化简。不需要列出所有 $i, j$ 的矩阵。


# %% task="softmax"
def softmax(x):
    """z_i = exp(x_i) / Σ_j exp(x_j) along the last axis.  Returns (z, backward); backward(dz) → (dx,)."""
    ### BEGIN SOLUTION
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    z = e / e.sum(axis=-1, keepdims=True)

    def backward(dz):
        return (z * (dz - (dz * z).sum(axis=-1, keepdims=True)),)

    return z, backward
    ### END SOLUTION


# %% test="softmax" points=7
x = np.log([[1.0, 3.0], [2.0, 2.0]])
z, _ = checks.pair(softmax(x), "softmax(x)", 2)
checks.close(
    z,
    [[0.25, 0.75], [0.5, 0.5]],
    "softmax(log [[1, 3], [2, 2]])",
    checks.tr("Each row sums to 1: the sum runs over the last axis.", "每一行之和为 1：求和沿最后一个轴。"),
)
checks.close(
    softmax(np.array([[1000.0, 1000.0]]))[0],
    [[0.5, 0.5]],
    "softmax([[1000, 1000]])",
    checks.tr(
        "exp(1000) overflows. Shift the row first: softmax(x) = softmax(x − c).",
        "exp(1000) 会溢出。先平移这一行：softmax(x) = softmax(x − c)。",
    ),
)
checks.operation(
    softmax,
    (x,),
    np.array([[4.0, 0.0], [1.0, 3.0]]),
    z,
    ([[0.75, -0.75], [-0.5, 0.5]],),
    "softmax(x (2, 2))",
    checks.tr(
        "x̄_j = Σ_i z̄_i z_i (δ_ij − z_j): also the terms with i ≠ j.",
        "x̄_j = Σ_i z̄_i z_i (δ_ij − z_j)：i ≠ j 的项也要算。",
    ),
)

# %% hidden="softmax" points=5
from minilm import functional as F
from minilm.tensor import Tensor

rng = np.random.default_rng(SEED)
for shape, size in [((5,), 1.0), ((3, 4), 2.0), ((2, 3, 6), 5.0), ((2, 5), 1000.0)]:
    x, dz = size * rng.normal(size=shape), rng.normal(size=shape)
    t = Tensor(x, requires_grad=True)
    value = F.softmax(t, -1)
    value.backward(dz)
    checks.operation(softmax, (x,), dz, value.data, (t.grad,), f"softmax(x {shape}, |x| ~ {size:g})")
checks.close(
    softmax(np.array([[-1000.0, -1000.0], [1000.0, 1000.0]]))[0],
    np.full((2, 2), 0.5),
    "softmax([[−1000, −1000], [1000, 1000]])",
)

# %% [markdown] lang="en"
# ## 7. Rows of a table (8 points)
#
# An embedding takes rows from a table: `z = table[ids]`, with `ids` an integer array of any shape. The ids have no gradient; row $r$ of the table gets the **sum** of
# $\bar z$ over all places at which $r$ was taken. In a text the same word occurs often.

# %% [markdown] lang="zh"
# ## 7. 取表中的行（8 分）
#
# 嵌入就是从表中取行：`z = table[ids]`，`ids` 是任意形状的整数数组。编号没有梯度；表的第 $r$ 行得到所有取了 $r$ 的位置上 $\bar z$ 的**和**。
# 同一个词在一段文本中会出现多次。


# %% task="rows"
def rows(table, ids):
    """z = table[ids] for table: (n, d) and integer ids: (...).  Returns (z, backward); backward(dz) → (dtable,)."""
    z = table[ids]  # (..., d)

    def backward(dz):
        ### BEGIN SOLUTION
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dz)
        return (dtable,)
        ### END SOLUTION

    return z, backward


# %% test="rows" points=5
table = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
take = lambda ids: lambda table: rows(table, np.array(ids))
checks.operation(
    take([2, 0]),
    (table,),
    np.array([[1.0, 2.0], [3.0, 4.0]]),
    [[5.0, 6.0], [1.0, 2.0]],
    ([[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]],),
    "rows(table, [2, 0])",
    checks.tr("A row that was not taken gets 0.", "没有取到的行得到 0。"),
)
checks.operation(
    take([1, 1, 1]),
    (table,),
    np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]),
    [[3.0, 4.0]] * 3,
    ([[0.0, 0.0], [111.0, 222.0], [0.0, 0.0]],),
    "rows(table, [1, 1, 1])",
    checks.tr("Row 1 was taken three times; all three gradients count.", "第 1 行取了三次；三个梯度都要算。"),
)

# %% hidden="rows" points=3
rng = np.random.default_rng(SEED)
for n, shape in [(5, (8,)), (4, (3, 5)), (3, ()), (7, (2, 2, 2))]:
    table, ids = rng.normal(size=(n, 3)), rng.integers(n, size=shape)
    dz = rng.normal(size=(*shape, 3))
    want = (ids.reshape(-1, 1) == np.arange(n)).astype(float).T @ dz.reshape(-1, 3)
    checks.operation(
        lambda table, ids=ids: rows(table, ids), (table,), dz, table[ids], (want,), f"rows(table ({n}, 3), ids {shape})"
    )

# %% [markdown] lang="en"
# ## 8. Topological order (12 points)
#
# A `Node` remembers how it was made: its `parents` are the operands. A **topological order** is a list of all the nodes below a root, every one exactly once,
# in which each node stands *after* all of its parents; the root is last.
#
# Write `topological_order(root)`. Two things that happen in every Transformer must not stop you: a node may be reached along very many paths (a chain of 60 diamonds has $2^{60}$ of them),
# and the graph may be 20,000 nodes deep (Python allows about 1,000 calls inside each other; a list can serve as a stack).

# %% [markdown] lang="zh"
# ## 8. 拓扑序（12 分）
#
# `Node`（节点）记着自己的来历：`parents` 就是各操作数。**拓扑序**是一个列表，包含从根出发能到达的所有节点，每个恰好一次，且每个节点都排在它所有 parents *之后*；根排在最后。
#
# 请写 `topological_order(root)`。有两种情况在每个 Transformer 中都会出现，不能被它们难住：到达一个节点的路径可能极多（60 个菱形首尾相接就有 $2^{60}$ 条路径）；
# 图可能有 20000 个节点深（Python 只允许大约 1000 层函数调用；可以用一个列表当栈）。


# %% role="given"
class Node:
    """A value that remembers how it was made."""

    def __init__(self, value, parents=(), derivative=None):
        self.value = value
        self.parents = parents  # the nodes it was computed from
        self.derivative = derivative  # dz → a tuple: one gradient for each parent; None for an input
        self.grad = 0.0

    def __add__(self, other):
        return Node(self.value + other.value, (self, other), lambda dz: (dz, dz))

    def __mul__(self, other):
        return Node(self.value * other.value, (self, other), lambda dz: (dz * other.value, dz * self.value))


# %% task="topological_order"
def topological_order(root):
    """All the nodes below root, each once, each after all of its parents; root is the last."""
    ### BEGIN SOLUTION
    order, seen, stack = [], {root}, [(root, iter(root.parents))]
    while stack:
        node, parents = stack[-1]
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parent.parents)))
                break
        else:
            order.append(node)
            stack.pop()
    return order
    ### END SOLUTION


# %% test="topological_order" points=7
class Watched(Node):
    """A node that counts how often its parents are asked for, in the whole graph."""

    asked = 0

    @property
    def parents(self):
        Watched.asked += 1
        checks.that(
            Watched.asked < 200_000,
            checks.tr(
                "Your function asked for parents 200,000 times in a small graph: it walks each path instead of visiting each node once.",
                "在一个小图中，你的函数访问 parents 已达 200000 次：它在走每一条路径，而不是每个节点只访问一次。",
            ),
        )
        return self._parents

    @parents.setter
    def parents(self, parents):
        self._parents = parents


def check_order(nodes, what):
    """Every node once, after its parents; nodes[-1] is the root."""
    Watched.asked = 0
    try:
        order = topological_order(nodes[-1])
    except RecursionError:
        raise checks.Wrong(
            what
            + checks.tr(
                ": RecursionError. Python's stack is too small for so deep a graph; use a list as your stack.",
                "：RecursionError。图太深，Python 的调用栈放不下；请用一个列表当栈。",
            )
        ) from None
    checks.that(
        isinstance(order, list),
        what
        + checks.tr(
            f": expected a list, got {type(order).__name__}.", f"：应当返回列表，得到 {type(order).__name__}。"
        ),
    )
    Watched.asked = 0
    place = {id(node): i for i, node in enumerate(order)}
    checks.that(
        len(order) == len(place),
        what
        + checks.tr(
            f": the list has {len(order)} entries, but only {len(place)} different nodes.",
            f"：列表有 {len(order)} 项，却只有 {len(place)} 个不同的节点。",
        ),
    )
    checks.that(
        set(place) == {id(node) for node in nodes},
        what
        + checks.tr(
            f": nodes expected: {len(nodes)}; in the list: {len(place)}, or others.",
            f"：应当有 {len(nodes)} 个节点，列表中有 {len(place)} 个，或者不是这些节点。",
        ),
    )
    early = [node for node in order for parent in node.parents if place[id(parent)] > place[id(node)]]
    checks.that(
        not early, what + checks.tr(": a node stands before one of its parents.", "：有节点排在了它的 parents 前面。")
    )


x = Watched("x")
a = Watched("a", (x,))
b = Watched("b", (a,))
check_order([x, a, b], checks.tr("x → a → b", "x → a → b"))
check_order([x, a, b, Watched("c", (a, b))], checks.tr("the diamond a → b, c = (a, b)", "菱形 a → b, c = (a, b)"))
nodes = [x]
for _ in range(60):
    nodes.append(Watched("double", (nodes[-1], nodes[-1])))
check_order(nodes, checks.tr("60 doublings", "60 次加倍"))
for _ in range(20_000):
    nodes.append(Watched("link", (nodes[-1],)))
check_order(nodes, checks.tr("a chain of 20,000 nodes", "20000 个节点的链"))

# %% hidden="topological_order" points=5
rng = np.random.default_rng(SEED)
for n in (1, 7, 40, 300):
    nodes = [Watched(0)]
    while len(nodes) < n:  # each node has an earlier consumer: all are below the last
        others = [nodes[k] for k in rng.integers(len(nodes), size=rng.integers(3))]
        parents = [nodes[-1], *others]
        nodes.append(Watched(len(nodes), tuple(parents[k] for k in rng.permutation(len(parents)))))
    check_order(nodes, checks.tr(f"a random graph (nodes: {n})", f"{n} 个节点的随机图"))
for swap in (False, True):
    nodes = [Watched("x")]
    for _ in range(4):
        nodes.append(Watched("link", (nodes[-1],)))
    ends = (nodes[0], nodes[-1])
    check_order(
        [*nodes, Watched("root", ends[::-1] if swap else ends)],
        checks.tr("a short and a long path to the same node", "到同一节点的一长一短两条路径"),
    )
    nodes.append(Watched("twice", (nodes[0], nodes[0])))
    check_order(
        [*nodes, Watched("root", nodes[:-3:-1] if swap else nodes[-2:])],
        checks.tr("a node that one consumer uses twice and another once", "一个使用者用两次、另一个用一次的节点"),
    )

# %% [markdown] lang="en"
# ## 9. The walk back (12 points)
#
# Write `backward(order)`. It gets a topological order (the root is last) of nodes whose `grad` is `0.0`, and leaves $\partial L/\partial v$ in the `grad` of each node $v$, where $L$ is
# the root. It returns nothing.
#
# The root's own gradient is 1. Go through the nodes so that each one passes its gradient on only when **all** of its consumers have spoken; `node.derivative(node.grad)`
# gives one gradient for each of `node.parents`. Where paths meet, gradients add: $\bar y \mathrel{+}= \bar z\,\partial z/\partial y$. An array that a derivative returned may belong to somebody
# else too: do not change it in place.

# %% [markdown] lang="zh"
# ## 9. 反向遍历（12 分）
#
# 请写 `backward(order)`。它得到一个拓扑序（根在最后），其中各节点的 `grad` 都是 `0.0`；运行后，每个节点 $v$ 的 `grad` 中是 $\partial L/\partial v$，其中 $L$ 是根。不返回任何东西。
#
# 根自身的梯度是 1。遍历节点时要保证：只有当一个节点的**所有**使用者都把梯度传来之后，它才把自己的梯度往下传；`node.derivative(node.grad)` 为 `node.parents` 中的每一个给出一个梯度。
# 路径相遇处梯度相加：$\bar y \mathrel{+}= \bar z\,\partial z/\partial y$。导数返回的数组可能别处也在用，不要就地修改它。


# %% task="backward"
def backward(order):
    """Leave dL/dv in v.grad of every node v of a topological order, where L is its last node."""
    ### BEGIN SOLUTION
    order[-1].grad = 1.0
    for node in reversed(order):
        if node.derivative is not None:
            for parent, gradient in zip(node.parents, node.derivative(node.grad)):
                parent.grad = parent.grad + gradient
    ### END SOLUTION


# %% test="backward" points=7
x, w = Node(2.0), Node(3.0)
z = x * w
backward([x, w, z])
checks.close(
    z.grad, 1.0, "∂L/∂L", checks.tr("The last node of the order is L itself.", "序中最后一个节点就是 L 自身。")
)
checks.close([x.grad, w.grad], [3.0, 2.0], checks.tr("[x.grad, w.grad] for L = x w", "L = x w 时的 [x.grad, w.grad]"))
x = Node(5.0)
z = x * x
backward([x, z])
checks.close(
    x.grad,
    10.0,
    checks.tr("x.grad for L = x·x at x = 5", "L = x·x，x = 5 时的 x.grad"),
    checks.tr("x is used twice; both gradients count.", "x 用了两次；两个梯度都要算。"),
)
x, three = Node(2.0), Node(3.0)
a = x * x
b = a * three
L = a + b
backward([x, three, a, b, L])
checks.close(
    x.grad,
    16.0,
    checks.tr("x.grad for a = x², L = a + 3a at x = 2", "a = x²，L = a + 3a，x = 2 时的 x.grad"),
    checks.tr("a must wait until both L and 3a have sent their gradients.", "a 必须等 L 和 3a 都把梯度传来。"),
)
asked = []


def twice(dz):
    asked.append(dz)
    checks.that(
        len(asked) <= 40,
        checks.tr(
            "In a chain of 40 doublings a derivative was asked for more than 40 times: each node passes its gradient on once.",
            "在 40 次加倍的链中，求导数超过了 40 次：每个节点只把梯度往下传一次。",
        ),
    )
    return dz, dz


order = [Node(1.0)]
for _ in range(40):
    order.append(Node(2 * order[-1].value, (order[-1], order[-1]), twice))
backward(order)
checks.close(order[0].grad, 2.0**40, checks.tr("x.grad after 40 doublings", "40 次加倍之后的 x.grad"))

# %% hidden="backward" points=5
rng = np.random.default_rng(SEED)
for n in (3, 8, 30):
    inputs = [Node(v) for v in rng.normal(size=3)]
    order, slopes = list(inputs), list(np.eye(3))  # slopes: forward-mode derivatives, another way to the same numbers
    for _ in range(n):
        i, j = rng.integers(len(order)), rng.integers(3)
        if rng.random() < 0.5:
            slopes.append(slopes[i] + slopes[j])
            order.append(order[i] + order[j])
        else:
            slopes.append(slopes[i] * order[j].value + slopes[j] * order[i].value)
            order.append(order[i] * order[j])
    L, slope = order[0], slopes[0]
    for node, its_slope in list(zip(order, slopes))[1:]:
        L, slope = L + node, slope + its_slope
        order.append(L)
    backward(order)
    checks.close(
        [v.grad for v in inputs],
        slope,
        checks.tr(f"the gradient of a random graph of {len(order)} nodes", f"{len(order)} 个节点的随机图的梯度"),
    )
x, y = Node(np.array([1.0, 2.0])), Node(np.array([3.0, 4.0]))
s = x + y  # its derivative sends one and the same array to both
t = x * Node(np.array([10.0, 10.0]))
u = s + t
L = Node(u.value.sum(), (u,), lambda dz: (dz * np.ones(2),))
backward([x, y, s, t.parents[1], t, u, L])
checks.close(x.grad, [11.0, 11.0], checks.tr("x.grad for L = Σ (x + y + 10 x)", "L = Σ (x + y + 10 x) 时的 x.grad"))
checks.close(y.grad, [1.0, 1.0], checks.tr("y.grad for L = Σ (x + y + 10 x)", "L = Σ (x + y + 10 x) 时的 y.grad"))
node = Node(np.zeros(2))
mine = np.ones(2)
keep = Node(0.0, (node, node), lambda dz: (mine, mine))
backward([node, keep])
checks.close(mine, [1.0, 1.0], checks.tr("An array that belongs to a derivative", "属于某个导数的数组"))
checks.close(node.grad, [2.0, 2.0], checks.tr("the gradient of a node that is used twice", "用了两次的节点的梯度"))

# %% [markdown] lang="en"
# ## 10. Is the derivative right? (14 points)
#
# Choose random numbers $c$ of the shape of $z$ and let $L = \sum_i c_i z_i$. Then $\bar z = c$, and for each number $x_k$ in each operand the derivative can be compared with a measured slope:
#
# $$\frac{\partial L}{\partial x_k} \approx \frac{L(x_k + h) - L(x_k - h)}{2h}.$$
#
# Write `gradcheck(op, arrays, rng)`. Draw $c$ with `rng.normal`, compute both for **every** number of **every** operand, and return the largest absolute difference, a float.
# An operation is as in task 2: `op(*arrays)` returns `(z, backward)`. Take $h = 10^{-5}$; the arrays are float64 and must be unchanged when you return.
#
# Why random $c$, and not $c = 1$, that is $L$ = `z.sum()`? The third check below has the answer.

# %% [markdown] lang="zh"
# ## 10. 导数对不对？（14 分）
#
# 取形状与 $z$ 相同的随机数 $c$，令 $L = \sum_i c_i z_i$。于是 $\bar z = c$，而且对每个操作数中的每个数 $x_k$，都可以拿导数与量出来的斜率比较：
#
# $$\frac{\partial L}{\partial x_k} \approx \frac{L(x_k + h) - L(x_k - h)}{2h}.$$
#
# 请写 `gradcheck(op, arrays, rng)`。用 `rng.normal` 取 $c$，对**每个**操作数的**每个**数计算两者，返回最大的绝对差（一个浮点数）。
# 运算的形式同第 2 题：`op(*arrays)` 返回 `(z, backward)`。取 $h = 10^{-5}$；数组都是 float64，返回时必须与传入时相同。
#
# 为什么用随机的 $c$，而不用 $c = 1$，即 $L$ = `z.sum()`？下面的第三个检查给出答案。


# %% task="gradcheck"
def gradcheck(op, arrays, rng):
    """The largest |analytic − measured| derivative of L = Σ c_i z_i, over all numbers in all arrays, for random c."""
    h = 1e-5
    ### BEGIN SOLUTION
    z, derivative = op(*arrays)
    c = rng.normal(size=np.shape(z))
    gradients = derivative(c)
    worst = 0.0
    for k, x in enumerate(arrays):
        for place in np.ndindex(x.shape):
            values = []
            for step in (h, -h):
                moved = [np.array(a) for a in arrays]
                moved[k][place] += step
                values.append((c * op(*moved)[0]).sum())
            slope = (values[0] - values[1]) / (2 * h)
            worst = max(worst, abs(float(gradients[k][place] - slope)))
    return worst
    ### END SOLUTION


# %% test="gradcheck" points=8
def sine(x):
    return np.sin(x), lambda dz: (dz * np.cos(x),)


def sine_wrong(x):
    return np.sin(x), lambda dz: (dz * 0.9 * np.cos(x),)


def softmax_wrong(x):  # forgot that each z_i depends on every x_j with its own weight
    e = np.exp(x)
    z = e / e.sum()
    return z, lambda dz: (z * (dz - dz.mean()),)


def divide_wrong(x, y):  # right for x, wrong for y
    return x / y, lambda dz: (dz / y, dz * x / y)


def asks(op, arrays, right, what, hint=""):
    """gradcheck must find less than 1e-6 for a right derivative, more than 1e-3 for a wrong one."""
    before = [a.copy() for a in arrays]
    error = gradcheck(op, arrays, np.random.default_rng(1))
    checks.that(
        error is not None,
        checks.tr(
            "gradcheck returned None. Did you forget `return`?", "gradcheck 返回了 None。是不是忘了写 `return`？"
        ),
    )
    checks.that(
        np.ndim(error) == 0,
        checks.tr(
            f"gradcheck should return one number, not shape {np.shape(error)}.",
            f"gradcheck 应当返回一个数，而不是形状 {np.shape(error)}。",
        ),
    )
    ok = error < 1e-6 if right else error > 1e-3
    want = "< 1e-6" if right else "> 1e-3"
    checks.that(
        ok,
        checks.tr(
            f"{what}: gradcheck says {error:.2g}, expected {want}. {hint}",
            f"{what}：gradcheck 得到 {error:.2g}，应当 {want}。{hint}",
        ),
    )
    checks.unchanged(arrays, before, "gradcheck")


x, y = np.array([0.3, -1.2, 0.7]), np.array([1.5, 2.0, -0.8])
asks(sine, [x], True, checks.tr("sin, whose derivative is right", "导数正确的 sin"))
asks(sine_wrong, [x], False, checks.tr("sin with 0.9·cos", "导数写成 0.9·cos 的 sin"))
asks(
    softmax_wrong,
    [x],
    False,
    checks.tr("a softmax whose derivative is wrong", "导数有误的 softmax"),
    checks.tr(
        "Σ z_i is always 1, so z.sum() has slope 0 everywhere and cannot see it.",
        "Σ z_i 恒为 1，所以 z.sum() 的斜率处处为 0，看不出错误。",
    ),
)
asks(
    divide_wrong,
    [x, y],
    False,
    checks.tr("x / y, wrong for y only", "x / y，只有对 y 的导数有误"),
    checks.tr("Compare every operand.", "每个操作数都要比较。"),
)


def off(*errors):
    """x ↦ x, with derivatives that are wrong by these numbers."""
    return lambda x: (x + 0, lambda dz: (dz + np.reshape(errors, x.shape),))


checks.close(
    gradcheck(off(0.25, -0.75, 0.5), [x], np.random.default_rng(1)),
    0.75,
    checks.tr(
        "gradcheck where the derivatives are off by 0.25, −0.75, 0.5", "导数分别差 0.25、−0.75、0.5 时的 gradcheck"
    ),
    checks.tr("Return the largest absolute difference.", "返回最大的绝对差。"),
    tolerance=1e-6,
)


# %% hidden="gradcheck" points=6
def outer(x, y):
    return np.outer(x, y), lambda dz: (dz @ y, x @ dz)


def one_wrong(x):  # one number of many
    def backward(dz):
        g = 3 * dz * x**2
        g[-1, -1] *= 1.01
        return (g,)

    return x**3, backward


def scalar(x):
    return (x * x).sum(), lambda dz: (2 * dz * x,)


def steep(x):
    return np.exp(x), lambda dz: (dz * np.exp(x),)


rng = np.random.default_rng(SEED)
asks(outer, [rng.normal(size=3), rng.normal(size=4)], True, "outer")
asks(one_wrong, [1 + rng.random(size=(3, 4))], False, checks.tr("one wrong number among twelve", "十二个数中有一个错"))
asks(scalar, [rng.normal(size=(2, 3))], True, checks.tr("an operation that returns one number", "返回一个数的运算"))
asks(steep, [rng.uniform(3.0, 4.0, size=(2, 2))], True, "exp")
asks(
    lambda x, y: (x @ y, lambda dz: (dz @ y.T, x.T @ dz)),
    [rng.normal(size=(2, 3)), rng.normal(size=(3, 2))],
    True,
    "matmul",
)
asks(lambda x: (x * x, lambda dz: (-2 * dz * x,)), [0.5 + rng.random(3)], False, checks.tr("a wrong sign", "符号错误"))
asks(softmax_wrong, [rng.normal(size=5)], False, checks.tr("a softmax whose derivative is wrong", "导数有误的 softmax"))
asks(
    lambda x, y: (x + y, lambda dz: (dz, -dz)),
    [rng.normal(size=3), rng.normal(size=3)],
    False,
    checks.tr("x + y, wrong for y only", "x + y，只有对 y 的导数有误"),
)
for errors in ([3.0, 1.0, 1.0, 2.0], [0.0, 1.0, -2.0, 0.5], rng.normal(size=4)):
    error = gradcheck(off(*errors), [rng.normal(size=(2, 2))], np.random.default_rng(1))
    checks.close(
        error,
        np.abs(errors).max(),
        checks.tr("gradcheck where the derivatives are off by known numbers", "导数的误差已知时的 gradcheck"),
        tolerance=1e-6,
    )

# %% [markdown] lang="en"
# ## What you have built
#
# No points here: a network of two layers that learns "exactly one of the two is 1" (XOR), a problem that no single layer solves. All it runs on is yours: the operations, the order, the walk. The loss should fall below 0.05.

# %% [markdown] lang="zh"
# ## 你写出了什么
#
# 这里不计分：一个两层的网络学习“两个数中恰有一个是 1”（异或），这是单层网络解决不了的问题。它用到的全是你写的：运算、次序、遍历。损失应当降到 0.05 以下。


# %%
def apply(op, *nodes):
    z, derivative = op(*(node.value for node in nodes))
    return Node(z, nodes, derivative)


rng = np.random.default_rng(0)
inputs = Node(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
minus_target = Node(-np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
parameters = [Node(rng.normal(size=shape)) for shape in [(2, 8), (8,), (8, 2), (2,)]]
for step in range(301):
    W1, b1, W2, b2 = parameters
    hidden = apply(tanh, apply(add, apply(matmul, inputs, W1), b1))
    answer = apply(softmax, apply(add, apply(matmul, hidden, W2), b2))
    error = apply(add, answer, minus_target)
    loss = apply(total, apply(multiply, error, error))
    backward(topological_order(loss))
    if step % 100 == 0:
        print(step, round(float(loss.value), 4))
    parameters = [Node(p.value - 0.5 * p.grad) for p in parameters]
