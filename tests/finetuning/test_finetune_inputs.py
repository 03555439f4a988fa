"""Bad input: one sentence, before any long work, and nothing is written."""

import json
import shutil

import numpy as np
import pytest
from finetune_files import (
    ALL,
    answering,
    classification,
    summarization,
    tagging,
    translation,
    write_pairs,
    write_questions,
    write_reviews,
)

from minilm import BertConfig, BertForSequenceClassification
from minilm.errors import InputError
from minilm.finetuning import finetune
from minilm.text import BertTokenizer


def text_file(folder, text, name="file.tsv"):
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def reviews(folder, *extra):
    """A good file with further lines, which the test part gets."""
    write_reviews(folder)
    return text_file(folder, "text\tlabel\n" + "".join(f"{line}\n" for line in extra), "extra.tsv")


BAD = {
    "a folder for data": (lambda f: classification(f, data="/"), "cannot be told"),
    "missing file": (lambda f: classification(f, data=str(f / "none.tsv")), "no file"),
    "empty file": (lambda f: classification(f, data=text_file(f, "")), "is empty"),
    "header alone": (lambda f: classification(f, data=text_file(f, "text\tlabel\n")), "no example"),
    "no such column": (lambda f: classification(f, label="stars"), "no column 'stars'"),
    "wrong number of columns": (lambda f: classification(f, columns="a,b,c"), "2 columns instead of 3"),
    "one class": (
        lambda f: classification(f, data=text_file(f, "text\tlabel\n" + "some text\tx\n" * 20)), "have the class 'x'"
    ),
    "unseen class": (lambda f: classification(f, test=reviews(f, "a new thing\tneutral")), "class 'neutral' (1 times)"),
    "a column of numbers": (
        lambda f: classification(f, data=text_file(f, "text\tlabel\n" + "".join(f"a\t{n}\n" for n in range(40)))),
        "hardly a column of classes",
    ),
    "no ratings": (lambda f: classification(f, rating_threshold=0.5), "does not fit"),
    "too few to split": (lambda f: classification(f, data=text_file(f, "text\tlabel\na\tx\nb\ty\n")), "leave nothing"),
    "too long": (lambda f: classification(f, max_length=5, too_long="refuse"), "more than 5 tokens"),
    "unknown format": (lambda f: classification(f, data=text_file(f, "x", "file.xyz")), "format"),
    "a folder's name": (lambda f: classification(f, model=str(f / "nothing")), "no folder"),
    "no config": (lambda f: classification(f, model=str(f)), "config.json"),
    "too few columns": (lambda f: tagging(f, data=text_file(f, "a O\nb\n", "x.conll")), "line 2: 1 columns"),
    "IOB1 read as BIO": (lambda f: tagging(f, data=text_file(f, "a I-PER\n\nb O\n", "x.conll")), "scheme"),
    "unseen tag": (
        lambda f: tagging(f, test=text_file(f, "a B-NEW\nb O\n", "t.conll")), "the tag 'B-NEW'"
    ),
    "one tag": (lambda f: tagging(f, data=text_file(f, "a O\n\n" * 30, "x.conll")), "have the tag 'O'"),
    "JSON tags in IOB1": (
        lambda f: tagging(f, data=text_file(f, '{"tokens": ["a"], "tags": ["I-PER"]}\n' * 20, "x.jsonl")), "IOB1"
    ),
    "no SQuAD": (lambda f: answering(f, data=text_file(f, '{"a": 1}', "x.json")), "no 'data'"),
    "misplaced answer": (
        lambda f: answering(f, data=text_file(f, json.dumps({"data": [{"paragraphs": [{"context": "abc", "qas": [
            {"id": "1", "question": "?", "answers": [{"text": "c", "answer_start": 0}]}]}]}]}), "x.json")),
        "answer_start",
    ),
    "a question without room": (lambda f: answering(f, max_length=16, stride=8), "leaves 4"),
    "no answers": (lambda f: answering(f, data=write_questions(f, unanswered=1)), "has an answer"),
    "not a pair": (lambda f: translation(f, target="german"), "no column 'german'"),
    "an encoder that should write": (lambda f: translation(f, model=bert_folder(f)), "seq2seq-lm"),
    "the wrong kind of T5 use": (lambda f: summarization(f, max_length=4, too_long="refuse"), "more than 4 tokens"),
    "more positions than there are": (lambda f: classification(f, model=bert_folder(f), max_length=99), "24 positions"),
    "tokenizer of another model": (lambda f: classification(f, model=bert_folder(f, 30)), "do not belong together"),
    "LoRA on nothing": (lambda f: classification(f, lora=2, lora_targets=["nope"]), "no linear layer 'nope'"),
    "alpha without LoRA": (lambda f: classification(f, lora_alpha=2.0), "lora_alpha is for LoRA"),
    "negative rate": (lambda f: classification(f, learning_rate=-1.0), "learning_rate is -1.0"),
    "nothing to train": (lambda f: classification(f, max_steps=0, epochs=0.0), "epochs is 0"),
    "no test": (lambda f: classification(f, test_fraction=0.0), "nothing to judge"),
    "all of it test": (lambda f: classification(f, test_fraction=0.6, validation_fraction=0.5), "nothing to train on"),
    "best without validation": (lambda f: classification(f, validation_fraction=0.0, keep="best"), "needs validation"),
    "an unknown size": (lambda f: classification(f, size="huge"), "size is 'huge'"),
    "no batch": (lambda f: classification(f, batch_size=0), "batch_size is 0"),
    "a vocabulary too small": (lambda f: classification(f, vocab_size=21), "too small"),
}  # fmt: skip


