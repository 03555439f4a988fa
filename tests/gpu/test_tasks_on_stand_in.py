"""`minilm finetune`, `minilm pretrain` and pipelines on the stand-in for CuPy: the CPU's weights, answers and files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from finetuning.finetune_files import ALL, classification
from pipelines import pipeline_models
from pretraining.pretrain_texts import write_text

from minilm import pipeline
from minilm.errors import InputError
from minilm.finetuning import finetune
from minilm.hub.weights import open_weights
from minilm.pretraining import BertOptions, GptOptions, pretrain, resume, running

pytestmark = pytest.mark.usefixtures("cupy", "reference")
SMALL = {"batch_size": 8, "max_length": 24, "evaluations": 2, "resamples": 20, "shown": 1, "validation_fraction": 0.1}


def silent(line):
    pass


def weights(folder):
    opened = open_weights(folder / "model")
    return {name: opened.read(name) for name in opened.shapes}


def same_weights(there, here):
    assert there.keys() == here.keys()
    for name, array in here.items():
        assert there[name].dtype == array.dtype == np.float32
        np.testing.assert_allclose(there[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def answers(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("task", ALL)
def test_a_fine_tuning(tmp_path, task):
    here, there = (
        finetune(replace(ALL[task](tmp_path), device=device, out=str(tmp_path / device)), silent, progress=False)
        for device in ("cpu", "cuda")
    )
    same_weights(weights(there.folder), weights(here.folder))
    assert {path.name for path in there.folder.iterdir()} == {path.name for path in here.folder.iterdir()}
    assert [a["predicted"] for a in answers(there.folder)] == [a["predicted"] for a in answers(here.folder)]


@pytest.mark.parametrize("changes", [{"lora": 2}, {"keep": "best"}, {"precision": "float16"}], ids=str)
def test_adapters_the_best_weights_and_16_bits(tmp_path, changes):
    lines = []
    options = replace(classification(tmp_path), device="cuda", out=str(tmp_path / "out"), **changes)
    result = finetune(options, lines.append, progress=False)
    made = weights(result.folder)
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in made.values())
    assert (result.folder / "adapter").exists() == ("lora" in changes)
    assert f"device      cuda, {changes.get('precision', 'float32')}" in lines
    if "precision" not in changes:
        same = finetune(replace(options, device="cpu", out=str(tmp_path / "cpu")), silent, progress=False)
        same_weights(made, weights(same.folder))


@pytest.mark.parametrize(("kind", "tokenizer"), [(BertOptions, "wordpiece:120"), (GptOptions, "bpe:300")])
def test_a_pre_training_stopped_and_resumed(tmp_path, monkeypatch, kind, tokenizer):
    data = [write_text(tmp_path)]
    options = kind(data=data, tokenizer=tokenizer, steps=6, out=str(tmp_path / "cpu"), **SMALL)
    here = pretrain(options, silent, progress=False)
    there = replace(options, device="cuda", out=str(tmp_path / "cuda"))
    saving = running.StopAndSave.on_step_end

    def stopped(self, args, state, control, **kwargs):
        if state.global_step == 4:
            self.received = 2
        saving(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(running.StopAndSave, "on_step_end", stopped)
        assert pretrain(there, silent, progress=False).received == 2
    assert not (tmp_path / "cuda/model").exists()
    done = resume(tmp_path / "cuda", silent, progress=False)
    assert (done.steps, done.scores.keys()) == (6, here.scores.keys())
    same_weights(weights(done.folder), weights(here.folder))
    for name, interval in here.scores.items():
        assert done.scores[name].score == pytest.approx(interval.score, rel=1e-3)


def test_what_cannot_be_is_told_before_anything_is_read(tmp_path):
    for changes, message in (
        ({"device": "tpu"}, "there is no device 'tpu'"),
        ({"precision": "float16"}, "precision float16 needs a GPU: add --device cuda"),
        ({"device": "cuda", "precision": "float8"}, "precision is 'float8'; choose one of"),
    ):
        for options in (replace(classification(tmp_path), **changes), BertOptions(data=["none.txt"], **changes)):
            with pytest.raises(InputError, match=message):
                options.check()


# --- pipelines --------------------------------------------------------------------------------------------------------

TEXTS = ["Ann lives in New York", "床前明月光 one two three, and Bob can't wait"]
CALLS = {
    "text-classification": ("BertForSequenceClassification", TEXTS, {"top_k": None}),
    "token-classification": ("BertForTokenClassification", TEXTS, {}),
    "fill-mask": ("BertForMaskedLM", [f"{text} [MASK]" for text in TEXTS], {}),
    "feature-extraction": ("BertModel", TEXTS, {}),
    "question-answering": (
        "BertForQuestionAnswering", [{"question": "where?", "context": text} for text in TEXTS], {}
    ),
    "text-generation": ("gpt2", TEXTS, {"max_new_tokens": 5, "do_sample": False}),
    "translation_en_to_zh": ("t5", TEXTS, {"max_new_tokens": 5, "num_beams": 2}),
}  # fmt: skip


def near(there, here):
    """The same lists and dictionaries, numbers but for their last digits."""
    if isinstance(here, dict):
        assert there.keys() == here.keys()
        for key in here:
            near(there[key], here[key])
    elif isinstance(here, list):
        assert len(there) == len(here)
        for a, b in zip(there, here):
            near(a, b)
    elif isinstance(here, float):
        assert there == pytest.approx(here, rel=1e-4, abs=1e-5)
    else:
        assert there == here


def called(task, device):
    """What a task's pipeline answers on a device."""
    kind, inputs, options = CALLS[task]
    tokenizers = {"gpt2": pipeline_models.gpt2_tokenizer, "t5": pipeline_models.t5_tokenizer}
    models = {"gpt2": pipeline_models.gpt2, "t5": pipeline_models.t5}
    model = models[kind]() if kind in models else pipeline_models.bert(kind)
    tokenizer = tokenizers.get(kind, pipeline_models.bert_tokenizer)()
    return pipeline(task, model, tokenizer, device=device, batch_size=2)(inputs, **options)


@pytest.mark.parametrize("task", CALLS)
def test_a_pipeline(task):
    near(*(called(task, device) for device in (0, -1)))


def test_an_open_model_stays_where_it_is():
    model = pipeline_models.bert("BertForSequenceClassification").to("cuda")
    assert str(pipeline("text-classification", model, pipeline_models.bert_tokenizer()).model.device) == "cuda"
    assert (
        str(pipeline("text-classification", model, pipeline_models.bert_tokenizer(), device="cpu").model.device)
        == "cpu"
    )
