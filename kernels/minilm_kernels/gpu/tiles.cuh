// A tile: a few rows of a matrix in shared memory. How it is filled, and products of tiles on CUDA cores.
//
// 16 threads (tx) stand along a row, THREADS/16 (ty) along the rows. A thread keeps an RM x RN part of the product in
// registers: rows ty·RM … ty·RM + RM − 1, columns tx, tx + 16, tx + 32, … (neighbouring threads, neighbouring addresses) or
// fours of them.
#pragma once

template <typename A> struct alignas(16) Four { A a, b, c, d; };
template <typename T> struct alignas(16) Sixteen { T x[16 / sizeof(T)]; };  // 16 bytes, one load

// whether all rows can be read 16 bytes at a time
template <typename T> DEVICE bool in_sixteens(const T* g, i64 stride, int width) {
  return (reinterpret_cast<u64>(g) | static_cast<u64>(stride * sizeof(T)) | static_cast<u64>(width * sizeof(T))) % 16 == 0;
}

template <typename A, typename T> DEVICE A as(T x) { return A(widen(x)); }
template <> DEVICE f16 as<f16, f16>(f16 x) { return x; }
template <> DEVICE bf16 as<bf16, bf16>(bf16 x) { return x; }

// tile[r][c] = g[first + r][c] for r < ROWS, c < D; zeros outside (count rows, width columns), so that a product may
// run over the whole tile. LD: the distance of two rows of the tile. stride: that of two rows of g, in elements.
template <int THREADS, int ROWS, int D, int LD, typename S, typename T>
DEVICE void load_tile(S* tile, const T* __restrict__ g, i64 stride, int first, int count, int width) {
  T zero_bits = T();
  const S zero = as<S>(zero_bits);
  if (in_sixteens(g, stride, width)) {
    constexpr int V = 16 / sizeof(T), ALONG = (D == 96 ? 128 : D) / V;  // so many threads stand along a row
    const int c = threadIdx.x % ALONG * V;
    for (int r = threadIdx.x / ALONG; r < ROWS && c < D; r += THREADS / ALONG) {
      S* to = tile + r * LD + c;
      if (first + r < count && c < width) {
        const Sixteen<T> part = *reinterpret_cast<const Sixteen<T>*>(g + (first + r) * stride + c);
#pragma unroll
        for (int i = 0; i < V; i++) to[i] = as<S>(part.x[i]);
      } else {
#pragma unroll
        for (int i = 0; i < V; i++) to[i] = zero;
      }
    }
  } else {
    for (int e = threadIdx.x; e < ROWS * D; e += THREADS) {
      const int r = e / D, c = e % D;
      tile[r * LD + c] = first + r < count && c < width ? as<S>(g[(first + r) * stride + c]) : zero;
    }
  }
}

// load_tile that only starts: from Ampere on the bytes go into shared memory by themselves, while the block computes. They are
// there for a thread after its copies_done(), and for the others after a barrier behind that.
template <int THREADS, int ROWS, int D, int LD, typename S, typename T>
DEVICE void start_tile(S* tile, const T* __restrict__ g, i64 stride, int first, int count, int width) {
#if __CUDA_ARCH__ >= 800
  if (sizeof(S) == sizeof(T) && in_sixteens(g, stride, width)) {
    constexpr int V = 16 / sizeof(T), ALONG = (D == 96 ? 128 : D) / V, STEP = THREADS / ALONG;
    const int row = threadIdx.x / ALONG, c = threadIdx.x % ALONG * V;
    const u32 to = static_cast<u32>(__cvta_generic_to_shared(tile + row * LD + c));
    const T* from = g + (first + row) * stride + c;
#pragma unroll
    for (int r = 0; r < ROWS; r += STEP, from += STEP * stride) {
      const bool inside = first + row + r < count && c < width;
      if (c < D && row + r < ROWS)  // the last number: how many of the 16 bytes are read; the others become 0
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + u32(r * LD * sizeof(T))),
                     "l"(inside ? from : g), "r"(inside ? 16 : 0));
    }
    return;
  }
#endif
  load_tile<THREADS, ROWS, D, LD>(tile, g, stride, first, count, width);
}
DEVICE void copies_done() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// part[i][j] += Σ_d P[ty·RM + i][d] · Q[tx + 16 j][d]: rows of P with rows of Q.    [eq:scores-tile]
template <int RM, int RN, int D, int LD, typename A>
DEVICE void rows_with_rows(A (&part)[RM][RN], const A* P, const A* Q, int ty, int tx) {
#pragma unroll 4
  for (int d = 0; d < D; d += 4) {
    Four<A> p[RM], q[RN];
#pragma unroll
    for (int i = 0; i < RM; i++) p[i] = *reinterpret_cast<const Four<A>*>(P + (ty * RM + i) * LD + d);
#pragma unroll
    for (int j = 0; j < RN; j++) q[j] = *reinterpret_cast<const Four<A>*>(Q + (tx + 16 * j) * LD + d);
#pragma unroll
    for (int i = 0; i < RM; i++) {
#pragma unroll
      for (int j = 0; j < RN; j++) {
        part[i][j] = multiply_add(p[i].a, q[j].a, part[i][j]);
        part[i][j] = multiply_add(p[i].b, q[j].b, part[i][j]);
        part[i][j] = multiply_add(p[i].c, q[j].c, part[i][j]);
        part[i][j] = multiply_add(p[i].d, q[j].d, part[i][j]);
      }
    }
  }
}

// The columns of a plain product that a thread has: neighbours in fours where there are enough, so that four are one load.
template <int RC> DEVICE int column_of(int tx, int j) { return RC % 4 == 0 ? j / 4 * 64 + 4 * tx + j % 4 : tx + 16 * j; }

// part[i][j] += w[i] · row[column_of<RC>(tx, j)]
template <int RM, int RC, typename A> DEVICE void add_row(A (&part)[RM][RC], const A (&w)[RM], const A* row, int tx) {
  A v[RC];
  if constexpr (RC % 4 == 0) {
#pragma unroll
    for (int j = 0; j < RC; j += 4) {
      const Four<A> four = *reinterpret_cast<const Four<A>*>(row + 16 * j + 4 * tx);
      v[j] = four.a, v[j + 1] = four.b, v[j + 2] = four.c, v[j + 3] = four.d;
    }
  } else {
#pragma unroll
    for (int j = 0; j < RC; j++) v[j] = row[tx + 16 * j];
  }
#pragma unroll
  for (int i = 0; i < RM; i++) {
#pragma unroll
    for (int j = 0; j < RC; j++) part[i][j] = multiply_add(w[i], v[j], part[i][j]);
  }
}

// part[i][j] += Σ_n W[ty·RM + i][n] · V[n][column_of<RC>(tx, j)]: the plain product of two tiles.
template <int RM, int RC, int N, int LDW, int LDV, typename A>
DEVICE void rows_with_columns(A (&part)[RM][RC], const A* W, const A* V, int ty, int tx) {
#pragma unroll 1
  for (int n = 0; n < N; n += 4) {
    A a[RM], b[RM], c[RM], d[RM];
#pragma unroll
    for (int i = 0; i < RM; i++) {
      const Four<A> w = *reinterpret_cast<const Four<A>*>(W + (ty * RM + i) * LDW + n);
      a[i] = w.a, b[i] = w.b, c[i] = w.c, d[i] = w.d;
    }
    add_row(part, a, V + n * LDV, tx);
    add_row(part, b, V + (n + 1) * LDV, tx);
    add_row(part, c, V + (n + 2) * LDV, tx);
    add_row(part, d, V + (n + 3) * LDV, tx);
  }
}
