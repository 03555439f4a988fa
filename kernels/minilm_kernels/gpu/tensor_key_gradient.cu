// The cotangents of keys and values on tensor cores; the formulas are those of attention_key_gradient.cu.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"
#include "tensor_core.cuh"

// blocks: ceil(Tk/64) · H_kv · B; 128 threads, a warp owns 16 keys. Scores stand transposed: a row is a key.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(128) tensor_key_gradient(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ grad,
    const float* __restrict__ maximum, const float* __restrict__ factor, const float* __restrict__ delta, T* __restrict__ dk,
    T* __restrict__ dv, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(grad), STRIDES(dk), STRIDES(dv), SHAPE, MASKS(T),
    DROPOUT(float), float scale) {
  constexpr int LD = DP + 8, N = BM / 8, C = DP / 8;
  SHARED_ARRAY(T, K);
  T *V = K + BN * LD, *tiles_at = V + BN * LD;  // two pairs of Q and G: one in use, the next on its way
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, tiles = (Tk + BN - 1) / BN;
  const int first = blockIdx.x % tiles * BN, h_kv = blockIdx.x / tiles % H_kv, b = blockIdx.x / tiles / H_kv, group = H / H_kv;
  const int own = first + warp * 16 + g;  // this lane's rows are keys own and own + 8

  const int from = queries_from(first, Tq, Tk, causal, BM), each_head = max(0, (Tq - from + BM - 1) / BM);
  const int pairs = group * each_head;  // those of all heads in a line
  const auto start_pair = [&](int pair) {
    T *Q = tiles_at + pair % 2 * (2 * BM * LD), *G = Q + BM * LD;
    const int h = h_kv * group + pair / each_head, start = from + pair % each_head * BM;
    start_tile<128, BM, DP, LD>(Q, AT(q, b, h), q_row, start, Tq, D);
    start_tile<128, BM, DP, LD>(G, AT(grad, b, h), grad_row, start, Tq, Dv);
  };
  start_tile<128, BN, DP, LD>(K, AT(k, b, h_kv), k_row, first, Tk, D);
  start_tile<128, BN, DP, LD>(V, AT(v, b, h_kv), v_row, first, Tk, Dv);
  float to_k[C][4] = {}, to_v[C][4] = {};
  if (pairs > 0) start_pair(0);
  for (int pair = 0; pair < pairs; pair++) {
    copies_done();
    __syncthreads();  // this pair is there, and the last one has been used
    if (pair + 1 < pairs) start_pair(pair + 1);
    const T *Q = tiles_at + pair % 2 * (2 * BM * LD), *G = Q + BM * LD;
    const int h = h_kv * group + pair / each_head, start = from + pair % each_head * BM;
    const Score<T> score = SCORE_OF(b, h);
    const i64 rows = (i64(b) * H + h) * Tq;
    float w[N][4] = {}, ds[N][4] = {};
    tensor_rows_with_rows<N, DP, LD>(w, K + warp * 16 * LD, Q);
    tensor_rows_with_rows<N, DP, LD>(ds, V + warp * 16 * LD, G);
    const auto place = [&](int n, int e) { return Place{start + n * 8 + 2 * t + e % 2, own + 8 * (e / 2)}; };
    score.of_tile(w, score.template whole<BM, BN>(start, first), place);
    u32 left = 0;  // a bit for each weight that dropout leaves
    const auto keep_or_not = [&](float x, int n, int e) { return x * (left >> (4 * n + e) & 1 ? kept : 0.0f); };
    if (threshold) {
      each(ds, [&](float x, int n, int e) {
        const Place at = place(n, e);
        if (keep(row_key(seed, rows + at.query), at.key, threshold, kept)) left |= 1u << (4 * n + e);
        return keep_or_not(x, n, e);
      });
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int column = 0; column < 2; column++) {
        const int query = start + n * 8 + 2 * t + column;
        const bool inside = query < Tq;
        const float m = inside ? maximum[rows + query] : minus_infinity<float>();
        const float f = inside ? factor[rows + query] : 0.0f, d = inside ? delta[rows + query] : 0.0f;
#pragma unroll
        for (int e = column; e < 4; e += 2) {
          w[n][e] = weight_of(w[n][e], m) * f;
          ds[n][e] = w[n][e] * (ds[n][e] - d);
        }
      }
    }
    if (threshold) each(w, keep_or_not);
    tensor_rows_with_columns<BM, C, LD>(to_v, w, G);
    tensor_rows_with_columns<BM, C, LD>(to_k, ds, Q);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (own + 8 * r >= Tk) continue;
    T *k_to = AT(dk, b, h_kv) + (own + 8 * r) * dk_row, *v_to = AT(dv, b, h_kv) + (own + 8 * r) * dv_row;
#pragma unroll
    for (int c = 0; c < C; c++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int column = c * 8 + 2 * t + e;
        if (column < D) k_to[column] = narrow<T>(to_k[c][2 * r + e] * scale);
        if (column < Dv) v_to[column] = narrow<T>(to_v[c][2 * r + e]);
      }
    }
  }
}
