"""The numbers of the worked examples, computed once more: from what is given, in plain Python and NumPy, another way.

RECOMPUTED has for each entry a function from the given values (by letter) to the values of the steps. A step called "engine"
must equal the step before it, unless it is named here.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np


def soft(rows):
    """softmax with an einsum, each row by itself."""
    rows = np.atleast_2d(rows)
    out = []
    for row in rows:
        total = math.fsum(math.exp(z) for z in row)
        out.append([math.exp(z) / total for z in row])
    return np.array(out)


def dots(a, b):
    return np.einsum("id,jd->ij", a, b)


def norm(x):
    out = []
    for row in x:
        mean = math.fsum(row) / len(row)
        variance = math.fsum((value - mean) ** 2 for value in row) / len(row)
        out.append([(value - mean) / math.sqrt(variance + 1e-5) for value in row])
    return np.array(out)


def attend(x, c, scale=None):
    return np.einsum("ij,jd->id", soft(dots(x, c) / (scale or math.sqrt(x.shape[1]))), c)


def feed(h, w1, w2):
    return np.einsum("ij,oj->io", np.where((u := np.einsum("id,od->io", h, w1)) > 0, u, 0), w2)


def attention(g):
    S = dots(g["Q"], g["K"])
    Z = S / 3**0.5
    W = soft(Z)
    return {"S": S, "Z": Z, "E": math.e**Z, "n": (math.e**Z).sum(1), "W": W, "O": np.einsum("ij,jd->id", W, g["V"])}


def linear(g):
    P = np.array([[sum(w * x for w, x in zip(row, word)) for row in g["W"]] for word in g["X"]])
    return {"q₁": P[0], "P": P, "Y": P + g["b"]}


def attention_weights(g):
    s = [sum(a * b for a, b in zip(k, g["q_i"])) for k in g["K"]]
    z = np.array(s) / math.sqrt(len(g["q_i"]))
    return {"s": s, "z": z, "e": [math.exp(v) for v in z], "n": math.fsum(math.exp(v) for v in z), "a": soft(z)[0]}


def weighted_sum(g):
    P = [[a * v for v in row] for a, row in zip(g["a_i"], g["V"])]
    return {"P": P, "y_i": [math.fsum(column) for column in zip(*P)]}


def self_attention(g):
    S = dots(g["X"], g["X"])
    rows = [soft(S[i] / 2)[0] for i in range(3)]
    mixed = np.array([sum(w * word for w, word in zip(row, g["X"])) for row in rows])
    return {"S": S, "Z": S / 2, "w₁": rows[0], "w₂": rows[1], "w₃": rows[2], "X′": mixed}


def softmax(g):
    z = [v - max(g["x"]) for v in g["x"]]
    return {
        "m": max(g["x"]),
        "z": z,
        "e": [math.exp(v) for v in z],
        "n": math.fsum(map(math.exp, z)),
        "y": soft(g["x"])[0],
    }


def matmul(g):
    Z = np.einsum("ik,kj->ij", g["X"], g["Y"])
    return {"Z₁₁": Z[0, 0], "Z": Z}


def multi_head(g):
    a, b = g["X"][:, :2], g["X"][:, 2:]
    A = [soft(dots(h, h) / math.sqrt(2)) for h in (a, b)]
    C = np.hstack([np.einsum("ij,jd->id", w, h) for w, h in zip(A, (a, b))])
    return {"X₁": a, "X₂": b, "A₁": A[0], "A₂": A[1], "C": C, "Y": C[:, ::-1]}


def cross_attention(g):
    S = dots(g["H"], g["C"])
    return {"S": S, "W": soft(S / math.sqrt(2)), "U": attend(g["H"], g["C"])}


def layer_norm(g):
    x = g["x"]
    mean = sum(x) / 4
    variance = sum((v - mean) ** 2 for v in x) / 4
    return {"μ": mean, "c": x - mean, "σ²": variance, "σ": (variance + 1e-5) ** 0.5, "y": norm([x])[0]}


def rms_norm(g):
    return {"s": 12.5, "r": math.sqrt(12.5 + 1e-6), "y": g["x"] / math.sqrt(12.5 + 1e-6)}


def feed_forward(g):
    u = dots(g["x"], g["W₁"])
    return {"u": u, "h": np.clip(u, 0, None), "y": feed(g["x"], g["W₁"], g["W₂"])}


def block(g):
    x = g["x"]
    A = attend(x, x)
    h = norm(x + A)
    f = feed(h, g["W₁"], g["W₂"])
    return {"A": A, "R": x + A, "h": h, "f": f, "y": norm(h + f)}


def decoder_block(g):
    x, C = g["x"], g["C"]
    W = np.zeros((2, 2))
    W[0, 0] = 1  # the first position sees itself alone
    W[1] = soft(dots(x, x)[1] / math.sqrt(3))[0]
    h = norm(x + W @ x)
    c = attend(h, C)
    u = norm(h + c)
    f = feed(u, g["W₁"], g["W₂"])
    return {"W": W, "h": h, "c": c, "u": u, "f": f, "y": norm(u + f)}


def encoder_decoder(g, steps):
    """C and Z come out of a model with random weights: what follows from Z is checked, and the engine's loss."""
    P = soft(steps["Z"])
    losses = [-math.log(P[t, label]) for t, label in enumerate(g["labels"])]
    return {
        "shifted": [1, *g["labels"][:-1]], "C": steps["C"], "Z": steps["Z"], "P": P, "l": losses, "L": sum(losses) / 3
    }  # fmt: skip


