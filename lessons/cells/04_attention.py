"""The cells of chapter 4, Attention (see lessons/README.md)."""

# %% words
import numpy as np

from minilm import functional as F
from minilm import nn
from minilm.tensor import Tensor

np.set_printoptions(precision=4, suppress=True)

Q = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])  # 2 queries, d_k = 3
K = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 1.0]])  # 3 keys
V = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])  # 3 values, d_v = 2

# %% picture hide-input
shares = F.scaled_dot_product_attention(Q[None, None], K[None, None], np.eye(3)[None, None]).data[0, 0]
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.9), sharex=True, sharey=True)
offsets = [(8, -4), (-8, 9), (6, 5)]
for i, ax in enumerate(axes):
    mean = shares[i] @ V
    ax.fill(*V.T, color="0.95")
    for j in range(3):
        ax.plot(*zip(mean, V[j]), color="tab:red", lw=8 * shares[i, j], alpha=0.5, solid_capstyle="round")
        ax.plot(*V[j], "o", color="tab:blue", ms=8)
        ax.annotate(f"$v_{j + 1}$: {shares[i, j]:.2f}", V[j], offsets[j], textcoords="offset points")
    ax.plot(*mean, "o", color="tab:red", ms=9)
    ax.set_title(f"$y_{i + 1}$", color="tab:red")
    ax.set(xlim=(-0.3, 2.9), ylim=(-0.3, 2.5), aspect="equal")
plt.show()

# %% scores
S = Q @ K.T
print(S)

# %% scaled
Z = S / np.sqrt(3)
print(Z)

# %% weights
E = np.exp(Z)
W = E / E.sum(axis=1, keepdims=True)
print(W, W.sum(axis=1))

# %% output
O = W @ V
print(O)

# %% engine
def as_heads(a):
    """(T, D) → (1, 1, T, D): one text, one head."""
    return a[None, None]


fused = F.scaled_dot_product_attention(as_heads(Q), as_heads(K), as_heads(V))
composed = F.attention_composed(as_heads(Q), as_heads(K), as_heads(V))
print(fused.data[0, 0])
print("the same:", np.allclose(fused.data, O), np.allclose(composed.data, O))

# %% projections
rng = np.random.default_rng(0)
X = rng.standard_normal((5, 8))  # 5 words, d = 8
W_q, W_k, W_v = rng.standard_normal((3, 4, 8)) / np.sqrt(8)  # each (4, 8)
queries, keys, values = X @ W_q.T, X @ W_k.T, X @ W_v.T  # each (5, 4)
print("one word:  ", W_q @ X[2])
print("all words: ", queries[2])

# %% values-first
def softmax(S):
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


W5 = softmax(queries @ keys.T)  # (5, 5)
try:
    values @ W5
except ValueError:
    print("V W:", values.shape, "times", W5.shape, "cannot be formed")
print("W V:", W5.shape, "times", values.shape, "gives", (W5 @ values).shape)

# %% variance
pairs = 20000
for d in (1, 16, 64, 256):
    q, k = rng.standard_normal((2, pairs, d))
    products = (q * k).sum(axis=1)
    print(f"d_k = {d:3}: Var(q·k) = {products.var():7.2f}")

# %% saturation hide-input
widths = 2 ** np.arange(0, 11)


def largest_and_slope(scale):
    """Mean over 500 queries with 8 keys: the largest weight, and the slope a(1 − a) of its softmax."""
    largest, slope = [], []
    for d in widths:
        q, k = rng.standard_normal((500, 1, d)), rng.standard_normal((500, 8, d))
        a = softmax((q * k).sum(axis=-1) * scale(d)).max(axis=-1)
        largest.append(a.mean())
        slope.append((a * (1 - a)).mean())
    return largest, slope


