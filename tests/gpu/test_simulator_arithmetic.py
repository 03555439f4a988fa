"""Every family of opcodes against NumPy, on random numbers and on the awkward: NaN, infinities, subnormals, wrap-around."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from simulator_ptx import execute

from minilm_kernels.gpu.simulator import UnknownInstruction
from minilm_kernels.gpu.simulator.numbers import from_bfloat16, to_bfloat16

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
RNG = np.random.default_rng(5)
N = 400


def integers(kind: str, n: int = N) -> np.ndarray:
    """Random integers, small ones, and the ends of the type."""
    info = np.iinfo(f"{'i' if kind[0] == 's' else 'u'}{int(kind[1:]) // 8}")
    x = RNG.integers(info.min, info.max, n, dtype=info.dtype, endpoint=True)
    x[: n // 4] = RNG.integers(max(info.min, -5), 6, n // 4)
    x[n // 4 : n // 4 + 6] = [info.min, info.max, 0, 1, info.max - 1, info.min + 1]
    return RNG.permutation(x)


def floats(dtype: str, n: int = N) -> np.ndarray:
    """Random numbers of all sizes and special ones."""
    info = np.finfo(dtype)
    x = (RNG.standard_normal(n) * 2.0 ** RNG.integers(-6, 6, n)).astype(dtype)
    special = [
        0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        info.max,
        info.min,
        info.tiny,
        info.smallest_subnormal,
        -info.tiny / 2,
        1,
        -1,
        0.5,
        2.5,
    ]
    x[: len(special)] = special
    bits = RNG.integers(0, 2 ** (8 * info.dtype.itemsize) - 1, n // 4, dtype=f"u{info.dtype.itemsize}", endpoint=True)
    x[-(n // 4) :] = bits.view(dtype)
    return RNG.permutation(x)


def same(got: np.ndarray, expected: np.ndarray) -> None:
    """Bit for bit, all NaNs being one."""
    assert got.dtype == expected.dtype
    if got.dtype.kind == "f":
        nan = np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(got), nan)
        got, expected = got[~nan].view(f"u{got.itemsize}"), expected[~nan].view(f"u{got.itemsize}")
    np.testing.assert_array_equal(got, expected)


# --- integers ---------------------------------------------------------------------------------------------------------

INTEGER_KINDS = ("s16", "u16", "s32", "u32", "s64", "u64")


@pytest.mark.parametrize("kind", INTEGER_KINDS)
@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("add.{k} $0, $1, $2;", lambda a, b: a + b),
        ("sub.{k} $0, $1, $2;", lambda a, b: a - b),
        ("mul.lo.{k} $0, $1, $2;", lambda a, b: a * b),
        ("min.{k} $0, $1, $2;", min),
        ("max.{k} $0, $1, $2;", max),
        ("div.{k} $0, $1, $2;", lambda a, b: -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)),
        ("rem.{k} $0, $1, $2;", lambda a, b: a if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1)),
    ],
)
def test_integer_arithmetic_is_that_of_whole_numbers_modulo_a_power_of_two(kind, text, formula):
    a, b = integers(kind), integers(kind)
    bits = int(kind[1:])
    expected = [formula(int(x), int(y)) % 2**bits for x, y in zip(a, b)]
    got = execute(text.format(k=kind), kind, f"{kind} {kind}", a, b)
    np.testing.assert_array_equal(got.view(f"u{bits // 8}"), np.array(expected, f"u{bits // 8}"))


@pytest.mark.parametrize("kind", ["s16", "u16", "s32", "u32", "s64", "u64"])
def test_upper_half_of_products(kind):
    a, b, bits = integers(kind), integers(kind), int(kind[1:])
    expected = [(int(x) * int(y) >> bits) % 2**bits for x, y in zip(a, b)]
    got = execute(f"mul.hi.{kind} $0, $1, $2;", kind, f"{kind} {kind}", a, b)
    np.testing.assert_array_equal(got.view(f"u{bits // 8}"), np.array(expected, f"u{bits // 8}"))


@pytest.mark.parametrize(("kind", "wide"), [("s16", "s32"), ("u16", "u32"), ("s32", "s64"), ("u32", "u64")])
def test_wide_products_and_sums(kind, wide):
    a, b, c = integers(kind), integers(kind), integers(wide)
    product = [int(x) * int(y) for x, y in zip(a, b)]
    size = 2 ** int(wide[1:])
    unsigned = f"u{int(wide[1:]) // 8}"
    got = execute(f"mul.wide.{kind} $0, $1, $2;", wide, f"{kind} {kind}", a, b)
    np.testing.assert_array_equal(got.view(unsigned), np.array([p % size for p in product], unsigned))
    got = execute(f"mad.wide.{kind} $0, $1, $2, $3;", wide, f"{kind} {kind} {wide}", a, b, c)
    np.testing.assert_array_equal(
        got.view(unsigned), np.array([(p + int(z)) % size for p, z in zip(product, c)], unsigned)
    )


@pytest.mark.parametrize("kind", ["b32", "b64"])
def test_bits_are_counted_and_turned(kind):
    bits = int(kind[1:])
    a = integers(f"u{bits}")
    a[:40] = np.array([1], a.dtype) << np.arange(40).astype(a.dtype) % bits
    words = [format(int(x), f"0{bits}b") for x in a]
    same(execute(f"popc.{kind} $0, $1;", "u32", f"u{bits}", a), np.array([w.count("1") for w in words], np.uint32))
    same(
        execute(f"clz.{kind} $0, $1;", "u32", f"u{bits}", a), np.array([(w + "1").index("1") for w in words], np.uint32)
    )
    same(
        execute(f"brev.{kind} $0, $1;", f"u{bits}", f"u{bits}", a), np.array([int(w[::-1], 2) for w in words], a.dtype)
    )
    highest = [len(w) - 1 - w.index("1") if "1" in w else 0xFFFFFFFF for w in words]
    same(execute(f"bfind.u{bits} $0, $1;", "u32", f"u{bits}", a), np.array(highest, np.uint32))


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_fields(kind):
    bits = int(kind[1:])
    a, b = integers(kind), integers(kind)
    start, length = RNG.integers(0, bits + 8, (2, N)).astype(np.uint32)

    def extracted(x, pos, n):  # the manual's own pseudo-code, bit by bit
        x = int(x) % 2**bits
        sign = 0
        if kind[0] == "s" and n:
            sign = x >> min(pos + n - 1, bits - 1) & 1
        return sum((x >> pos + i & 1 if i < n and pos + i < bits else sign) << i for i in range(bits))

    expected = np.array([extracted(x, int(p), int(n)) for x, p, n in zip(a, start, length)], f"u{bits // 8}")
    got = execute(f"bfe.{kind} $0, $1, $2, $3;", kind, f"{kind} u32 u32", a, start, length)
    np.testing.assert_array_equal(got.view(expected.dtype), expected)

    def inserted(x, y, pos, n):
        mask = ((1 << n) - 1 << pos) % 2**bits
        return int(y) % 2**bits & ~mask | int(x) % 2**bits << pos & mask

    expected = np.array([inserted(x, y, int(p), int(n)) for x, y, p, n in zip(a, b, start, length)], expected.dtype)
    got = execute(f"bfi.b{bits} $0, $1, $2, $3, $4;", kind, f"{kind} {kind} u32 u32", a, b, start, length)
    np.testing.assert_array_equal(got.view(expected.dtype), expected)


@pytest.mark.parametrize("kind", ["b16", "b32", "b64"])
def test_shifts_beyond_the_width_give_zeros_or_signs(kind):
    bits = int(kind[1:])
    a, by = integers(f"s{bits}"), RNG.integers(0, bits + 20, N).astype(np.uint32)
    by[:3] = [65537, bits, 32769]  # compared as a whole, not cut to the type's width
    whole = [int(x) for x in a]
    size = 2**bits
    left = np.array([(x << int(s)) % size for x, s in zip(whole, by)], f"u{bits // 8}")
    right = np.array([(x >> int(s)) % size for x, s in zip(whole, by)], f"u{bits // 8}")
    filled = np.array([x % size >> int(s) for x, s in zip(whole, by)], f"u{bits // 8}")
    for text, expected in (("shl.b", left), ("shr.s", right), ("shr.u", filled)):
        got = execute(f"{text}{bits} $0, $1, $2;", f"s{bits}", f"s{bits} u32", a, by)
        np.testing.assert_array_equal(got.view(expected.dtype), expected)
    got = execute(f"shr.s{bits} $0, $1, 3;", f"s{bits}", f"s{bits}", a)
    np.testing.assert_array_equal(got, a >> 3)


def test_logic_funnels_and_bytes():
    a, b, c = (integers("u32") for _ in range(3))
    u = "u32 u32 u32"
    same(execute("and.b32 $0, $1, $2;", "u32", "u32 u32", a, b), a & b)
    same(execute("xor.b32 $0, $1, $2;", "u32", "u32 u32", a, b), a ^ b)
    same(execute("not.b32 $0, $1;", "u32", "u32", a), ~a)
    for table, expected in (
        (0x96, a ^ b ^ c),
        (0xE8, a & b | b & c | a & c),
        (0xCA, a & b | ~a & c),
        (0x1E, a ^ (b | c)),
    ):
        same(execute(f"lop3.b32 $0, $1, $2, $3, {table};", "u32", u, a, b, c), expected)
    both = [int(x) | int(y) << 32 for x, y in zip(a, b)]
    wrap = np.array([(w << int(s) % 32) >> 32 & 0xFFFFFFFF for w, s in zip(both, c)], np.uint32)
    same(execute("shf.l.wrap.b32 $0, $1, $2, $3;", "u32", u, a, b, c), wrap)
    clamp = np.array([w >> min(int(s), 32) & 0xFFFFFFFF for w, s in zip(both, c)], np.uint32)
    same(execute("shf.r.clamp.b32 $0, $1, $2, $3;", "u32", u, a, b, c), clamp)

    def permuted(w, selector):
        result = 0
        for i in range(4):
            digit = int(selector) >> 4 * i & 15
            byte = w >> 8 * (digit & 7) & 255
            result |= (byte if digit < 8 else 255 * (byte >> 7)) << 8 * i
        return result

    same(
        execute("prmt.b32 $0, $1, $2, $3;", "u32", u, a, b, c),
        np.array([permuted(w, s) for w, s in zip(both, c)], np.uint32),
    )


# --- floats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f16", "f32", "f64"])
def test_float_arithmetic_rounds_once(kind):
    dtype = f"f{int(kind[1:]) // 8}"
    a, b = floats(dtype), floats(dtype)
    same(execute(f"add.rn.{kind} $0, $1, $2;", kind, f"{kind} {kind}", a, b), a + b)
    same(execute(f"sub.{kind} $0, $1, $2;", kind, f"{kind} {kind}", a, b), a - b)
    same(execute(f"mul.{kind} $0, $1, $2;", kind, f"{kind} {kind}", a, b), a * b)
    same(execute(f"neg.{kind} $0, $1;", kind, kind, a), -a)
    same(execute(f"abs.{kind} $0, $1;", kind, kind, a), np.abs(a))
    if kind != "f16":
        same(execute(f"div.rn.{kind} $0, $1, $2;", kind, f"{kind} {kind}", a, b), a / b)
        same(execute(f"rcp.rn.{kind} $0, $1;", kind, kind, a), (1 / a).astype(dtype))
        same(execute(f"sqrt.rn.{kind} $0, $1;", kind, kind, a), np.sqrt(a))


def exact(values, dtype):
    """The number of a dtype nearest to a fraction, to even."""
    ulp_bits = np.finfo(dtype).nmant + 1
    result = []
    for v in values:
        if v == 0:
            result.append(0.0)
            continue
        e = max(
            abs(v.numerator).bit_length() - v.denominator.bit_length() - ulp_bits,
            np.finfo(dtype).minexp - np.finfo(dtype).nmant,
        )
        for shift in (e - 1, e, e + 1):
            q = v / Fraction(2) ** shift
            if abs(round(q)) <= 2**ulp_bits and shift >= np.finfo(dtype).minexp - np.finfo(dtype).nmant:
                result.append(float(Fraction(round(q)) * Fraction(2) ** shift))
                break
    return np.array(result, dtype)


@pytest.mark.parametrize("kind", ["f16", "f32", "f64"])
def test_fused_multiply_add_keeps_the_whole_product(kind):
    dtype = np.dtype(f"f{int(kind[1:]) // 8}")
    a, b = (RNG.standard_normal((2, N))).astype(dtype)
    c = (RNG.standard_normal(N) * 2.0 ** RNG.integers(-30 if kind != "f16" else -4, 4, N)).astype(dtype)
    c[: N // 2] = -(a * b)[: N // 2]  # cancellation: what is left is the product's rounding error
    expected = exact([Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c)], dtype)
    got = execute(f"fma.rn.{kind} $0, $1, $2, $3;", kind, f"{kind} {kind} {kind}", a, b, c)
    np.testing.assert_array_equal(got, expected)
    assert (got != a * b + c).any()  # two roundings would not do


def test_fused_multiply_add_of_the_special_numbers():
    a, b, c = (floats("f4") for _ in range(3))
    got = execute("fma.rn.f32 $0, $1, $2, $3;", "f32", "f32 f32 f32", a, b, c)
    same(got, (a.astype("f8") * b + c).astype("f4"))
    d = floats("f8")
    got = execute("fma.rn.f64 $0, $1, $2, $3;", "f64", "f64 f64 f64", d, np.ones(N), np.zeros(N))
    same(got, d * 1.0 + 0.0)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
def test_directed_rounding_encloses_the_exact_result(mode):
    a, b = RNG.standard_normal((2, N)).astype("f4")
    for name, value in (("add", lambda x, y: x + y), ("mul", lambda x, y: x * y)):
        got = execute(f"{name}.{mode}.f32 $0, $1, $2;", "f32", "f32 f32", a, b)
        for x, y, g in zip(a, b, got):
            true = value(Fraction(float(x)), Fraction(float(y)))
            inward = np.nextafter(g, np.float32(np.inf if (mode == "rm" or (mode == "rz" and true > 0)) else -np.inf))
            low, high = sorted((Fraction(float(g)), Fraction(float(inward))))
            assert Fraction(float(g)) == true or low < true < high


def test_flush_to_zero():
    a, b = floats("f4"), floats("f4")
    tiny = np.finfo("f4").tiny
    flushed = lambda x: np.where(np.abs(x) < tiny, np.copysign(np.float32(0), x), x)  # noqa: E731
    same(execute("mul.ftz.f32 $0, $1, $2;", "f32", "f32 f32", a, b), flushed(flushed(a) * flushed(b)))
    small = (RNG.standard_normal(N) * 1e-20).astype("f4")
    got = execute("mul.ftz.f32 $0, $1, $2;", "f32", "f32 f32", small, small)
    assert ((got == 0) & (small * small != 0)).any()


def test_minimum_and_maximum_pass_over_nans_and_order_zeros():
    a, b = floats("f4"), floats("f4")
    a[:4], b[:4] = [0, -0.0, 0, -0.0], [-0.0, 0, 0, -0.0]
    low = execute("min.f32 $0, $1, $2;", "f32", "f32 f32", a, b)
    high = execute("max.f32 $0, $1, $2;", "f32", "f32 f32", a, b)
    np.testing.assert_array_equal(low, np.fmin(a, b))
    np.testing.assert_array_equal(high, np.fmax(a, b))
    assert np.signbit(low[:4]).tolist() == [True, True, False, True]
    assert np.signbit(high[:4]).tolist() == [False, False, False, True]
    np.testing.assert_array_equal(execute("max.NaN.f32 $0, $1, $2;", "f32", "f32 f32", a, b), np.maximum(a, b))


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("ex2.approx.f32", np.exp2), ("lg2.approx.f32", np.log2), ("rsqrt.approx.f32", lambda x: 1 / np.sqrt(x)),
        ("sin.approx.f32", np.sin), ("cos.approx.f32", np.cos), ("tanh.approx.f32", np.tanh),
        ("rcp.approx.ftz.f32", lambda x: 1 / x), ("sqrt.approx.f32", np.sqrt),
    ],
)  # fmt: skip
def test_functions_of_one_number(text, formula):
    a = (np.abs(RNG.standard_normal(N)) + 0.01).astype("f4")
    a[:4] = [np.inf, np.nan, 1, 64]
    same(execute(f"{text} $0, $1;", "f32", "f32", a), formula(a.astype("f8")).astype("f4"))


def test_bfloat16_rounds_to_even_and_computes():
    a, b, c = (to_bfloat16(floats("f4")) for _ in range(3))
    x, y, z = (from_bfloat16(v) for v in (a, b, c))

    def rounded(v):  # by whole numbers: half to even
        v = v.astype(np.float32)
        bits = v.view(np.uint32).astype(np.uint64)
        low, high = bits & 0xFFFF, bits >> 16
        high = high + ((low > 0x8000) | ((low == 0x8000) & (high & 1 == 1)))
        return np.where(np.isnan(v), 0x7FFF, high).astype(np.uint16)

    k = "bf16 bf16"
    np.testing.assert_array_equal(execute("add.bf16 $0, $1, $2;", "bf16", k, a, b), rounded(x + y))
    np.testing.assert_array_equal(execute("mul.bf16 $0, $1, $2;", "bf16", k, a, b), rounded(x * y))
    got = from_bfloat16(execute("fma.rn.bf16 $0, $1, $2, $3;", "bf16", k + " bf16", a, b, c))
    true = x.astype("f8") * y + z
    near = from_bfloat16(rounded(true.astype("f4")))
    ok = (np.abs(got - true) <= np.abs(near - true)) | np.isnan(true) | np.isinf(got)
    assert ok.all()
    f = floats("f4")
    np.testing.assert_array_equal(execute("cvt.rn.bf16.f32 $0, $1;", "bf16", "f32", f), rounded(f))


def test_packed_pairs_are_two_numbers():
    a, b = (RNG.standard_normal((2, N, 2))).astype("f2")
    packed = [np.ascontiguousarray(v).view(np.uint32).ravel() for v in (a, b)]
    got = execute("add.f16x2 $0, $1, $2;", "f16x2", "f16x2 f16x2", *packed)
    same(got.view("f2").reshape(N, 2), a + b)
    x, y = RNG.standard_normal((2, N)).astype("f4")
    got = execute("cvt.rn.f16x2.f32 $0, $1, $2;", "f16x2", "f32 f32", x, y).view("f2").reshape(N, 2)
    same(got[:, 1].copy(), x.astype("f2"))  # the first operand is the upper half
    same(got[:, 0].copy(), y.astype("f2"))
    got = execute("cvt.rn.bf16x2.f32 $0, $1, $2;", "bf16x2", "f32 f32", x, y).view("u2").reshape(N, 2)
    np.testing.assert_array_equal(got, np.stack([to_bfloat16(y), to_bfloat16(x)], 1))


# --- conversions, comparisons, moves ----------------------------------------------------------------------------------


def test_conversions_to_integers_round_and_clamp():
    a = floats("f4")
    a[:8] = [0.5, 1.5, 2.5, -0.5, -1.5, 3e9, -3e9, 1e20]
    clean = np.where(np.isnan(a), 0, a.astype("f8"))
    for mode, rounding in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        for kind, low, high in (("s32", -(2.0**31), 2.0**31 - 1), ("u32", 0, 2.0**32 - 1)):
            expected = np.clip(rounding(clean), low, high).astype("i8").astype(f"{'i' if kind[0] == 's' else 'u'}4")
            same(execute(f"cvt.{mode}.{kind}.f32 $0, $1;", kind, "f32", a), expected)
        same(execute(f"cvt.{mode}.f32.f32 $0, $1;", "f32", "f32", a), rounding(a))


def test_conversions_between_floats():
    a, d = floats("f4"), floats("f8")
    same(execute("cvt.rn.f16.f32 $0, $1;", "f16", "f32", a), a.astype("f2"))
    same(execute("cvt.rn.f32.f64 $0, $1;", "f32", "f64", d), d.astype("f4"))
    same(execute("cvt.f64.f32 $0, $1;", "f64", "f32", a), a.astype("f8"))
    h = floats("f2")
    same(execute("cvt.f32.f16 $0, $1;", "f32", "f16", h), h.astype("f4"))
    toward_zero = execute("cvt.rz.f16.f32 $0, $1;", "f16", "f32", a)
    finite = np.isfinite(a) & (np.abs(a) < 60000)
    assert (np.abs(toward_zero.astype("f8")) <= np.abs(a))[finite].all()
    same(
        execute("cvt.sat.f32.f32 $0, $1;", "f32", "f32", a),
        np.where(a > 0, np.minimum(a, np.float32(1)), np.float32(0)),
    )


@pytest.mark.parametrize(
    ("to", "source"),
    [("s64", "s32"), ("u64", "u32"), ("u32", "u64"), ("u16", "u32"), ("s32", "s16"), ("u32", "u16"), ("s32", "s64")],
)
def test_conversions_between_integers(to, source):
    a = integers(source)
    dtype = f"{'i' if to[0] == 's' else 'u'}{int(to[1:]) // 8}"
    same(execute(f"cvt.{to}.{source} $0, $1;", to, source, a), a.astype(dtype))


def test_conversions_from_integers():
    a, b = integers("s32"), integers("u64")
    same(execute("cvt.rn.f32.s32 $0, $1;", "f32", "s32", a), a.astype("f4"))
    same(execute("cvt.rn.f64.u64 $0, $1;", "f64", "u64", b), b.astype("f8"))
    down = execute("cvt.rz.f32.s32 $0, $1;", "f32", "s32", a)
    assert (np.abs(down.astype("f8")) <= np.abs(a.astype("f8"))).all()


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_with_nan(name):
    formula = getattr(
        np,
        {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}[
            name
        ],
    )
    a = floats("f4")
    b = np.where(RNG.random(N) < 0.3, a, floats("f4"))
    nan = np.isnan(a) | np.isnan(b)
    choose = " selp.b32 $0, 1, 0, %p1;"
    same(execute(f"setp.{name}.f32 %p1, $1, $2;" + choose, "u32", "f32 f32", a, b), (formula(a, b) & ~nan).astype("u4"))
    same(execute(f"setp.{name}u.f32 %p1, $1, $2;" + choose, "u32", "f32 f32", a, b), (formula(a, b) | nan).astype("u4"))
    i, j = integers("s32"), integers("s32")
    j = np.where(RNG.random(N) < 0.3, i, j)
    same(execute(f"setp.{name}.s32 %p1, $1, $2;" + choose, "u32", "s32 s32", i, j), formula(i, j).astype("u4"))
    both = (
        f"setp.gt.s32 %p2, $1, 0; setp.{name}.and.s32 %p1|%p3, $1, $2, !%p2; selp.b32 %t5, 2, 0, %p3;"
        + choose
        + " or.b32 $0, $0, %t5;"
    )
    expected = (formula(i, j) & (i <= 0)).astype("u4") + 2 * (~formula(i, j) & (i <= 0)).astype("u4")
    same(execute(both, "u32", "s32 s32", i, j), expected.astype("u4"))


def test_guards_leave_other_lanes_alone():
    a, b = integers("s32"), integers("s32")
    text = "mov.b32 $0, $1; setp.lt.s32 %p1, $1, $2; @%p1 add.s32 $0, $0, $2; @!%p1 sub.s32 $0, $0, 7;"
    with np.errstate(over="ignore"):
        same(execute(text, "s32", "s32 s32", a, b), np.where(a < b, a + b, a - np.int32(7)))


def test_words_are_taken_apart_and_put_together():
    a = integers("u64")
    text = ".reg .b32 lo, hi; mov.b64 {lo, hi}, $1; mov.b64 $0, {hi, lo};"
    same(execute("{" + text + "}", "u64", "u64", a), a >> np.uint64(32) | a << np.uint64(32))


def test_an_unknown_instruction_is_named_with_its_line():
    with pytest.raises(UnknownInstruction, match=r"line \d+: .* vadd4\.u32"):
        execute("vadd4.u32 $0, $1, $2;", "u32", "u32 u32", integers("u32"), integers("u32"))
    with pytest.raises(UnknownInstruction, match=r"add\.wild\.s32: \.wild is not known"):
        execute("add.wild.s32 $0, $1, $2;", "s32", "s32 s32", integers("s32"), integers("s32"))
