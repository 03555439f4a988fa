"""From logits to a token: reshaping the distribution, drawing from it, and scoring whole texts."""

from __future__ import annotations

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE, softmax
from minilm.generation import processors

Z = np.array([2.0, 1.0, 0.0, -1.0])
P = softmax(Z)
LOGITS = Letter("z", "(V,)", Text("logits of the next token", "下一个词元的 logits"))
PROBABILITIES = Letter("P", "(V,)", Text("softmax(z)", "softmax(z)"))
GIVEN = (Step("z", Z, Text("logits of 4 tokens", "4 个词元的 logits")), Step("P = softmax(z)", P))
KEPT = Text("kept tokens", "保留的词元")


def kept(logits: np.ndarray) -> np.ndarray:
    return np.isfinite(logits).astype(int)


def temperature_example() -> list[Step]:
    return [
        *GIVEN,
        Step("z₁ = z/0.5", Z / 0.5, Text("τ = 0.5 sharpens", "τ = 0.5：更尖锐")),
        Step("P₁ = softmax(z₁)", softmax(Z / 0.5)),
        Step("z₂ = z/2", Z / 2, Text("τ = 2 flattens", "τ = 2：更平坦")),
        Step("P₂ = softmax(z₂)", softmax(Z / 2)),
        Step("engine = softmax(apply_temperature(z, 2))", softmax(processors.apply_temperature(Z, 2.0)), ENGINE),
    ]


def top_k_example() -> list[Step]:
    return [
        *GIVEN,
        Step("kept = the 2 largest", np.array([1, 1, 0, 0]), Text("k = 2", "k = 2")),
        Step("P′ = P kept/Σ(P kept)", np.array([*(P[:2] / P[:2].sum()), 0, 0])),
        Step("engine = softmax(keep_top_k(z, 2))", softmax(processors.keep_top_k(Z, 2)), ENGINE),
    ]


def top_p_example() -> list[Step]:
    return [
        *GIVEN,
        Step("c = P₁, P₁ + P₂, …", np.cumsum(P)),
        Step("kept = the first with c ≥ 0.8 and all before it", np.array([1, 1, 0, 0]), Text("p = 0.8", "p = 0.8")),
        Step("engine = kept by keep_top_p(z, 0.8)", kept(processors.keep_top_p(Z, 0.8)), ENGINE),
    ]


def min_p_example() -> list[Step]:
    return [
        *GIVEN,
        Step("bound = p max(P)", 0.2 * P.max(), Text("p = 0.2", "p = 0.2")),
        Step("kept = (P ≥ bound)", (0.2 * P.max() <= P).astype(int)),
        Step("engine = kept by keep_min_p(z, 0.2)", kept(processors.keep_min_p(Z, 0.2)), ENGINE),
    ]


def typical_example() -> list[Step]:
    surprise = -np.log(P)
    H = float((P * surprise).sum())
    return [
        *GIVEN,
        Step("s = −ln P", surprise, Text("the surprise at each token", "每个词元的意外程度")),
        Step("H = Σ P s", H, Text("the expected surprise", "意外程度的期望")),
        Step("d = |s − H|", np.abs(surprise - H)),
        Step(
            "kept = by growing d until Σ P ≥ 0.2",
            np.array([0, 1, 0, 0]),
            Text("p = 0.2: not the likeliest one", "p = 0.2：留下的不是概率最大的"),
        ),
        Step("engine = kept by keep_typical(z, 0.2)", kept(processors.keep_typical(Z, 0.2)), ENGINE),
    ]


def epsilon_example() -> list[Step]:
    return [
        *GIVEN,
        Step("kept = (P ≥ 0.05)", (P >= 0.05).astype(int), Text("ε = 0.05", "ε = 0.05")),
        Step("engine = kept by keep_epsilon(z, 0.05)", kept(processors.keep_epsilon(Z, 0.05)), ENGINE),
    ]


def repetition_example() -> list[Step]:
    seen = np.array([0, 3])
    return [
        Step("z", Z),
        Step("seen", seen, Text("tokens of the text so far", "文中已出现的词元")),
        Step(
            "z′ = z/2 where seen and z > 0, 2 z where seen and z ≤ 0",
            np.array([1.0, 1.0, 0.0, -2.0]),
            Text("θ = 2", "θ = 2"),
        ),
        Step("engine = penalize_repetition(z, seen, 2)", processors.penalize_repetition(Z, seen, 2.0), ENGINE),
    ]


def inverse_example() -> list[Step]:
    u = float(np.random.default_rng(3).random())
    return [
        *GIVEN,
        Step("c = P₁, P₁ + P₂, …", np.cumsum(P)),
        Step("u", u, Text("one number, uniform in [0, 1)", "[0, 1) 上均匀的一个随机数")),
        Step("i = the first place with c > u", int((np.cumsum(P) > u).argmax()), Text("counted from 0", "从 0 数起")),
        Step("engine = sample(P)", int(processors.sample(P, np.random.default_rng(3))), ENGINE),
    ]


