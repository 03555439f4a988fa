"""Judging what a model writes: BLEU, chrF, ROUGE, and answers."""

from __future__ import annotations

import math

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE

PREDICTION, REFERENCE = "the cat sat on the mat", "the cat sat on a mat"
GIVEN = (
    Step("ŷ", PREDICTION, Text("written by the model", "模型写的")),
    Step("y", REFERENCE, Text("the reference", "参考答案")),
)
BOTH = (
    Letter("ŷ", "", Text("what the model wrote", "模型写的文本")),
    Letter("y", "", Text("the reference", "参考文本")),
)


def bleu_example() -> list[Step]:
    from minilm.metrics import bleu

    p = np.array([5 / 6, 3 / 5, 2 / 4, 1 / 3])
    return [
        *GIVEN,
        Step("m = common 1- to 4-grams", np.array([5, 3, 2, 1])),
        Step("t = 1- to 4-grams of ŷ", np.array([6, 5, 4, 3])),
        Step("p = m/t", p),
        Step("BP = min(1, e^(1 − r/c))", 1.0, Text("c = r = 6 words", "c = r = 6 个词")),
        Step("G = exp(¼ Σ ln p_n)", math.exp(np.log(p).mean()), Text("the geometric mean", "几何平均")),
        Step("BLEU = 100 BP G", 100 * math.exp(np.log(p).mean())),
        Step("engine = bleu([ŷ], [y])", bleu([PREDICTION], [REFERENCE]).score, ENGINE),
    ]


def rouge_example() -> list[Step]:
    from minilm.metrics.rouge import rouge_scores

    found = rouge_scores("the cat sat", REFERENCE, ("rouge1",))["rouge1"]
    return [
        Step("ŷ", "the cat sat"),
        GIVEN[1],
        Step("hits = common words", 3),
        Step("P = hits/3", 1.0, Text("all that was written is in y", "写出的词都在 y 中")),
        Step("R = hits/6", 0.5, Text("half of y was written", "y 只写出了一半")),
        Step("F1 = 2 P R/(P + R)", 2 / 3),
        Step("engine = rouge1: P, R, F1", np.array(found[:3]), ENGINE),
    ]


def subsequence_example() -> list[Step]:
    from minilm.metrics.rouge import lcs_lengths

    a, b = ["a", "c", "b", "d"], ["a", "b", "c", "d"]
    table = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 2, 2], [0, 1, 2, 2, 2], [0, 1, 2, 2, 3]])
    return [
        Step("a", " ".join(a)),
        Step("b", " ".join(b)),
        Step("L = L_ij for i, j = 0 … 4", table, Text("the last number is the length: 3", "最后一个数就是长度：3")),
        Step("engine = lcs_lengths(a, b)", np.array(lcs_lengths(a, b)), ENGINE),
    ]


def token_f1_example() -> list[Step]:
    from minilm.metrics.answers import token_f1

    return [
        Step("ŷ", "in London city"),
        Step("y", "London"),
        Step("common", 1, Text("words in both", "共有的词数")),
        Step("P = 1/3", 1 / 3),
        Step("R = 1/1", 1.0),
        Step("F1 = 2 P R/(P + R)", 0.5),
        Step("engine = token_f1(ŷ, y)", token_f1("in London city", "London"), ENGINE),
    ]


def chrf_example() -> list[Step]:
    from minilm.metrics import chrf

    return [
        Step("ŷ", "abc"),
        Step("y", "abcd"),
        Step(
            "P_n = 3/3, 2/2, 1/1",
            np.ones(3),
            Text("1- to 3-grams; ŷ is too short for more", "1 到 3 元；更长的 ŷ 没有"),
        ),
        Step("R_n = 3/4, 2/3, 1/2", np.array([3 / 4, 2 / 3, 1 / 2])),
        Step("P = mean(P_n)", 1.0),
        Step("R = mean(R_n)", 23 / 36),
        Step("chrF = 100 · 5 P R/(4 P + R)", 100 * 5 * (23 / 36) / (4 + 23 / 36)),
        Step("engine = chrf([ŷ], [y])", chrf(["abc"], ["abcd"]), ENGINE),
    ]


