"""The product for few rows of A, as in decoding: Y = X Wᵀ with one row of X per sequence.

Each number of B is used only M times, so that reading B is all the work: it is read once, in the order in which it lies, and
never packed.

    B's columns lie together (B = Wᵀ):   C[m, n] = Σ_k A[m, k] B[k, n], four columns at a time, k in the lanes
    B's rows lie together:               C[m, :] += A[m, k] B[k, :], four k at a time, n in the lanes
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.gemm_tiles import finish, make_product
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import fma, lanes, load, load_first, pointer_at, reduce_add, splat, store, store_first

FEW = 4  # rows up to which this is used: with more, packing B pays
STRIPE = 1024  # columns of a task: sums of STRIPE columns stay in the first cache
K_BLOCK = 384  # k's that are summed by themselves before they are added to C


@part
def dot(a, b, K):
    """Σ_k a[k] b[k]."""
    W = lanes(a)
    x = splat(a, 0.0)
    for k in range(0, K, W):
        x = fma(load_first(a + k, K - k), load_first(b + k, K - k), x)
    return reduce_add(x)


@part
def four_dots(a, b, b_step, K):
    """The products of a with four columns of B."""
    W = lanes(a)
    p0, p1, p2, p3 = splat(a, 0.0), splat(a, 0.0), splat(a, 0.0), splat(a, 0.0)
    q0, q1, q2, q3 = splat(a, 0.0), splat(a, 0.0), splat(a, 0.0), splat(a, 0.0)
    b1, b2, b3 = b + b_step, b + 2 * b_step, b + 3 * b_step
    k = 0
    while k + 2 * W <= K:
        x, y = load(a + k), load(a + (k + W))
        p0, p1 = fma(x, load(b + k), p0), fma(x, load(b1 + k), p1)
        p2, p3 = fma(x, load(b2 + k), p2), fma(x, load(b3 + k), p3)
        q0, q1 = fma(y, load(b + (k + W)), q0), fma(y, load(b1 + (k + W)), q1)
        q2, q3 = fma(y, load(b2 + (k + W)), q2), fma(y, load(b3 + (k + W)), q3)
        k += 2 * W
    while k < K:
        n = K - k
        x = load_first(a + k, n)
        p0, p1 = fma(x, load_first(b + k, n), p0), fma(x, load_first(b1 + k, n), p1)
        p2, p3 = fma(x, load_first(b2 + k, n), p2), fma(x, load_first(b3 + k, n), p3)
        k += W
    return reduce_add(p0 + q0), reduce_add(p1 + q1), reduce_add(p2 + q2), reduce_add(p3 + q3)


@part
def columns_task(worker, i, p):
    """Task i of C where B's columns lie together."""
    n0 = i * p.nc
    n1 = min(n0 + p.nc, p.N)
    n = n0
    while n + 4 <= n1:
        for m in range(p.M):
            d = four_dots(p.a + m * p.a_step, p.b + n * p.b_step, p.b_step, p.K)
            for j in range(4):
                p.c[m * p.c_row + n + j] = p.start[m * p.start_row + (n + j) * p.start_column] + d[j]
        n += 4
    while n < n1:
        for m in range(p.M):
            d0 = dot(p.a + m * p.a_step, p.b + n * p.b_step, p.K)
            p.c[m * p.c_row + n] = p.start[m * p.start_row + n * p.start_column] + d0
        n += 1
    if p.activation or p.add:
        finish(p, 0, n0, p.M, n1 - n0)


@part
def rows_task(worker, i, p, zeros):
    """Task i of C where B's rows lie together."""
    W = lanes(p.c)
    n0 = i * p.nc
    width = min(p.nc, p.N - n0)
    sums = pointer_at(p.scratch + worker * p.scratch_row, zeros)  # (M, STRIPE)
    for k0 in range(0, p.K, K_BLOCK):
        k1 = min(k0 + K_BLOCK, p.K)
        for m in range(p.M):
            for v in range(0, width, W):
                store(sums + (m * STRIPE + v), splat(p.c, 0.0))
        for k in range(k0, k1, 4):
            b = p.b + (k * p.b_step + n0)
            for m in range(p.M):
                a, s = p.a + (m * p.a_step + k), sums + m * STRIPE
                if k + 4 <= k1:
                    a0, a1, a2, a3 = splat(a, a[0]), splat(a, a[1]), splat(a, a[2]), splat(a, a[3])
                    b1, b2, b3 = b + p.b_step, b + 2 * p.b_step, b + 3 * p.b_step
                    v = 0
                    while v + W <= width:
                        x = fma(a1, load(b1 + v), fma(a0, load(b + v), load(s + v)))
                        store(s + v, fma(a3, load(b3 + v), fma(a2, load(b2 + v), x)))
                        v += W
                    if v < width:
                        n = width - v
                        x = fma(a1, load_first(b1 + v, n), fma(a0, load_first(b + v, n), load(s + v)))
                        store(s + v, fma(a3, load_first(b3 + v, n), fma(a2, load_first(b2 + v, n), x)))
                else:
                    for j in range(k1 - k):
                        a0 = splat(a, a[j])
                        for v in range(0, width, W):
                            store(s + v, fma(a0, load_first(b + (j * p.b_step + v), width - v), load(s + v)))
        for m in range(p.M):
            for v in range(0, width, W):
                n = width - v
                c = p.c + (m * p.c_row + n0 + v)
                x = load(sums + (m * STRIPE + v))
                if k0 > 0:
                    x += load_first(c, n)
                elif p.start_column:
                    x += load_first(p.start + (m * p.start_row + n0 + v), n)
                store_first(c, x, n)
    if p.activation or p.add:
        finish(p, 0, n0, p.M, width)


@kernel
def few(
    pool, zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
    activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row,
):  # fmt: skip
    """The product for few rows; arguments as in gemm."""
    p = make_product(
        zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
        activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row,
    )  # fmt: skip
    if b_transposed:
        parallel_for(pool, -(-N // nc), columns_task, (p,))
    else:
        parallel_for(pool, -(-N // nc), rows_task, (p, zeros))
