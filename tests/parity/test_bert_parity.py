"""Every BERT class against transformers with the same weights: all outputs, the loss and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import optim
from minilm.hub import bert as hub
from minilm.hub.config import config_from_json
from minilm.models.bert_config import BertConfig
from minilm.tape import no_grad

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is the oracle of these tests and is not installed"
)

torch.set_num_threads(1)  # small arrays: more threads only wait for each other

CONFIGS = {
    "odd sizes": {
        "vocab_size": 37, "hidden_size": 15, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 23,
        "max_position_embeddings": 19,
    },
    "one head, three segments, another padding": {
        "vocab_size": 29, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 5,
        "max_position_embeddings": 13, "type_vocab_size": 3, "pad_token_id": 7, "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
    },
    "untied, tanh, no padding token": {
        "vocab_size": 41, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 17,
        "max_position_embeddings": 11, "hidden_act": "tanh", "tie_word_embeddings": False, "pad_token_id": None,
    },
    "relu, thin": {
        "vocab_size": 11, "hidden_size": 9, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 9,
        "max_position_embeddings": 12, "hidden_act": "relu",
    },
    "silu": {
        "vocab_size": 33, "hidden_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 31,
        "max_position_embeddings": 14, "hidden_act": "silu",
    },
}  # fmt: skip
CASES = [  # class, changes of the configuration, kind of labels
    ("BertModel", {}, None),
    ("BertForMaskedLM", {}, "words"),
    ("BertForNextSentencePrediction", {}, "pairs"),
    ("BertForPreTraining", {}, "both"),
    ("BertForSequenceClassification", {"num_labels": 3}, "classes"),
    ("BertForSequenceClassification", {"num_labels": 1}, "numbers"),
    ("BertForSequenceClassification", {"num_labels": 3, "problem_type": "regression"}, "vectors"),
    ("BertForSequenceClassification", {"num_labels": 4}, "several"),
    ("BertForTokenClassification", {"num_labels": 5}, "tags"),
    ("BertForQuestionAnswering", {}, "spans"),
]
DTYPES = [(np.float32, 1e-5), (np.float64, 1e-9)]
B, T = 3, 11


def make(class_name, config_name, changes, dtype):
    """The same random model twice: transformers' and minilm's. Large weights, so that attention is far from uniform."""
    torch.manual_seed(1)
    config = transformers.BertConfig(**CONFIGS[config_name], **changes)
    theirs = getattr(transformers, class_name)._from_config(config, attn_implementation="eager")
    theirs = theirs.to(torch.float64 if dtype == np.float64 else torch.float32).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p += 0.25 * torch.randn(p.shape, dtype=torch.float32).to(p.dtype)
    ours = getattr(hub, class_name)(config_from_json(BertConfig, config.to_dict()), np.random.default_rng(0)).eval()
    if dtype == np.float64:
        ours.double()
    for own, values in in_our_layout(ours, {n: t.numpy() for n, t in theirs.state_dict().items()}).items():
        dict(ours.named_parameters())[own].data[...] = values
    return theirs, ours


def in_our_layout(ours, tensors):
    """transformers' tensors under minilm's names, queries, keys and values stacked."""
    parameters = dict(ours.named_parameters())
    plan = ours.mapping(ours.config).plan(
        {n: p.shape for n, p in parameters.items()}, {n: t.shape for n, t in tensors.items()}
    )
    assert not plan.new
    assert not plan.left_out
    out = {own: np.empty(parameters[own].shape, parameters[own].dtype) for own, _, _ in plan.reads}
    for own, rule, names in plan.reads:
        rule.read((tensors[name] for name in names), out[own])
    assert set(out) == set(parameters)
    return out


def batch(config, rng, padding):
    """A batch with segments, and with padding at the end, at the beginning and in the middle."""
    inputs = {"input_ids": rng.integers(0, config.vocab_size, (B, T))}
    if padding:
        mask = np.ones((B, T), int)
        mask[0, -4:] = mask[1, :3] = mask[2, 5] = 0
        inputs["attention_mask"] = mask
        inputs["token_type_ids"] = rng.integers(0, config.type_vocab_size, (B, T))
        inputs["position_ids"] = rng.integers(0, config.max_position_embeddings, (B, T))
        inputs["input_ids"][0, -4:] = config.pad_token_id or 0
    return inputs


def labels_for(kind, config, rng):
    words = np.where(rng.random((B, T)) < 0.5, rng.integers(0, config.vocab_size, (B, T)), -100)
    pairs = np.array([1, 0, 1])
    match kind:
        case None:
            return {}
        case "words":
            return {"labels": words}
        case "pairs":
            return {"labels": pairs}
        case "both":
            return {"labels": words, "next_sentence_label": pairs}
        case "classes":
            return {"labels": rng.integers(0, config.num_labels, B)}
        case "numbers":
            return {"labels": rng.standard_normal(B)}
        case "vectors":
            return {"labels": rng.standard_normal((B, config.num_labels))}
        case "several":
            return {"labels": rng.integers(0, 2, (B, config.num_labels)).astype(float)}
        case "tags":
            return {"labels": np.where(rng.random((B, T)) < 0.7, rng.integers(0, config.num_labels, (B, T)), -100)}
        case "spans":  # the last answer lies behind this window of the text
            return {"start_positions": np.array([2, 0, T + 3]), "end_positions": np.array([4, 0, T + 7])}


def as_torch(inputs, dtype):
    def one(a):
        return torch.tensor(a if a.dtype.kind == "i" else a.astype(dtype))

    return {name: one(a) for name, a in inputs.items()}


def assert_close(got, want, tolerance, name, floor=0.0):
    """‖got − want‖ ≤ tolerance ‖want‖ + floor."""
    want = want.detach().numpy() if isinstance(want, torch.Tensor) else want
    assert got.shape == want.shape, name
    assert got.dtype == want.dtype, name
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want) + floor, name


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("config_name", CONFIGS)
@pytest.mark.parametrize(("class_name", "changes", "kind"), CASES)
def test_outputs_loss_and_every_gradient(class_name, changes, kind, config_name, padding, dtype, tolerance):
    theirs, ours = make(class_name, config_name, changes, dtype)
    rng = np.random.default_rng(5)
    inputs = batch(ours.config, rng, padding)
    inputs.update(labels_for(kind, ours.config, rng))
    got = ours(**inputs, output_hidden_states=True, output_attentions=True)
    want = theirs(**as_torch(inputs, dtype), output_hidden_states=True, output_attentions=True)
    names = [name for name in want if name != "cross_attentions"]  # an empty tuple, which only some versions return
    assert list(got.keys()) == names
    assert len(got.hidden_states) == len(got.attentions) + 1 == ours.config.num_hidden_layers + 1
    for name in names:
        if name in ("hidden_states", "attentions"):
            for i, (a, b) in enumerate(zip(got[name], want[name], strict=True)):
                assert_close(a.data, b, tolerance, f"{name}[{i}]")
        else:
            assert_close(got[name].data, want[name], tolerance, name)
    assert ours.config.problem_type == theirs.config.problem_type

    if kind is None:  # a model without a head has no loss: contract with random cotangents
        c, d = rng.standard_normal((B, T, ours.config.hidden_size)), rng.standard_normal((B, ours.config.hidden_size))
        (got.last_hidden_state * c.astype(dtype)).sum().backward(retain_graph=True)
        (got.pooler_output * d.astype(dtype)).sum().backward()
        terms = (
            want.last_hidden_state * torch.tensor(c.astype(dtype)),
            want.pooler_output * torch.tensor(d.astype(dtype)),
        )
        (terms[0].sum() + terms[1].sum()).backward()
    else:
        got.loss.backward()
        want.loss.backward()
    # a parameter without influence has no gradient in minilm or in transformers, or zeros
    gradients = {n: (torch.zeros_like(p) if p.grad is None else p.grad).numpy() for n, p in theirs.named_parameters()}
    wanted = in_our_layout(ours, gradients)
    # some are zero but for rounding (a shift that is the same for all scores): compared with the length of the whole gradient
    floor = 8 * np.finfo(dtype).eps * np.sqrt(sum(np.linalg.norm(g) ** 2 for g in wanted.values()))
    for own, parameter in ours.named_parameters():
        gradient = np.zeros_like(parameter.data) if parameter.grad is None else parameter.grad
        assert_close(gradient, wanted[own], tolerance, own, floor)


@pytest.mark.parametrize(
    ("class_name", "kind"), [("BertForPreTraining", "both"), ("BertForTokenClassification", "tags")]
)
def test_twenty_steps_of_training(class_name, kind):
    """AdamW with weight decay, float32, without dropout: the losses stay within 1e-4 of transformers'."""
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 5}
    theirs, ours = make(class_name, "odd sizes", changes, np.float32)
    theirs.train()
    ours.train()
    rng = np.random.default_rng(8)
    inputs = batch(ours.config, rng, True)
    inputs.update(labels_for(kind, ours.config, rng))
    options = {"lr": 3e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    optimizer, other = optim.AdamW(ours.parameters(), **options), torch.optim.AdamW(theirs.parameters(), **options)
    losses = []
    for _ in range(20):
        pair = ours(**inputs).loss, theirs(**as_torch(inputs, np.float32)).loss
        optimizer.zero_grad()
        other.zero_grad()
        for loss in pair:
            loss.backward()
        optimizer.step()
        other.step()
        losses.append([loss.item() for loss in pair])
    losses = np.array(losses)
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-4)
    assert losses[-1, 0] < 0.8 * losses[0, 0], "nothing was learned"


