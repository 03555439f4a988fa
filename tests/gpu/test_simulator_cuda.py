"""CUDA C++ through NVRTC and the simulator: what only a compiler writes (inlined mathematics, local memory, switches)."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from minilm_kernels.gpu import explain, nvrtc
from minilm_kernels.gpu.simulate import Module, empty, unwritten
from minilm_kernels.gpu.simulator import LaunchError, OutOfBounds, Race

pytestmark = [
    pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
RNG = np.random.default_rng(8)

# function, its value in float64, the bound in units in the last place ("Mathematical Functions" of the CUDA manual)
FUNCTIONS = [
    ("expf", np.exp, 2), ("exp2f", np.exp2, 2), ("logf", np.log, 1), ("log1pf", np.log1p, 1), ("tanhf", np.tanh, 2),
    ("erff", np.vectorize(math.erf), 2), ("sqrtf", np.sqrt, 0.5), ("rsqrtf", lambda x: 1 / np.sqrt(x), 2), ("sinf", np.sin, 2),
    ("fabsf", np.abs, 0), ("floorf", np.floor, 0), ("rintf", np.rint, 0), ("1.0f / ", lambda x: 1 / x, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["float", "double"])
def test_the_mathematical_library_is_as_exact_as_its_manual_says(kind):
    functions = [
        (n if kind == "float" else n.replace("f", "", 1) if n == "fabsf" else n, f, u) for n, f, u in FUNCTIONS
    ]
    names = [(n, f, u) for n, f, u in functions]
    if kind == "double":
        names = [
            ("exp", np.exp, 1),
            ("log", np.log, 1),
            ("tanh", np.tanh, 2),
            ("erf", np.vectorize(math.erf), 2),
            ("sqrt", np.sqrt, 0.5),
        ]
    lines = "\n".join(f"y[{len(names)} * i + {j}] = {n}(x[i]);" for j, (n, _, _) in enumerate(names))
    head = f'extern "C" __global__ void k(const {kind}* x, {kind}* y, int n)'
    source = f"{head} {{ int i = blockIdx.x * 64 + threadIdx.x; if (i < n) {{ {lines} }} }}"
    dtype = np.float32 if kind == "float" else np.float64
    x = np.concatenate(
        [
            RNG.standard_normal(500) * 3,
            RNG.standard_normal(200) * 0.01,
            [0, np.inf, -np.inf, np.nan, 88, -88, 1e5, -1e30],
        ]
    )
    x = x.astype(dtype)
    y = empty((len(x), len(names)), dtype)
    Module(code=source).get_function("k")((-(-len(x) // 64),), (64,), (x, y, np.int32(len(x))))
    assert unwritten(y) == 0
    for j, (name, function, bound) in enumerate(names):
        true = np.asarray(function(x.astype(np.float64) if kind == "float" else x), np.float64)
        expected = true.astype(dtype)
        special = ~np.isfinite(expected)
        np.testing.assert_array_equal(y[special, j], expected[special], err_msg=name)
        error = np.abs(y[:, j] - true)[~special] / np.spacing(np.abs(expected[~special])).astype(np.float64)
        slack = 0.01 if kind == "float" else 1  # float64 has no wider oracle here
        assert error.max() <= bound + slack, (name, error.max(), x[~special][error.argmax()])


def test_local_memory_switches_and_loops():
    source = """
