"""BERT's tensors under Hugging Face's names: the list of them, there and back, and older spellings."""

from __future__ import annotations

import numpy as np
import pytest

from minilm.hub import bert as hub
from minilm.models.bert_config import BertConfig

CLASSES = {
    "BertModel": [],
    "BertForMaskedLM": ["cls.predictions.bias", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"],
    "BertForNextSentencePrediction": ["cls.seq_relationship"],
    "BertForPreTraining": [
        "cls.predictions.bias", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
        "cls.seq_relationship",
    ],
    "BertForSequenceClassification": ["classifier"],
    "BertForTokenClassification": ["classifier"],
    "BertForQuestionAnswering": ["qa_outputs"],
}  # fmt: skip
WITHOUT_POOLER = ("BertForMaskedLM", "BertForTokenClassification", "BertForQuestionAnswering")
SHAPE = {
    "vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17,
    "max_position_embeddings": 9,
}  # fmt: skip


def make(name, seed, **changes):
    model = getattr(hub, name)(BertConfig(**SHAPE, **changes), np.random.default_rng(seed))
    for p in model.parameters():
        p.data += np.random.default_rng(seed).standard_normal(p.shape).astype(np.float32)
    return model


def as_file(model):
    return dict(model.mapping(model.config).to_file(model.state_dict().items(), model.is_base))


def fill(model, tensors):
    """Read a file's tensors into the model; returns the plan."""
    parameters = dict(model.named_parameters())
    shapes = {name: p.shape for name, p in parameters.items()}
    plan = model.mapping(model.config).plan(shapes, {name: a.shape for name, a in tensors.items()})
    for own, rule, names in plan.reads:
        rule.read((tensors[name] for name in names), parameters[own].data)
    return plan


def expected_names(name):
    """What a Hugging Face file of this class holds, written out."""
    base = [f"embeddings.{table}_embeddings.weight" for table in ("word", "position", "token_type")]
    layers = ["embeddings.LayerNorm", *([] if name in WITHOUT_POOLER else ["pooler.dense"])]
    for i in range(2):
        parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
        parts += ["attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]
        layers += [f"encoder.layer.{i}.{part}" for part in parts]
    prefix = "" if name == "BertModel" else "bert."
    names = [prefix + n for n in base] + [f"{prefix}{n}.{p}" for n in layers for p in ("weight", "bias")]
    for head in CLASSES[name]:
        names += [head] if head.endswith("bias") else [f"{head}.{p}" for p in ("weight", "bias")]
    return set(names)


@pytest.mark.parametrize("name", CLASSES)
def test_the_names_and_shapes_in_a_file(name):
    model = make(name, 1)
    tensors = as_file(model)
    assert set(tensors) == expected_names(name)
    prefix = "" if name == "BertModel" else "bert."
    stacked = dict(model.named_parameters())[f"{prefix}blocks.1.attention.query_key_value.weight"].data
    for i, part in enumerate(("query", "key", "value")):
        tensor = tensors[f"{prefix}encoder.layer.1.attention.self.{part}.weight"]
        assert np.array_equal(tensor, stacked[12 * i : 12 * i + 12])
    assert tensors[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape == (17, 12)


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_there_and_back(name, untied):
    first, second = make(name, 1, tie_word_embeddings=not untied), make(name, 2, tie_word_embeddings=not untied)
    plan = fill(second, as_file(first))
    assert not plan.new
    assert not plan.left_out
    for key, array in first.state_dict().items():
        assert np.array_equal(second.state_dict()[key], array), key


def test_an_untied_head_has_a_table_of_its_own():
    tensors = as_file(make("BertForMaskedLM", 1, tie_word_embeddings=False))
    assert {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"} <= set(tensors)
    older = {**tensors, "cls.predictions.bias": tensors["cls.predictions.decoder.bias"]}
    del older["cls.predictions.decoder.bias"]  # older files have the bias under its other name
    model = make("BertForMaskedLM", 2, tie_word_embeddings=False)
    fill(model, older)
    assert np.array_equal(model.predictions.bias.data, older["cls.predictions.bias"])
    assert np.array_equal(model.predictions.weight.data, older["cls.predictions.decoder.weight"])


@pytest.mark.parametrize("name", CLASSES)
def test_the_spelling_of_the_first_checkpoints(name):
    """gamma and beta, buffers, and a base with or without its prefix."""
    first, second = make(name, 1), make(name, 2)
    old = {}
    for key, array in as_file(first).items():
        key = f"bert.{key}" if name == "BertModel" else key.removeprefix("bert.")
        old[key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = array
    old["embeddings.position_ids"] = np.arange(9)[None]
    plan = fill(second, old)
    assert not plan.new
    assert not plan.left_out
    for key, array in first.state_dict().items():
        assert np.array_equal(second.state_dict()[key], array), key


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_fine_tuning_starts_a_head_and_leaves_those_of_pre_training(name):
    base, tuned = make("BertForPreTraining", 1), make(name, 2)
    plan = fill(tuned, as_file(base))
    assert set(plan.new) == {"classifier.weight", "classifier.bias"}
    pooler = (
        set() if name == "BertForSequenceClassification" else {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    )
    heads = {key for key in as_file(base) if key.startswith("cls.")}
    assert set(plan.left_out) == heads | pooler
    assert np.array_equal(tuned.bert.token_embedding.weight.data, base.bert.token_embedding.weight.data)
