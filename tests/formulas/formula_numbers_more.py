"""The same for decoding, training, and judging texts: see formula_numbers.py."""

from __future__ import annotations

import math
from collections import Counter

from formula_numbers import RECOMPUTED, soft

# --- decoding ---------------------------------------------------------------------------------------------------------


def decoded(g, **more):
    return {"P": soft(g["z"])[0], **more}


def descending(g, bound):
    """1 for the tokens that are needed to reach `bound`, the most probable first."""
    total, kept = 0.0, []
    for p in soft(g["z"])[0]:  # the logits fall
        kept.append(int(total < bound))
        total += p
    return kept


def typical(g):
    P = soft(g["z"])[0]
    s = [-math.log(p) for p in P]
    H = sum(p * v for p, v in zip(P, s))
    d = [abs(v - H) for v in s]
    kept, total = [0] * 4, 0.0
    for i in sorted(range(4), key=d.__getitem__):
        if total < 0.2:
            kept[i], total = 1, total + P[i]
    return decoded(g, s=s, H=H, d=d, kept=kept)


def inverse(g):
    c = [sum(soft(g["z"])[0][: i + 1]) for i in range(4)]
    return decoded(g, c=c, i=[v > g["u"] for v in c].index(True))


def beam(g):
    logs = [math.log(soft(z)[0][w]) for z, w in zip(g["z"], g["w"])]
    return {"l": logs, "s": sum(logs), "score": sum(logs) / 2}


DECODED = {
    "temperature": lambda g: decoded(
        g, **{"z₁": 2 * g["z"], "P₁": soft(2 * g["z"])[0], "z₂": g["z"] / 2, "P₂": soft(g["z"] / 2)[0]}
    ),
    "top-k": lambda g: decoded(g, **{"kept": [1, 1, 0, 0], "P′": [*soft(g["z"][:2])[0], 0, 0]}),
    "top-p": lambda g: decoded(g, c=[sum(soft(g["z"])[0][: i + 1]) for i in range(4)], kept=descending(g, 0.8)),
    "min-p": lambda g: decoded(
        g, bound=soft(g["z"])[0, 0] / 5, kept=[int(z >= g["z"][0] + math.log(0.2)) for z in g["z"]]
    ),
    "typical": typical,
    "epsilon": lambda g: decoded(g, kept=[int(p >= 0.05) for p in soft(g["z"])[0]]),
    "repetition": lambda g: {
        "z′": [(z / 2 if z > 0 else 2 * z) if i in g["seen"] else z for i, z in enumerate(g["z"])]
    },
    "inverse-cdf": inverse,
    "beam-score": beam,
}

# --- training ---------------------------------------------------------------------------------------------------------


def sgd(g):
    w, v, values = list(g["w"]), [0.0, 0.0], []
    for _ in range(2):
        v = [0.9 * a + b for a, b in zip(v, g["g"])]
        w = [a - 0.1 * b for a, b in zip(w, v)]
        values += [v, w]
    return dict(zip(("v₁", "w₁", "v₂", "w₂"), values))


def adam(decay):
    def numbers(g):
        sign = [grad / (abs(grad) + 1e-8) for grad in g["g"]]
        return {
            "m": [0.1 * a for a in g["g"]], "v": [0.001 * a**2 for a in g["g"]], "m̂": g["g"], "v̂": g["g"] ** 2, "d": sign,
            "w₁": [w - 0.1 * decay * w - 0.1 * s for w, s in zip(g["w"], sign)],
        }  # fmt: skip

    return numbers


def schedule(g):
    p = [min(1, max(0, (t - 2) / 8)) for t in g["t"]]
    c = [0.1 + 0.9 * math.cos(math.pi * each / 2) ** 2 for each in p]
    return {"p": p, "c": c, "f": [(t + 1) / 3 if t < 2 else each for t, each in zip(g["t"], c)]}


TRAINED = {
    "sgd": sgd, "adam": adam(0.0), "adamw": adam(0.5), "warmup-cosine": schedule,
    "clip": lambda g: {"n": math.hypot(*g["g"]), "f": 1 / 5.000001, "g′": [3 / 5.000001, 4 / 5.000001]},
    "unbroadcast": lambda g: {"db": [sum(column) for column in zip(*g["dZ"])]},
}  # fmt: skip

# --- texts and the unigram tokenizer ----------------------------------------------------------------------------------


def grams(text, n):
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu(g):
    m = [(grams(g["ŷ"], n) & grams(g["y"], n)).total() for n in (1, 2, 3, 4)]
    t = [grams(g["ŷ"], n).total() for n in (1, 2, 3, 4)]
    G = math.prod(a / b for a, b in zip(m, t)) ** 0.25
    return {"m": m, "t": t, "p": [a / b for a, b in zip(m, t)], "BP": 1, "G": G, "BLEU": 100 * G}


def words_in_common(g):
    return (grams(g["ŷ"], 1) & grams(g["y"], 1)).total(), len(g["ŷ"].split()), len(g["y"].split())


def rouge(g):
    hits, n, m = words_in_common(g)
    P, R, F = hits / n, hits / m, 2 * hits / (n + m)
    return {"hits": hits, "P": P, "R": R, "F1": F, "engine": [P, R, F]}


def token_f1(g):
    hits, n, m = words_in_common(g)
    assert hits == g["common"]
    return {"P": hits / n, "R": hits / m, "F1": 2 * hits / (n + m)}


def subsequence(g):
    a, b = g["a"].split(), g["b"].split()

    def longest(i, j):  # by the definition: take a word of a or leave it
        if i == 0 or j == 0:
            return 0
        left = longest(i - 1, j)
        places = [k for k in range(j) if b[k] == a[i - 1]]
        return max(left, 1 + longest(i - 1, places[-1])) if places else left

    return {"L": [[longest(i, j) for j in range(5)] for i in range(5)]}


def chrf(g):
    def of(text, n):
        return Counter(text[i : i + n] for i in range(len(text) - n + 1))

    both = [(of(g["ŷ"], n) & of(g["y"], n)).total() for n in (1, 2, 3)]
    P = [b / of(g["ŷ"], n).total() for n, b in enumerate(both, 1)]
    R = [b / of(g["y"], n).total() for n, b in enumerate(both, 1)]
    p, r = sum(P) / 3, sum(R) / 3
    return {"P_n": P, "R_n": R, "P": p, "R": r, "chrF": 100 * 5 / (1 / p + 4 / r)}


def unigram_counts(g):
    a, b, ab = g["p"]
    total = a * b + ab
    return {
        "q₁": a * b, "q₂": ab, "w₁": a * b / total, "w₂": ab / total, "counts": [a * b / total, a * b / total, ab / total]
    }  # fmt: skip


JUDGED = {
    "bleu": bleu, "rouge": rouge, "token-f1": token_f1, "longest-common-subsequence": subsequence, "chrf": chrf,
    "unigram-viterbi": lambda g: {"s₁": math.log(0.12), "s₂": math.log(g["p"][2]), "best": math.log(0.3)},
    "unigram-forward": lambda g: {
        "q₁": g["p"][0] * g["p"][1], "q₂": g["p"][2], "P": 0.42, "a": [0, math.log(0.4), math.log(0.42)]
    },
    "unigram-expected-counts": unigram_counts,
    "unigram-loss": lambda g: {
        "l": math.log(0.3), "l′": math.log(42 / 169), "loss": 3 * math.log(0.3 * 169 / 42)
    },
}  # fmt: skip

ALL_RECOMPUTED = RECOMPUTED | DECODED | TRAINED | JUDGED
