"""Models opened and saved, on GPT-2 and Llama: everything comes back, and what is wrong is said before anything is done."""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hub_models import CLASSES, IDS, new

import minilm
from minilm import hub
from minilm.errors import InputError
from minilm.hub import saving
from minilm.hub.auto import REGISTRY, model_class
from minilm.hub.weights import Weights, open_weights, read_header


def first_output(model, ids=IDS):
    return model(ids[:1])[0].data


def edit(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "absent"}))


def rewrite(folder, change):
    """Write model.safetensors anew with other tensors."""
    weights = open_weights(folder)
    tensors = {name: weights.read(name) for name in weights.shapes}
    change(tensors)
    saving.write_safetensors(folder / "model.safetensors", list(tensors.items()))


@pytest.fixture
def folder(tmp_path):
    new().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("shards", ["5GB", 400])
def test_saved_and_opened_are_equal(tmp_path, name, shards, caplog):
    model = new(name)
    model.save_pretrained(tmp_path / "deep" / "folder", max_shard_size=shards)
    again = type(model).from_pretrained(tmp_path / "deep" / "folder")
    assert again.config == model.config
    assert not again.training
    state = again.state_dict()
    for key, array in model.state_dict().items():
        assert np.array_equal(state[key], array), key
        assert state[key].dtype == np.float32
    assert np.array_equal(first_output(again), first_output(model))
    assert not caplog.records
    again.save_pretrained(tmp_path / "again", max_shard_size=shards)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "deep" / "folder" / path.name).read_bytes()


def test_a_tied_head_is_stored_once_and_an_untied_one_is_stored(tmp_path):
    for tied in (True, False):
        new(tie_word_embeddings=tied).save_pretrained(tmp_path)
        assert ("lm_head.weight" in open_weights(tmp_path).shapes) is not tied
        model = hub.GPT2LMHeadModel.from_pretrained(tmp_path)
        assert (model.lm_head is None) is tied


@pytest.mark.parametrize(("dtype", "relative"), [("float16", 2**-11), ("bfloat16", 2**-8), ("float64", 0)])
def test_saved_in_other_dtypes(tmp_path, dtype, relative):
    model = new()
    model.save_pretrained(tmp_path, dtype=dtype)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype
    again = type(model).from_pretrained(tmp_path)
    assert again.transformer.token_embedding.weight.dtype == (np.float64 if dtype == "float64" else np.float32)
    for key, array in again.state_dict().items():
        np.testing.assert_allclose(array, model.state_dict()[key], rtol=relative, atol=1e-7)


def test_the_dtype_to_compute_in(folder):
    for dtype, want in [(None, "f4"), ("float32", "f4"), ("float64", "f8"), (np.float64, "f8"), (np.dtype("f8"), "f8")]:
        model = hub.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {np.dtype(want)}
    for dtype in ("float16", "bfloat16", np.float16, "int8", 3):
        with pytest.raises(InputError, match="minilm computes in float32 or float64"):
            hub.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)


def test_what_minilm_has_no_field_for_is_kept(folder):
    edit(folder, transformers_version="4.9", task_specific_params={"a": 1}, torch_dtype="float16")
    hub.GPT2LMHeadModel.from_pretrained(folder).save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    assert values["transformers_version"] == "4.9"
    assert values["task_specific_params"] == {"a": 1}
    assert "torch_dtype" not in values
    assert values["architectures"] == ["GPT2LMHeadModel"]


