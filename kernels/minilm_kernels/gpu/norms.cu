// Layer norm (CENTERED) and RMS norm: x̂ = (x − μ)/√(σ² + ε), or with μ = 0; y = x̂ g + b. One warp per row.
#include "types.cuh"
#include "lanes.cuh"

template <typename T> DEVICE Real<T> or_one(const T* weight, int j) { return weight ? widen(weight[j]) : Real<T>(1); }

// blocks: ceil(rows/8); 256 threads. weight and bias may be null. mean: μ (0 for RMS norm); reciprocal: 1/√(σ² + ε).
template <typename T, bool CENTERED>
__global__ void __launch_bounds__(256) norm(
    const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ y,
    Real<T>* __restrict__ mean, Real<T>* __restrict__ reciprocal, i64 rows, int n, Real<T> eps) {
  using A = Real<T>;
  const i64 row = i64(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= rows) return;  // whole warps
  const int lane = threadIdx.x % 32;
  x += row * n;
  y += row * n;
  A mu = 0, square = 0;
  if (CENTERED) {
    for (int j = lane; j < n; j += 32) mu += widen(x[j]);
    mu = sum_over<32>(mu) / n;
  }
  for (int j = lane; j < n; j += 32) {
    const A d = widen(x[j]) - mu;
    square = multiply_add(d, d, square);
  }
  const A r = 1 / root(sum_over<32>(square) / n + eps);
  for (int j = lane; j < n; j += 32) {
    A value = (widen(x[j]) - mu) * r * or_one(weight, j);
    if (bias) value += widen(bias[j]);
    y[j] = narrow<T>(value);
  }
  if (lane == 0) {
    mean[row] = mu;
    reciprocal[row] = r;
  }
}

// dx̂ = dy g,  dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ, without the first mean for RMS norm.
template <typename T, bool CENTERED>
__global__ void __launch_bounds__(256) norm_gradient(
    const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ weight, const Real<T>* __restrict__ mean,
    const Real<T>* __restrict__ reciprocal, const T* __restrict__ add, T* __restrict__ dx, i64 rows, int n) {
  using A = Real<T>;
  const i64 row = i64(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  const A mu = mean[row], r = reciprocal[row];
  if (add) add += row * n;
  dy += row * n;
  x += row * n;
  dx += row * n;
  A sum = 0, product = 0;
  for (int j = lane; j < n; j += 32) {
    const A d = widen(dy[j]) * or_one(weight, j);
    sum += d;
    product = multiply_add(d, (widen(x[j]) - mu) * r, product);
  }
  sum = CENTERED ? sum_over<32>(sum) / n : A(0);
  product = sum_over<32>(product) / n;
  for (int j = lane; j < n; j += 32) {
    const A d = widen(dy[j]) * or_one(weight, j), xhat = (widen(x[j]) - mu) * r;
    const A result = (d - sum - xhat * product) * r;
    dx[j] = narrow<T>(add ? result + widen(add[j]) : result);
  }
}

// Σ over the rows of a part of dy x̂ and of dy: parts (2, number of parts, n); add_parts (sums.cu) adds them up.
// blocks: ceil(n/32) · parts; 256 threads, 32 columns and 8 rows at a time.
template <typename T>
__global__ void __launch_bounds__(256) norm_weight_gradient(
    const T* __restrict__ dy, const T* __restrict__ x, const Real<T>* __restrict__ mean, const Real<T>* __restrict__ reciprocal,
    Real<T>* __restrict__ parts, i64 rows, int n, int part_rows, int count) {
  using A = Real<T>;
  SHARED_ARRAY(A, sums);  // (2, 8, 33): the 33rd column keeps the columns in different banks
  const int columns = (n + 31) / 32, part = blockIdx.x / columns, tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int j = blockIdx.x % columns * 32 + tx;
  const i64 end = min(rows, i64(part + 1) * part_rows);
  A weight = 0, bias = 0;
  if (j < n) {
    for (i64 row = i64(part) * part_rows + ty; row < end; row += 8) {
      const A d = widen(dy[row * n + j]);
      weight = multiply_add(d, (widen(x[row * n + j]) - mean[row]) * reciprocal[row], weight);
      bias += d;
    }
  }
  sums[ty * 33 + tx] = weight;
  sums[(8 + ty) * 33 + tx] = bias;
  __syncthreads();
  if (ty < 2 && j < n) {
    A total = 0;
    for (int i = 0; i < 8; i++) total += sums[(ty * 8 + i) * 33 + tx];
    parts[(i64(ty) * count + part) * n + j] = total;
  }
}
