// The cotangent of a bias: dS itself, added up over the sequences and heads that share the bias.
//
// A block owns a tile of BM queries and BN keys of one (batch, head) of the result, which is (result_B, result_H, Tq, Tk)
// with result_B either B or 1 (shared by all sequences) and result_H either H or 1. Numbers of type Real<T>.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// blocks: ceil(Tq/BM) · ceil(Tk/BN) · result_H · result_B; 256 threads.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(256, 1) attention_bias_gradient(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ grad,
    const Real<T>* __restrict__ maximum, const Real<T>* __restrict__ factor, const Real<T>* __restrict__ delta,
    Real<T>* __restrict__ result, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(grad), SHAPE, MASKS(T), DROPOUT(Real<T>),
    Real<T> scale, int result_B, int result_H) {
  using A = Real<T>;
  constexpr int LD = DP + 4, RM = BM / 16, RN = BN / 16;
  SHARED_ARRAY(A, Q);
  A *G = Q + BM * LD, *K = G + BM * LD, *V = K + BN * LD;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, rows = (Tq + BM - 1) / BM, columns = (Tk + BN - 1) / BN;
  const int first = blockIdx.x % rows * BM, start = blockIdx.x / rows % columns * BN;
  const int result_h = blockIdx.x / rows / columns % result_H, result_b = blockIdx.x / rows / columns / result_H;
  A sum[RM][RN] = {};
  for (int b = result_b; b < B; b += result_B) {
    for (int h = result_h; h < H; h += result_H) {
      const int h_kv = h / (H / H_kv);
      const Score<T> score = SCORE_OF(b, h);
      const i64 row0 = (i64(b) * H + h) * Tq + first + ty * RM;
      __syncthreads();  // the last tiles have been used
      load_tile<256, BM, DP, LD>(Q, AT(q, b, h), q_row, first, Tq, D);
      load_tile<256, BM, DP, LD>(G, AT(grad, b, h), grad_row, first, Tq, Dv);
      load_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start, Tk, D);
      load_tile<256, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, Tk, Dv);
      __syncthreads();
      A s[RM][RN] = {}, dw[RM][RN] = {};
      rows_with_rows<RM, RN, DP, LD>(s, Q, K, ty, tx);
      rows_with_rows<RM, RN, DP, LD>(dw, G, V, ty, tx);
#pragma unroll
      for (int i = 0; i < RM; i++) {
        const int query = first + ty * RM + i;
        if (query >= Tq) continue;
        const A m = maximum[row0 + i], f = factor[row0 + i], d = delta[row0 + i];
        RowKey key;
        if (threshold) key = row_key(seed, row0 + i);
#pragma unroll
        for (int j = 0; j < RN; j++) {
          const int at = start + tx + 16 * j;
          if (threshold) dw[i][j] *= keep(key, at, threshold, kept);
          sum[i][j] += weight_of(score(s[i][j], query, at), m) * f * (dw[i][j] - d);
        }
      }
    }
  }
  A* to = result + (i64(result_b) * result_H + result_h) * Tq * Tk;
#pragma unroll
  for (int i = 0; i < RM; i++) {
#pragma unroll
    for (int j = 0; j < RN; j++) {
      const int query = first + ty * RM + i, at = start + tx + 16 * j;
      if (query < Tq && at < Tk) to[i64(query) * Tk + at] = sum[i][j];
    }
  }
}
