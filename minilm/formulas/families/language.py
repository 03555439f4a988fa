"""Language models: the chain rule, the loss, and the loss in units that a person can picture."""

from __future__ import annotations

import math

import numpy as np

from minilm import functional as F
from minilm.formulas.entry import Formula, Letter, Step, Text
from minilm.formulas.families.attention import ENGINE, softmax

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 1.5], [0.0, 3.0, 0.0]])  # 3 positions, 3 words
NEXT = np.array([0, 2, 1])  # the words that follow
MEAN_LOSS = Letter("L", "", Text("the mean loss in nats per token", "每个词元的平均损失，单位是奈特"))


def cross_entropy_example() -> list[Step]:
    P = softmax(LOGITS)
    losses = -np.log(P[np.arange(3), NEXT])
    onehot = np.eye(3)[NEXT]
    return [
        Step("z", LOGITS, Text("logits: 3 positions, 3 words", "logits：3 个位置，3 个词")),
        Step("target", NEXT, Text("which word follows", "下一个词的编号")),
        Step("ŷ = softmax(z)", P),
        Step("y = one-hot(target)", onehot),
        Step(
            "l = −Σ_c y_c ln ŷ_c",
            losses,
            Text("the sum runs over classes; only the target's remains", "按类别求和，只剩目标那一项"),
        ),
        Step("L = mean(l)", losses.mean(), Text("over the tokens: this is trained", "对词元取平均：训练的就是它")),
        Step("engine = cross_entropy(z, target)", F.cross_entropy(LOGITS, NEXT).item(), ENGINE),
    ]


class ThreeWords:
    """A stand-in for a model: knows LOGITS, whatever it is given."""

    def __call__(self, inputs: object) -> tuple[object]:
        from minilm.tensor import Tensor

        return (Tensor(LOGITS[None]),)

    def modules(self) -> list[object]:
        return []


def likelihood_example() -> list[Step]:
    from minilm.metrics.evaluation import evaluate_loss

    P = softmax(LOGITS)[np.arange(3), NEXT]
    engine = evaluate_loss(ThreeWords(), [(NEXT[None], NEXT[None])])  # type: ignore[arg-type]  # a stand-in
    return [
        Step("z", LOGITS, Text("logits of 3 positions", "3 个位置的 logits")),
        Step("w", NEXT, Text("the words of the text", "文本中的词")),
        Step("p = P(w_t | w_<t)", P, Text("what the model gave each word", "模型给每个词的概率")),
        Step("P = Π_t p_t", P.prod(), Text("the probability of the whole text", "整段文本的概率")),
        Step("ln P = Σ_t ln p_t", np.log(P).sum()),
        Step("L = −(ln P)/N", -np.log(P).mean(), Text("maximal likelihood is minimal L", "似然最大就是 L 最小")),
        Step("engine = evaluate_loss(model, text)", engine.loss, ENGINE),
    ]


def next_token_example() -> list[Step]:
    from minilm.models import GPT, GPTConfig

    config = GPTConfig(vocab_size=3, context_length=4, num_layers=1, num_heads=1, hidden_size=4, dropout=0.0)
    model = GPT(config, np.random.default_rng(0)).double()
    for parameter in model.parameters():  # the start is so small that all three words would look alike
        parameter.data *= 20.0 if parameter.ndim > 1 else 1.0
    ids = np.array([[0, 2, 1]])
    logits = model(ids)[0].data[0]
    P = softmax(logits)
    picked = P[[0, 1], [2, 1]]
    return [
        Step("w", ids[0], Text("a text of 3 tokens", "3 个词元的文本")),
        Step(
            "z", logits, Text("logits of a GPT of one block with random weights", "一个随机初始化的单层 GPT 的 logits")
        ),
        Step("P = softmax(z)", P, Text("row t: the distribution of token t + 1", "第 t 行：第 t + 1 个词元的分布")),
        Step("p = P(w₂ | w₁), P(w₃ | w₁ w₂)", picked),
        Step("L = −mean(ln p)", -np.log(picked).mean()),
        Step("engine = GPT(w[:2], labels=w[1:]).loss", model(ids[:, :2], ids[:, 1:])[1].item(), ENGINE),
    ]