def test_sharding(tmp_path):
    model = new()
    model.save_pretrained(tmp_path, max_shard_size="0.5KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    assert len(files) > 2
    for file in files:
        entries = read_header(tmp_path / file)
        assert len(entries) == 1 or sum(e.stop - e.start for e in entries.values()) <= 500
    assert index["metadata"]["total_size"] == 4 * model.num_parameters()


def test_files_of_the_model_before_are_removed(tmp_path):
    new().save_pretrained(tmp_path, max_shard_size=400)
    (tmp_path / "tokenizer.json").write_text("{}")
    new().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    new().save_pretrained(tmp_path, max_shard_size=400)
    assert not (tmp_path / "model.safetensors").exists()
    hub.GPT2LMHeadModel.from_pretrained(tmp_path)


# --- heads ------------------------------------------------------------------------------------------------------------


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


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 8}, r"shape of transformer.wte.weight: \(13, 6\) in the file, \(13, 8\) in the model"),
        ({"n_layer": 3}, r"missing: h.2.ln_1.weight \(for transformer.blocks.2.attention_norm.weight\)"),
        ({"n_layer": 1}, "unexpected: transformer.h.1.attn.c_attn.bias"),
        ({"vocab_size": 12}, "wte.weight"),
        ({"vocab_size": 10**12}, "vocab_size = 1000000000000, but the weights are 1158 numbers in all"),
        ({"n_layer": 10**9}, "n_layer = 1000000000, but"),
        ({"n_embd": 2**40}, "n_embd = 1099511627776, but"),
        ({"n_embd": "6"}, "n_embd is '6'; it must be int"),
        ({"n_embd": True}, "n_embd is 'True'; it must be int"),
        ({"n_head": 4}, "not a multiple of num_heads"),
        ({"n_layer": 0}, "num_layers is 0"),
        ({"resid_pdrop": 2}, "resid_pdrop is 2.0; it must be"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon is 'None'; it must be float"),
        ({"activation_function": "mish"}, "the activation is 'mish'; minilm has gelu_new"),
        ({"scale_attn_weights": False}, "scale_attn_weights = False, and minilm can do None or True only"),
        ({"id2label": {"0": "a", "2": "b"}}, "the numbers .0, 2.; they must be 0 to 1"),
        ({"id2label": [1]}, "id2label is"),
        ({"num_labels": 4, "id2label": {"0": "a"}}, "num_labels is 4, but id2label has 1"),
        ({"model_type": "bert"}, "holds a bert model, and GPT2LMHeadModel opens gpt2"),
        ({"model_type": "absent"}, "does not say which model it is"),
        ({"model_type": 3}, "does not say which model it is"),
    ],
)
def test_a_configuration_that_does_not_fit(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        hub.GPT2LMHeadModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", "[" * 100_000, '"text"'])
def test_a_config_json_that_is_none(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json"):
        hub.GPT2LMHeadModel.from_pretrained(folder)


def test_missing_files(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither model\.safetensors"):
        hub.GPT2LMHeadModel.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json"):
        hub.GPT2LMHeadModel.from_pretrained(folder)


def test_a_quantized_model(folder):
    rewrite(folder, lambda tensors: tensors.update({"transformer.wpe.weight": np.ones((8, 6), np.int8)}))
    with pytest.raises(InputError, match=r"transformer.wpe.weight \(I8\): these weights are no floating-point numbers"):
        hub.GPT2LMHeadModel.from_pretrained(folder)


def test_an_option_that_is_none(folder):
    with pytest.raises(InputError, match=r"unknown option.s. colour, num_lables; this model has vocab_size"):
        hub.GPT2LMHeadModel.from_pretrained(folder, num_lables=3, colour="red")
    with pytest.raises(InputError, match="config and n_layer were both given"):
        hub.GPT2LMHeadModel.from_pretrained(folder, config=new().config, n_layer=1)


def test_nothing_is_computed_before_the_files_are_checked(folder, monkeypatch):
    """The last shard is missing: no model is made, no tensor read."""
    new().save_pretrained(folder, max_shard_size=400)
    sorted(folder.glob("model-*"))[-1].unlink()
    monkeypatch.setattr(hub.GPT2LMHeadModel, "__init__", lambda *a: pytest.fail("a model was made"))
    monkeypatch.setattr(Weights, "read", lambda *a: pytest.fail("a tensor was read"))
    with pytest.raises(InputError, match="lacks model-"):
        hub.GPT2LMHeadModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "yarn", "factor": 2.0}, "rope_type is 'yarn'; minilm can do default, linear and llama3"),
        ({"rope_type": "linear"}, "incomplete"),
        ({"rope_type": "linear", "factor": "x"}, "incomplete"),
        ({"rope_type": "llama3", "factor": 8.0}, "incomplete"),
        ({"type": "linear", "factor": 2.0}, None),
    ],
)
def test_rotary_positions_that_minilm_cannot_do(tmp_path, rope, message):
    new("LlamaForCausalLM").save_pretrained(tmp_path)
    edit(tmp_path, rope_parameters="absent", rope_scaling=rope)
    if message is None:
        assert hub.LlamaForCausalLM.from_pretrained(tmp_path).config.rope_parameters["rope_type"] == "linear"
        return
    with pytest.raises(InputError, match=message):
        hub.LlamaForCausalLM.from_pretrained(tmp_path)


# --- what is written is whole or not there ----------------------------------------------------------------------------


def snapshot(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("fail_at", [1, 2, 4])
def test_a_failure_while_saving_changes_nothing(folder, monkeypatch, fail_at):
    before, calls = snapshot(folder), []
    real = saving.write_safetensors

    def write(path, *rest):
        calls.append(path)
        real(path, *rest)
        if len(calls) == fail_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_safetensors", write)
    with pytest.raises(InputError, match="No space left on device; what was there is unchanged"):
        new("LlamaForCausalLM").save_pretrained(folder, max_shard_size=400)
    assert snapshot(folder) == before


def test_what_float16_cannot_hold(folder):
    before, model = snapshot(folder), new()
    model.transformer.final_norm.bias.data[0] = 1e5
    with pytest.raises(
        InputError, match=r"ln_f.bias has values up to 1e\+05, which float16 cannot hold; save it as bfloat16"
    ):
        model.save_pretrained(folder, dtype="float16")
    assert snapshot(folder) == before
    model.save_pretrained(folder, dtype="bfloat16")


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"max_shard_size": "big"}, {"max_shard_size": 0}, {"max_shard_size": "-1MB"}]
)
def test_options_of_saving(tmp_path, options):
    with pytest.raises(InputError, match=r"dtype is|max_shard_size is"):
        new().save_pretrained(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="cannot save the model"):
        new().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "here"


# --- finding the class ------------------------------------------------------------------------------------------------


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
        minilm.AutoModelForChess  # noqa: B018
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