@pytest.mark.parametrize("class_name", sorted({name for name, _, _ in CASES}))
def test_without_a_tape_the_outputs_are_the_same(class_name):
    _, ours = make(class_name, "odd sizes", {}, np.float32)
    inputs = batch(ours.config, np.random.default_rng(6), True)
    taped = ours(**inputs)
    with no_grad():
        plain = ours(**inputs)
    for name in taped.keys():  # noqa: SIM118  iterating gives the values
        np.testing.assert_allclose(plain[name].data, taped[name].data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config_name", CONFIGS)
def test_the_same_number_of_parameters_and_defaults(config_name):
    """What transformers does without padding, segments or positions is what minilm does."""
    theirs, ours = make("BertForPreTraining", config_name, {}, np.float32)
    unused = (
        0 if ours.config.tie_word_embeddings else ours.config.vocab_size
    )  # cls.predictions.bias beside the decoder's
    assert ours.num_parameters() == sum(p.numel() for p in theirs.parameters()) - unused
    ids = np.random.default_rng(7).integers(0, ours.config.vocab_size, (1, 5))
    got, want = ours(ids), theirs(torch.tensor(ids))
    assert_close(got.prediction_logits.data, want.prediction_logits, 1e-5, "prediction_logits")
    assert got.loss is None
    assert list(got.keys()) == list(want.keys())


def test_the_default_configuration_is_transformers():
    theirs, ours = transformers.BertConfig(), BertConfig()
    for name, value in ours.to_dict().items():
        assert value == getattr(theirs, name), name