plain = largest_and_slope(lambda d: 1.0)
divided = largest_and_slope(lambda d: 1 / np.sqrt(d))
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.8), layout="constrained")
for ax, index, title in zip(axes, (0, 1), ("largest weight", "slope of the softmax")):
    ax.semilogx(widths, plain[index], "o-", ms=4, color="tab:red", label="q·k")
    ax.semilogx(widths, divided[index], "o-", ms=4, color="tab:blue", label="q·k / √d_k")
    ax.set(title=title, xlabel="$d_k$", ylim=0)
axes[1].legend(fontsize=8)
plt.show()

# %% unscaled
q, k = rng.standard_normal(256), rng.standard_normal((4, 256))  # 4 keys, d_k = 256
s = k @ q
print("s             ", s)
print("softmax(s)    ", softmax(s))
print("softmax(s/16) ", softmax(s / 16))

# %% saturated-gradient
queries_512, grad_output = rng.standard_normal((2, 1, 500, 1, 512))  # 500 queries
k, v = rng.standard_normal((2, 1, 500, 8, 512))  # each with 8 keys
for name, scale in (("without √d_k", 1.0), ("with √d_k", 1 / np.sqrt(512))):
    query = Tensor(queries_512, requires_grad=True)
    F.scaled_dot_product_attention(query, k, v, scale=scale).backward(grad_output)
    lengths = np.linalg.norm(query.grad[0, :, 0], axis=-1)
    print(f"{name:12}: median |dQ| = {np.median(lengths):.1e}")

# %% sentence
X = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
S = X @ X.T
W = softmax(S / np.sqrt(4))
print("S =", S, "", "W =", W, "", "X' =", W @ X, sep="\n")

# %% softmax-of-one
wrong = sum(softmax(np.array([x @ x / np.sqrt(4)]))[0] * X for x in X)
print(wrong)

# %% causal
T = 6
queries, keys = rng.standard_normal((2, 1, 1, T, 16))
I = as_heads(np.eye(T))
everything = F.scaled_dot_product_attention(queries, keys, I).data[0, 0]
causal = F.scaled_dot_product_attention(queries, keys, I, is_causal=True).data[0, 0]

# %% causal-plot hide-input
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.9), layout="constrained")
for ax, weights, title in zip(axes, (everything, causal), ("every key", "causal mask")):
    ax.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(T, T):
        colour = "white" if weights[i, j] > 0.6 else "black"
        number = f"{weights[i, j]:.2f}" if weights[i, j] > 0 else ""
        ax.text(j, i, number, ha="center", va="center", fontsize=6.5, color=colour)
    ax.set(title=title, xlabel="key", ylabel="query", xticks=range(T), yticks=range(T))
    ax.spines[:].set_visible(False)
plt.show()

# %% mask-after
scores = queries[0, 0] @ keys[0, 0].T / 4
seen = np.tri(T, dtype=bool)

after = softmax(scores) * seen  # WRONG: the mask comes after the softmax
before = softmax(np.where(seen, scores, -np.inf))
print("mask after: rows sum to ", after.sum(axis=1))
print("mask before: rows sum to", before.sum(axis=1))

# %% leak
changed = scores.copy()
changed[0, 5] += 3.0  # word 5 changes; word 0 must not notice
after_changed = softmax(changed) * seen
before_changed = softmax(np.where(seen, changed, -np.inf))
print("weight of word 0 on itself")
print("mask after: ", after[0, 0], "→", after_changed[0, 0])
print("mask before:", before[0, 0], "→", before_changed[0, 0])

# %% masked-row
nothing = np.zeros((1, 1, 1, 3), dtype=bool)  # True where a key may be seen: nowhere
with np.errstate(invalid="ignore"):
    row = np.where(nothing[0, 0, 0], [1.0, 2.0, 3.0], -np.inf)
    print("by the formula:", np.exp(row - row.max()) / np.exp(row - row.max()).sum())

query = Tensor(rng.standard_normal((1, 1, 1, 4)), requires_grad=True)
k, v = rng.standard_normal((2, 1, 1, 3, 4))
output = F.scaled_dot_product_attention(query, k, v, attn_mask=nothing)
output.sum().backward()
print("minilm:", output.data[0, 0], "gradient", query.grad[0, 0])

