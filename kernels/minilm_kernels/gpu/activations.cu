// Element by element: activations, the gate of SwiGLU, the end of a linear layer.
#include "types.cuh"
#include "functions.cuh"

// A block works on 1024 neighbouring elements, a thread on four of them, 256 apart.
#define EACH_ELEMENT(n, i) \
  for (i64 i = i64(blockIdx.x) * 1024 + threadIdx.x, end_##i = min(i64(n), (i64(blockIdx.x) + 1) * 1024); i < end_##i; i += 256)

// y = act(x)
template <typename T, int ACTIVATION>
__global__ void __launch_bounds__(256) activation(const T* __restrict__ x, T* __restrict__ y, i64 n) {
  EACH_ELEMENT(n, i) y[i] = narrow<T>(activate<ACTIVATION>(widen(x[i])));
}

// dx = dy act′(x)
template <typename T, int ACTIVATION>
__global__ void __launch_bounds__(256) activation_gradient(
    const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, i64 n) {
  EACH_ELEMENT(n, i) dx[i] = narrow<T>(widen(dy[i]) * slope<ACTIVATION>(widen(x[i])));
}

// y = silu(gate) up
template <typename T>
__global__ void __launch_bounds__(256) silu_mul(
    const T* __restrict__ gate, const T* __restrict__ up, T* __restrict__ y, i64 n) {
  EACH_ELEMENT(n, i) y[i] = narrow<T>(activate<SILU>(widen(gate[i])) * widen(up[i]));
}

// d_gate = dy up silu′(gate),  d_up = dy silu(gate)
template <typename T>
__global__ void __launch_bounds__(256) silu_mul_gradient(
    const T* __restrict__ dy, const T* __restrict__ gate, const T* __restrict__ up, T* __restrict__ d_gate,
    T* __restrict__ d_up, i64 n) {
  EACH_ELEMENT(n, i) {
    const Real<T> g = widen(gate[i]), d = widen(dy[i]);
    d_gate[i] = narrow<T>(d * widen(up[i]) * slope<SILU>(g));
    d_up[i] = narrow<T>(d * activate<SILU>(g));
  }
}

// The end of a linear layer, on the product X Wᵀ (rows, columns): z = product + bias, y = act(z) + residual.
// z is kept in the place of the product where `keep_z` (the slope is taken there); bias and residual may be null.
template <typename T, int ACTIVATION>
__global__ void __launch_bounds__(256) linear_end(
    T* product, const T* __restrict__ bias, const T* __restrict__ residual, T* y, i64 n, int columns, int keep_z) {
  EACH_ELEMENT(n, i) {
    Real<T> z = widen(product[i]);
    if (bias) z += widen(bias[n <= 0xffffffffll ? static_cast<u32>(i) % columns : i % columns]);  // 64 bits take long
    if (keep_z) product[i] = narrow<T>(z);
    Real<T> a = activate<ACTIVATION>(z);
    if (residual) a += widen(residual[i]);
    y[i] = narrow<T>(a);
  }
}