FORMULAS = (
    Formula(
        "bleu",
        Text("BLEU", "BLEU"),
        "BLEU = 100 · BP · exp(¼ Σ_{n=1..4} ln p_n),  BP = min(1, e^(1 − r/c))",
        r"\mathrm{BLEU} = 100 \cdot \min(1, e^{1 - r/c}) \cdot \exp\Big(\tfrac14 \sum_{n=1}^4 \ln p_n\Big)",
        Text(
            "Which share of a translation's n-grams a human translation has too.",
            "译文的 n 元组有多少也出现在人工译文里。",
        ),
        (
            Letter("p_n", "", Text("the share of n-grams that are in the reference", "出现在参考译文中的 n 元组比例")),
            Letter("c, r", "", Text("words of prediction and reference", "译文与参考译文的词数")),
        ),
        bleu_example,
        ("tests/metrics/test_text_scores.py::test_bleu_by_hand",),
        (("F18", "000 FAQ"),),
        ("Papineni et al. 2002, BLEU",),
    ),
    Formula(
        "rouge",
        Text("ROUGE", "ROUGE"),
        "P = hits/n(ŷ),  R = hits/n(y),  F1 = 2 P R/(P + R)",
        r"P = h / n(\hat y),\quad R = h / n(y),\quad F_1 = 2PR / (P + R)",
        Text(
            "How much of a summary's words the reference has, and the other way round.",
            "摘要与参考摘要互相覆盖了多少。",
        ),
        BOTH,
        rouge_example,
        ("tests/metrics/test_text_scores.py::test_rouge_by_hand",),
        (),
        ("Lin 2004, ROUGE",),
    ),
    Formula(
        "longest-common-subsequence",
        Text("longest common subsequence (ROUGE-L)", "最长公共子序列（ROUGE-L）"),
        "L_ij = L_(i−1,j−1) + 1 where a_i = b_j, else max(L_(i−1,j), L_(i,j−1))",
        r"L_{ij} = L_{i-1,j-1} + 1 \text{ if } a_i = b_j \text{ else } \max(L_{i-1,j}, L_{i,j-1})",
        Text(
            "The longest run of words that both have in this order, with gaps.",
            "两边都按此次序出现（允许间隔）的最长词序列。",
        ),
        (Letter("L", "(n+1, m+1)", Text("lengths for all beginnings of a and b", "a、b 各前缀对应的长度")),),
        subsequence_example,
        (
            "tests/metrics/test_text_scores.py::test_rouge_lsum_by_hand",
            "tests/metrics/test_text_scores.py::test_rouge_by_hand",
        ),
        (),
        ("Lin 2004, ROUGE",),
    ),
    Formula(
        "token-f1",
        Text("F1 of an answer's words", "答案的词级 F1"),
        "P = |ŷ ∩ y|/|ŷ|,  R = |ŷ ∩ y|/|y|,  F1 = 2 P R/(P + R)",
        r"P = |\hat y \cap y| / |\hat y|,\quad R = |\hat y \cap y| / |y|",
        Text("Partly right answers to a question count in part.", "部分正确的答案按部分计分。"),
        BOTH,
        token_f1_example,
        ("tests/metrics/test_text_scores.py::test_answers_by_hand",),
        (),
        ("Rajpurkar et al. 2016, SQuAD",),
    ),
    Formula(
        "chrf",
        Text("chrF", "chrF"),
        "chrF2 = 100 · 5 P R/(4 P + R),  P, R: means over character 1- to 6-grams",
        r"\mathrm{chrF2} = 100 \cdot \frac{5PR}{4P + R}",
        Text(
            "BLEU's question asked of characters: it needs no words, so it suits Chinese.",
            "以字符为单位比较：不用分词，适合中文。",
        ),
        BOTH,
        chrf_example,
        ("tests/metrics/test_text_scores.py::test_chrf_by_hand",),
        (),
        ("Popović 2015, chrF",),
    ),
)
