"""The unigram tokenizer: the best cut of a word, the sum over all cuts, and which pieces may go."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE

PIECES = ("a", "b", "ab")
P = np.array([0.4, 0.3, 0.3])
GIVEN = (
    Step("pieces", "a  b  ab", Text("the vocabulary; the word is ab", "词表；要切的词是 ab")),
    Step("p", P, Text("their probabilities", "各自的概率")),
)
LETTERS = (
    Letter("p(z)", "", Text("the probability of the piece z", "片段 z 的概率")),
    Letter("a(e)", "", Text("log sum over all cuts of what stands before e", "e 之前所有切法的概率之和的对数")),
)
KUDO = ("Kudo 2018, Subword Regularization",)


def lattice() -> Any:
    """The word ab with the arcs a, b and ab."""
    from minilm.text.unigram.lattice import Arcs, Lattice

    arcs = Arcs(np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0, 1, 2]))
    return Lattice(np.array([2]), arcs, np.array([1.0]))


def viterbi_example() -> list[Step]:
    from minilm.text.unigram.model import Unigram

    path = Unigram(list(zip(PIECES, np.log(P).tolist()))).best_path("ab")
    s = math.log(0.4) + math.log(0.3)
    return [
        *GIVEN,
        Step("s₁ = ln p(a) + ln p(b)", s),
        Step("s₂ = ln p(ab)", math.log(0.3)),
        Step("best = max(s₁, s₂)", math.log(0.3), Text("one piece, ab", "一个片段 ab")),
        Step('engine = Σ ln p over best_path("ab")', float(sum(np.log(P)[n] for n, _, _ in path)), ENGINE),
    ]


def forward_example() -> list[Step]:
    return [
        *GIVEN,
        Step("q₁ = p(a) p(b)", 0.12),
        Step("q₂ = p(ab)", 0.3),
        Step("P = q₁ + q₂", 0.42, Text("the probability of the word, over all cuts", "这个词的概率：对所有切法求和")),
        Step(
            "a = ln(1), ln(p(a)), ln(P)",
            np.log([1.0, 0.4, 0.42]),
            Text("at the three places of the word", "在词的三个位置上"),
        ),
        Step("engine = forward(ln p)", lattice().forward(np.log(P)), ENGINE),
    ]


def counts_example() -> list[Step]:
    counts, _ = lattice().expected_counts(np.log(P))
    return [
        *GIVEN,
        Step("q₁ = p(a) p(b)", 0.12),
        Step("q₂ = p(ab)", 0.3),
        Step("w₁ = q₁/(q₁ + q₂)", 0.12 / 0.42, Text("how likely this cut is", "这种切法的概率")),
        Step("w₂ = q₂/(q₁ + q₂)", 0.3 / 0.42),
        Step(
            "counts = (w₁, w₁, w₂)",
            np.array([0.12, 0.12, 0.3]) / 0.42,
            Text("of a, b and ab, on average", "a、b、ab 的平均次数"),
        ),
        Step("engine = expected_counts(ln p)", counts, ENGINE),
    ]


def loss_example() -> list[Step]:
    from minilm.text.unigram.training import _Vocabulary

    counts = np.array([4.0, 3.0, 3.0])
    vocabulary = _Vocabulary(np.array(PIECES, object), np.log(P), lattice())
    before = math.log(3 / 10)
    after = math.log((4 + 3) / (10 + 3)) + math.log((3 + 3) / (10 + 3))
    return [
        Step("pieces", "a  b  ab"),
        Step("c", counts, Text("how often each is in the best cuts; N = 10", "各自在最优切法中的次数；N = 10")),
        Step("l = ln(c(ab)/N)", before),
        Step(
            "l′ = ln((4 + 3)/13) + ln((3 + 3)/13)",
            after,
            Text("each ab becomes a and b: 3 pieces more", "每个 ab 变成 a 和 b：多出 3 个片段"),
        ),
        Step(
            "loss = c(ab) (l − l′)", 3 * (before - after), Text("small: the piece may go", "损失小，这个片段就可以去掉")
        ),
        Step("engine = loss of ab", float(vocabulary._losses(np.array([2]), counts)[0]), ENGINE),
    ]


FORMULAS = (
    Formula(
        "unigram-viterbi",
        Text("the best cut of a word", "一个词的最优切法"),
        "best(0) = 0,  best(e) = max over pieces z = word[s:e] of best(s) + ln p(z)",
        r"b(e) = \max_{z = w[s:e]} b(s) + \ln p(z)",
        Text(
            "The best cut ends with some piece, and before it stands the best cut of the rest.",
            "最优切法以某个片段结尾，它之前是余下部分的最优切法。",
        ),
        LETTERS[:1],
        viterbi_example,
        ("tests/text/test_unigram.py::test_the_best_cut_is_the_best_of_all_cuts",),
        (),
        KUDO,
    ),
    Formula(
        "unigram-forward",
        Text("the probability of a word over all cuts", "对所有切法求和的词概率"),
        "a(e) = ln Σ over pieces z = word[s:e] of exp(a(s) + ln p(z))",
        r"a(e) = \ln \sum_{z = w[s:e]} \exp(a(s) + \ln p(z))",
        Text("As the best cut, with a sum in place of the maximum.", "与最优切法相同，只是把最大值换成求和。"),
        LETTERS,
        forward_example,
        ("tests/text/test_unigram_training.py::test_expected_counts_are_those_over_all_cuts",),
        (),
        KUDO,
    ),
    Formula(
        "unigram-expected-counts",
        Text("expected counts of the pieces", "片段的期望次数"),
        "P(arc s→e) = exp(a(s) + ln p + b(e))/P(word),  count(z) = Σ over arcs of z",
        r"P(s \to e) = \exp(a(s) + \ln p + b(e)) / P(w)",
        Text(
            "How often a piece occurs on average over all cuts: the E step of training.",
            "对所有切法平均，一个片段出现多少次：训练中的 E 步。",
        ),
        LETTERS,
        counts_example,
        ("tests/text/test_unigram_training.py::test_expected_counts_are_those_over_all_cuts",),
        (),
        KUDO,
    ),
    Formula(
        "unigram-loss",
        Text("what the text loses without a piece", "去掉一个片段的损失"),
        "loss(z) = c(z) (ln(c(z)/N) − Σ_i ln((c(z_i) + c(z))/(N + (k − 1) c(z))))",
        r"\ell(z) = c(z)\Big(\ln\frac{c(z)}{N} - \sum_{i=1}^k \ln\frac{c(z_i) + c(z)}{N + (k-1) c(z)}\Big)",
        Text(
            "If z goes, its best cut z_1 … z_k takes its place; pieces with the smallest loss go first.",
            "去掉 z 后由它的最优切法 z_1 … z_k 代替；损失最小的片段先去掉。",
        ),
        LETTERS[:1],
        loss_example,
        ("tests/text/test_unigram_training.py::test_the_loss_of_a_piece",),
        (),
        KUDO,
    ),
)
