"""Judging a classifier, a vocabulary, and how sure one can be."""

from __future__ import annotations

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE

PREDICTED = np.array([1, 1, 0, 1, 0, 0, 1, 0])
ACTUAL = np.array([1, 0, 0, 1, 1, 0, 1, 0])
BOTH = (Letter("ŷ", "(N,)", Text("the predictions", "预测")), Letter("y", "(N,)", Text("what is right", "真实标签")))
P_AND_R = (Letter("P", "", Text("precision", "精确率")), Letter("R", "", Text("recall", "召回率")))
GIVEN = (
    Step("ŷ", PREDICTED, Text("the predictions", "预测")),
    Step("y", ACTUAL, Text("what is right", "真实标签")),
)


def accuracy_example() -> list[Step]:
    from minilm.metrics import accuracy

    right = np.asarray(np.equal(PREDICTED, ACTUAL))
    return [
        *GIVEN,
        Step("right = (ŷ = y)", right.astype(int)),
        Step("n = Σ right", int(np.sum(right))),
        Step("accuracy = n/N", np.mean(right), Text("N = 8", "N = 8")),
        Step("engine = accuracy(ŷ, y)", accuracy(PREDICTED, ACTUAL), ENGINE),
    ]


def confusion_example() -> list[Step]:
    from minilm.metrics import confusion_matrix

    table = np.array([[np.sum(np.equal(ACTUAL, i) & np.equal(PREDICTED, j)) for j in (0, 1)] for i in (0, 1)])
    return [
        *GIVEN,
        Step(
            "C = number of (y = i, ŷ = j)",
            table,
            Text("rows: what is right; columns: predictions", "行是真实类别，列是预测类别"),
        ),
        Step("engine = confusion_matrix(ŷ, y)", confusion_matrix(PREDICTED, ACTUAL).counts, ENGINE),
    ]


def precision_example() -> list[Step]:
    from minilm.metrics import classification_report

    scores = classification_report(PREDICTED, ACTUAL).per_class[1]
    return [
        *GIVEN,
        Step("TP = number of (ŷ = 1, y = 1)", 3),
        Step("FP = number of (ŷ = 1, y = 0)", 1),
        Step("FN = number of (ŷ = 0, y = 1)", 1),
        Step("P = TP/(TP + FP)", 3 / 4),
        Step("R = TP/(TP + FN)", 3 / 4),
        Step("F1 = 2 P R/(P + R)", 3 / 4),
        Step("engine = precision, recall, F1 of class 1", np.array(scores[:3]), ENGINE),
    ]


def f_score_example() -> list[Step]:
    from minilm.metrics.scores import f_score

    return [
        Step("P", 1.0),
        Step("R", 0.5),
        Step("mean = (P + R)/2", 0.75, Text("the plain mean hides that half was missed", "算术平均看不出漏掉了一半")),
        Step("F1 = 2 P R/(P + R)", 2 / 3),
        Step("F2 = 5 P R/(4 P + R)", 2.5 / 4.5, Text("β = 2: recall counts more", "β = 2：召回率更重要")),
        Step("engine = f_score(P, R)", f_score(1.0, 0.5), ENGINE),
    ]


def coverage_example() -> list[Step]:
    from minilm.text.words.coverage import vocabulary_coverage

    words = ["the", "cat", "saw", "the", "other", "cat", "and", "the", "aardvark"]
    known = {"the", "cat", "and", "saw"}
    found = vocabulary_coverage(words, known)
    return [
        Step("text", " ".join(words)),
        Step("V", "the cat and saw", Text("the vocabulary", "词表")),
        Step("n = 9 running words", 9),
        Step("k = 7 of them known", 7, Text("other and aardvark are not", "other 和 aardvark 不在词表里")),
        Step("c_tokens = k/n", 7 / 9),
        Step(
            "c_types = 4 of 6 different words",
            4 / 6,
            Text("rare words are many types and few tokens", "罕见词种类多而出现次数少"),
        ),
        Step("engine = vocabulary_coverage(text, V)", np.array([found.tokens, found.types]), ENGINE),
    ]


def bootstrap_example() -> list[Step]:
    from minilm.metrics.bootstrap import bootstrap_interval

    right = np.equal(PREDICTED, ACTUAL).astype(float)
    found = bootstrap_interval(lambda i: float(right[i].mean()), 8, np.random.default_rng(0), 1000)
    draws = np.random.default_rng(0)
    means = np.array([right[draws.integers(0, 8, 8)].mean() for _ in range(1000)])
    return [
        Step("right", right.astype(int), Text("which of 8 examples were right", "8 个样本中哪些答对")),
        Step("accuracy = mean(right)", np.mean(right)),
        Step("m = accuracy of 1000 redrawn test sets, the first 5", means[:5]),
        Step("low = 2.5 % of m lie below", np.quantile(means, 0.025)),
        Step(
            "high = 2.5 % of m lie above",
            np.quantile(means, 0.975),
            Text("8 examples tell little", "8 个样本说明不了多少"),
        ),
        Step("engine = bootstrap_interval(accuracy)", np.array([found.low, found.high]), ENGINE),
    ]


