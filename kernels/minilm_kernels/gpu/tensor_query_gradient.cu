// The cotangent of the queries on tensor cores; the formula is that of attention_query_gradient.cu.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"
#include "tensor_core.cuh"

// blocks: ceil(Tq/64) · H · B; 128 threads, a warp owns 16 queries. Three blocks per processor (168 registers) need not spill;
// left to itself, ptxas makes room for a fourth on some architectures.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(128, 3) tensor_query_gradient(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ grad,
    const float* __restrict__ maximum, const float* __restrict__ factor, const float* __restrict__ delta, T* __restrict__ dq,
    STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(grad), STRIDES(dq), SHAPE, MASKS(T), DROPOUT(float), float scale) {
  constexpr int LD = DP + 8, N = BN / 8, C = DP / 8;
  SHARED_ARRAY(T, Q);
  T *G = Q + BM * LD, *tiles_at = G + BM * LD;  // two pairs of K and V: one in use, the next on its way
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, tiles = (Tq + BM - 1) / BM;
  const int first = longest_first(blockIdx.x, tiles) * BM, h = blockIdx.x / tiles % H, b = blockIdx.x / tiles / H;
  const int h_kv = h / (H / H_kv);
  const int own = first + warp * 16 + g;
  const Score<T> score = SCORE_OF(b, h);
  const i64 row0 = (i64(b) * H + h) * Tq + own;

  const auto start_pair = [&](int start) {
    T *K = tiles_at + start / BN % 2 * (2 * BN * LD), *V = K + BN * LD;
    start_tile<128, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start, Tk, D);
    start_tile<128, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, Tk, Dv);
  };
  start_tile<128, BM, DP, LD>(Q, AT(q, b, h), q_row, first, Tq, D);
  start_tile<128, BM, DP, LD>(G, AT(grad, b, h), grad_row, first, Tq, Dv);
  float acc[C][4] = {}, m[2], f[2], d[2];
  RowKey key[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const bool inside = own + 8 * r < Tq;
    m[r] = inside ? maximum[row0 + 8 * r] : minus_infinity<float>();
    f[r] = inside ? factor[row0 + 8 * r] : 0.0f;
    d[r] = inside ? delta[row0 + 8 * r] : 0.0f;
    if (threshold) key[r] = row_key(seed, row0 + 8 * r);
  }
  const int end = keys_before(first + BM - 1, Tq, Tk, causal);
  if (end > 0) start_pair(0);
  for (int start = 0; start < end; start += BN) {
    copies_done();
    __syncthreads();  // this pair is there, and the last one has been used
    if (start + BN < end) start_pair(start + BN);
    const T *K = tiles_at + start / BN % 2 * (2 * BN * LD), *V = K + BN * LD;
    float s[N][4] = {}, dw[N][4] = {};
    tensor_rows_with_rows<N, DP, LD>(s, Q + warp * 16 * LD, K);
    tensor_rows_with_rows<N, DP, LD>(dw, G + warp * 16 * LD, V);
    const auto place = [&](int n, int e) { return Place{own + e / 2 * 8, start + n * 8 + 2 * t + e % 2}; };
    score.of_tile(s, score.template whole<BM, BN>(first, start), place);
    if (threshold) each(dw, [&](float d, int n, int e) { return d * keep(key[e / 2], place(n, e).key, threshold, kept); });
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int r = e / 2;
        s[n][e] = weight_of(s[n][e], m[r]) * f[r] * (dw[n][e] - d[r]);  // dS
      }
    }
    tensor_rows_with_columns<BN, C, LD>(acc, s, K);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (own + 8 * r >= Tq) continue;
    T* to = AT(dq, b, h) + (own + 8 * r) * dq_row;
#pragma unroll
    for (int c = 0; c < C; c++) {
#pragma unroll
      for (int e = 0; e < 2; e++)
        if (c * 8 + 2 * t + e < D) to[c * 8 + 2 * t + e] = narrow<T>(acc[c][2 * r + e] * scale);
    }
  }
}
