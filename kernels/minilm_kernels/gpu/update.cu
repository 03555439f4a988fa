// What changes parameters and gradients in place: AdamW, clipping, the embedding's gradient.
#include "types.cuh"

// w ← decay w,  m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − rate m / (√v + eps)    [eq:adamw]
// with decay = 1 − η λ, and the starts from zero undone in `rate` and `eps` (minilm_kernels.formulas.update).
template <typename T>
__global__ void __launch_bounds__(256) adamw(
    T* __restrict__ w, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v, i64 n, Real<T> beta1, Real<T> rest1,
    Real<T> beta2, Real<T> rest2, Real<T> decay, Real<T> rate, Real<T> eps) {
  const i64 i = i64(blockIdx.x) * 256 + threadIdx.x;
  if (i >= n) return;
  const Real<T> gi = widen(g[i]);
  const Real<T> mi = beta1 * widen(m[i]) + rest1 * gi, vi = beta2 * widen(v[i]) + rest2 * (gi * gi);
  m[i] = narrow<T>(mi);
  v[i] = narrow<T>(vi);
  w[i] = narrow<T>(decay * widen(w[i]) - rate * (mi / (root(vi) + eps)));
}

// g ← g · factor, where the factor is not 1
template <typename T>
__global__ void __launch_bounds__(256) scale_by(T* __restrict__ g, const double* __restrict__ norm_and_factor, i64 n) {
  const i64 i = i64(blockIdx.x) * 256 + threadIdx.x;
  const double factor = norm_and_factor[1];
  if (i < n && factor != 1) g[i] = narrow<T>(widen(g[i]) * Real<T>(factor));
}

// table[ids[i]] += dy[i], in the order of i, without atomics: `order` lists the places i with equal ids together, in their
// order. The block at the first place of an id adds all rows of that id.  blocks: count · ceil(n/256).
template <typename T>
__global__ void __launch_bounds__(256) embedding_add(
    const T* __restrict__ dy, const i64* __restrict__ ids, const i64* __restrict__ order, T* __restrict__ table, i64 count,
    int n, i64 table_row) {
  const int parts = (n + 255) / 256, j = blockIdx.x % parts * 256 + threadIdx.x;
  const i64 first = blockIdx.x / parts, id = ids[order[first]];
  if (j >= n || (first > 0 && ids[order[first - 1]] == id)) return;
  T* to = table + id * table_row + j;
  Real<T> sum = widen(*to);
  for (i64 at = first; at < count && ids[order[at]] == id; at++) sum += widen(dy[order[at] * n + j]);
  *to = narrow<T>(sum);
}
