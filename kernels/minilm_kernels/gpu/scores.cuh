// What all attention kernels share: where the arrays lie, which key a query sees, and the score in powers of two.
//
//     s_ij = (scale q_i · k_j + bias_ij) log₂ e,   −∞ where query i does not see key j;   w_ij = 2^(s_ij − m_i) / l_i
//
// m_i is the largest score of a row and l_i the sum of its powers. A row of −∞ alone keeps m = −∞ and gets zeros.
#pragma once

// CuPy passes numbers and pointers to a kernel, no structs: so these lists of parameters, each with its struct.
#define STRIDES(x) i64 x##_batch, i64 x##_head, i64 x##_row
#define SHAPE int B, int H, int H_kv, int Tq, int Tk, int D, int Dv
#define MASKS(T)                                                                                                       \
  int causal, const u8 *__restrict__ padding, const T *__restrict__ bias, const u8 *__restrict__ seen, i64 mask_batch, \
      i64 mask_head, i64 mask_row, i64 mask_column
#define DROPOUT(A) u64 seed, u32 threshold, A kept

#define AT(x, b, h) (x + ((b) * x##_batch + (h) * x##_head))  // where row 0 of a head of a sequence begins
#define SCORE_OF(b, h) Score<T> { Tq, Tk, causal != 0, padding ? padding + i64(b) * Tk : padding,                      \
    bias ? bias + ((b) * mask_batch + (h) * mask_head) : bias, seen ? seen + ((b) * mask_batch + (h) * mask_head) : seen, \
    mask_row, mask_column, scale * Real<T>(LOG2E) }

// The bias in powers of two; a finite one stays finite, as −∞ hides a key and the most negative number does not.
template <typename A> DEVICE A in_base_2(A bias) {
  const A x = bias * A(LOG2E), most = largest_of(A(0));
  if (x > most && bias <= most) return most;
  if (x < -most && bias >= -most) return -most;
  return x;
}

struct Place { int query, key; };

// x[i][j] = f(x[i][j], i, j) for all of an array in registers
template <int M, int N, typename A, class F> DEVICE void each(A (&x)[M][N], F f) {
#pragma unroll
  for (int i = 0; i < M; i++) {
#pragma unroll
    for (int j = 0; j < N; j++) x[i][j] = f(x[i][j], i, j);
  }
}

template <typename T> struct Score {
  using A = Real<T>;
  int Tq, Tk;
  bool causal;
  const u8* padding;  // (Tk) of this sequence, or null
  const T* bias;      // of this head, or null
  const u8* seen;     // of this head, or null: a mask of booleans
  i64 row, column;    // their strides; 0 where they are broadcast
  A scale;            // times log₂ e

  DEVICE bool inside(int i, int j) const {  // the matrix, and of it the causal triangle
    if (causal && j > i + (Tk - Tq)) return false;
    return i < Tq && j < Tk;
  }
  DEVICE bool visible(int i, int j) const {
    if (!inside(i, j)) return false;
    if (padding && !padding[j]) return false;
    return !seen || seen[i * row + j * column];
  }
  // [eq:scores]
  DEVICE A operator()(A dot, int i, int j) const {
    if (!visible(i, j)) return minus_infinity<A>();
    const A s = dot * scale;
    return bias ? s + in_base_2(as<A>(bias[i * row + j * column])) : s;
  }
  DEVICE bool masked() const { return padding || bias || seen; }
  // The BM queries from `query` on and the BN keys from `key` on: does each of them see each?
  template <int BM, int BN> DEVICE bool whole(int query, int key) const {
    return query + BM <= Tq && key + BN <= Tk && !(causal && key + BN - 1 > query + (Tk - Tq));
  }
  // A thread's part of a tile: products become scores. place(i, j) is the query and the key of part[i][j].
  // What a score must be asked depends on the tile, so that nearly all of them are asked nothing.
  template <int M, int N, class Where> DEVICE void of_tile(A (&part)[M][N], bool whole, Where place) const {
    if (whole && !masked()) {
      each(part, [&](A dot, int, int) { return dot * scale; });
    } else if (!masked()) {
      each(part, [&](A dot, int i, int j) {
        const Place at = place(i, j);
        return inside(at.query, at.key) ? dot * scale : minus_infinity<A>();
      });
    } else {
      each(part, [&](A dot, int i, int j) { return (*this)(dot, place(i, j).query, place(i, j).key); });
    }
  }
};

// The causal mask ends a row's keys here: query i sees the keys before i + 1 + Tk − Tq.
DEVICE int keys_before(int last_query, int Tq, int Tk, bool causal) {
  return causal ? min(Tk, min(last_query, Tq - 1) + 1 + (Tk - Tq)) : Tk;
}
// … and a key's queries begin here: the first that sees key j, at a multiple of `tile`.
DEVICE int queries_from(int first_key, int Tq, int Tk, bool causal, int tile) {
  return causal ? max(0, first_key - (Tk - Tq)) / tile * tile : 0;
}

// Blocks start in the order of their numbers. Of the `tiles` tiles of a head's queries the last comes first: under a causal
// mask it has the most keys, and the short ones at the end fill the gaps.
DEVICE int longest_first(int block, int tiles) { return tiles - 1 - block % tiles; }

// 2^(s − m), where a row without visible keys (m = −∞) gives 0 and not NaN. A NaN among the scores stays one.
template <typename A> DEVICE A weight_of(A s, A m) { return quick_power_of_2(s - (m == minus_infinity<A>() ? A(0) : m)); }
