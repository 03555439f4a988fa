"""The cells of chapter 12, the kernel ladder (see lessons/README.md)."""

# %% start
import time

import numpy as np

from minilm_kernels.ladder import ATTENTION

rng = np.random.default_rng(0)
rungs = {rung.number: rung for rung in ATTENTION}
for number in "12345678":
    print(number, "", rungs[number].title)

# %% kept hide-input
from matplotlib.patches import Rectangle

fig, axes = plt.subplots(1, 3, figsize=(5.8, 2.3), layout="constrained")
kept = [("rungs 1 to 3", (0, 0, 16, 16)), ("rung 4", (0, 6, 16, 1)), ("rungs 5 to 8", (4, 4, 4, 4))]
for ax, (title, (left, top, wide, high)) in zip(axes, kept):
    ax.add_patch(Rectangle((0, 0), 16, 16, fc="0.95", ec="0.7"))
    ax.add_patch(Rectangle((left, top), wide, high, fc="tab:red", alpha=0.6))
    ax.set(title=title, xlim=(-0.5, 16.5), ylim=(16.5, -0.5), aspect="equal")
    ax.set(xticks=[], yticks=[], xlabel="keys", ylabel="queries")
    ax.spines[:].set_visible(False)
plt.show()

# %% loops-run
q, k, v = rng.standard_normal((3, 1, 1, 32, 16), dtype=np.float32)  # each (B, H, T, D)
output = rungs["1"].function(q, k, v)
S = q @ k.swapaxes(-1, -2) / np.sqrt(16)
W = np.exp(S) / np.exp(S).sum(axis=-1, keepdims=True)
print("largest difference:", np.abs(output - W @ v).max())

# %% counted
class Counted:
    """An array that counts how often an element is read or written."""

    accesses = 0

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __getitem__(self, place):
        Counted.accesses += 1
        return self.array[place]

    def __setitem__(self, place, value):
        Counted.accesses += 1
        self.array[place] = value


from minilm_kernels.ladder.attention.rung1_python_loops import attend

T, D = 32, 16
Q, K, V, O = (Counted(a[0, 0]) for a in (q, k, v, np.empty_like(q)))
attend(Q, K, V, O, Counted(np.empty((T, T), np.float32)), np.float32(0.25), False)
print("counted:", 4 * Counted.accesses, "bytes")
print("formula:", rungs["1"].traffic((1, 1, T, D)), "bytes")

# %% one-pass-by-hand
scores, values = np.array([1.0, 3.0, 2.0]), np.array([10.0, 20.0, 30.0])

m, l, o = -np.inf, 0.0, 0.0  # maximum, sum of exponentials, weighted sum of values
for s, value in zip(scores, values):
    new_m = max(m, s)
    alpha = np.exp(m - new_m)  # what was summed so far had the old maximum
    l = alpha * l + np.exp(s - new_m)
    o = alpha * o + np.exp(s - new_m) * value
    m = new_m
    print(f"s = {s}: α = {alpha:.4f}, m = {m}, l = {l:.4f}, o = {o:.4f}")
print("online: ", o / l)

weights = np.exp(scores) / np.exp(scores).sum()
print("softmax:", weights @ values)

# %% online-tiles
def online_attention(q, K, V, tile, rescale=True):
    """One query; keys and values tile by tile, whose scores are all that is kept."""
    m, l, o = -np.inf, 0.0, np.zeros(V.shape[1])
    for start in range(0, len(K), tile):
        s = K[start : start + tile] @ q
        new_m = max(m, s.max())
        alpha = np.exp(m - new_m) if rescale else 1.0
        w = np.exp(s - new_m)
        l = alpha * l + w.sum()
        o = alpha * o + w @ V[start : start + tile]
        m = new_m
    return o / l


query, K, V = (rng.standard_normal(n) for n in (8, (1000, 8), (1000, 4)))
s = K @ query
expected = np.exp(s) / np.exp(s).sum() @ V
for tile in (1, 64, 1000):
    difference = np.abs(online_attention(query, K, V, tile) - expected).max()
    print(f"tile {tile:4}: difference {difference:.1e}")

# %% forgotten-rescale
for tile in (1, 64, 1000):
    wrong = online_attention(query, K, V, tile, rescale=False)
    difference = np.abs(wrong - expected).max()
    print(f"tile {tile:4}: difference {difference:.1e}")

# %% traffic hide-input
shape = (1, 12, 1024, 64)
numbers = ["1", "2", "4", "5"]
megabytes = [rungs[number].traffic(shape) / 2**20 for number in numbers]
extra = [rungs[number].extra_bytes(shape) / 2**10 for number in numbers]
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.6), layout="constrained")
for ax, amounts, title in zip(axes, (megabytes, extra), ("moved, MiB", "extra memory, KiB")):
    bars = ax.bar(["1, 3", "2", "4", "5 – 8"], amounts, color="tab:blue")
    ax.bar_label(bars, [f"{amount:,.0f}" for amount in amounts], fontsize=8)
    ax.set(title=title, xlabel="rung", yscale="log")
    ax.margins(y=0.15)
plt.show()