def dropout(g):
    return {"y": [2 * x if k else 0 for x, k in zip(g["x"], g["keep"])]}


def gelu(g):
    phi = [0.5 * math.erfc(-x / math.sqrt(2)) for x in g["x"]]
    return {"Φ": phi, "y": [x * p for x, p in zip(g["x"], phi)]}


def silu_mul(g):
    s = [1 / (1 + math.exp(-a)) for a in g["a"]]
    silu = [a * b for a, b in zip(g["a"], s)]
    return {"σ": s, "silu": silu, "y": [a * b for a, b in zip(silu, g["u"])]}


def lora(g):
    delta = 4 * np.outer(g["B"], g["A"])
    return {"h": [[float(g["A"][0] @ g["x"][0])]], "y": g["x"] @ delta.T, "ΔW": delta, "engine": g["x"] @ delta.T}


def embedding(g):
    return {"H": [[float(i == j) for j in range(3)] for i in g["ids"]], "y": [g["W"][i] for i in g["ids"]]}


def sinusoidal(g):
    theta = [[t, t / 100] for t in range(3)]
    PE = [[math.sin(a), math.cos(a), math.sin(b), math.cos(b)] for a, b in theta]
    return {"θ": theta, "PE": PE, "y": g["x"] + np.array(PE)}


def rotary(g):
    turned = [complex(*pair) * complex(math.cos(t), math.sin(t)) for t, pair in enumerate(g["x"])]
    y = [[z.real, z.imag] for z in turned]
    return {"θ": [0, 1, 2], "y": y, "d₀₁": math.cos(1), "d₁₂": math.cos(1), "engine": y}


def buckets(g):
    far = [4 + math.floor(4 * math.log(max(r, 4) / 4, 4) + 1e-12) for r in g["r"]]
    return {"f": far, "bucket": [r if r < 4 else min(7, f) for r, f in zip(g["r"], far)]}


def cross_entropy(g):
    P = soft(g["z"])
    losses = [-math.log(P[i, t]) for i, t in enumerate(g["target"])]
    return {"ŷ": P, "y": np.eye(3)[g["target"]], "l": losses, "L": sum(losses) / 3}


def likelihood(g):
    p = [soft(z)[0][w] for z, w in zip(g["z"], g["w"])]
    return {"p": p, "P": math.prod(p), "ln P": math.log(math.prod(p)), "L": -math.log(math.prod(p)) / 3}


def next_token(g):
    P = soft(g["z"])
    return {"P": P, "p": [P[0, 2], P[1, 1]], "L": -(math.log(P[0, 2]) + math.log(P[1, 1])) / 2}


def bigram(g):
    pairs = Counter(zip(g["w"].tolist(), g["w"][1:].tolist()))
    c = [pairs[0, b] for b in range(3)]
    return {"c": c, "n": sum(c), "P": [(n + 1) / (sum(c) + 3) for n in c]}


def perplexity(g):
    L = sum(-math.log(p) for p in g["p"]) / 3
    return {"l": [-math.log(p) for p in g["p"]], "L": L, "PPL": math.prod(g["p"]) ** (-1 / 3)}


def masking(g):
    inputs = [
        i if not c else 3 if u < 0.8 else r if u < 0.9 else i
        for i, c, u, r in zip(g["ids"], g["chosen"], g["u"], g["r"])
    ]
    labels = [i if c else -100 for i, c in zip(g["ids"], g["chosen"])]
    return {"inputs": inputs, "labels": labels, "engine": [inputs, labels]}


