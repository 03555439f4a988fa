"""T5's folders: the names in the file, and what decides whether the head is tied."""

import json

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.hub.auto import AutoModelForSeq2SeqLM
from minilm.hub.t5 import T5ForConditionalGeneration, T5Model
from minilm.hub.weights import open_weights
from minilm.models.t5_config import T5Config

TINY = {"vocab_size": 19, "d_model": 10, "d_kv": 3, "d_ff": 14, "num_layers": 1, "num_heads": 2}
IDS, TARGET = np.array([[3, 4, 5, 1]]), np.array([[0, 6, 7]])

ATTENTION = [f"{letter}.weight" for letter in "qkvo"]
ENCODER = [
    "final_layer_norm.weight", "block.0.layer.0.layer_norm.weight", "block.0.layer.1.layer_norm.weight",
    "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    *(f"block.0.layer.0.SelfAttention.{name}" for name in ATTENTION),
]  # fmt: skip
DECODER = [
    *ENCODER, "block.0.layer.2.layer_norm.weight", *(f"block.0.layer.1.EncDecAttention.{name}" for name in ATTENTION)
]  # fmt: skip


def make(**changes):
    return T5ForConditionalGeneration(T5Config(**TINY, **changes), np.random.default_rng(0)).eval()


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_names_and_the_way_back(gated, tied, tmp_path):
    model = make(feed_forward_proj="gated-gelu" if gated else "relu", tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    inner = ["wi_0.weight", "wi_1.weight"] if gated else ["wi.weight"]
    names = {"shared.weight", *(f"encoder.{name}" for name in ENCODER), *(f"decoder.{name}" for name in DECODER)}
    for stack, layer in (("encoder", 1), ("decoder", 2)):
        names |= {f"{stack}.block.0.layer.{layer}.DenseReluDense.{name}" for name in ["wo.weight", *inner]}
    weights = open_weights(tmp_path)
    assert set(weights.shapes) == names | (set() if tied else {"lm_head.weight"})
    own = model.encoder.blocks[0].attention.query_key_value.weight.data
    assert np.array_equal(weights.read("encoder.block.0.layer.0.SelfAttention.k.weight"), own[6:12])
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(again) is T5ForConditionalGeneration
    wanted = model(IDS, decoder_input_ids=TARGET).logits.data
    assert np.array_equal(again(IDS, decoder_input_ids=TARGET).logits.data, wanted)
    assert np.array_equal(again.generate(IDS, max_new_tokens=4), model.generate(IDS, max_new_tokens=4))


def test_a_file_with_two_tables_has_a_head_of_its_own(tmp_path):
    """As transformers 5 writes T5 1.1: the configuration says tied, the weights differ."""
    model = make(tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    wanted = model(IDS, decoder_input_ids=TARGET).logits.data
    edit(tmp_path, tie_word_embeddings=True)
    opened = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert opened.lm_head is not None
    assert not opened.config.tie_word_embeddings
    assert np.array_equal(opened(IDS, decoder_input_ids=TARGET).logits.data, wanted)


def test_a_file_whose_two_tables_are_equal_is_tied(tmp_path):
    model = make(tie_word_embeddings=False)
    model.lm_head.weight.data[...] = model.shared.weight.data
    model.save_pretrained(tmp_path)
    edit(tmp_path, tie_word_embeddings=True, scale_decoder_outputs=True)
    opened = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert opened.lm_head is None
    wanted = model(IDS, decoder_input_ids=TARGET).logits.data * 10**-0.5
    assert np.allclose(opened(IDS, decoder_input_ids=TARGET).logits.data, wanted, atol=1e-6)


def test_what_is_not_known_is_kept_and_what_is_wrong_is_refused(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    edit(tmp_path, task_specific_params={"summarization": {"num_beams": 4}}, decoder_start_token_id=None)
    opened = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert opened.config.decoder_start_token_id == 0
    opened.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again/config.json").read_text())["task_specific_params"]["summarization"]
    edit(tmp_path, num_layers=2)
    with pytest.raises(InputError, match=r"missing: encoder\.block\.1"):
        T5Model.from_pretrained(tmp_path)
    edit(tmp_path, model_type="bert")
    with pytest.raises(InputError, match="holds a bert model"):
        T5ForConditionalGeneration.from_pretrained(tmp_path)