def beam_example() -> list[Step]:
    from minilm.generation.beams import log_softmax

    steps = np.array([[1.0, 0.0], [0.0, 2.0]])
    logs = np.log(softmax(steps))
    return [
        Step("z", steps, Text("logits at the 2 steps of one text", "一段文本两步的 logits")),
        Step("w", np.array([0, 1]), Text("its tokens", "它的词元")),
        Step("l = ln P(w_t | w_<t)", np.array([logs[0, 0], logs[1, 1]])),
        Step("s = Σ_t l_t", logs[0, 0] + logs[1, 1]),
        Step(
            "score = s/n", (logs[0, 0] + logs[1, 1]) / 2, Text("n = 2, length_penalty = 1", "n = 2，length_penalty = 1")
        ),
        Step("engine = mean log_softmax(z)[w]", float(log_softmax(steps)[[0, 1], [0, 1]].mean()), ENGINE),
    ]


def decoder(name, title, formula, latex, idea, example, tests, paper, letters=(LOGITS, PROBABILITIES)):
    """An entry of this family: none of them is in the documents, which say only that a token is chosen."""
    tests = tuple(f"tests/generation/{test}" for test in tests)
    return Formula(name, title, formula, latex, idea, letters, example, tests, (), (paper,) if paper else ())


FORMULAS = (
    decoder(
        "temperature",
        Text("temperature", "温度"),
        "P_i ∝ exp(z_i/τ)",
        r"P_i \propto \exp(z_i / \tau)",
        Text(
            "Below 1 the likely tokens become likelier, above 1 all become more alike.",
            "小于 1 时可能的更可能，大于 1 时彼此更接近。",
        ),
        temperature_example,
        ("test_processors.py::test_a_temperature_near_zero_is_greedy",),
        "Ackley, Hinton & Sejnowski 1985",
    ),
    decoder(
        "top-k",
        Text("top-k sampling", "top-k 采样"),
        "keep the k largest z_i",
        r"\{i : z_i \ge z_{(k)}\}",
        Text("Only the k most probable tokens may come.", "只允许概率最大的 k 个词元。"),
        top_k_example,
        ("test_processors.py::test_top_k_keeps_exactly_the_k_largest",),
        "Fan, Lewis & Dauphin 2018, §4.2",
    ),
    decoder(
        "top-p",
        Text("nucleus sampling", "核采样"),
        "keep the smallest set with Σ P_i ≥ p, from the most probable down",
        r"\min |S| : \sum_{i \in S} P_i \ge p",
        Text("The sure model has few candidates, the unsure one many.", "模型有把握时候选少，没把握时候选多。"),
        top_p_example,
        ("test_processors.py::test_top_p_keeps_the_smallest_set_that_reaches_p",),
        "Holtzman et al. 2020, §3.1",
    ),
    decoder(
        "min-p",
        Text("min-p sampling", "min-p 采样"),
        "keep P_i ≥ p max_j P_j",
        r"P_i \ge p \max_j P_j",
        Text("A token must be at least a share p as probable as the best.", "概率至少要达到最大概率的 p 倍。"),
        min_p_example,
        ("test_processors.py::test_min_p_keeps_what_is_probable_enough",),
        "Nguyen et al. 2024",
    ),
    decoder(
        "typical",
        Text("typical sampling", "典型采样"),
        "keep by growing |−ln P_i − H| until Σ P_i ≥ p,  H = −Σ_j P_j ln P_j",
        r"|-\ln P_i - H|,\quad H = -\sum_j P_j \ln P_j",
        Text("Tokens as surprising as is to be expected here.", "意外程度最接近期望的词元。"),
        typical_example,
        ("test_constraints.py::test_typical_leaves_out_what_is_too_probable",),
        "Meister et al. 2023, §3",
    ),
    decoder(
        "epsilon",
        Text("epsilon sampling", "ε 采样"),
        "keep P_i ≥ ε",
        r"P_i \ge \varepsilon",
        Text("What is too improbable may not come.", "概率太小的词元不许出现。"),
        epsilon_example,
        ("test_constraints.py::test_epsilon",),
        "Hewitt, Manning & Liang 2022, §3",
    ),
    decoder(
        "repetition",
        Text("the repetition penalty", "重复惩罚"),
        "z_i/θ where z_i > 0,  z_i θ where z_i ≤ 0,  for tokens seen before",
        r"z_i' = z_i / \theta \;(z_i > 0),\quad z_i \theta \;(z_i \le 0)",
        Text("What has been said becomes less likely.", "说过的词元变得不那么可能。"),
        repetition_example,
        ("test_processors.py::test_repetition_penalty_is_the_formula",),
        "Keskar et al. 2019, §4.1",
    ),
    decoder(
        "inverse-cdf",
        Text("drawing a token", "抽取一个词元"),
        "i = the first with Σ_{j ≤ i} P_j > u,  u uniform in [0, 1)",
        r"i = \min\{i : \sum_{j \le i} P_j > u\},\quad u \sim U[0, 1)",
        Text(
            "Each token has an interval as long as its probability; u falls into one.",
            "每个词元占一段长度等于其概率的区间，u 落在哪段就取哪个。",
        ),
        inverse_example,
        ("test_processors.py::test_samples_are_distributed_as_the_probabilities",),
        "",
    ),
    decoder(
        "beam-score",
        Text("the score of a beam", "束搜索的得分"),
        "score = Σ_t ln P(w_t | w_<t) / n^length_penalty",
        r"\frac{1}{n^{\lambda}} \sum_t \ln P(w_t \mid w_{<t})",
        Text(
            "Texts are compared by their log-probability; long ones would lose without the division.",
            "按对数概率比较文本；不作除法，长文本总会吃亏。",
        ),
        beam_example,
        ("test_beams.py::test_scores_are_those_of_the_texts_and_fall",),
        "Graves 2012; Wu et al. 2016, §7",
    ),
)
