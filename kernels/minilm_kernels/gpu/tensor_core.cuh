// Tensor cores, through mma.sync: a warp multiplies a 16 x 16 by a 16 x 8 matrix of 16-bit numbers and adds in float.
//
// The operands lie in registers spread over the 32 lanes. With g = lane / 4, t = lane % 4 a lane holds    [PTX ISA, m16n8k16]
//     A (16 x 16), four registers of two numbers: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), each with its right
//     neighbour
//     B (16 x 8), two registers of two numbers: (2t, g), (2t + 8, g), each with its lower neighbour
//     C (16 x 8), four floats: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
// C of one product has the layout of A of the next: the weights never leave the registers.
#pragma once

template <typename T> DEVICE u32 two(T low, T high) {
  return static_cast<u32>(low.bits) | static_cast<u32>(high.bits) << 16;
}
template <typename T> DEVICE u32 two_of(float low, float high) { return two(narrow<T>(low), narrow<T>(high)); }

// C += A B
template <typename T> DEVICE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);

#if defined(MINILM_EMULATED)
template <> DEVICE void multiply<f16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  emulated_mma_m16n8k16(c, a, b0, b1, emulated_f16_to_float, SITE);
}
template <> DEVICE void multiply<bf16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  emulated_mma_m16n8k16(c, a, b0, b1, emulated_bf16_to_float, SITE);
}
#elif __CUDA_ARCH__ >= 800
#define MMA(TYPE)                                                                                                         \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, " \
               "{%0, %1, %2, %3};"                                                                                        \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                          \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <> DEVICE void multiply<f16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { MMA("f16"); }
template <> DEVICE void multiply<bf16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { MMA("bf16"); }
#else
// Turing has only the half of it, 16 x 8 by 8 x 8, and no bf16: the left half of A with the upper half of B, and the rest.
template <> DEVICE void multiply<f16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#define MMA_HALF(a0, a1, b)                                                                                              \
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"    \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                         \
               : "r"(a0), "r"(a1), "r"(b))
  MMA_HALF(a[0], a[1], b0);
  MMA_HALF(a[2], a[3], b1);
}
#endif

// 16 x 16 numbers of shared memory, beginning at p, rows LD apart: four matrices of 8 x 8 in one instruction,
//     0 2
//     1 3    where lane 8 m + i gives the address of row i of matrix m, and register m gets (g, 2t), (g, 2t + 1) of it
// or TURNED, of each matrix, (2t, g), (2t + 1, g).    [PTX ISA, ldmatrix]
template <int LD, bool TURNED, typename T> DEVICE void load_square(u32 (&x)[4], const T* p) {
  const int lane = threadIdx.x % 32;
  const T* row = p + lane % 16 * LD + lane / 16 * 8;
#ifdef MINILM_EMULATED
  emulated_ldmatrix_x4<TURNED>(x, row, SITE);
#else
#define LDMATRIX(HOW)                                                                    \
  asm volatile("ldmatrix.sync.aligned.m8n8.x4" HOW ".shared.b16 {%0, %1, %2, %3}, [%4];" \
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])                          \
               : "r"(static_cast<u32>(__cvta_generic_to_shared(row))))
  if (TURNED) {
    LDMATRIX(".trans");
  } else {
    LDMATRIX("");
  }
#endif
}
// The sums of 16 x 16 weights as A: two neighbouring parts C of eight columns
template <typename T> DEVICE void weights_as_a(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = two_of<T>(left[0], left[1]);
  a[1] = two_of<T>(left[2], left[3]);
  a[2] = two_of<T>(right[0], right[1]);
  a[3] = two_of<T>(right[2], right[3]);
}

// C[n] += P Qᵀ for 16 rows of P and 8 · N rows of Q, D features each.
template <int N, int D, int LD, typename T> DEVICE void tensor_rows_with_rows(float (&c)[N][4], const T* P, const T* Q) {
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    u32 a[4], q[4];
    load_square<LD, false>(a, P + d);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      load_square<LD, false>(q, Q + n * 8 * LD + d);  // column g of B is row g of Q
      multiply<T>(c[n], a, q[0], q[2]);
      multiply<T>(c[n + 1], a, q[1], q[3]);
    }
  }
}

// C[n] += W V for 16 x K weights, as the C of the last product, and K x 8 · N numbers of V, K a multiple of 16.
template <int K, int N, int LD, typename T>
DEVICE void tensor_rows_with_columns(float (&c)[N][4], const float (&w)[K / 8][4], const T* V) {
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    u32 a[4], v[4];
    weights_as_a<T>(a, w[k / 8], w[k / 8 + 1]);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      load_square<LD, true>(v, V + k * LD + n * 8);  // columns of B are columns of V
      multiply<T>(c[n], a, v[0], v[1]);
      multiply<T>(c[n + 1], a, v[2], v[3]);
    }
  }
}

// over the four lanes that share a row of C
template <typename A> DEVICE A sum_over_row(A x) { return sum_over<4>(x); }
template <typename A> DEVICE A max_over_row(A x) { return max_over<4>(x); }