def bert_folder(folder, vocab_size=None):
    """A small pretrained model; vocab_size: smaller than its tokenizer's."""
    place = folder / "bert"
    tokenizer = BertTokenizer.train(["a good film number 1 2 3 4 5 bad book"] * 3, vocab_size=80)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=vocab_size or len(tokenizer), max_position_embeddings=24, **shape)
    BertForSequenceClassification(config, np.random.default_rng(0)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, case):
    make, expected = BAD[case]
    options = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def trains(*_):
        raise AssertionError("it began to train")

    monkeypatch.setattr("minilm.training.trainer.Trainer.train", trains)
    with pytest.raises(InputError) as caught:
        finetune(options, say=lambda line: None, progress=False)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", ["model/config.json", "report.md", "metrics.jsonl", "config.yaml", "checkpoints/x"])
def test_a_folder_in_use_is_refused(tmp_path, name):
    options = classification(tmp_path)
    used = tmp_path / "out" / name
    used.parent.mkdir(parents=True)
    used.write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        finetune(options, say=lambda line: None, progress=False)
    assert used.read_text() == "mine"
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [used]


def test_an_out_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        finetune(classification(tmp_path), say=lambda line: None, progress=False)


def test_a_failure_in_training_leaves_no_trace_and_keeps_what_was_there(tmp_path, monkeypatch):
    options = classification(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")

    def fails(self):
        self.open_log()
        self.log({"loss": 1.0})
        raise KeyboardInterrupt

    monkeypatch.setattr("minilm.training.trainer.Trainer.train", fails)
    with pytest.raises(KeyboardInterrupt):
        finetune(options, say=lambda line: None, progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("task", ALL)
def test_texts_that_are_cut_are_told(tmp_path, task):
    options = ALL[task](tmp_path, max_length=6) if task != "qa" else answering(tmp_path)
    lines = []
    result = finetune(options, say=lines.append, progress=False)
    document = (result.folder / "report.md").read_text("utf-8")
    told = any("were cut" in line for line in lines)
    assert told == ("were cut" in document) == (task != "qa")  # questions' texts are read in windows


def test_the_prefix_may_look_like_yaml(tmp_path):
    from minilm.cli_finetune import parse

    options, quiet = parse(
        "translation", ["--data", write_pairs(tmp_path), "--prefix", "translate English to Chinese: "]
    )
    assert options.prefix == "translate English to Chinese: "
    assert not quiet