FORMULAS = (
    Formula(
        "accuracy",
        Text("accuracy", "准确率"),
        "accuracy = (number of i with ŷ_i = y_i)/N",
        r"\mathrm{accuracy} = \frac1N \sum_i [\hat y_i = y_i]",
        Text("The share of right answers. With rare classes it says little.", "答对的比例。类别很不均衡时意义不大。"),
        BOTH,
        accuracy_example,
        ("tests/metrics/test_classification.py::test_by_hand",),
        (("F18", "003 FAQ Q2"),),
    ),
    Formula(
        "confusion-matrix",
        Text("the confusion matrix", "混淆矩阵"),
        "C_ij = number of examples with y = i and ŷ = j",
        r"C_{ij} = |\{n : y_n = i,\ \hat y_n = j\}|",
        Text("Which class is taken for which.", "哪一类被当成了哪一类。"),
        BOTH,
        confusion_example,
        ("tests/metrics/test_classification.py::test_rows_are_references_and_columns_predictions",),
        (("F18", "003 FAQ Q2"),),
    ),
    Formula(
        "precision-recall",
        Text("precision, recall and F1", "精确率、召回率与 F1"),
        "P = TP/(TP + FP),  R = TP/(TP + FN),  F1 = 2 P R/(P + R)",
        r"P = \frac{TP}{TP + FP},\quad R = \frac{TP}{TP + FN},\quad F_1 = \frac{2PR}{P + R}",
        Text(
            "How many of the finds are right, and how many of those to find were found.",
            "找到的有多少是对的；该找的找到了多少。",
        ),
        (
            Letter("TP", "", Text("rightly predicted", "预测对的")),
            Letter("FP", "", Text("predicted, but wrong", "预测了但不对的")),
            Letter("FN", "", Text("missed", "漏掉的")),
        ),
        precision_example,
        (
            "tests/metrics/test_classification.py::test_by_hand",
            "tests/metrics/test_classification.py::test_exchanging_the_sides_exchanges_precision_and_recall",
        ),
        (("F18", "003 FAQ Q2"),),
    ),
    Formula(
        "f-score",
        Text("the F score", "F 值"),
        "F_β = (1 + β²) P R/(β² P + R)",
        r"F_\beta = \frac{(1 + \beta^2) P R}{\beta^2 P + R}",
        Text(
            "The harmonic mean of precision and recall: near the smaller of the two.",
            "精确率与召回率的调和平均：靠近较小的那个。",
        ),
        P_AND_R,
        f_score_example,
        ("tests/metrics/test_classification.py::test_f_score_by_hand",),
        (("F18", "003 FAQ Q2"),),
    ),
    Formula(
        "coverage",
        Text("vocabulary coverage", "词表覆盖率"),
        "c_tokens = Σ_{w ∈ V} n(w)/Σ_w n(w),  c_types = known different words/different words",
        r"c_{\mathrm{tokens}} = \frac{\sum_{w \in V} n(w)}{\sum_w n(w)}"
        "\n"
        r"  \quad c_{\mathrm{types}} = \frac{|T \cap V|}{|T|}",
        Text("How much of a text the vocabulary knows.", "词表认得文本的多少。"),
        (
            Letter("n(w)", "", Text("how often the word w occurs", "词 w 的出现次数")),
            Letter("V", "", Text("the vocabulary", "词表")),
            Letter("T", "", Text("the different words of the text", "文本中不同的词")),
        ),
        coverage_example,
        ("tests/metrics/test_bootstrap.py::test_coverage_by_hand",),
        (("F18", "003 FAQ Q2"),),
    ),
    Formula(
        "bootstrap",
        Text("the bootstrap interval", "自助法置信区间"),
        "[q_{α/2}, q_{1−α/2}] of metric(N examples drawn with replacement)",
        r"[q_{\alpha/2},\, q_{1-\alpha/2}]\ \mathrm{of}\ \mathrm{metric}(i^*)",
        Text(
            "How much the score would differ with other examples: the test set is drawn anew from itself, many times.",
            "换一批样本，分数会差多少：从测试集自身有放回地反复抽样。",
        ),
        (Letter("q", "", Text("a percentile of the redrawn scores", "重抽分数的分位数")),),
        bootstrap_example,
        (
            "tests/metrics/test_bootstrap.py::test_the_bounds_are_percentiles",
            "tests/metrics/test_bootstrap.py::test_the_interval_of_a_mean_is_the_normal_one",
        ),
        (),
        ("Efron & Tibshirani 1993, An Introduction to the Bootstrap, §13",),
    ),
)
