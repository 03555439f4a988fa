"""Marian and Pegasus, "Attention Is All You Need" in Hugging Face's layout: saved, opened, refused, decoded, trained."""

import json

import numpy as np
import pytest

from minilm import AutoModel, AutoModelForSeq2SeqLM, hub
from minilm.errors import InputError
from minilm.hub.weights import open_weights
from minilm.nn import SinusoidalPositions
from minilm.optim import Adam

TINY = {
    "vocab_size": 23, "max_position_embeddings": 16, "d_model": 12, "encoder_layers": 1, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 3, "encoder_ffn_dim": 10, "decoder_ffn_dim": 14,
    "activation_function": "relu", "dropout": 0.0, "scale_embedding": True, "pad_token_id": 0,
    "decoder_start_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
NAMES = ["MarianMTModel", "PegasusForConditionalGeneration"]
IDS = np.array([[5, 6, 7, 1], [8, 9, 1, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
LABELS = np.array([[10, 11, 12, 13, 1], [14, 15, 1, -100, -100]])


def new(name="MarianMTModel", **changes):
    """A small model whose norms and biases are not all ones and zeros."""
    cls = getattr(hub, name)
    rng = np.random.default_rng(3)
    model = cls(cls.config_class(**{**TINY, **changes}), rng).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * rng.standard_normal(parameter.shape, dtype=np.float32)
    return model


@pytest.mark.parametrize("name", [*NAMES, "MarianModel", "PegasusModel"])
def test_saved_and_opened_are_equal(tmp_path, name, caplog):
    model = new(name)
    model.save_pretrained(tmp_path)
    auto = AutoModel if name.endswith("sModel") or name == "MarianModel" else AutoModelForSeq2SeqLM
    again = auto.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert again.config == model.config
    for key, array in model.state_dict().items():
        assert np.array_equal(again.state_dict()[key], array), key
    assert not caplog.records
    shapes = open_weights(tmp_path).shapes
    assert not [key for key in shapes if "embed_positions" in key or "lm_head" in key]
    assert all(key.startswith("model.") or key == "final_logits_bias" for key in shapes) != model.is_base


def test_the_head_is_left_out_of_the_body_and_new_where_a_body_was_saved(tmp_path, caplog):
    new().save_pretrained(tmp_path / "whole")
    body = hub.MarianModel.from_pretrained(tmp_path / "whole")
    body.save_pretrained(tmp_path / "body")
    again = hub.MarianMTModel.from_pretrained(tmp_path / "body")
    assert "final_logits_bias" in caplog.text
    assert not again.final_logits_bias.data.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beams", [1, 3])
def test_with_a_cache_equal_to_without(name, beams):
    model = new(name)
    written = [
        model.generate(IDS, attention_mask=MASK, max_new_tokens=9, num_beams=beams, use_cache=cache)
        for cache in (True, False)
    ]
    assert np.array_equal(*map(np.asarray, written))
    alone = model.generate(IDS[1:, :3], max_new_tokens=9, num_beams=beams)
    length = np.asarray(alone).shape[1]
    assert np.array_equal(np.asarray(alone)[0], np.asarray(written[0])[1, :length])


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_learn_and_the_bias_of_the_head_stays(name):
    model = new(name).train()
    bias = model.final_logits_bias.data.copy()
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        loss = model(IDS, MASK, labels=LABELS).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.1 < losses[0]
    assert np.array_equal(model.final_logits_bias.data, bias)


def test_positions_are_the_papers_in_another_order():
    table = new().encoder.positions.table
    paper = SinusoidalPositions(16, 12).table
    assert np.array_equal(table[:, :6], paper[:, 0::2])
    assert np.array_equal(table[:, 6:], paper[:, 1::2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "tanh"}, "activation_function is 'tanh'; choose one of relu"),
        ({"activation_dropout": 0.1}, "activation_dropout = 0.1, and minilm can do 0.0"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings = False"),
        ({"add_final_layer_norm": True}, "add_final_layer_norm = True"),
        ({"d_model": 13}, "d_model is 13; sinusoidal positions come in pairs"),
        ({"decoder_layers": 0}, "decoder_layers is 0; it must be at least 1"),
        ({"encoder_layers": 10**9}, " = 1000000000, but the weights are"),
        ({"max_position_embeddings": 10**9}, "there can be at most"),
        ({"decoder_attention_heads": 5}, "12"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"pad_token_id": 23}, "pad_token_id is 23; the vocabulary has tokens 0 to 22"),
        ({"decoder_ffn_dim": 15}, "shape of model.decoder.layers.0.fc1.weight: (14, 12) in the file, (15, 12)"),
        ({"encoder_layers": 2}, "missing: encoder.layers.1.self_attn.q_proj.weight"),
        ({"model_type": "pegasus"}, "holds a pegasus model, and MarianMTModel opens marian"),
    ],
)
def test_folders_that_are_refused(tmp_path, changes, message):
    new().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(InputError) as error:
        hub.MarianMTModel.from_pretrained(tmp_path)
    assert message in str(error.value)


def test_a_text_longer_than_the_positions_is_refused():
    ids = np.full((1, 17), 5)
    with pytest.raises((InputError, IndexError, ValueError), match="16"):
        new()(ids, labels=LABELS[:1])
