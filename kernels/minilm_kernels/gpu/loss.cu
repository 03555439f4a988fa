// Softmax cross-entropy, loss and gradient in one visit: L = log Σ_c e^(z_c) − Σ_c q_c z_c,  dL/dz_c = softmax(z)_c − q_c,
// q = (1 − ε) one-hot(y) + ε/C.    [eq:cross-entropy]
#include "types.cuh"
#include "lanes.cuh"

// counted[0] = the number of targets that are not `ignore`.  One block of 256 threads.
template <typename A>
__global__ void __launch_bounds__(256) count_targets(
    const i64* __restrict__ targets, A* __restrict__ counted, i64 rows, i64 ignore) {
  SHARED_ARRAY(A, shared);  // (8)
  A count = 0;
  for (i64 i = threadIdx.x; i < rows; i += 256) count += targets[i] != ignore ? A(1) : A(0);
  count = block_sum<256>(count, shared);
  if (threadIdx.x == 0) counted[0] = count;
}

// One block of 256 threads per row. losses: (N); gradient: (N, C) or null, divided by max(1, counted[0]) where `mean`.
template <typename T>
__global__ void __launch_bounds__(256) cross_entropy(
    const T* __restrict__ logits, const i64* __restrict__ targets, Real<T>* __restrict__ losses, T* __restrict__ gradient,
    const double* __restrict__ counted, int classes, i64 ignore, Real<T> smoothing, int mean) {
  using A = Real<T>;
  SHARED_ARRAY(A, shared);  // (8)
  const i64 row = blockIdx.x, target = targets[row];
  const T* z = logits + row * classes;
  T* dz = gradient ? gradient + row * classes : gradient;
  if (target == ignore) {  // the whole block
    if (threadIdx.x == 0) losses[row] = 0;
    if (dz)
      for (int c = threadIdx.x; c < classes; c += 256) dz[c] = narrow<T>(A(0));
    return;
  }
  // The row is long and comes from far away, so one visit finds the maximum and the sum: what a thread has summed up below
  // an older maximum is multiplied by e^(older − newer).
  A own = minus_infinity<A>(), total = 0;
  for (int c = threadIdx.x; c < classes; c += 256) {
    const A x = widen(z[c]);
    if (x > own) {
      total *= power_of_e(own - x);
      own = x;
    }
    if (x != minus_infinity<A>()) total += power_of_e(x - own);  // own may be −∞ still
  }
  const A most = block_max<256>(own, shared);
  total = block_sum<256>(own == most ? total : total * power_of_e(own - most), shared);
  A shifts = 0;
  if (smoothing != 0) {
    for (int c = threadIdx.x; c < classes; c += 256) shifts += widen(z[c]) - most;
    shifts = block_sum<256>(shifts, shared);
  }
  if (threadIdx.x == 0) {
    A loss = logarithm(total) - (1 - smoothing) * (widen(z[target]) - most);
    if (smoothing != 0) loss -= smoothing / classes * shifts;
    losses[row] = loss;
  }
  if (!dz) return;
  const A factor = mean ? A(1 / (counted[0] < 1 ? 1.0 : counted[0])) : A(1);
  for (int c = threadIdx.x; c < classes; c += 256) {
    A d = power_of_e(widen(z[c]) - most) / total - smoothing / classes;
    if (c == target) d -= 1 - smoothing;
    dz[c] = narrow<T>(d * factor);
  }
}

// loss[0] = Σ losses, divided by counted[0] where `mean` (NaN if that is 0).  One block of 256 threads; summed in double.
template <typename T>
__global__ void __launch_bounds__(256) loss_sum(
    const Real<T>* __restrict__ losses, const double* __restrict__ counted, T* __restrict__ loss, i64 rows, int mean) {
  SHARED_ARRAY(double, shared);  // (8)
  double sum = 0;
  for (i64 i = threadIdx.x; i < rows; i += 256) sum += losses[i];
  sum = block_sum<256>(sum, shared);
  if (threadIdx.x == 0) loss[0] = narrow<T>(Real<T>(mean ? sum / counted[0] : sum));
}

// dz ← dz · grad, with one grad for all rows (step 0) or one for each (step 1)
template <typename T>
__global__ void __launch_bounds__(256) scale_rows(
    const T* __restrict__ z, const T* __restrict__ grad, T* __restrict__ result, i64 n, int classes, int step) {
  const i64 i = i64(blockIdx.x) * 256 + threadIdx.x;
  if (i < n) result[i] = narrow<T>(widen(z[i]) * widen(grad[step ? i / classes : 0]));  // a division takes long
}
