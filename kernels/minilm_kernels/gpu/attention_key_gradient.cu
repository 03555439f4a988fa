// The cotangents of keys and values, on CUDA cores.
//
//     dV_j = Σ_i w_ij keep_ij dO_i,   dK_j = scale Σ_i dS_ij Q_i,   dS as for the queries
//
// A block owns BN keys of one key head and walks over all queries that share it, head by head, BM at a time. Tiles of
// scores stand transposed here: a row is a key.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// blocks: ceil(Tk/BN) · H_kv · B; 256 threads.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(256) attention_key_gradient(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ grad,
    const Real<T>* __restrict__ maximum, const Real<T>* __restrict__ factor, const Real<T>* __restrict__ delta,
    T* __restrict__ dk, T* __restrict__ dv, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(grad), STRIDES(dk), STRIDES(dv), SHAPE,
    MASKS(T), DROPOUT(Real<T>), Real<T> scale) {
  using A = Real<T>;
  constexpr int LD = DP + 4, LDW = BM + 4, RN = BN / 16, RM = BM / 16, RC = DP / 16;
  SHARED_ARRAY(A, K);
  A *V = K + BN * LD, *Q = V + BN * LD, *G = Q + BM * LD, *W = G + BM * LD, *dS = W + BN * LDW;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, tiles = (Tk + BN - 1) / BN, group = H / H_kv;
  const int first = blockIdx.x % tiles * BN, h_kv = blockIdx.x / tiles % H_kv, b = blockIdx.x / tiles / H_kv;

  load_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, first, Tk, D);
  load_tile<256, BN, DP, LD>(V, AT(v, b, h_kv), v_row, first, Tk, Dv);
  A to_k[RN][RC] = {}, to_v[RN][RC] = {};
  for (int h = h_kv * group; h < (h_kv + 1) * group; h++) {
    const Score<T> score = SCORE_OF(b, h);
    const i64 rows = (i64(b) * H + h) * Tq;
    for (int start = queries_from(first, Tq, Tk, causal, BM); start < Tq; start += BM) {
      __syncthreads();  // the last tile has been used
      load_tile<256, BM, DP, LD>(Q, AT(q, b, h), q_row, start, Tq, D);
      load_tile<256, BM, DP, LD>(G, AT(grad, b, h), grad_row, start, Tq, Dv);
      __syncthreads();
      A s[RN][RM] = {}, dw[RN][RM] = {};
      rows_with_rows<RN, RM, DP, LD>(s, K, Q, ty, tx);
      rows_with_rows<RN, RM, DP, LD>(dw, V, G, ty, tx);
      const auto place = [&](int j, int i) { return Place{start + tx + 16 * i, first + ty * RN + j}; };
      score.of_tile(s, score.template whole<BM, BN>(start, first), place);
#pragma unroll
      for (int i = 0; i < RM; i++) {
        const int query = start + tx + 16 * i;
        const bool inside = query < Tq;
        const A m = inside ? maximum[rows + query] : minus_infinity<A>();
        const A f = inside ? factor[rows + query] : A(0), d = inside ? delta[rows + query] : A(0);
        RowKey key;
        if (threshold) key = row_key(seed, rows + query);
#pragma unroll
        for (int j = 0; j < RN; j++) {
          const int at = first + ty * RN + j;
          const A w = weight_of(s[j][i], m) * f;
          const A kept_or_0 = threshold ? keep(key, at, threshold, kept) : A(1);
          W[(ty * RN + j) * LDW + tx + 16 * i] = w * kept_or_0;
          dS[(ty * RN + j) * LDW + tx + 16 * i] = w * (dw[j][i] * kept_or_0 - d);
        }
      }
      __syncthreads();  // all of W and dS is there
      rows_with_columns<RN, RC, BM, LDW, LD>(to_v, W, G, ty, tx);
      rows_with_columns<RN, RC, BM, LDW, LD>(to_k, dS, Q, ty, tx);
    }
  }
#pragma unroll
  for (int j = 0; j < RN; j++) {
    const int at = first + ty * RN + j;
    if (at >= Tk) continue;
    T *k_to = AT(dk, b, h_kv) + at * dk_row, *v_to = AT(dv, b, h_kv) + at * dv_row;
#pragma unroll
    for (int c = 0; c < RC; c++) {
      const int column = column_of<RC>(tx, c);
      if (column < D) k_to[column] = narrow<T>(to_k[j][c] * scale);
      if (column < Dv) v_to[column] = narrow<T>(to_v[j][c]);
    }
  }
}
