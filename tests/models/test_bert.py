"""The BERT encoder by its formulas, with masks, and for inputs and configurations that cannot work."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bert_cases import OK, SHAPE, B, T, make

from minilm import Tensor
from minilm.errors import InputError
from minilm.models import bert_heads
from minilm.models.bert import BertModel
from minilm.models.bert_config import BertConfig


def layer_norm(x, norm):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + norm.eps) * norm.weight.data + norm.bias.data


def test_the_embeddings_are_added_and_normalized(ids, generator):
    """[F6] corrected: a sum, not a product."""
    model = make()
    segments, positions = generator.integers(0, 2, (B, T)), generator.integers(0, 9, (B, T))
    tables = [e.weight.data for e in (model.token_embedding, model.segment_embedding, model.position_embedding)]
    got = model(ids, token_type_ids=segments, position_ids=positions, output_hidden_states=True).hidden_states[0]
    want = layer_norm(tables[0][ids] + tables[1][segments] + tables[2][positions], model.embedding_norm)
    np.testing.assert_allclose(got.data, want, rtol=1e-10, atol=1e-12)
    plain = model(ids, output_hidden_states=True).hidden_states[0]
    want = layer_norm(tables[0][ids] + tables[1][0] + tables[2][:T], model.embedding_norm)
    np.testing.assert_allclose(plain.data, want, rtol=1e-10, atol=1e-12)


def test_a_block_by_its_formula(ids):
    """Post-norm: h = LayerNorm(x + Attention(x)), y = LayerNorm(h + W₂ gelu(W₁ h)), with every number from plain NumPy."""
    model = make()
    output = model(ids, output_hidden_states=True)
    x, block = output.hidden_states[0].data, model.blocks[0]

    def linear(a, layer):
        return a @ layer.weight.data.T + layer.bias.data

    q, k, v = (
        a.reshape(B, T, 3, 4).swapaxes(1, 2) for a in np.split(linear(x, block.attention.query_key_value), 3, -1)
    )
    e = np.exp(q @ k.swapaxes(-1, -2) / 2)
    heads = (e / e.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(B, T, 12)
    h = layer_norm(x + linear(heads, block.attention.output), block.attention_norm)
    up = linear(h, block.feed_forward.up)
    erf = np.vectorize(math.erf)
    up = up * (1 + erf(up / math.sqrt(2))) / 2
    want = layer_norm(h + linear(up, block.feed_forward.down), block.feed_forward_norm)
    np.testing.assert_allclose(output.hidden_states[1].data, want, rtol=1e-9, atol=1e-11)


def test_segments_and_positions_that_are_given_equal_the_defaults(ids):
    model = make()
    want = model(ids).last_hidden_state.data
    explicit = model(ids, np.ones((B, T)), np.zeros((B, T), int), np.arange(T)[None])
    np.testing.assert_allclose(explicit.last_hidden_state.data, want, rtol=1e-12)


def test_fields_and_shapes(ids):
    model = make()
    output = model(ids)
    assert output.keys() == ["last_hidden_state", "pooler_output"]
    output = model(Tensor(ids), output_hidden_states=True, output_attentions=True)
    assert output.last_hidden_state.shape == (B, T, 12)
    assert output.pooler_output.shape == (B, 12)
    assert [h.shape for h in output.hidden_states] == [(B, T, 12)] * 3
    assert np.array_equal(output.hidden_states[-1].data, output.last_hidden_state.data)
    assert [a.shape for a in output.attentions] == [(B, 3, T, T)] * 2
    for a in output.attentions:
        np.testing.assert_allclose(a.data.sum(-1), 1, rtol=1e-10)
        assert a.data.min() > 0, "an encoder sees the words before and behind"


def test_the_pooled_vector_is_made_from_the_first_token(ids):
    model = make()
    output = model(ids)
    first = output.last_hidden_state.data[:, 0]
    want = np.tanh(first @ model.pooler.weight.data.T + model.pooler.bias.data)
    np.testing.assert_allclose(output.pooler_output.data, want, rtol=1e-10)
    assert BertModel(BertConfig(**SHAPE), pooler=False)(ids).pooler_output is None


@pytest.mark.parametrize("left", [False, True])
def test_padding_changes_nothing_for_the_text(ids, left):
    """Text of 5 tokens alone, and the same with two tokens of padding; what the padding is does not matter."""
    model = make()
    text = slice(2, T) if left else slice(0, T - 2)
    positions = np.arange(T)[None] - (2 if left else 0)
    mask = np.zeros((B, T), int)
    mask[:, text] = 1
    alone = model(ids[:, text]).last_hidden_state.data
    for fill in (0, 5):
        padded = np.where(mask, ids, fill)
        output = model(padded, mask, position_ids=np.maximum(positions, 0), output_attentions=True)
        np.testing.assert_allclose(output.last_hidden_state.data[:, text], alone, rtol=1e-9, atol=1e-11)
        for a in output.attentions:
            assert not a.data[..., mask[0] == 0].any(), "a padding token was looked at"


def test_a_mask_may_be_booleans_or_numbers(ids):
    model = make()
    mask = np.ones((B, T), int)
    mask[0, 4:] = 0
    want = model(ids, mask).last_hidden_state.data
    for other in (mask.astype(bool), mask.astype(np.float32), Tensor(mask), mask.tolist()):
        assert np.array_equal(model(ids, other).last_hidden_state.data, want)
    assert not np.array_equal(model(ids).last_hidden_state.data, want)


def test_the_same_generator_gives_the_same_model_and_the_same_dropout(ids):
    def run():
        model = BertModel(BertConfig(**SHAPE), np.random.default_rng(3))
        return model(ids).last_hidden_state.data, model.eval()(ids).last_hidden_state.data

    (trained, evaluated), (again, _) = run(), run()
    assert np.array_equal(trained, again)
    assert not np.array_equal(trained, evaluated)


def test_the_start_is_berts():
    config = BertConfig(**{**SHAPE, "vocab_size": 2000, "hidden_size": 60}, pad_token_id=4)
    model = bert_heads.BertForPreTraining(config, np.random.default_rng(0))
    for name, p in model.named_parameters():
        if p.ndim == 2:
            kept = np.delete(p.data, 4, axis=0) if name == "bert.token_embedding.weight" else p.data
            assert abs(kept.std() / 0.02 - 1) < 4 / np.sqrt(2 * kept.size), name
        else:
            assert (p.data == (1 if name.endswith("weight") else 0)).all(), name
    assert not model.bert.token_embedding.weight.data[4].any()


def test_the_table_of_the_head_is_the_embedding_unless_untied():
    tied = make("BertForMaskedLM")
    assert tied.predictions.weight is tied.bert.token_embedding.weight
    assert "predictions.weight" not in tied.state_dict()
    untied = make("BertForMaskedLM", tie_word_embeddings=False)
    assert untied.num_parameters() == tied.num_parameters() + 23 * 12


def test_the_padding_token_is_not_trained(ids):
    model = make("BertForTokenClassification", pad_token_id=6)
    ids[0, :3] = 6
    model(ids, labels=np.ones((B, T), int)).loss.backward()
    gradient = model.bert.token_embedding.weight.grad
    assert not gradient[6].any()
    assert gradient[ids[0, 3]].any()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": np.ones((B, 10), int)}, "the text has 10 tokens, but this model knows only 9 positions"),
        ({"input_ids": np.ones(T, int)}, r"shape \(7,\); BERT wants \(texts, tokens\)"),
        ({"input_ids": np.ones((0, T), int)}, r"\(0, 7\): an empty batch"),
        ({"input_ids": np.ones((B, 0), int)}, "an empty batch"),
        ({"input_ids": OK * 23}, "input_ids holds 23, but this model has 0 to 22"),
        ({"input_ids": OK - 2}, "input_ids holds -1"),
        ({"input_ids": OK * 1.0}, "input_ids holds float64; it must hold integers"),
        ({"input_ids": OK, "attention_mask": np.ones((B, T - 1))}, r"attention_mask has shape \(3, 6\), input_ids \(3, 7\)"),
        ({"input_ids": OK, "token_type_ids": OK * 2}, "token_type_ids holds 2, but this model has 0 to 1"),
        ({"input_ids": OK, "token_type_ids": OK[:1]}, "token_type_ids has shape"),
        ({"input_ids": OK, "position_ids": OK * 9}, "position_ids holds 9, but this model has 0 to 8"),
        ({"input_ids": OK, "position_ids": OK[:2]}, "position_ids has shape"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(InputError, match=message):
        make()(**inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 100, "num_attention_heads": 12}, "hidden_size 100 is not a multiple of num_heads 12"),
        ({"vocab_size": 0}, "vocab_size is 0; it must be an integer of at least 1"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_size": 12.0}, "hidden_size is 12.0; it must be an integer"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'; choose one of gelu"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0"),
        ({"classifier_dropout": -0.1}, "classifier_dropout is -0.1"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps is 0.0"),
        ({"pad_token_id": 23}, "pad_token_id 23 is no token of a vocabulary of 23"),
        ({"problem_type": "ranking"}, "problem_type is 'ranking'; choose one of None, single_label"),
        ({"num_labels": 3, "id2label": {0: "no", 1: "yes"}}, "num_labels is 3, but id2label names the classes"),
        ({"id2label": {1: "no", 2: "yes"}}, "name each class from 0 on"),
    ],
)
def test_configurations_that_cannot_work(changes, message):
    with pytest.raises(InputError, match=message):
        BertModel(BertConfig(**{**SHAPE, **changes}))


def test_labels_are_named_and_counted():
    assert (BertConfig().num_labels, BertConfig().id2label) == (2, {0: "LABEL_0", 1: "LABEL_1"})
    assert BertConfig(num_labels=3).label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    named = BertConfig(id2label={"0": "no", "1": "perhaps", "2": "yes"})
    assert (named.num_labels, named.id2label[2], named.label2id["perhaps"]) == (3, "yes", 1)
    assert BertConfig(label2id={"a": 0, "b": 1, "c": 2}).id2label == {0: "a", 1: "b", 2: "c"}
    assert BertConfig.from_dict(named.to_dict()) == named
    with pytest.raises(InputError, match="unknown BertConfig option"):
        BertConfig.from_dict({"hidden": 3})
