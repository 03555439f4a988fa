// The cotangent of the queries, on CUDA cores.
//
//     dW_ij = keep_ij dO_i · V_j,   dS_ij = w_ij (dW_ij − δ_i),   dQ_i = scale Σ_j dS_ij K_j
//
// A block owns BM queries and walks over the keys, so no two blocks write one number: the sums have one order.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// blocks: ceil(Tq/BM) · H · B; 256 threads.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(256) attention_query_gradient(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ grad,
    const Real<T>* __restrict__ maximum, const Real<T>* __restrict__ factor, const Real<T>* __restrict__ delta,
    T* __restrict__ dq, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(grad), STRIDES(dq), SHAPE, MASKS(T), DROPOUT(Real<T>),
    Real<T> scale) {
  using A = Real<T>;
  constexpr int LD = DP + 4, LDS = BN + 4, RM = BM / 16, RN = BN / 16, RC = DP / 16;
  SHARED_ARRAY(A, Q);
  A *G = Q + BM * LD, *K = G + BM * LD, *V = K + BN * LD, *dS = V + BN * LD;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, tiles = (Tq + BM - 1) / BM;
  const int first = longest_first(blockIdx.x, tiles) * BM, h = blockIdx.x / tiles % H, b = blockIdx.x / tiles / H;
  const int h_kv = h / (H / H_kv);
  const Score<T> score = SCORE_OF(b, h);
  const i64 row0 = (i64(b) * H + h) * Tq + first + ty * RM;

  load_tile<256, BM, DP, LD>(Q, AT(q, b, h), q_row, first, Tq, D);
  load_tile<256, BM, DP, LD>(G, AT(grad, b, h), grad_row, first, Tq, Dv);
  A acc[RM][RC] = {}, m[RM], f[RM], d[RM];
  RowKey key[RM];
#pragma unroll
  for (int i = 0; i < RM; i++) {
    const bool inside = first + ty * RM + i < Tq;
    m[i] = inside ? maximum[row0 + i] : minus_infinity<A>();
    f[i] = inside ? factor[row0 + i] : A(0);
    d[i] = inside ? delta[row0 + i] : A(0);
    if (threshold) key[i] = row_key(seed, row0 + i);
  }
  const int end = keys_before(first + BM - 1, Tq, Tk, causal);
  for (int start = 0; start < end; start += BN) {
    __syncthreads();  // the last tile has been used
    load_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start, Tk, D);
    load_tile<256, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, Tk, Dv);
    __syncthreads();
    A s[RM][RN] = {}, dw[RM][RN] = {};
    rows_with_rows<RM, RN, DP, LD>(s, Q, K, ty, tx);
    rows_with_rows<RM, RN, DP, LD>(dw, G, V, ty, tx);
    const auto place = [&](int i, int j) { return Place{first + ty * RM + i, start + tx + 16 * j}; };
    score.of_tile(s, score.template whole<BM, BN>(first, start), place);
    if (threshold) each(dw, [&](A d, int i, int j) { return d * keep(key[i], place(i, j).key, threshold, kept); });
#pragma unroll
    for (int i = 0; i < RM; i++) {
#pragma unroll
      for (int j = 0; j < RN; j++) {
        const A w = weight_of(s[i][j], m[i]) * f[i];
        dS[(ty * RM + i) * LDS + tx + 16 * j] = w * (dw[i][j] - d[i]);
      }
    }
    __syncthreads();  // all of dS is there
    rows_with_columns<RM, RC, BN, LDS, LD>(acc, dS, K, ty, tx);
  }
#pragma unroll
  for (int i = 0; i < RM; i++) {
    const int query = first + ty * RM + i;
    if (query >= Tq) continue;
    T* to = AT(dq, b, h) + query * dq_row;
#pragma unroll
    for (int c = 0; c < RC; c++) {
      const int column = column_of<RC>(tx, c);
      if (column < D) to[column] = narrow<T>(acc[i][c] * scale);
    }
  }
}