extern "C" __global__ void k(const int* x, int* y) {
  int t = threadIdx.x, a[8];
  for (int i = 0; i < 8; i++) a[i] = x[t] * i;
  int r = a[x[t] & 7];
  switch (x[t] % 6) {
    case 0: r += 1; break; case 1: r *= 3; break; case 2: r -= t; break; case 3: r ^= 9; break; case 4: r = -r;
  }
  y[t] = r;
}"""
    x, y = RNG.integers(0, 1000, 64).astype(np.int32), empty(64, np.int32)
    Module(code=source).get_function("k")((1,), (64,), (x, y))
    r, t = x * (x & 7), np.arange(64)
    np.testing.assert_array_equal(y, np.select([x % 6 == i for i in range(5)], [r + 1, r * 3, r - t, r ^ 9, -r], r))


SUM = """
template <typename T> __global__ void total(const T* x, T* y, int n) {
  __shared__ T part[64];
  int t = threadIdx.x;
  T s = 0;
  for (int i = t; i < n; i += 64) s += x[i];
  part[t] = s;
  for (int step = 32; step; step /= 2) {
    BARRIER
    if (t < step) part[t] += part[t + step];
  }
  if (t == 0) *y = part[0];
}"""


def test_templates_and_a_sum_in_shared_memory():
    module = Module(
        code=SUM.replace("BARRIER", "__syncthreads();"), name_expressions=("total<float>", "total<long long>")
    )
    x = RNG.integers(-100, 100, 1000)
    for expression, dtype in (("total<float>", np.float32), ("total<long long>", np.int64)):
        y = empty(1, dtype)
        module.get_function(expression)((1,), (64,), (x.astype(dtype), y, np.int32(1000)))
        assert y[0] == x.sum()


def test_errors_name_the_line_of_the_source_and_the_argument():
    module = Module(code=SUM.replace("BARRIER", ""), name_expressions=("total<float>",))
    args = (np.ones(1000, np.float32), empty(1), np.int32(1000))
    with pytest.raises(Race, match=r"kernel\.cu:1[01]\)") as caught:
        module.get_function("total<float>")((1,), (64,), args)
    assert "of shared memory, which thread" in str(caught.value)
    module = Module(code=SUM.replace("BARRIER", "__syncthreads();"), name_expressions=("total<float>",))
    with pytest.raises(OutOfBounds, match=r"kernel\.cu:6\).*byte 4000 of argument 0 `x` float32\[1000\]"):
        module.get_function("total<float>")((1,), (64,), (*args[:2], np.int32(1001)))


@pytest.mark.parametrize("major", [12, 13])
@pytest.mark.parametrize("arch", ["compute_75", "compute_80", "compute_90", "compute_100"])
def test_both_compilers_and_newer_architectures(major, arch):
    compiler = nvrtc.find(major)
    if compiler is None:
        pytest.skip(f"NVRTC of CUDA {major} is not installed")
    made = compiler.compile(SUM.replace("BARRIER", "__syncthreads();"), ("total<float>",), arch, ("-std=c++17",))
    module = Module(ptx=made.code.rstrip(b"\0").decode(), lowered=made.names)
    y = empty(1)
    module.get_function("total<float>")((1,), (64,), (np.arange(100, dtype=np.float32), y, np.int32(100)))
    assert y[0] == 4950


def test_explain_counts_and_draws(tmp_path, capsys):
    path = tmp_path / "picture.png"
    pytest.importorskip("matplotlib", reason="matplotlib draws the picture")
    assert explain.main(["attention", "--shape", "1", "1", "32", "16", "--picture", str(path)]) == 0
    text = capsys.readouterr().out
    assert "attention_forward<float" in text
    assert "arithmetic intensity" in text
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_explain_draws_without_matplotlib(capsys):
    """Sectors of global memory and banks of shared memory, in each place the lane that wants it."""
    assert explain.main(["attention", "--shape", "1", "1", "40", "64"]) == 0
    text = capsys.readouterr().out
    assert "         0      0   0   0   0   1   1   1   1\n" in text  # 16 bytes for each lane
    assert "shared memory, what one warp wants at" in text
    assert "bank        0   1   2" in text
    assert explain.main(["layer_norm", "--shape", "3", "40"]) == 0
    assert "         0      0   1   2   3   4   5   6   7\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("attention --shape 1 2 3", "B H T D"),
        ("attention --shape 1 2 0 3", "numbers from 1"),
        ("attention --shape 1 1 5 200", "heads of 200 features in float32 have no kernel .* give at most 128"),
        ("attention --shape 1 1 5 128 --dtype float64 --capability 75", "give at most 96"),
        ("gelu --shape 2 2 --capability 81", "invalid choice: 81"),
        ("gelu --shape 2 2 --causal", "--causal is for attention"),
        ("attention_decode --shape 1 1 5 8 --backward", "has no backward pass"),
        ("gelu --shape 2 2 --picture a.xyz", "ends with .png"),
        ("gelu --shape 2 2 --picture no-such-folder/a.png", "there is no folder no-such-folder"),
    ],
)
def test_explain_refuses_what_it_cannot_do_before_it_begins(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        explain.main(arguments.split())
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_messages_name_a_kernel_as_its_source_does():
    """And say what is wrong with arguments of another kind."""
    body = "y[threadIdx.x] = x[threadIdx.x + n];"
    source = f"template <typename T> __global__ void copy(const T* x, T* y, int n) {{ {body} }}"
    kernel = Module(code=source, name_expressions=("copy<float>",)).get_function("copy<float>")
    x, y = np.zeros(32, np.float32), np.zeros(32, np.float32)
    with pytest.raises(OutOfBounds, match=r"kernel copy<float>, block 0, thread 31, .* of argument 0 `x`"):
        kernel((1,), (32,), (x, y, np.int32(1)))
    with pytest.raises(LaunchError, match=r"grid is 1; give one to three numbers in a tuple, as CuPy wants it: \(1,\)"):
        kernel(1, (32,), (x, y, np.int32(1)))
    with pytest.raises(LaunchError, match=r"argument 0 of copy<float> is \[0, 1, .{1,40}…, of type list; pass a"):
        kernel((1,), (32,), (list(range(100)), y, np.int32(1)))
