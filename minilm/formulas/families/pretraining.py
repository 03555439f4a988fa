"""What encoders are pre-trained for: hidden words, next sentences, spans."""

from __future__ import annotations

import math

import numpy as np

from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE, softmax


def masking_example() -> list[Step]:
    from minilm.data.collators import DataCollatorForLanguageModeling

    ids = np.array([[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]])
    chosen = np.array([[0, 1, 0, 0, 1, 1, 0, 0, 1, 0]], bool)
    draws = np.random.default_rng(5)  # the same draws that the collator makes, in the same order
    u, random = draws.random(ids.shape), draws.integers(0, 50, ids.shape)
    collator = DataCollatorForLanguageModeling(
        generator=np.random.default_rng(5), mask_token_id=3, pad_token_id=0, vocab_size=50
    )
    inputs, labels = collator.hide(ids, chosen)
    mine = np.where(~chosen, ids, np.where(u < 0.8, 3, np.where(u < 0.9, random, ids)))
    return [
        Step("ids", ids[0], Text("a text; 3 is [MASK]", "一段文本；3 是 [MASK]")),
        Step(
            "chosen",
            chosen[0].astype(int),
            Text("15 % in training; more here, so that one sees something", "训练时选 15 %；这里多选几个，便于观察"),
        ),
        Step("u", u[0], Text("one random number per token", "每个词元一个随机数")),
        Step("r", random[0], Text("random tokens, for 0.8 ≤ u < 0.9", "随机词元，用于 0.8 ≤ u < 0.9")),
        Step(
            "inputs = 3 if u < 0.8, r if u < 0.9, else ids",
            mine[0],
            Text("80/10/10, of the chosen ones", "只对选中的，按 80/10/10"),
        ),
        Step("labels = ids where chosen, else −100", np.where(chosen, ids, -100)[0]),
        Step(
            "engine = hide(ids, chosen)",
            np.stack([inputs[0], labels[0]]),
            Text("inputs and labels of the collator", "整理器给出的输入和标签"),
        ),
    ]


def next_sentence_example() -> list[Step]:
    z = np.array([1.2, -0.3])
    P = softmax(z)
    from minilm import functional as F

    return [
        Step(
            "z",
            z,
            Text(
                "two scores from the vector of [CLS]: B follows A, B is random",
                "由 [CLS] 的向量得到两个分数：B 紧跟 A、B 是随机的",
            ),
        ),
        Step("P = softmax(z)", P, Text("in training one half of the pairs follow", "训练时一半的句对是相连的")),
        Step(
            "L₀ = −ln P₀",
            -math.log(P[0]),
            Text("the loss if B does follow (label 0)", "B 确实紧跟 A 时的损失（标签 0）"),
        ),
        Step("L₁ = −ln P₁", -math.log(P[1]), Text("the loss if it does not (label 1)", "不是时的损失（标签 1）")),
        Step("engine = cross_entropy(z, 0)", F.cross_entropy(z[None], np.array([0])).item(), ENGINE),
    ]


def bert_example() -> list[Step]:
    from minilm import functional as F

    words = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 3.0]])
    labels, sentence = np.array([0, -100, 2]), np.array([0.5, 1.5])
    counted = -np.log(softmax(words)[[0, 2], [0, 2]])
    follows = -math.log(softmax(sentence)[1])
    engine = F.cross_entropy(words, labels).item() + F.cross_entropy(sentence[None], np.array([1])).item()
    return [
        Step("z", words, Text("word scores at 3 positions", "3 个位置上各词的得分")),
        Step(
            "labels",
            labels,
            Text("−100: this word was not hidden, so it does not count", "−100：这个词没有被遮，不计入"),
        ),
        Step("s", sentence, Text("scores of next sentence; the label is 1", "下一句预测的得分；标签是 1")),
        Step("l = −ln softmax(z)[label]", counted, Text("of the two hidden words", "两个被遮的词")),
        Step("L_words = mean(l)", counted.mean()),
        Step("L_next = −ln softmax(s)₁", follows),
        Step("L = L_words + L_next", counted.mean() + follows),
        Step("engine = cross_entropy(z, labels) + cross_entropy(s, 1)", engine, ENGINE),
    ]