# %% measure
def gflops(rung, shape, repeats=3):
    """Billions of multiplications and additions per second, in the best of some runs."""
    q, k, v = rng.standard_normal((3, *shape), dtype=np.float32)
    rung.function(q, k, v)  # the first call compiles
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        rung.function(q, k, v)
        seconds.append(time.perf_counter() - start)
    return rung.flops(shape) / min(seconds) / 1e9


small, large = (1, 1, 48, 64), (1, 4, 512, 64)
speed = {}
for number in "12345678":
    speed[number] = gflops(rungs[number], small if number == "1" else large)
    print(f"{number}  {rungs[number].title:14}{speed[number]:10.3f} GFLOP/s")

# %% speed-plot hide-input
fig, ax = plt.subplots(figsize=(5.6, 3.0))
labels = [f"{number}  {rungs[number].title}" for number in speed]
bars = ax.barh(labels, speed.values(), color=["tab:red" if number == "8" else "tab:blue" for number in speed])
ax.bar_label(bars, [f"{value:.3g}" for value in speed.values()], padding=3, fontsize=8)
ax.set(xscale="log", xlabel="GFLOP/s on this machine")
ax.invert_yaxis()
ax.margins(x=0.15)
plt.show()

# %% roofline
from minilm_kernels.ladder import roofline

peak = roofline.peak_flops(seconds=0.3)
bandwidth = roofline.bandwidth(1 << 27, seconds=0.3)
print(f"peak: {peak / 1e9:.0f} GFLOP/s, memory: {bandwidth / 1e9:.1f} GB/s")
print(f"ridge: {peak / bandwidth:.0f} FLOP per byte")

# %% roofline-plot hide-input
intensity = np.geomspace(0.1, 1000, 200)
fig, ax = plt.subplots(figsize=(5.6, 3.4))
ax.loglog(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, color="0.3", label="roofline")
for number, value in speed.items():
    shape = small if number == "1" else large
    x = rungs[number].flops(shape) / rungs[number].traffic(shape)
    ax.plot(x, value, "o", color="tab:red")
    place = (6, 1) if number in "1357" else (-12, 1)
    ax.annotate(number, (x, value), place, textcoords="offset points")
ax.set(xlabel="intensity, FLOP per byte moved", ylabel="GFLOP/s")
ax.legend()
plt.show()

# %% same-bits
from minilm_kernels.cpu import pool

q, k, v = rng.standard_normal((3, 1, 4, 256, 64), dtype=np.float32)
before, outputs = pool.get_num_threads(), []
for threads in (1, 2):
    pool.set_num_threads(threads)
    outputs.append(rungs["8"].function(q, k, v))
pool.set_num_threads(before)
print("equal to the last bit:", np.array_equal(outputs[0], outputs[1]))

# %% gpu-there
from minilm_kernels.gpu import nvrtc, simulate

SIMULATOR = nvrtc.find() is not None
if not SIMULATOR:
    print("NVRTC is not installed, so the rest is not run here;")
    print("pip install nvidia-cuda-nvrtc-cu12 brings it")

# %% row-sum
SOURCE = """
extern "C" __global__ void row_sum(const float* x, float* y, int n) {
  __shared__ float part[64];
  float total = 0;
  for (int j = threadIdx.x; j < n; j += 64) total += x[blockIdx.x * n + j];
  part[threadIdx.x] = total;
  __syncthreads();
  for (int half = 32; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = part[0];
}
"""


def run_row_sum(source):
    module = simulate.Module(code=source, name_expressions=("row_sum",))
    kernel = module.get_function("row_sum")
    x, y = rng.standard_normal((4, 200), dtype=np.float32), simulate.empty(4)
    kernel((4,), (64,), (x, y, np.int32(200)))  # 4 blocks of 64 threads
    return np.abs(y - x.sum(axis=1)).max()


if SIMULATOR:
    print("largest difference:", run_row_sum(SOURCE))

# %% race
import textwrap

from minilm_kernels.gpu.simulator import Race

broken = SOURCE.replace("""half];
    __syncthreads();""", """half];""")
if SIMULATOR:
    try:
        run_row_sum(broken)
    except Race as error:
        print(textwrap.fill(str(error), 80))

# %% coalesced
COPY = """
extern "C" __global__ void copy(const float* x, float* y, int stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}
"""
if SIMULATOR:
    kernel = simulate.Module(code=COPY, name_expressions=("copy",)).get_function("copy")
    for stride in (1, 2, 8, 32):
        with simulate.counting() as launches:
            x = np.zeros(32 * stride, np.float32)
            kernel((1,), (32,), (x, simulate.empty(32), np.int32(stride)))
        reads = launches[0].traffic["global", "read"]
        print(f"stride {stride:2}: {reads.bytes} bytes wanted, {32 * reads.turns} bytes moved")

# %% gpu-attention
from minilm_kernels.gpu import explain

if SIMULATOR:
    counters = explain.run("attention", (1, 1, 64, 64))[0]
    print(explain.table(counters))

# %% solution-traffic
B, H, T, D = 1, 12, 2048, 64
for number in ("2", "5"):
    print(number, f"{rungs[number].traffic((B, H, T, D)) / 2**30:.2f} GiB")
