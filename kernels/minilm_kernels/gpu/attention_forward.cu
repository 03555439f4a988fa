// Attention forward, on CUDA cores.    [Dao 2023, FlashAttention-2]
//
//     O_i = Σ_j w_ij keep_ij V_j,   w = softmax of row i of the scores (scores.cuh)
//
// A block owns BM queries of one head and walks over the keys, BN at a time. It never holds a row of scores: when a tile
// brings a larger maximum m', what was summed so far is multiplied by 2^(m − m'). V comes while the scores are worked out, and
// the next K while V is added up.
//     l ← l 2^(m−m') + Σ_j 2^(s_j − m'),   acc ← acc 2^(m−m') + Σ_j 2^(s_j − m') keep_j V_j,   O = acc / l
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// blocks: ceil(Tq/BM) · H · B in a line; 256 threads. DP: head_dim, rounded up. maximum, factor: (B, H, Tq), m and 1/l.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(256) attention_forward(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, T* __restrict__ o,
    Real<T>* __restrict__ maximum, Real<T>* __restrict__ factor, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(o), SHAPE,
    MASKS(T), DROPOUT(Real<T>), Real<T> scale) {
  using A = Real<T>;
  constexpr int LD = DP + 4, LDW = BN + 4, RM = BM / 16, RN = BN / 16, RC = DP / 16;
  SHARED_ARRAY(A, Q);
  A *K = Q + BM * LD, *V = K + BN * LD, *W = V + BN * LD;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, tiles = (Tq + BM - 1) / BM;
  const int first = longest_first(blockIdx.x, tiles) * BM, h = blockIdx.x / tiles % H, b = blockIdx.x / tiles / H;
  const int h_kv = h / (H / H_kv);
  const Score<T> score = SCORE_OF(b, h);
  const i64 row0 = (i64(b) * H + h) * Tq + first + ty * RM;  // of all rows of scores

  A acc[RM][RC] = {}, m[RM], l[RM];
  RowKey key[RM];
#pragma unroll
  for (int i = 0; i < RM; i++) {
    m[i] = minus_infinity<A>();
    l[i] = 0;
    if (threshold) key[i] = row_key(seed, row0 + i);
  }
  const int end = keys_before(first + BM - 1, Tq, Tk, causal);
  start_tile<256, BM, DP, LD>(Q, AT(q, b, h), q_row, first, Tq, D);
  if (end > 0) start_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, 0, Tk, D);
  for (int start = 0; start < end; start += BN) {
    copies_done();
    __syncthreads();  // K is there, and the last V has been used
    start_tile<256, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, Tk, Dv);
    A s[RM][RN] = {};
    rows_with_rows<RM, RN, DP, LD>(s, Q, K, ty, tx);
    const auto place = [&](int i, int j) { return Place{first + ty * RM + i, start + tx + 16 * j}; };
    score.of_tile(s, score.template whole<BM, BN>(first, start), place);
#pragma unroll
    for (int i = 0; i < RM; i++) {
      A most = m[i];
#pragma unroll
      for (int j = 0; j < RN; j++) most = larger(most, s[i][j]);
      most = max_over<16>(most);
      const A rescale = weight_of(m[i], most);
      A sum = 0;
#pragma unroll
      for (int j = 0; j < RN; j++) {
        A w = weight_of(s[i][j], most);
        sum += w;
        if (threshold) w *= keep(key[i], start + tx + 16 * j, threshold, kept);
        W[(ty * RM + i) * LDW + tx + 16 * j] = w;
      }
      l[i] = l[i] * rescale + sum_over<16>(sum);
      m[i] = most;
#pragma unroll
      for (int c = 0; c < RC; c++) acc[i][c] *= rescale;
    }
    copies_done();
    __syncthreads();  // all of W is there, and V; K has been used
    if (start + BN < end) start_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start + BN, Tk, D);
    rows_with_columns<RM, RC, BN, LDW, LD>(acc, W, V, ty, tx);
  }
#pragma unroll
  for (int i = 0; i < RM; i++) {
    const int query = first + ty * RM + i;
    if (query >= Tq) continue;
    const A f = l[i] == 0 ? A(0) : 1 / l[i];
    T* to = AT(o, b, h) + query * o_row;
#pragma unroll
    for (int c = 0; c < RC; c++) {
      const int column = column_of<RC>(tx, c);
      if (column < Dv) to[column] = narrow<T>(acc[i][c] * f);
    }
    if (tx == 0) {
      maximum[row0 + i] = m[i];
      factor[row0 + i] = f;
    }
  }
}