def bigram_example() -> list[Step]:
    from minilm.models.ngram import BigramModel

    text = np.array([0, 1, 0, 1, 2, 0, 1])
    model = BigramModel.fit(text, 3, alpha=1.0)
    counts = np.array([0, 3, 0])
    return [
        Step("w", text, Text("a text over V = 3 words", "V = 3 个词上的一段文本")),
        Step("c = c(0 b)", counts, Text("how often 0, 1 and 2 follow 0", "0、1、2 跟在 0 后面的次数")),
        Step("n = c(0)", 3),
        Step(
            "P = (c + α)/(n + α V)",
            (counts + 1) / 6,
            Text("α = 1: a pair never seen keeps a small probability", "α = 1：没见过的词对也有小概率"),
        ),
        Step("engine = BigramModel.probabilities(0)", model.probabilities(0), ENGINE),
    ]


def perplexity_example() -> list[Step]:
    from minilm.metrics import perplexity

    p = np.array([0.5, 0.25, 0.125])
    L = -np.log(p).mean()
    return [
        Step("p", p, Text("P(w_t | w_<t) of 3 tokens", "3 个词元的 P(w_t | w_<t)")),
        Step("l = −ln p", -np.log(p)),
        Step("L = mean(l)", L),
        Step("PPL = e^L", math.exp(L), Text("as if it hesitated between 4 tokens", "相当于在 4 个词元之间犹豫")),
        Step("engine = perplexity(L)", perplexity(float(L)), ENGINE),
    ]


def characters_example() -> list[Step]:
    from minilm.metrics.perplexity import bits_per_character

    L = 2.0
    return [
        Step("L", L, Text("nats per token", "每词元奈特数")),
        Step("N_tokens", 10),
        Step("N_characters", 40),
        Step("nats = L N_tokens", 20.0),
        Step("bits = nats/ln 2", 20 / math.log(2)),
        Step("BPC = bits/N_characters", 20 / math.log(2) / 40),
        Step("engine = bits_per_character(L, 10, 40)", bits_per_character(L, 10, 40), ENGINE),
    ]


def bytes_example() -> list[Step]:
    from minilm.metrics.perplexity import bits_per_byte

    L, text = 1.5, "ab你好"
    return [
        Step("L", L, Text("nats per token", "每词元奈特数")),
        Step("N_tokens", 4),
        Step("text", text),
        Step(
            "N_bytes = UTF-8 bytes of the text",
            8,
            Text("2 letters of 1 byte, 2 characters of 3", "2 个字母各 1 字节，2 个汉字各 3 字节"),
        ),
        Step("BPB = L N_tokens/(N_bytes ln 2)", 6 / (8 * math.log(2))),
        Step("engine = bits_per_byte(L, 4, text)", bits_per_byte(L, 4, text), ENGINE),
    ]


