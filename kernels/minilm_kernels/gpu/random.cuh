// The generator of minilm_kernels.random: element (row, column) of a dropout mask is computed from the seed, never stored.
#pragma once

struct RowKey { u32 k0, k1; };

// The two halves of splitmix64's output number `row`.
DEVICE RowKey row_key(u64 seed, u64 row) {
  u64 x = seed + (row + 1) * 0x9E3779B97F4A7C15ull;
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9ull;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBull;
  x ^= x >> 31;
  RowKey key = {static_cast<u32>(x), static_cast<u32>(x >> 32)};
  return key;
}

// The upper 24 bits of the draw for a column of that row.
DEVICE u32 draw(RowKey key, u32 column) {
  u32 z = column * 0x9E3779B9u + key.k0;
  z ^= z >> 16;
  z *= 0x7FEB352Du;
  z ^= z >> 15;
  z += key.k1;
  z *= 0x846CA68Bu;
  z ^= z >> 16;
  return z >> 8;
}

// 0 where an element is dropped, else kept = 1/(1 − p). `threshold` is round(p · 2²⁴); 0 drops nothing.
template <typename A> DEVICE A keep(RowKey key, u32 column, u32 threshold, A kept) {
  return draw(key, column) >= threshold ? kept : A(0);
}
