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

template <typename T> struct Score {
  using A = Real<T>;
  int Tq, Tk;
  bool causal;
  const u8* padding;  // (Tk) of this sequence, or null
  const T* bias;      // of this head, or null
  const u8* seen;     // of this head, or null: a mask of booleans
  i64 row, column;    // their strides; 0 where they are broadcast
  A scale;            // times log₂ e

  DEVICE bool visible(int i, int j) const {
    if (i >= Tq || j >= Tk) return false;
    if (causal && j > i + (Tk - Tq)) return false;
    if (padding && !padding[j]) return false;
    return !seen || seen[i * row + j * column];
  }
  // [eq:scores]
  DEVICE A operator()(A dot, int i, int j) const {
    if (!visible(i, j)) return minus_infinity<A>();
    const A s = dot * scale;
    return bias ? s + in_base_2(as<A>(bias[i * row + j * column])) : s;
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

// 2^(s − m), where a row without visible keys (m = −∞) gives 0 and not NaN. A NaN among the scores stays one.
template <typename A> DEVICE A weight_of(A s, A m) { return power_of_2(s - (m == minus_infinity<A>() ? A(0) : m)); }
