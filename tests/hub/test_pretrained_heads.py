"""Heads that are new, left out, tied or of another size; and the classes that open a folder by its name."""

import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hub_models import IDS, new
from model_files import edit, first_output, rewrite

import minilm
from minilm import hub
from minilm.errors import InputError
from minilm.hub.auto import REGISTRY, model_class


def test_a_new_head_is_announced_by_name(folder, caplog):
    model = hub.GPT2ForSequenceClassification.from_pretrained(folder, num_labels=4, generator=np.random.default_rng(1))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "no weights for score.weight of GPT2ForSequenceClassification: they are new" in record.getMessage()
    assert model.score.weight.shape == (4, 6)
    assert 0.01 < model.score.weight.data.std() < 0.04
    assert model.config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "LABEL_3"}
    same = hub.GPT2ForSequenceClassification.from_pretrained(folder, num_labels=4, generator=np.random.default_rng(1))
    assert np.array_equal(same.score.weight.data, model.score.weight.data)


def test_an_opened_model_draws_like_any_other(folder):
    """Nothing is drawn for weights that the file replaces; dropout draws, from the generator that was given."""
    generator = np.random.default_rng(5)
    model = hub.GPT2LMHeadModel.from_pretrained(folder, generator=generator)
    assert generator.random() == np.random.default_rng(5).random()
    model.train()
    first, second = first_output(model), first_output(model)
    assert not np.array_equal(first, second)
    again = hub.GPT2LMHeadModel.from_pretrained(folder, generator=np.random.default_rng(5)).train()
    again.generator.random()
    assert np.array_equal(first_output(again), first)


def test_the_announcement_reaches_a_person(folder):
    script = f"from minilm import AutoModelForSequenceClassification as A; A.from_pretrained({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert "score.weight" in done.stderr
    assert not done.stdout


def test_a_head_that_is_not_used_is_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO, "minilm")
    model = new("GPT2ForSequenceClassification")
    model.save_pretrained(tmp_path)
    body = hub.AutoModel.from_pretrained(tmp_path)
    assert np.array_equal(first_output(body), first_output(model.transformer))
    assert "not used by GPT2Model: score.weight" in caplog.text


def test_another_number_of_labels(tmp_path):
    new("GPT2ForSequenceClassification").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"shape of score.weight: \(3, 6\) in the file, \(5, 6\) in the model"):
        hub.GPT2ForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    model = hub.GPT2ForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model.score.weight.shape == (5, 6)
    names = {0: "no", 1: "yes", 2: "perhaps"}
    model = hub.GPT2ForSequenceClassification.from_pretrained(tmp_path, id2label=names)
    model.save_pretrained(tmp_path)
    again = hub.GPT2ForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.id2label == names
    assert again.config.label2id == {"no": 0, "yes": 1, "perhaps": 2}


def test_a_head_that_is_said_to_be_tied_and_is_not(folder):
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"] + 1}))
    with pytest.raises(InputError, match=r"lm_head.weight and transformer.wte.weight are different"):
        hub.GPT2LMHeadModel.from_pretrained(folder)
    model = hub.GPT2LMHeadModel.from_pretrained(folder, tie_word_embeddings=False)
    assert np.array_equal(model.lm_head.weight.data, model.transformer.token_embedding.weight.data + 1)


def test_auto_classes_find_the_family(tmp_path):
    new("LlamaForCausalLM").save_pretrained(tmp_path)
    assert type(minilm.AutoModelForCausalLM.from_pretrained(tmp_path)) is minilm.LlamaForCausalLM
    assert type(minilm.AutoModel.from_pretrained(tmp_path)) is minilm.LlamaModel
    config = minilm.AutoConfig.from_pretrained(tmp_path, vocab_size=20)
    assert config.vocab_size == 20
    assert minilm.AutoModelForCausalLM.from_config(config).model.token_embedding.weight.shape[0] == 20
    with pytest.raises(InputError, match="llama has no model for masked-lm; it has base, causal-lm"):
        minilm.AutoModelForMaskedLM.from_pretrained(tmp_path)
    edit(tmp_path, model_type="mamba")
    with pytest.raises(InputError, match="no model of type 'mamba'; it knows bert, gpt2, llama, t5"):
        minilm.AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="from_pretrained"):
        minilm.AutoModel()


def test_every_class_of_the_registry_is_there():
    for model_type, tasks in REGISTRY.items():
        for task in tasks:
            cls = model_class(model_type, task)
            assert cls.config_class.model_type == model_type
            assert getattr(minilm, cls.__name__) is cls


def test_names_that_minilm_does_not_have():
    with pytest.raises(AttributeError, match="no attribute 'AutoModelForChess'"):
        minilm.AutoModelForChess  # noqa: B018  the look-up is what fails
    assert {"AutoModel", "GPT2LMHeadModel", "BertModel", "T5ForConditionalGeneration", "Tensor"} <= set(dir(minilm))


def test_a_model_by_name_from_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123\n")
    shutil.copytree(folder, repository / "snapshots" / "abc123")
    model = minilm.AutoModelForCausalLM.from_pretrained("owner/tiny", local_files_only=True)
    assert np.array_equal(first_output(model), first_output(new()))


def test_a_tokenizer_beside_a_model_and_by_name(folder, tmp_path, monkeypatch):
    tokenizer = minilm.BertTokenizer.train(["one two three", "two three four"], vocab_size=40)
    tokenizer.save_pretrained(folder)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(folder, tmp_path / "cache" / "models--net" / "snapshots" / "abc")
    for name, options in [(folder, {}), ("net", {"revision": "abc", "local_files_only": True})]:
        opened = minilm.AutoTokenizer.from_pretrained(name, **options)
        assert type(opened) is minilm.BertTokenizer
        assert opened("two one")["input_ids"] == tokenizer("two one")["input_ids"]
    with pytest.raises(InputError, match="there is no folder"):
        minilm.AutoTokenizer.from_pretrained(folder / "none")


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_an_opened_model_writes(tmp_path, name):
    new(name).save_pretrained(tmp_path)
    model = minilm.AutoModelForCausalLM.from_pretrained(tmp_path)
    text = model.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=12)
    assert text.shape == (2, 7)
    assert np.array_equal(text[:, :3], IDS)
    assert text[0, 3] == model(IDS[:1]).logits.data[0, -1].argmax()
