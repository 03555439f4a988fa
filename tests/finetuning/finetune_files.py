"""Small files for the tests of fine-tuning, made from words so that something can be learnt from them."""

from __future__ import annotations

import json

import numpy as np

from minilm.finetuning import (
    ClassificationOptions,
    QuestionAnsweringOptions,
    SummarizationOptions,
    TaggingOptions,
    TranslationOptions,
)

GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "awful", "dull", "poor"]
THINGS = ["film", "book", "song", "play", "story", "actor"]
NAMES = {"PER": ["ann", "bob", "eve lee"], "LOC": ["rome", "new york", "oslo"]}
CHINESE = dict(zip([*GOOD, *BAD, *THINGS], "好|棒|行|美|坏|糟|闷|差|影片|书|歌|戏|故事|演员".split("|")))  # noqa: SIM905


def rows(count, seed=0):
    """(text, class): the class follows from one word."""
    rng = np.random.default_rng(seed)
    result = []
    for n in range(count):
        word = str(rng.choice(GOOD if n % 2 else BAD))
        result.append((f"a {word} {rng.choice(THINGS)} number {n}", "pos" if n % 2 else "neg"))
    return result


def write_reviews(folder, count=60, name="reviews.tsv"):
    lines = ["text\tlabel", *("\t".join(row) for row in rows(count))]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def write_sentences(folder, count=60, name="names.conll"):
    rng = np.random.default_rng(1)
    blocks = []
    for _ in range(count):
        words = [("the", "O"), (str(rng.choice(THINGS)), "O"), ("of", "O")]
        kind = str(rng.choice(list(NAMES)))
        for n, word in enumerate(str(rng.choice(NAMES[kind])).split()):
            words.append((word, f"{'I' if n else 'B'}-{kind}"))
        blocks.append("\n".join(f"{word} {tag}" for word, tag in [*words, (".", "O")]))
    (folder / name).write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return str(folder / name)


def write_questions(folder, count=30, name="squad.json", unanswered=0):
    """Texts of some length, so that short windows cut them; every `unanswered`-th question has no answer."""
    rng = np.random.default_rng(2)
    paragraphs = []
    for n in range(count):
        person, place = (str(rng.choice(NAMES[kind])) for kind in ("PER", "LOC"))
        head = " ".join(str(word) for word in rng.choice(THINGS, int(rng.integers(2, 20))))
        context = f"{head} . {person} lives in {place} . " + " ".join(str(word) for word in rng.choice(GOOD, 6))
        answers = [{"text": place, "answer_start": context.index(f"in {place}") + 3}]
        if unanswered and n % unanswered == 0:
            answers = []
        qas = [{"id": f"q{n}", "question": f"where does {person} live ?", "answers": answers}]
        paragraphs.append({"context": context, "qas": qas})
    (folder / name).write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return str(folder / name)


def write_pairs(folder, count=60, name="pairs.tsv"):
    """English and Chinese, word by word, with a wide comma; some texts twice, with two translations."""
    rng = np.random.default_rng(3)
    lines = ["source\ttarget"]
    for n in range(count):
        word, thing = str(rng.choice([*GOOD, *BAD])), str(rng.choice(THINGS))
        end = "，" if n % 5 else "。"
        lines.append(f"a {word} {thing}, one\t一个{CHINESE[word]}的{CHINESE[thing]}{end}一")
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def write_papers(folder, count=40, name="papers.tsv"):
    lines = ["text\tsummary"]
    for n, (text, _) in enumerate(rows(count)):
        lines.append(f"we saw {text}. then we went home and slept for {n} hours.\t{text}")
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def classification(folder, **options):
    return make(ClassificationOptions, folder, write_reviews, options)


def tagging(folder, **options):
    return make(TaggingOptions, folder, write_sentences, options)


def answering(folder, **options):
    return make(QuestionAnsweringOptions, folder, write_questions, {"max_length": 32, "stride": 8, **options})


def translation(folder, **options):
    return make(TranslationOptions, folder, write_pairs, {"max_target_length": 12, "beams": 2, **options})


def summarization(folder, **options):
    return make(SummarizationOptions, folder, write_papers, {"max_target_length": 12, "beams": 1, **options})


def make(kind, folder, write, options):
    usual = {
        "vocab_size": 150, "max_steps": 3, "batch_size": 8, "evaluations": 1, "test_fraction": 0.2, "resamples": 50,
        "out": str(folder / "out"),
    }  # fmt: skip
    data = options.pop("data", None) or write(folder)
    return kind(data=data, **{**usual, **options})


ALL = {
    "classification": classification,
    "tagging": tagging,
    "qa": answering,
    "translation": translation,
    "summarization": summarization,
}
