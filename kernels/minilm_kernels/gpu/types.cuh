// The four element types of an array, and the type that a kernel computes in.
//
// f16 and bf16 are only stored: every sum and every function is worked out in float. (double computes in double: it is
// there for tests of derivatives.) No CUDA header is needed, so a kernel is one string of source wherever it is compiled.
#pragma once

struct f16 { unsigned short bits; };   // 1 sign, 5 exponent, 10 fraction bits
struct bf16 { unsigned short bits; };  // the upper half of a float: 1 sign, 8 exponent, 7 fraction bits

template <typename T> struct Computes { using In = float; };
template <> struct Computes<double> { using In = double; };
template <typename T> using Real = typename Computes<T>::In;

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEVICE __device__ __forceinline__

DEVICE float widen(float x) { return x; }
DEVICE double widen(double x) { return x; }
DEVICE float widen(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }
DEVICE float widen(f16 x) {
#ifdef MINILM_EMULATED
  return emulated_f16_to_float(x.bits);
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#endif
}

// To the nearest number of the type; of two as near, the one whose last bit is 0.
template <typename T> DEVICE T narrow(Real<T> x);
template <> DEVICE float narrow<float>(float x) { return x; }
template <> DEVICE double narrow<double>(double x) { return x; }
template <> DEVICE f16 narrow<f16>(float x) {
  f16 y;
#ifdef MINILM_EMULATED
  y.bits = emulated_float_to_f16(x);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
  return y;
}
template <> DEVICE bf16 narrow<bf16>(float x) {
  u32 bits = __float_as_uint(x);
  bf16 y;
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    y.bits = 0x7fff;  // NaN
  } else {
    y.bits = static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
  return y;
}

DEVICE float infinity_of(float) { return __int_as_float(0x7f800000); }
DEVICE double infinity_of(double) { return __longlong_as_double(0x7ff0000000000000LL); }
template <typename A> DEVICE A minus_infinity() { return -infinity_of(A(0)); }
DEVICE float largest_of(float) { return __int_as_float(0x7f7fffff); }
DEVICE double largest_of(double) { return __longlong_as_double(0x7fefffffffffffffLL); }

// float or double by the argument
// 2^x as the hardware has it, within 2 units in the last place; below 2^-126 it is 0, where exp2f takes three more steps
DEVICE float quick_power_of_2(float x) {
#ifdef MINILM_EMULATED
  const float y = exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}
DEVICE double quick_power_of_2(double x) { return exp2(x); }
DEVICE float power_of_e(float x) { return expf(x); }
DEVICE double power_of_e(double x) { return exp(x); }
DEVICE float logarithm(float x) { return logf(x); }
DEVICE double logarithm(double x) { return log(x); }
DEVICE float root(float x) { return sqrtf(x); }
DEVICE double root(double x) { return sqrt(x); }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }    // passes over a NaN
DEVICE double larger(double a, double b) { return fmax(a, b); }
DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE double multiply_add(double a, double b, double c) { return fma(a, b, c); }

#define LOG2E 1.4426950408889634074

// Dynamic shared memory, as an array of A that begins on 16 bytes.
#ifndef MINILM_EMULATED
#define SHARED_ARRAY(A, name)                                  \
  extern __shared__ __align__(16) unsigned char shared_raw[];  \
  A* name = reinterpret_cast<A*>(shared_raw)
#endif
