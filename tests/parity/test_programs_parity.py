"""The documents' programs with other import lines, those of transformers and PyTorch: the same numbers and the same texts."""

from __future__ import annotations

import numpy as np
import program_runs as runs
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is the oracle of these tests and is not installed"
)
torch.set_num_threads(1)

# what changes in a program when it runs on PyTorch; the README of the programs lists the same
REPLACED = {
    "import minilm\n": "import torch as minilm\n",
    "from minilm import ": "from transformers import ",
    "from minilm.optim import": "from torch.optim import",
    'return_tensors="np"': 'return_tensors="pt"',
    "        generator=np.random.default_rng(options.seed),\n": "",
    "        generator=generator,\n": "",
    ", generator=generator)": ")",
}


def both(name, folder, *arguments, theirs=None):
    """What the program returns with minilm, and what it returns with transformers."""
    given = [str(folder), *map(str, arguments)]
    return runs.load(name).main(given), runs.load(name, {**REPLACED, **(theirs or {})}).main(given)


def test_p1(tmp_path):
    folder = runs.bert_folder(tmp_path / "model", noise=0.3, num_labels=3)
    own, theirs = both("p1_classify", folder, runs.reviews_file(tmp_path / "reviews.tsv"))
    assert [label for label, _ in own] == [label for label, _ in theirs]
    np.testing.assert_allclose([p for _, p in own], [p for _, p in theirs], rtol=1e-5)


def test_p2(tmp_path):
    folder = runs.gpt_folder(tmp_path / "model")
    (tmp_path / "prompts.tsv").write_text("text\nthe film was\nThe world is a beautiful place.\n")
    own, theirs = both("p2_generate", folder, tmp_path / "prompts.tsv", "--tokens", 12)
    assert own == theirs
    assert len(own[0]) > len("the film was")


def test_p3(tmp_path):
    """All pairs in one batch, so that no order of drawing matters."""
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate, which is not installed")
    folder, pairs = runs.t5_folder(tmp_path / "model"), runs.pairs_file(tmp_path / "pairs.tsv", 40)
    options = ["--out", tmp_path / "out", "--epochs", 8, "--learning-rate", "3e-3", "--batch-size", 64, "--beams", 3]
    own, theirs = both("p3_summarize", folder, pairs, *options)
    np.testing.assert_allclose(own["losses"], theirs["losses"], rtol=1e-4)
    assert len(own["losses"]) == 8
    assert own["losses"][-1] < own["losses"][0] - 0.5
    assert own["summaries"] == theirs["summaries"]


def test_p4(tmp_path):
    """With the document's arguments; 16 texts are one batch."""
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate, which is not installed")
    folder, reviews = runs.bert_folder(tmp_path / "model"), runs.reviews_file(tmp_path / "reviews.tsv", 20)
    given = ["--out", tmp_path / "out", "--logs", tmp_path / "logs", "--learning-rate", 1]
    theirs = (
        {} if hasattr(transformers.TrainingArguments("x"), "logging_dir") else {'        "logging_dir": logs,\n': ""}
    )
    own, theirs = both("p4_finetune", folder, reviews, *given, theirs=theirs)
    assert own["trainer"].state.global_step == theirs["trainer"].state.global_step == 3
    assert own["training_loss"] == pytest.approx(theirs["training_loss"], rel=1e-5)
    for name in ("eval_loss", "eval_accuracy", "eval_f1"):
        assert own["metrics"][name] == pytest.approx(theirs["metrics"][name], rel=1e-4)
    np.testing.assert_allclose(own["predictions"], theirs["predictions"], atol=1e-4)
    assert np.abs(own["predictions"]).max() > 0.1


def test_p5(tmp_path):
    folder, reviews = runs.bert_folder(tmp_path / "model"), runs.reviews_file(tmp_path / "reviews.tsv", 80)
    own, theirs = both("p5_topics", folder, reviews, "--out", tmp_path / "out", "--learning-rate", "3e-3")
    np.testing.assert_allclose(own["losses"], theirs["losses"], rtol=1e-4)
    np.testing.assert_array_equal(own["predicted"], theirs["predicted"])
    assert own["losses"][2] < own["losses"][0]


def test_p5_as_printed_fails_with_transformers_too(tmp_path):
    folder = runs.bert_folder(tmp_path / "model", "BertModel")
    outputs = transformers.BertModel.from_pretrained(folder)(torch.tensor([[1, 2, 3]]))
    with pytest.raises(AttributeError, match="logits"):
        _ = outputs.logits


@pytest.mark.parametrize("rate", ["1e-5", "1e-3"])
def test_p6(tmp_path, rate):
    folder = runs.bert_folder(tmp_path / "model")
    two = tmp_path / "two.tsv"
    two.write_text("text\tlabel\nthe film was great\tpositive\nthe film and the music too was awful\tnegative\n")
    own, theirs = both("p6_two_sentences", folder, two, "--learning-rate", rate)
    np.testing.assert_allclose(own["losses"], theirs["losses"], rtol=1e-5)
    np.testing.assert_allclose(own["logits"], theirs["logits"], rtol=1e-4, atol=1e-5)
    assert own["predictions"] == theirs["predictions"]