FORMULAS = (
    Formula(
        "cross-entropy",
        Text("cross-entropy", "交叉熵"),
        "L = −Σ_c y_c ln ŷ_c,  ŷ = softmax(z), averaged over the tokens",
        r"L = -\frac1N \sum_{i=1}^{N} \sum_c y_{ic} \ln \hat y_{ic}"
        "\n"
        r"\hat y_i = \mathrm{softmax}(z_i)",
        Text(
            "The surprise at what really came. The document says that the sum runs over N samples: it runs over the classes; "
            "over the samples the mean is taken.",
            "对真实结果的意外程度。文档说是对 N 个样本求和：其实是对类别求和，对样本取平均。",
        ),
        (
            Letter("z", "(N, C)", Text("logits", "logits，未归一化的得分")),
            Letter("y", "(N, C)", Text("one-hot targets, or probabilities", "one-hot 目标，或概率")),
            Letter("ŷ", "(N, C)", Text("the model's probabilities", "模型给出的概率")),
        ),
        cross_entropy_example,
        (
            "tests/kernels/test_reference_products.py::test_cross_entropy_in_loops",
            "tests/functional/test_forward.py::test_cross_entropy_of_certain_logits_is_exactly_zero_or_large",
            "tests/properties/test_gradients.py::test_gradient",
        ),
        (("F2", "001 §4.2"),),
    ),
    Formula(
        "likelihood",
        Text("the probability of a text, by the chain rule", "文本的概率与链式法则"),
        "P(w_1 … w_n) = Π_t P(w_t | w_<t),  L = −(1/N) Σ_t ln P(w_t | w_<t)",
        r"P(w_1 \dots w_n) = \prod_t P(w_t \mid w_{<t})"
        "\n"
        r"L = -\frac1N \sum_t \ln P(w_t \mid w_{<t})",
        Text(
            "A language model gives a text a probability, token by token. To train is to make the likelihood of "
            "real texts large, "
            "which is to make L small.",
            "语言模型逐个词元给出文本的概率。训练就是让真实文本的似然变大，也就是让 L 变小。",
        ),
        (
            Letter("w_t", "", Text("token t", "第 t 个词元")),
            Letter("w_<t", "", Text("all tokens before it", "它之前的所有词元")),
            MEAN_LOSS,
        ),
        likelihood_example,
        (
            "tests/metrics/test_perplexity.py::test_the_batches_do_not_matter",
            "tests/metrics/test_perplexity.py::test_targets_that_do_not_count",
        ),
        (("F15", "000 §2.1, 004 §2.1"),),
    ),
    Formula(
        "next-token",
        Text("an autoregressive model", "自回归模型"),
        "P(w_(t+1) | w_≤t) = softmax(logits_t)",
        r"P(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(z_t)",
        Text(
            "A GPT scores every token of the vocabulary at every position; it sees only what stands before.",
            "GPT 在每个位置给词表中所有词元打分，只看得见前面的内容。",
        ),
        (Letter("logits", "(T, V)", Text("one score per position and token", "每个位置、每个词元一个得分")),),
        next_token_example,
        (
            "tests/nn/test_multi_head_attention.py::test_gpt_with_labels_gives_the_mean_cross_entropy",
            "tests/nn/test_multi_head_attention.py::test_a_model_with_cache_equals_the_model_without",
        ),
        (("F15", "000 §2.1, 004 §2.1"),),
    ),
    Formula(
        "bigram",
        Text("the bigram model", "二元（bigram）模型"),
        "P(b | a) = (c(ab) + α)/(c(a) + α V)",
        r"P(b \mid a) = \frac{c(ab) + \alpha}{c(a) + \alpha V}",
        Text(
            "Counting pairs: the chain rule, in which only the last token is looked at.",
            "数词对：链式法则中只看前一个词元。",
        ),
        (
            Letter("c(ab)", "", Text("how often b followed a", "b 跟在 a 后面的次数")),
            Letter("V", "", Text("the size of the vocabulary", "词表大小")),
        ),
        bigram_example,
        (
            "tests/models/test_ngram.py::test_counts_and_loss_are_those_of_counting_by_hand",
            "tests/models/test_ngram.py::test_probabilities_sum_to_one_and_are_the_formula",
        ),
        (("F15", "000 §1.2, 000 §2.1"),),
    ),
    Formula(
        "perplexity",
        Text("perplexity", "困惑度"),
        "PPL = e^L",
        r"\mathrm{PPL} = e^{L} = \exp\!\left(-\frac1N \sum_t \ln P(w_t \mid w_{<t})\right)",
        Text(
            "Between how many equally likely tokens the model hesitates.", "模型相当于在多少个同样可能的词元之间犹豫。"
        ),
        (MEAN_LOSS,),
        perplexity_example,
        ("tests/metrics/test_perplexity.py::test_even_hesitation_between_k_tokens_is_perplexity_k",),
        (("F18", "000 FAQ"), ("F15", "000 §2.1")),
    ),
    Formula(
        "bits-per-character",
        Text("bits per character", "每字符比特数"),
        "BPC = L N_tokens/(N_characters ln 2)",
        r"\mathrm{BPC} = \frac{L\, N_{\mathrm{tokens}}}{N_{\mathrm{characters}} \ln 2}",
        Text(
            "Unlike perplexity it compares models with different tokenizers.",
            "与困惑度不同，分词器不同的模型也能用它比较。",
        ),
        (MEAN_LOSS,),
        characters_example,
        ("tests/metrics/test_perplexity.py::test_bits_per_character",),
        (("F15", "000 §2.1"),),
    ),
    Formula(
        "bits-per-byte",
        Text("bits per byte", "每字节比特数"),
        "BPB = L N_tokens/(N_bytes ln 2)",
        r"\mathrm{BPB} = \frac{L\, N_{\mathrm{tokens}}}{N_{\mathrm{bytes}} \ln 2}",
        Text(
            "It compares scripts as well: a Chinese character has three bytes.",
            "不同文字之间也能比较：一个汉字占三个字节。",
        ),
        (MEAN_LOSS,),
        bytes_example,
        ("tests/metrics/test_bootstrap.py::test_bits_per_byte_by_hand",),
        (("F15", "000 §2.1"),),
    ),
)
