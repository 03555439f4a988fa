// Attention of a few new queries over a long cache: in parts, which are then joined.    [flash-decoding: Dao et al. 2023]
//
// All query heads that share a key head stand together as R = group · Tq rows, so that a key is read once for all of them.
// The keys are cut into parts, one block each; a part leaves m, l and the unscaled sum, which another kernel joins:
//     m = max m_p,   O = Σ_p 2^(m_p − m) acc_p / Σ_p 2^(m_p − m) l_p
// There are two kernels for a part: for many rows a product of tiles, for up to four a walk over the keys.
#include "types.cuh"
#include "lanes.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// `count` sets of W numbers: acc, then m and l. The largest m of all; and acc[c], or l for c = W − 1, of all together
template <typename A> DEVICE A joined_maximum(const A* set, int count, int W) {
  A most = minus_infinity<A>();
  for (int p = 0; p < count; p++) most = larger(most, set[i64(p) * W + W - 2]);
  return most;
}
template <typename A> DEVICE A joined_sum(const A* set, int count, int W, A most, int c) {
  A sum = 0;
  for (int p = 0; p < count; p++, set += W) sum = multiply_add(weight_of(set[W - 2], most), set[c], sum);
  return sum;
}

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
    for (int c = 0; c < RC; c++) {
      const int column = column_of<RC>(tx, c);
      if (column < Dv) to[column] = acc[i][c];
    }
    if (tx == 0) {
      to[Dv] = m[i];
      to[Dv + 1] = l[i];
    }
  }
}

// For R ≤ ROWS. A key's features lie in LANES neighbouring lanes, 16 bytes each, so that a warp loads 32/LANES keys at once.
// Each such team of lanes has keys, m, l and a sum of its own; the teams of a block are joined as the parts are.
// blocks: parts · H_kv · B; 256 threads. BN: keys that a block loads before it computes; part_keys is a multiple of it.
template <typename T, int DP, int ROWS, int BN>
__global__ void __launch_bounds__(256) attention_decode_few(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, Real<T>* __restrict__ partial, STRIDES(q),
    STRIDES(k), STRIDES(v), SHAPE, MASKS(T), Real<T> scale, int parts, int part_keys) {
  using A = Real<T>;
  constexpr int OWN = 16 / sizeof(T), LANES = (DP == 96 ? 128 : DP) / OWN, TEAMS = 256 / LANES, KEYS = BN / TEAMS, W = DP + 2;
  SHARED_ARRAY(A, sets);  // (ROWS, TEAMS, W)
  const int team = threadIdx.x / LANES, column = threadIdx.x % LANES * OWN, group = H / H_kv, R = group * Tq;
  const int part = blockIdx.x % parts, h_kv = blockIdx.x / parts % H_kv, b = blockIdx.x / parts / H_kv;
  const T *keys = AT(k, b, h_kv), *values = AT(v, b, h_kv);
  const bool sixteens = in_sixteens(keys, k_row, D) && in_sixteens(values, v_row, Dv);

  A query[ROWS][OWN], acc[ROWS][OWN] = {}, m[ROWS], l[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const int row = min(r, R - 1);
    const T* of = AT(q, b, h_kv * group + row / Tq) + row % Tq * q_row;
#pragma unroll
    for (int i = 0; i < OWN; i++) query[r][i] = column + i < D ? as<A>(of[column + i]) : A(0);
    m[r] = minus_infinity<A>();
    l[r] = 0;
  }
  const int end = min(Tk, (part + 1) * part_keys);
  for (int start = part * part_keys; start < end; start += BN) {
    Sixteen<T> key[KEYS] = {}, value[KEYS] = {};  // zeros behind the last key and the last feature
    if (sixteens) {
#pragma unroll
      for (int n = 0; n < KEYS; n++) {
        const int at = start + n * TEAMS + team;
        if (at < end && column < D) key[n] = *reinterpret_cast<const Sixteen<T>*>(keys + at * k_row + column);
        if (at < end && column < Dv) value[n] = *reinterpret_cast<const Sixteen<T>*>(values + at * v_row + column);
      }
    } else {
#pragma unroll
      for (int i = 0; i < OWN; i++) {
#pragma unroll
        for (int n = 0; n < KEYS; n++) {
          const int at = start + n * TEAMS + team;
          if (at < end && column + i < D) key[n].x[i] = keys[at * k_row + column + i];
          if (at < end && column + i < Dv) value[n].x[i] = values[at * v_row + column + i];
        }
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const int row = min(r, R - 1);
      const Score<T> score = SCORE_OF(b, h_kv * group + row / Tq);
      A s[1][KEYS] = {};
#pragma unroll
      for (int n = 0; n < KEYS; n++) {
#pragma unroll
        for (int i = 0; i < OWN; i++) s[0][n] = multiply_add(query[r][i], as<A>(key[n].x[i]), s[0][n]);
        s[0][n] = sum_over<LANES>(s[0][n]);
      }
      const bool whole = score.template whole<1, BN>(row % Tq, start);
      score.of_tile(s, whole, [&](int, int n) { return Place{row % Tq, start + n * TEAMS + team}; });
      A most = m[r];
#pragma unroll
      for (int n = 0; n < KEYS; n++) most = larger(most, s[0][n]);
      const A rescale = weight_of(m[r], most);
      l[r] *= rescale;
#pragma unroll
      for (int i = 0; i < OWN; i++) acc[r][i] *= rescale;
#pragma unroll
      for (int n = 0; n < KEYS; n++) {
        const A w = weight_of(s[0][n], most);
        l[r] += w;
#pragma unroll
        for (int i = 0; i < OWN; i++) acc[r][i] = multiply_add(w, as<A>(value[n].x[i]), acc[r][i]);
      }
      m[r] = most;
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    A* to = sets + (r * TEAMS + team) * W;
#pragma unroll
    for (int i = 0; i < OWN; i++)
      if (column < DP) to[column + i] = acc[r][i];
    if (column == 0) {
      to[DP] = m[r];
      to[DP + 1] = l[r];
    }
  }
  __syncthreads();  // all sets are there
  for (int e = threadIdx.x; e < R * (Dv + 2); e += 256) {
    const int r = e / (Dv + 2), c = e % (Dv + 2);
    const A* of = sets + r * TEAMS * W;
    const A most = joined_maximum(of, TEAMS, W);
    A* to = partial + (((i64(b) * H_kv + h_kv) * R + r) * parts + part) * (Dv + 2);
    to[c] = c == Dv ? most : joined_sum(of, TEAMS, W, most, c < Dv ? c : W - 1);
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
  const A most = joined_maximum(partial, parts, Dv + 2), l = joined_sum(partial, parts, Dv + 2, most, Dv + 1);
  const A f = l == 0 ? A(0) : 1 / l;
  for (int c = lane; c < Dv; c += 32) o[row * Dv + c] = narrow<T>(joined_sum(partial, parts, Dv + 2, most, c) * f);
}
