// Sums and maxima over the threads of a part of a warp, of a warp, of a block. Every thread gets the result.
//
// The order of the additions is a fixed tree, so a sum has the same bits in every run.
#pragma once

constexpr u32 ALL_LANES = 0xffffffffu;

// over WIDTH neighbouring lanes (a power of two, at most 32)
template <int WIDTH, typename A> DEVICE A sum_over(A x) {
#pragma unroll
  for (int step = WIDTH / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
  return x;
}
template <int WIDTH, typename A> DEVICE A max_over(A x) {
#pragma unroll
  for (int step = WIDTH / 2; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, step));
  return x;
}

// over a block of THREADS threads; `shared` holds THREADS/32 numbers and is free again when the call returns
template <int THREADS, typename A> DEVICE A block_sum(A x, A* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  x = sum_over<32>(x);
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  A total = lane < THREADS / 32 ? shared[lane] : A(0);
  total = sum_over<32>(total);
  __syncthreads();
  return total;
}
template <int THREADS, typename A> DEVICE A block_max(A x, A* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  x = max_over<32>(x);
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  A most = lane < THREADS / 32 ? shared[lane] : minus_infinity<A>();
  most = max_over<32>(most);
  __syncthreads();
  return most;
}
