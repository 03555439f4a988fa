// CUDA C++ for g++: the words of the language and the built-in functions that minilm's kernels use.
#pragma once
#include "blocks.h"
#define MINILM_EMULATED 1

namespace emulator {
#if defined(__SANITIZE_THREAD__)
#define GET HIDDEN
#else
#define GET
#endif
GET inline dim3 thread() { return B.current->thread; }
GET inline dim3 index() { return B.index; }
GET inline dim3 threads() { return B.threads; }
GET inline dim3 grid() { return B.grid; }
GET inline unsigned char* shared() { return B.shared; }
GET inline int lane() { return B.current->number % 32; }

template <class T> inline T shuffle(unsigned mask, T value, int source, const char* site) {
  uint64_t bits = 0;
  static_assert(sizeof(T) <= 8);
  memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, source, site);
  memcpy(&value, &bits, sizeof(T));
  return value;
}
inline void sync_warp(const char* site, unsigned mask = 0xffffffffu) { exchange(mask, 0, lane(), site, true); }

// the type of a kernel's parameter, for the check of the arguments: f4, *f4, i4, u8, …
template <class T> std::string code() {
  using U = std::remove_cv_t<std::remove_pointer_t<T>>;
  const char kind = std::is_floating_point_v<U> ? 'f' : std::is_class_v<U> ? 'h' : std::is_unsigned_v<U> ? 'u' : 'i';
  return std::string(std::is_pointer_v<T> ? "*" : "") + kind + std::to_string(sizeof(U));
}
template <class... A> std::string signature(void (*)(A...)) {
  std::string all;
  ((all += code<A>() + ","), ...);
  return all;
}
}  // namespace emulator

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define SITE __FILE__ ":" TEXT(__LINE__)
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static
#define SHARED_ARRAY(A, name) A* name = reinterpret_cast<A*>(emulator::shared())
#define threadIdx (emulator::thread())
#define blockIdx (emulator::index())
#define blockDim (emulator::threads())
#define gridDim (emulator::grid())
#define __syncthreads() emulator::barrier(SITE)
#define __syncwarp(...) emulator::sync_warp(SITE, ##__VA_ARGS__)
#define __shfl_xor_sync(mask, value, step) emulator::shuffle(mask, value, emulator::lane() ^ (step), SITE)
#define __shfl_sync(mask, value, source) emulator::shuffle(mask, value, source, SITE)

template <class To, class From> inline To same_bits(From x) {
  To y;
  static_assert(sizeof(To) == sizeof(From));
  memcpy(&y, &x, sizeof y);
  return y;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
using std::max;
using std::min;

inline float emulated_f16_to_float(unsigned short bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float x = exponent == 31  ? (fraction ? NAN : INFINITY)
            : exponent == 0 ? ldexpf(float(fraction), -24)
                            : ldexpf(float(1024 + fraction), exponent - 25);
  return bits >> 15 ? -x : x;
}
inline unsigned short emulated_float_to_f16(float x) {
  const unsigned short sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return sign | 0x7e00;
  x = fabsf(x);
  if (x >= 65520.0f) return sign | 0x7c00;  // rounds to infinity
  if (x < 6.103515625e-05f) return sign | static_cast<unsigned short>(nearbyintf(ldexpf(x, 24)));  // subnormal, or rounds up
  int exponent;
  const float half = frexpf(x, &exponent);  // in [0.5, 1)
  const int fraction = int(nearbyintf(ldexpf(half, 11)));  // 1024 … 2048
  return sign | static_cast<unsigned short>((exponent + 14) * 1024 + fraction - 1024);  // 2048 carries into the exponent
}
inline float emulated_bf16_to_float(unsigned short bits) { return same_bits<float>(unsigned(bits) << 16); }

// mma.sync.m16n8k16.row.col: D += A B with the registers' layout as in the PTX manual, each lane holding
// A: rows g, g + 8, columns 2t, 2t + 1, and 8 columns on; B: rows 2t, 2t + 1, and 8 rows on, column g; D: rows g, g + 8,
// columns 2t, 2t + 1, where g = lane / 4, t = lane % 4.
// (HIDDEN, as lanes read each other's registers here, which no sanitizer would allow.)
template <class WIDEN>
HIDDEN void emulated_mma_m16n8k16(
    float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, WIDEN widen, const char* site) {
  struct Registers { unsigned a[4], b[2]; } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  uint64_t all[32];
  emulator::gather(reinterpret_cast<uint64_t>(&mine), all, site);
  auto half = [&](unsigned word, int i) { return widen(static_cast<unsigned short>(i ? word >> 16 : word & 0xffff)); };
  const int lane = emulator::lane(), g = lane / 4, t = lane % 4;
  for (int e = 0; e < 4; e++) {
    const int row = g + e / 2 * 8, column = 2 * t + e % 2;
    float sum = d[e];
    for (int k = 0; k < 16; k++) {
      const auto& of_a = *reinterpret_cast<const Registers*>(all[row % 8 * 4 + k % 8 / 2]);
      const auto& of_b = *reinterpret_cast<const Registers*>(all[column * 4 + k % 8 / 2]);
      sum += half(of_a.a[row / 8 + k / 8 * 2], k % 2) * half(of_b.b[k / 8], k % 2);
    }
    d[e] = sum;
  }
  emulator::exchange(0xffffffffu, 0, lane, site);  // the others have read this lane's registers
}

// ldmatrix.sync.m8n8.x4: lane 8 m + i shows where row i of matrix m lies; register m gets elements 2t, 2t + 1 of its row g, or
// with .trans of its column g. (Not HIDDEN: the sanitizers should see what is read.)
template <bool TRANSPOSED, class T> void emulated_ldmatrix_x4(unsigned (&x)[4], const T* row, const char* site) {
  static_assert(sizeof(T) == 2);
  if (reinterpret_cast<uintptr_t>(row) % 16) emulator::fail("ldmatrix reads a row that does not begin on 16 bytes", site);
  uint64_t rows[32];
  emulator::gather(reinterpret_cast<uint64_t>(row), rows, site);
  const int lane = emulator::lane(), g = lane / 4, t = lane % 4;
  for (int m = 0; m < 4; m++) {
    auto at = [&](int i, int j) { return unsigned(reinterpret_cast<const T*>(rows[8 * m + i])[j].bits); };
    x[m] = TRANSPOSED ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
  }
  emulator::exchange(0xffffffffu, 0, lane, site);  // the others have seen this lane's row
}

#define EXPORT(number, ...)                                                                                           \
  extern "C" int launch_##number(                                                                                     \
      const unsigned* grid, const unsigned* block, size_t shared, int order, unsigned seed, void** values) {          \
    return emulator::launch(&__VA_ARGS__, grid, block, shared, order, seed, values);                                  \
  }                                                                                                                   \
  extern "C" const char* signature_##number() {                                                                       \
    static const std::string all = emulator::signature(&__VA_ARGS__);                                                 \
    return all.c_str();                                                                                               \
  }
extern "C" const char* emulator_error() { return emulator::B.error.c_str(); }
