// Attention forward on tensor cores: float16 and bfloat16 in memory, sums and softmax in float.
//
// The formula is that of attention_forward.cu. Four warps own 16 queries each; a warp's scores and weights stay in its
// registers, so a tile of keys costs one barrier, which hands it over, and the next one is on its way meanwhile.
#include "types.cuh"
#include "lanes.cuh"
#include "random.cuh"
#include "tiles.cuh"
#include "scores.cuh"
#include "tensor_core.cuh"

// blocks: ceil(Tq/64) · H · B; 128 threads. One block per processor is enough (the 1 below): the compiler need not spill
// registers to make room for more.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(128, 1) tensor_forward(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, T* __restrict__ o, float* __restrict__ maximum,
    float* __restrict__ factor, STRIDES(q), STRIDES(k), STRIDES(v), STRIDES(o), SHAPE, MASKS(T), DROPOUT(float), float scale) {
  constexpr int LD = DP + 8, N = BN / 8, C = DP / 8;
  SHARED_ARRAY(T, Q);
  T* tiles_at = Q + BM * LD;  // two pairs of K and V: one in use, the next on its way
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, tiles = (Tq + BM - 1) / BM;
  const int first = longest_first(blockIdx.x, tiles) * BM, h = blockIdx.x / tiles % H, b = blockIdx.x / tiles / H;
  const int h_kv = h / (H / H_kv);
  const int own = first + warp * 16 + g;  // this lane's rows are queries own and own + 8
  const Score<T> score = SCORE_OF(b, h);
  const i64 row0 = (i64(b) * H + h) * Tq + own;

  float acc[C][4] = {}, m[2], l[2] = {0, 0};
  RowKey key[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    m[r] = minus_infinity<float>();
    if (threshold) key[r] = row_key(seed, row0 + 8 * r);
  }
  const auto start_pair = [&](int start) {
    T *K = tiles_at + start / BN % 2 * (2 * BN * LD), *V = K + BN * LD;
    start_tile<128, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start, Tk, D);
    start_tile<128, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, Tk, Dv);
  };
  start_tile<128, BM, DP, LD>(Q, AT(q, b, h), q_row, first, Tq, D);
  const int end = keys_before(first + BM - 1, Tq, Tk, causal);
  if (end > 0) start_pair(0);
  for (int start = 0; start < end; start += BN) {
    copies_done();
    __syncthreads();  // this pair is there, and the last one has been used
    if (start + BN < end) start_pair(start + BN);
    const T *K = tiles_at + start / BN % 2 * (2 * BN * LD), *V = K + BN * LD;
    float s[N][4] = {};
    tensor_rows_with_rows<N, DP, LD>(s, Q + warp * 16 * LD, K);
    const auto place = [&](int n, int e) { return Place{own + e / 2 * 8, start + n * 8 + 2 * t + e % 2}; };
    score.of_tile(s, score.template whole<BM, BN>(first, start), place);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = m[r];
#pragma unroll
      for (int n = 0; n < N; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) most = larger(most, s[n][2 * r + e]);
      }
      most = max_over_row(most);
      const float rescale = weight_of(m[r], most);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < N; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float& x = s[n][2 * r + e];
          x = weight_of(x, most);
          sum += x;
        }
      }
      l[r] = l[r] * rescale + sum;  // of this lane's columns; the row's other lanes join at the end
      m[r] = most;
#pragma unroll
      for (int c = 0; c < C; c++) {
        acc[c][2 * r] *= rescale;
        acc[c][2 * r + 1] *= rescale;
      }
    }
    if (threshold) each(s, [&](float w, int n, int e) { return w * keep(key[e / 2], place(n, e).key, threshold, kept); });
    tensor_rows_with_columns<BN, C, LD>(acc, s, V);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    l[r] = sum_over_row(l[r]);
    if (own + 8 * r >= Tq) continue;
    const float f = l[r] == 0 ? 0.0f : 1 / l[r];
    T* to = AT(o, b, h) + (own + 8 * r) * o_row;
#pragma unroll
    for (int c = 0; c < C; c++) {
#pragma unroll
      for (int e = 0; e < 2; e++)
        if (c * 8 + 2 * t + e < Dv) to[c * 8 + 2 * t + e] = narrow<T>(acc[c][2 * r + e] * f);
    }
    if (t == 0) {
      maximum[row0 + 8 * r] = m[r];
      factor[row0 + 8 * r] = f;
    }
  }
}
