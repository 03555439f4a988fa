// Activations and their slopes, each under its function, chosen by a number at compile time.
// A NaN stays a NaN, and infinities give what the limit gives (FAR: where Φ and σ are exactly 0 and 1).
#pragma once

enum Activation { NONE = 0, GELU = 1, GELU_TANH = 2, RELU = 3, SILU = 4 };

#define FAR 1000.0
#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794
#define GELU_C 0.79788456080286535588  // √(2/π)
#define GELU_K 0.044715

template <typename A> DEVICE A clamp_to(A x, A low, A high) { return x < low ? low : x > high ? high : x; }

DEVICE float normal_cdf(float x) { return 0.5f * erfcf(-x * float(SQRT_HALF)); }  // Φ(x) = ½ erfc(−x/√2)
DEVICE double normal_cdf(double x) { return 0.5 * erfc(-x * SQRT_HALF); }
DEVICE float hyperbolic_tangent(float x) { return tanhf(x); }
DEVICE double hyperbolic_tangent(double x) { return tanh(x); }
// σ(x) = e^min(x, 0) / (1 + e^−|x|): no power above 1
template <typename A> DEVICE A logistic(A x) {
  return power_of_e(x < 0 ? x : x > 0 ? A(0) : x) / (1 + power_of_e(x < 0 ? x : -x));
}

template <int ACTIVATION, typename A> DEVICE A activate(A x) {
  if (ACTIVATION == GELU) return clamp_to(x, A(-FAR), infinity_of(A(0))) * normal_cdf(x);
  if (ACTIVATION == GELU_TANH)
    return clamp_to(x, A(-FAR), infinity_of(A(0))) * A(0.5) *
           (1 + hyperbolic_tangent(x * (A(GELU_C) + A(GELU_C * GELU_K) * (x * x))));
  if (ACTIVATION == RELU) return x < 0 ? A(0) : x;
  if (ACTIVATION == SILU) return clamp_to(x, A(-FAR), infinity_of(A(0))) * logistic(x);
  return x;
}

template <int ACTIVATION, typename A> DEVICE A slope(A x) {
  if (ACTIVATION == GELU) {  // Φ(x) + x φ(x)
    const A near = clamp_to(x, A(-FAR), A(FAR));
    return normal_cdf(x) + near * (power_of_e(near * near * A(-0.5)) * A(INV_SQRT_2PI));
  }
  if (ACTIVATION == GELU_TANH) {  // ½ (1 + t) + ½ x (1 − t²) C (1 + 3 K x²)
    const A near = clamp_to(x, A(-20), A(20)), square = near * near;
    const A t = hyperbolic_tangent(near * (A(GELU_C) + A(GELU_C * GELU_K) * square));
    return A(0.5) * (1 + t) + A(0.5) * near * (1 - t * t) * (A(GELU_C) + A(3 * GELU_C * GELU_K) * square);
  }
  if (ACTIVATION == RELU) return x > 0 ? A(1) : x <= 0 ? A(0) : x;
  if (ACTIVATION == SILU) {  // σ (1 + x (1 − σ))
    const A s = logistic(x);
    return s * (1 + clamp_to(x, A(-FAR), A(FAR)) * (1 - s));
  }
  return A(1);
}
