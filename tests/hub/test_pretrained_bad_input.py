"""Folders that hold no model, or another: said in one sentence, before anything is computed."""

import numpy as np
import pytest
from hub_models import new
from model_files import edit, rewrite

from minilm import hub
from minilm.errors import InputError
from minilm.hub.weights import Weights


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
