"""GPT-2 and Llama as they are called: shapes, caches and clear refusals. (Their numbers are compared in tests/parity.)"""

import numpy as np
import pytest
from hub_models import GPT2, IDS, new

from minilm import Tensor, no_grad
from minilm.errors import InputError
from minilm.models import GPT, GPTConfig

MODELS = ["GPT2LMHeadModel", "LlamaForCausalLM"]


@pytest.mark.parametrize("name", MODELS)
def test_fields_are_there_when_they_are_asked_for(name):
    model = new(name)
    plain = model(IDS)
    assert plain.keys() == ["logits"]
    full = model(Tensor(IDS), labels=IDS, output_hidden_states=True, output_attentions=True, use_cache=True)
    assert full.keys() == ["loss", "logits", "past_key_values", "hidden_states", "attentions"]
    assert np.array_equal(full[1].data, plain[0].data)
    assert [h.shape for h in full.hidden_states] == [(2, 3, model.config.hidden_size)] * 3
    heads = model.config.num_attention_heads
    assert [w.shape for w in full.attentions] == [(2, heads, 3, 3)] * 2
    np.testing.assert_allclose(full.attentions[0].data.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_compares_with_the_next_token(name):
    model = new(name)
    out = model(IDS, labels=np.array([[0, 2, -100], [7, -100, 6]]))
    logits = out.logits.data.astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert out.loss.item() == pytest.approx(-(log_p[0, 0, 2] + log_p[1, 1, 6]) / 2, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_cache_changes_nothing(name):
    model, ids = new(name), np.arange(14).reshape(2, 7) % 13
    with no_grad():
        whole, past, pieces = model(ids).logits.data, None, []
        for piece in np.split(ids, [2, 3, 6], axis=1):
            out = model(piece, past_key_values=past, use_cache=True)
            past = out.past_key_values
            pieces.append(out.logits.data)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, rtol=1e-4, atol=1e-6)
    assert past[0].length == 7


@pytest.mark.parametrize("name", MODELS)
def test_counted_positions_are_the_same_as_given_ones(name):
    model = new(name)
    want = model(IDS).logits.data
    np.testing.assert_allclose(model(IDS, position_ids=np.arange(3)).logits.data, want, rtol=1e-5, atol=1e-7)
    each = model(IDS, position_ids=np.array([[0, 1, 2], [3, 4, 5]])).logits.data
    np.testing.assert_allclose(each[0], want[0], rtol=1e-5, atol=1e-7)
    moved = np.abs(each[1] - want[1]).max()
    assert moved < 1e-6 if name.startswith("Llama") else moved > 1e-3  # rotary positions are relative
    np.testing.assert_allclose(model(IDS[:, :2]).logits.data, want[:, :2], rtol=1e-5, atol=1e-7)  # nothing stays behind


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": np.zeros((0, 3), int)}, "at least one of each"),
        ({"input_ids": np.zeros((2, 0), int)}, "at least one of each"),
        ({"input_ids": np.zeros((2, 3))}, "give integers"),
        ({"input_ids": np.zeros(3, int)}, "give integers"),
        ({"input_ids": np.full((1, 3), 13)}, "input_ids run from 13 to 13, but the model has tokens 0 to 12"),
        ({"input_ids": np.full((1, 3), -1)}, "run from -1"),
        ({"input_ids": np.zeros((1, 9), int)}, "the text reaches position 8, but the model has positions 0 to 7"),
        ({"input_ids": IDS, "position_ids": np.array([0, 1, 8])}, "position 8"),
        ({"input_ids": IDS, "position_ids": np.array([0, 1])}, "position_ids have shape"),
        ({"input_ids": IDS, "attention_mask": np.ones((2, 4))}, r"attention_mask has shape \(2, 4\); give \(2, 3\)"),
        ({"input_ids": IDS, "labels": np.ones((2, 4), int)}, "labels have shape"),
        ({"input_ids": IDS, "labels": np.full((2, 3), 13)}, "labels"),
        ({"input_ids": IDS, "labels": np.full((2, 3), -1)}, "labels"),
        ({"input_ids": IDS[:, :1], "labels": IDS[:, :1]}, "at least two"),
        ({"input_ids": IDS, "labels": IDS, "logits_to_keep": 1}, "give one of the two"),
    ],
)
def test_what_cannot_be_computed_is_said(name, arguments, message):
    with pytest.raises(InputError, match=message):
        new(name)(**arguments)


def test_a_mask_counts_the_cache():
    model = new()
    past = model(IDS, use_cache=True).past_key_values
    with pytest.raises(InputError, match=r"give \(2, 4\): a 1 or 0 for each token, those in the cache as well"):
        model(IDS[:, :1], attention_mask=np.ones((2, 1)), past_key_values=past)
    assert past[0].length == 3


def test_a_classifier_needs_to_know_the_padding():
    model = new("GPT2ForSequenceClassification")
    with pytest.raises(InputError, match="pad_token_id is not set"):
        model(IDS)
    model.config.pad_token_id = 0
    full, padded = model(IDS).logits.data, np.pad(IDS, [(0, 0), (0, 2)])
    mask = (padded > 0).astype(int)
    np.testing.assert_allclose(model(padded, attention_mask=mask).logits.data, full, rtol=1e-5)
    np.testing.assert_allclose(model(padded[:, ::-1][:, :3] * 0 + IDS).logits.data, full, rtol=1e-6)


def test_dropouts_are_where_the_configuration_says():
    model = new(resid_pdrop=0.1, embd_pdrop=0.2, attn_pdrop=0.3).transformer
    assert model.dropout.p == 0.2
    for block in model.blocks:
        assert block.attention.attention_dropout == 0.3
        assert block.attention.output_dropout.p == block.feed_forward.dropout.p == 0.1


def test_the_same_blocks_as_minilm_gpt():
    """GPT2LMHeadModel with GPT's weights gives GPT's numbers: one model, two ways to call it."""
    model = new()
    gpt = GPT(GPTConfig.gpt2(vocab_size=13, context_length=8, num_layers=2, num_heads=2, hidden_size=6))
    gpt.load_state_dict({name.removeprefix("transformer."): a for name, a in model.state_dict().items()})
    logits, loss = gpt.eval()(IDS[:, :-1], IDS[:, 1:])
    out = model(IDS, labels=IDS)
    np.testing.assert_allclose(out.logits.data[:, :-1], logits.data, rtol=1e-5, atol=1e-7)
    assert out.loss.item() == pytest.approx(loss.item(), rel=1e-6)
    assert GPT2["n_layer"] == len(gpt.blocks)