def next_sentence(g):
    a, b = g["z"]
    return {
        "P": soft(g["z"])[0], "L₀": math.log1p(math.exp(b - a)), "L₁": math.log1p(math.exp(a - b)),
        "engine": math.log1p(math.exp(b - a)),
    }  # fmt: skip


def bert(g):
    losses = [-math.log(soft(g["z"])[i, label]) for i, label in enumerate(g["labels"]) if label >= 0]
    follows = -math.log(soft(g["s"])[0, 1])
    return {"l": losses, "L_words": sum(losses) / 2, "L_next": follows, "L": sum(losses) / 2 + follows}


def spans(g):
    runs = int((np.diff(g["mask"], prepend=0) == 1).sum())
    return {"noise": int(sum(g["mask"])), "spans": runs, "engine": 3}


def accuracy(g):
    right = [int(a == b) for a, b in zip(g["ŷ"], g["y"])]
    return {"right": right, "n": sum(right), "accuracy": sum(right) / 8}


def confusion(g):
    pairs = Counter(zip(g["y"].tolist(), g["ŷ"].tolist()))
    return {"C": [[pairs[i, j] for j in (0, 1)] for i in (0, 1)]}


def precision(g):
    pairs = Counter(zip(g["ŷ"].tolist(), g["y"].tolist()))
    tp, fp, fn = pairs[1, 1], pairs[1, 0], pairs[0, 1]
    P, R, F = tp / (tp + fp), tp / (tp + fn), tp / (tp + (fp + fn) / 2)
    return {"TP": tp, "FP": fp, "FN": fn, "P": P, "R": R, "F1": F, "engine": [P, R, F]}


def f_score(g):
    P, R = Fraction(g["P"]), Fraction(g["R"])
    return {
        "mean": float((P + R) / 2), "F1": float(2 / (1 / P + 1 / R)), "F2": float(5 / (1 / P + 4 / R)),
        "engine": float(2 / (1 / P + 1 / R)),
    }  # fmt: skip


def coverage(g):
    words, known = g["text"].split(), g["V"].split()
    tokens = sum(word in known for word in words)
    types = len(set(words) & set(known)) / len(set(words))
    return {
        "n": len(words),
        "k": tokens,
        "c_tokens": tokens / len(words),
        "c_types": types,
        "engine": [tokens / len(words), types],
    }


def bootstrap(g, steps):
    draws = np.random.default_rng(0)
    means = sorted(np.take(g["right"], draws.integers(0, 8, 8)).sum() / 8 for _ in range(1000))
    low, high = np.percentile(means, 2.5), np.percentile(means, 97.5)
    again = np.random.default_rng(0)
    first = [np.take(g["right"], again.integers(0, 8, 8)).sum() / 8 for _ in range(5)]
    return {"accuracy": sum(g["right"]) / 8, "m": first, "low": low, "high": high, "engine": [low, high]}


RECOMPUTED = {
    "attention": attention, "linear": linear, "attention-weights": attention_weights, "weighted-sum": weighted_sum,
    "self-attention": self_attention, "softmax": softmax, "matmul": matmul, "multi-head": multi_head,
    "cross-attention": cross_attention, "layer-norm": layer_norm, "rms-norm": rms_norm, "feed-forward": feed_forward,
    "block": block, "decoder-block": decoder_block, "encoder-decoder": encoder_decoder,
    "shift-right": lambda g: {"s": [1, *g["labels"][:-1]]},
    "dropout": dropout, "gelu": gelu, "silu-mul": silu_mul, "lora": lora, "embedding": embedding,
    "sinusoidal-positions": sinusoidal, "rotary": rotary, "relative-buckets": buckets, "cross-entropy": cross_entropy,
    "likelihood": likelihood, "next-token": next_token, "bigram": bigram, "perplexity": perplexity,
    "bits-per-character": lambda g: {"nats": 20, "bits": 20 * math.log2(math.e), "BPC": 0.5 * math.log2(math.e)},
    "bits-per-byte": lambda g: {"N_bytes": len(g["text"].encode()), "BPB": 6 / 8 * math.log2(math.e)},
    "masking": masking, "next-sentence": next_sentence, "bert-pretraining": bert, "noise-spans": spans,
    "accuracy": accuracy, "confusion-matrix": confusion, "precision-recall": precision, "f-score": f_score,
    "coverage": coverage, "bootstrap": bootstrap,
}  # fmt: skip
NEEDS_STEPS = ("encoder-decoder", "bootstrap")
