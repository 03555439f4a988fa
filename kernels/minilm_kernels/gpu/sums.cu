// Sums with one fixed order: of columns, of squares.
#include "types.cuh"
#include "lanes.cuh"

// parts[p][j] = Σ over the rows of part p of x[row][j].  blocks: ceil(n/32) · parts; 256 threads.
template <typename T>
__global__ void __launch_bounds__(256) column_sums(
    const T* __restrict__ x, Real<T>* __restrict__ parts, i64 rows, int n, int part_rows) {
  using A = Real<T>;
  SHARED_ARRAY(A, sums);  // (8, 33)
  const int columns = (n + 31) / 32, part = blockIdx.x / columns, tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int j = blockIdx.x % columns * 32 + tx;
  const i64 end = min(rows, i64(part + 1) * part_rows);
  A sum = 0;
  if (j < n)
    for (i64 row = i64(part) * part_rows + ty; row < end; row += 8) sum += widen(x[row * n + j]);
  sums[ty * 33 + tx] = sum;
  __syncthreads();
  if (ty == 0 && j < n) {
    A total = 0;
    for (int i = 0; i < 8; i++) total += sums[i * 33 + tx];
    parts[i64(part) * n + j] = total;
  }
}

// result[j] = Σ_p parts[p][j], in the order of p.  blocks: ceil(n/256).
template <typename T>
__global__ void __launch_bounds__(256) add_parts(const Real<T>* __restrict__ parts, T* __restrict__ result, int count, int n) {
  const int j = blockIdx.x * 256 + threadIdx.x;
  if (j >= n) return;
  Real<T> total = 0;
  for (int p = 0; p < count; p++) total += parts[i64(p) * n + j];
  result[j] = narrow<T>(total);
}

// Joint norm of many arrays, in double precision: a block adds up the squares of 8192 elements into parts[block].
template <typename T>
__global__ void __launch_bounds__(256) squares(const T* __restrict__ x, double* __restrict__ parts, i64 n) {
  SHARED_ARRAY(double, shared);  // (8)
  const i64 end = min(n, (i64(blockIdx.x) + 1) * 8192);
  double sum = 0;
  for (i64 i = i64(blockIdx.x) * 8192 + threadIdx.x; i < end; i += 256) {
    const double a = widen(x[i]);
    sum = fma(a, a, sum);
  }
  sum = block_sum<256>(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// norm_and_factor = ‖g‖ and max_norm/(‖g‖ + 10⁻⁶), or 1 where the norm is not larger than max_norm.  One block.
// (A template as all kernels are: they are asked for by an expression with their type.)
template <typename A>
__global__ void __launch_bounds__(256) clip_factor(
    const A* __restrict__ parts, A* __restrict__ norm_and_factor, int count, A max_norm) {
  SHARED_ARRAY(A, shared);  // (8)
  A sum = 0;
  for (int i = threadIdx.x; i < count; i += 256) sum += parts[i];
  sum = block_sum<256>(sum, shared);
  if (threadIdx.x == 0) {
    const A norm = root(sum);
    norm_and_factor[0] = norm;
    norm_and_factor[1] = norm > max_norm ? max_norm / (norm + A(1e-6)) : A(1);
  }
}
