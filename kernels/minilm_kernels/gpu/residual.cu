// The end of a Transformer's branch, and rotary positions: element by element, with the element's row and column.
#include "types.cuh"
#include "random.cuh"

// y = residual + keep (x + bias). blocks: (ceil(n/256), rows) in a line; bias and residual may be null.
template <typename T>
__global__ void __launch_bounds__(256) bias_residual_dropout(
    const T* __restrict__ x, const T* __restrict__ bias, const T* __restrict__ residual, T* __restrict__ y, int n, u64 seed,
    u32 threshold, Real<T> kept) {
  const int parts = (n + 255) / 256, j = blockIdx.x % parts * 256 + threadIdx.x;
  const i64 row = blockIdx.x / parts, at = row * n + j;
  if (j >= n) return;
  Real<T> a = widen(x[at]);
  if (bias) a += widen(bias[j]);
  if (threshold) a *= keep(row_key(seed, row), j, threshold, kept);
  if (residual) a += widen(residual[at]);
  y[at] = narrow<T>(a);
}

// Pair (j, j + half) of the row at position t turns by the angle whose cosine and sine are given, or back (sign −1):
// y₁ = x₁ cos − x₂ sin,  y₂ = x₂ cos + x₁ sin.  blocks: ceil(half/256) per row; rows of x repeat positions 0 … T − 1.
template <typename T>
__global__ void __launch_bounds__(256) rotary(
    const T* __restrict__ x, const T* __restrict__ cos, const T* __restrict__ sin, T* __restrict__ y, int half, int positions,
    Real<T> sign) {
  const int parts = (half + 255) / 256, j = blockIdx.x % parts * 256 + threadIdx.x;
  const i64 row = blockIdx.x / parts, at = row * 2 * half + j, angle = row % positions * half + j;
  if (j >= half) return;
  const Real<T> c = widen(cos[angle]), s = widen(sin[angle]) * sign, x1 = widen(x[at]), x2 = widen(x[at + half]);
  y[at] = narrow<T>(x1 * c - x2 * s);
  y[at + half] = narrow<T>(x2 * c + x1 * s);
}