def spans_example() -> list[Step]:
    from minilm.data.collators.spans import corrupt_spans, noise_mask

    mask = noise_mask(12, 0.25, 1.5, np.random.default_rng(0))
    ids = np.arange(12) + 50
    inputs, targets = corrupt_spans(ids, mask, 99)
    return [
        Step("ids", ids, Text("12 tokens; density 0.25, mean span 1.5", "12 个词元；密度 0.25，平均跨度 1.5")),
        Step("noise = round(12 · 0.25)", 3, Text("tokens that are cut out", "挖掉的词元数")),
        Step("spans = round(3/1.5)", 2, Text("in so many stretches", "分成几段")),
        Step("mask", mask.astype(int), Text("one draw", "抽取的一例")),
        Step("inputs", inputs, Text("each stretch is one sentinel, 99 and 98", "每段用一个哨兵代替：99 和 98")),
        Step("targets", targets, Text("each sentinel, then what it stands for", "先是哨兵，后面是它代表的词元")),
        Step("engine = Σ noise_mask(12, 0.25, 1.5)", int(mask.sum()), ENGINE),
    ]


FORMULAS = (
    Formula(
        "masking",
        Text("masked language modelling", "掩码语言建模"),
        "of the chosen 15 %:  80 % → [MASK],  10 % → a random token,  10 % stay;  L = −mean ln P(w_i | the rest)",
        r"L = -\frac{1}{|M|} \sum_{i \in M} \ln P(w_i \mid \tilde w),\quad M: 15\,\%",
        Text(
            "Some words are hidden and the model says which they were, seeing both sides. Some of them are not hidden behind "
            "[MASK], since a fine-tuned model never meets [MASK].",
            "遮住一些词，让模型看着左右两边把它们说出来。有一部分不换成 [MASK]，因为微调时模型见不到 [MASK]。",
        ),
        (
            Letter("ids", "(T,)", Text("the text's tokens", "文本的词元")),
            Letter("u", "(T,)", Text("uniform random numbers", "均匀分布的随机数")),
        ),
        masking_example,
        (
            "tests/data/test_collators_random.py::test_masking_laws",
            "tests/data/test_collators_random.py::test_shares_of_masking",
        ),
        (("F16", "002 §3.1, 003 §2.3, 003 §3.2.3, 004 §3.3"),),
        ("Devlin et al. 2018, BERT, §3.1",),
    ),
    Formula(
        "next-sentence",
        Text("next sentence prediction", "下一句预测"),
        "P(B follows A) = softmax(W h_[CLS])_0,  L = −ln P(label)",
        r"P = \mathrm{softmax}(W h_{\mathrm{[CLS]}}),\quad L = -\ln P_{\mathrm{label}}",
        Text(
            "Two sentences: does the second follow the first? In one half of the training pairs it does.",
            "给出两句话：第二句是不是紧接第一句？训练样本里一半是，一半不是。",
        ),
        (Letter("h_[CLS]", "(d,)", Text("what the encoder made of the first token", "编码器对首个词元的输出")),),
        next_sentence_example,
        (
            "tests/data/test_collators.py::test_half_of_the_pairs_follow",
            "tests/models/test_bert_heads.py::test_cross_entropy_of_the_labels_that_count",
        ),
        (("F16", "002 §3.1, 003 §2.3, 003 §3.2.3, 004 §3.3"),),
        ("Devlin et al. 2018, BERT, §3.1",),
    ),
    Formula(
        "bert-pretraining",
        Text("BERT's loss: both at once", "BERT 的损失：两个任务相加"),
        "L = L_words + L_next",
        r"L = L_{\mathrm{MLM}} + L_{\mathrm{NSP}}",
        Text("The hidden words and the next sentence are learned together.", "掩码词和下一句一起学。"),
        (
            Letter("L_words", "", Text("mean over the hidden words", "对被遮的词取平均")),
            Letter("L_next", "", Text("mean over the pairs", "对句对取平均")),
        ),
        bert_example,
        ("tests/models/test_bert_heads.py::test_the_joint_loss_is_the_sum_of_both",),
        (("F16", "002 §3.1, 003 §2.3, 003 §3.2.3, 004 §3.3"),),
        ("Devlin et al. 2018, BERT, §3.1",),
    ),
    Formula(
        "noise-spans",
        Text("span corruption (T5)", "跨度遮蔽（T5）"),
        "noise = round(T · density),  spans = round(noise/mean span)",
        r"n = \mathrm{round}(T \rho),\quad s = \mathrm{round}(n / \mu)",
        Text("Whole stretches are cut out; the decoder writes what stood there.", "整段挖掉，由解码器写出原来的内容。"),
        (Letter("T", "", Text("tokens of the text", "文本的词元数")),),
        spans_example,
        (
            "tests/data/test_collators_random.py::test_noise",
            "tests/data/test_collators_random.py::test_span_corruption_can_be_undone",
        ),
        (),
        ("Raffel et al. 2020, T5, §3.1.4",),
    ),
)
