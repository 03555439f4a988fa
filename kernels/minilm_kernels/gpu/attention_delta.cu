// δ_i = Σ_c dO_ic O_ic, what softmax's derivative subtracts: Σ_j dW_ij w_ij is the same number.
#include "types.cuh"
#include "lanes.cuh"
#include "tiles.cuh"
#include "scores.cuh"

// One warp per row; 256 threads, blocks: ceil(B · H · Tq / 8).
template <typename T>
__global__ void __launch_bounds__(256) attention_delta(
    const T* __restrict__ o, const T* __restrict__ grad, Real<T>* __restrict__ delta, STRIDES(o), STRIDES(grad), int B, int H,
    int Tq, int Dv) {
  using A = Real<T>;
  const i64 row = i64(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= i64(B) * H * Tq) return;  // whole warps
  const int lane = threadIdx.x % 32, i = row % Tq, h = row / Tq % H, b = row / Tq / H;
  const T *x = AT(o, b, h) + i * o_row, *y = AT(grad, b, h) + i * grad_row;
  A sum = 0;
  for (int c = lane; c < Dv; c += 32) sum = multiply_add(as<A>(x[c]), as<A>(y[c]), sum);
  sum = sum_over<32>(sum);
  if (lane == 0) delta[row] = sum;
}