# %% heads
layer = nn.MultiHeadAttention(16, num_heads=4, generator=np.random.default_rng(0))
words = Tensor(rng.standard_normal((1, 6, 16)).astype(np.float32))
y, weights = layer(words, weights=True)
print("output", y.shape, "weights", weights.shape)
sums = weights.data.sum(axis=-1)
print("rows sum to", sums.min(), "…", sums.max())

# %% heads-by-hand
def linear(x, layer):
    return x @ layer.weight.data.T + layer.bias.data


packed = linear(words.data[0], layer.query_key_value)
q, k, v = np.split(packed, 3, axis=1)  # each (6, 16)
heads = []
for h in range(4):
    part = slice(4 * h, 4 * h + 4)  # head h has the columns 4h … 4h + 3
    heads.append(softmax(q[:, part] @ k[:, part].T / np.sqrt(4)) @ v[:, part])
by_hand = linear(np.concatenate(heads, axis=1), layer.output)
print("largest difference:", np.abs(by_hand - y.data[0]).max())

# %% wrong-reshape
def split_right(x, H):
    """(B, T, H·D) → (B, H, T, D)."""
    B, T, width = x.shape
    return x.reshape(B, T, H, width // H).swapaxes(1, 2)


def split_wrong(x, H):
    """WRONG: the shape is the same, the numbers are not."""
    B, T, width = x.shape
    return x.reshape(B, H, T, width // H)


numbered = np.repeat(np.arange(6), 16).reshape(1, 6, 16)  # word t holds the number t
print("right: head 0 has words", np.unique(split_right(numbered, 4)[0, 0]))
print("wrong: head 0 has words", np.unique(split_wrong(numbered, 4)[0, 0]))

# %% wrong-leak
def change_seen_by_word_2(split):
    """How much word 2 changes when word 5 does, under a causal mask."""

    def attend(x):
        x = split(x, 4)
        return F.scaled_dot_product_attention(x, x, x, is_causal=True).data[0, :, 2]

    other = words.data.copy()
    other[0, 5] += 1.0
    return np.abs(attend(other) - attend(words.data)).max()


print("right:", change_seen_by_word_2(split_right))
print("wrong:", change_seen_by_word_2(split_wrong))

# %% permutation
order = np.array([3, 0, 5, 1, 4, 2])
shuffled_first = layer(Tensor(words.data[:, order])).data
shuffled_last = layer(words).data[:, order]
print("largest difference:", np.abs(shuffled_first - shuffled_last).max())

# %% permutation-plot hide-input
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.6), layout="constrained")
mean = y.data[0].mean(axis=0)  # all rows look much alike; show how they differ
outputs = (y.data[0] - mean, shuffled_first[0] - mean)
bound = np.abs(outputs[0]).max()
titles = ("words in order", "words shuffled")
for ax, output, title, labels in zip(axes, outputs, titles, (range(6), order)):
    ax.imshow(output, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
    ax.set(title=title, xlabel="feature", ylabel="word")
    ax.set_yticks(range(6), labels)
plt.show()

# %% positions
position = nn.LearnedPositions(32, 16, generator=np.random.default_rng(1))
first = layer(position(Tensor(words.data[:, order]))).data
last = layer(position(words)).data[:, order]
print("largest difference:", np.abs(first - last).max())

# %% solution-average
zero = np.zeros((1, 1, 4, 8))
v = rng.standard_normal((1, 1, 4, 2))
print(F.scaled_dot_product_attention(zero, zero, v, is_causal=True).data[0, 0])
print(np.cumsum(v[0, 0], axis=0) / np.arange(1, 5)[:, None])

# %% solution-shift
scores = rng.standard_normal((3, 4))
print(np.abs(softmax(scores + 100.0) - softmax(scores)).max())
