// Attention of a few new queries over a long cache, in two kernels.    [flash-decoding: Dao et al. 2023]
//
// All query heads that share a key head stand together as R = group · Tq rows, so that a key is read once for all of them.
// The keys are cut into parts, one block each; a part leaves m, l and the unscaled sum, which the second kernel joins:
//     m = max m_p,   O = Σ_p 2^(m_p − m) acc_p / Σ_p 2^(m_p − m) l_p
#include "types.cuh"
#include "lanes.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// blocks: parts · ceil(R/BM) · H_kv · B; 256 threads. partial: (B, H_kv, R, parts, Dv + 2) numbers: acc, then m and l.
template <typename T, int DP, int BM, int BN>
__global__ void __launch_bounds__(256) attention_decode_part(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, Real<T>* __restrict__ partial, STRIDES(q),
    STRIDES(k), STRIDES(v), SHAPE, MASKS(T), Real<T> scale, int parts, int part_keys) {
  using A = Real<T>;
  constexpr int LD = DP + 4, LDW = BN + 4, RM = BM / 16, RN = BN / 16, RC = DP / 16;
  SHARED_ARRAY(A, Q);
  A *K = Q + BM * LD, *V = K + BN * LD, *W = V + BN * LD;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, group = H / H_kv, R = group * Tq, tiles = (R + BM - 1) / BM;
  const int part = blockIdx.x % parts, first = blockIdx.x / parts % tiles * BM;
  const int h_kv = blockIdx.x / parts / tiles % H_kv, b = blockIdx.x / parts / tiles / H_kv;

  // row r is query r % Tq of head h_kv · group + r / Tq
  for (int e = threadIdx.x; e < BM * DP; e += 256) {
    const int r = first + e / DP, c = e % DP;
    Q[e / DP * LD + c] = r < R && c < D ? as<A>(AT(q, b, h_kv * group + r / Tq)[r % Tq * q_row + c]) : A(0);
  }
  A acc[RM][RC] = {}, m[RM], l[RM];
#pragma unroll
  for (int i = 0; i < RM; i++) {
    m[i] = minus_infinity<A>();
    l[i] = 0;
  }
  const int end = min(Tk, (part + 1) * part_keys);
  for (int start = part * part_keys; start < end; start += BN) {
    __syncthreads();  // the last tile has been used
    load_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start, end, D);
    load_tile<256, BN, DP, LD>(V, AT(v, b, h_kv), v_row, start, end, Dv);
    __syncthreads();
    A s[RM][RN] = {};
    rows_with_rows<RM, RN, DP, LD>(s, Q, K, ty, tx);
#pragma unroll
    for (int i = 0; i < RM; i++) {
      const int r = first + ty * RM + i, h = h_kv * group + min(r, R - 1) / Tq;
      const Score<T> score = SCORE_OF(b, h);
      A most = m[i];
#pragma unroll
      for (int j = 0; j < RN; j++) {
        const int at = start + tx + 16 * j;
        s[i][j] = r < R && at < end ? score(s[i][j], r % Tq, at) : minus_infinity<A>();
        most = larger(most, s[i][j]);
      }
      most = max_over<16>(most);
      const A rescale = weight_of(m[i], most);
      A sum = 0;
#pragma unroll
      for (int j = 0; j < RN; j++) {
        const A w = weight_of(s[i][j], most);
        sum += w;
        W[(ty * RM + i) * LDW + tx + 16 * j] = w;
      }
      l[i] = l[i] * rescale + sum_over<16>(sum);
      m[i] = most;
#pragma unroll
      for (int c = 0; c < RC; c++) acc[i][c] *= rescale;
    }
    __syncthreads();  // all of W is there
    rows_with_columns<RM, RC, BN, LDW, LD>(acc, W, V, ty, tx);
  }
#pragma unroll
  for (int i = 0; i < RM; i++) {
    const int r = first + ty * RM + i;
    if (r >= R) continue;
    A* to = partial + (((i64(b) * H_kv + h_kv) * R + r) * parts + part) * (Dv + 2);
#pragma unroll
    for (int c = 0; c < RC; c++)
      if (tx + 16 * c < Dv) to[tx + 16 * c] = acc[i][c];
    if (tx == 0) {
      to[Dv] = m[i];
      to[Dv + 1] = l[i];
    }
  }
}

// One warp per row of the partial results, which are rows of the output in its own order (B, H, Tq, Dv).  blocks: ceil(rows/8).
template <typename T>
__global__ void __launch_bounds__(256, 4) attention_decode_join(
    const Real<T>* __restrict__ partial, T* __restrict__ o, i64 rows, int parts, int Dv) {
  using A = Real<T>;
  const i64 row = i64(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  partial += row * parts * (Dv + 2);
  A most = minus_infinity<A>(), l = 0;
  for (int p = 0; p < parts; p++) most = larger(most, partial[i64(p) * (Dv + 2) + Dv]);
  for (int p = 0; p < parts; p++) {
    const A* of = partial + i64(p) * (Dv + 2);
    l += weight_of(of[Dv], most) * of[Dv + 1];
  }
  const A f = l == 0 ? A(0) : 1 / l;
  for (int c = lane; c < Dv; c += 32) {
    A sum = 0;
    for (int p = 0; p < parts; p++) {
      const A* of = partial + i64(p) * (Dv + 2);
      sum = multiply_add(weight_of(of[Dv], most), of[c], sum);
    }
    o[row * Dv + c] = narrow<T>(sum * f);
  }
}
