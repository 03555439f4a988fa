"""BERT and its heads: what they return, by the formula, with masks, and for inputs that cannot work."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Tensor
from minilm.errors import InputError
from minilm.models import bert_heads
from minilm.models.bert import BertModel
from minilm.models.bert_config import BertConfig
from minilm.tape import no_grad

SHAPE = {
    "vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17,
    "max_position_embeddings": 9,
}  # fmt: skip
B, T = 3, 7
HEADS = [
    "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining", "BertForSequenceClassification",
    "BertForTokenClassification", "BertForQuestionAnswering",
]  # fmt: skip


def make(name="BertModel", generator=None, **changes):
    generator = generator or np.random.default_rng(1)
    cls = BertModel if name == "BertModel" else getattr(bert_heads, name)
    model = cls(BertConfig(**{**SHAPE, **changes}), generator).double().eval()
    for p in model.parameters():
        p.data += 0.3 * generator.standard_normal(p.shape)
    return model


def labels_for(name, generator, classes=2):
    words = generator.integers(0, 23, (B, T))
    return {
        "BertModel": {},
        "BertForMaskedLM": {"labels": np.where(generator.random((B, T)) < 0.5, words, -100)},
        "BertForNextSentencePrediction": {"labels": np.array([0, 1, 1])},
        "BertForPreTraining": {"labels": words, "next_sentence_label": np.array([0, 1, 1])},
        "BertForSequenceClassification": {"labels": generator.integers(0, classes, B)},
        "BertForTokenClassification": {"labels": generator.integers(0, classes, (B, T))},
        "BertForQuestionAnswering": {"start_positions": np.array([1, 0, 3]), "end_positions": np.array([1, 0, 6])},
    }[name]


@pytest.fixture
def ids(generator):
    return generator.integers(1, 23, (B, T))


# --- the encoder ------------------------------------------------------------------------------------------------------


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


# --- heads and losses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_every_gradient_along_a_random_direction(name, ids, generator):
    """Σ g · d = (L(p + h d) − L(p − h d)) / 2h for each parameter p, with a random direction d."""
    model = make(name, pad_token_id=None)
    inputs = {"input_ids": ids, "attention_mask": np.ones((B, T), int), **labels_for(name, generator)}
    inputs["attention_mask"][0, 5:] = 0
    model(**inputs).loss.backward()
    step = 1e-6
    for key, p in model.named_parameters():
        assert p.grad is not None, key
        direction, saved, losses = generator.standard_normal(p.shape), p.data.copy(), []
        for sign in (1, -1):
            p.data[...] = saved + sign * step * direction
            with no_grad():
                losses.append(model(**inputs).loss.item())
        p.data[...] = saved
        numeric = (losses[0] - losses[1]) / (2 * step)
        assert numeric == pytest.approx(float((p.grad * direction).sum()), rel=2e-5, abs=2e-8), key


@pytest.mark.parametrize("name", HEADS)
def test_without_labels_there_is_no_loss_and_states_are_handed_on(name, ids):
    output = make(name)(ids, output_hidden_states=True, output_attentions=True)
    assert "loss" not in output
    assert [h.shape for h in output.hidden_states] == [(B, T, 12)] * 3
    assert [a.shape for a in output.attentions] == [(B, 3, T, T)] * 2


def cross_entropy(logits, classes):
    """−log softmax, averaged over the rows whose class is not −100."""
    rows, classes = logits.reshape(-1, logits.shape[-1]), np.asarray(classes).reshape(-1)
    e = np.exp(rows - rows.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return -np.mean([np.log(p[i, c]) for i, c in enumerate(classes) if c != -100])


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForNextSentencePrediction", "BertForTokenClassification"])
def test_cross_entropy_of_the_labels_that_count(name, ids, generator):
    labels = labels_for(name, generator)["labels"]
    labels.flat[1] = -100
    output = make(name)(ids, labels=labels)
    assert output.loss.item() == pytest.approx(cross_entropy(output.logits.data, labels), rel=1e-10)


def test_the_joint_loss_is_the_sum_of_both(ids, generator):
    """[F16]: words and next sentence together; either alone where only its labels are given."""
    model = make("BertForPreTraining")
    labels = labels_for("BertForPreTraining", generator)
    output = model(ids, **labels)
    words = cross_entropy(output.prediction_logits.data, labels["labels"])
    follows = cross_entropy(output.seq_relationship_logits.data, labels["next_sentence_label"])
    assert output.loss.item() == pytest.approx(words + follows, rel=1e-10)
    assert model(ids, labels=labels["labels"]).loss.item() == pytest.approx(words, rel=1e-10)
    one = model(ids, next_sentence_label=labels["next_sentence_label"])
    assert one.loss.item() == pytest.approx(follows, rel=1e-10)


CLASSES, SEVERAL = np.array([2, 0, 1]), np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1.0]])


def mean_square(z, y):
    return ((z - y.reshape(z.shape)) ** 2).mean()


def binary(z, y):
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


@pytest.mark.parametrize(
    ("num_labels", "given", "labels", "problem_type", "formula"),
    [
        (3, None, CLASSES, "single_label_classification", cross_entropy),
        (3, None, CLASSES[:, None], "single_label_classification", cross_entropy),
        (3, None, SEVERAL, "multi_label_classification", binary),
        (3, "multi_label_classification", SEVERAL.astype(int), "multi_label_classification", binary),
        (1, None, np.array([0.5, -2, 1.25]), "regression", mean_square),
        (1, None, np.array([[0.5], [-2], [1]]), "regression", mean_square),
        (1, None, CLASSES, "regression", mean_square),
        (3, "regression", SEVERAL - 0.5, "regression", mean_square),
        (2, "single_label_classification", np.array([1, -100, 0]), "single_label_classification", cross_entropy),
    ],
)
def test_the_three_kinds_of_labels_of_a_text(ids, num_labels, given, labels, problem_type, formula):
    model = make("BertForSequenceClassification", num_labels=num_labels, problem_type=given)
    output = model(ids, labels=labels)
    assert output.logits.shape == (B, num_labels)
    assert output.loss.item() == pytest.approx(formula(output.logits.data, labels), rel=1e-10)
    assert model.config.problem_type == problem_type


def test_large_scores_of_several_labels_do_not_overflow(ids):
    model = make("BertForSequenceClassification", num_labels=3)
    model.classifier.bias.data[...] = [1e4, -1e4, 0]
    output = model(ids, labels=np.array([[1.0, 0, 0]] * B))
    output.loss.backward()
    assert output.loss.item() < 10
    assert np.isfinite(model.classifier.weight.grad).all()


def test_answers_outside_the_text_do_not_count(ids):
    model = make("BertForQuestionAnswering")
    start, end = np.array([1, 0, T]), np.array([[2], [T + 5], [3]])
    output = model(ids, start_positions=start, end_positions=end)
    scores = model.qa_outputs(model.bert(ids).last_hidden_state).data
    assert np.array_equal(output.start_logits.data, scores[..., 0])
    assert np.array_equal(output.end_logits.data, scores[..., 1])
    first = cross_entropy(output.start_logits.data, [1, 0, -100])
    last = cross_entropy(output.end_logits.data, [2, -100, 3])
    assert output.loss.item() == pytest.approx((first + last) / 2, rel=1e-10)


def test_a_classifier_drops_what_it_is_told_to(ids):
    config = BertConfig(**SHAPE, hidden_dropout_prob=0.2, classifier_dropout=0.4)
    assert bert_heads.BertForTokenClassification(config).dropout.p == 0.4
    config = BertConfig(**SHAPE, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3)
    model = bert_heads.BertForSequenceClassification(config)
    assert model.dropout.p == model.bert.dropout.p == 0.2
    assert model.bert.blocks[1].attention.attention_dropout == 0.3
    assert model.bert.blocks[1].attention.output_dropout.p == 0.2


# --- input that cannot work -------------------------------------------------------------------------------------------

OK = np.ones((B, T), int)


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
    ("name", "labels", "message"),
    [
        ("BertForMaskedLM", {"labels": OK * 23}, "labels hold 23; the classes are 0 to 22, and -100 marks"),
        ("BertForMaskedLM", {"labels": OK[:, 1:]}, r"labels have shape \(3, 6\); this head wants \(3, 7\)"),
        ("BertForTokenClassification", {"labels": OK - 2}, "labels hold -1; the classes are 0 to 1"),
        ("BertForTokenClassification", {"labels": OK * 1.0}, "labels hold float64; they must be integers"),
        ("BertForNextSentencePrediction", {"labels": [0, 1, 2]}, "labels hold 2; the classes are 0 to 1"),
        ("BertForPreTraining", {"next_sentence_label": [0, 1, 2]}, "next_sentence_label hold 2"),
        ("BertForSequenceClassification", {"labels": [0, 5, 1]}, "labels hold 5"),
        ("BertForSequenceClassification", {"labels": [0, 1]}, r"labels have shape \(2,\); this head wants \(3,\)"),
        ("BertForSequenceClassification", {"labels": [0.0, 1.0, 1.0]}, "'multi_label_classification' wants numbers of shape"),
        ("BertForSequenceClassification", {"labels": [[0.0, 1.5]] * 3}, "labels run from 0 to 1.5"),
        ("BertForSequenceClassification", {"labels": [[0.0, np.nan]] * 3}, "not finite"),
        ("BertForQuestionAnswering", {"start_positions": [1, 1, 1]}, "end_positions; one of them is missing"),
        ("BertForQuestionAnswering", {"start_positions": [1, -1, 1], "end_positions": [1, 1, 1]}, "start_positions hold -1"),
        ("BertForQuestionAnswering", {"start_positions": [1, 1, 1], "end_positions": [1, 1]}, "end_positions have shape"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(name, labels, message):
    with pytest.raises(InputError, match=message):
        make(name)(OK, **labels)


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
    with pytest.raises(InputError, match="unknown BERT option"):
        BertConfig.from_dict({"hidden": 3})
