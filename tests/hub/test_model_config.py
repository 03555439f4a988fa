"""config.json: whatever is in it, the answer is a configuration that works or one InputError."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minilm import hub
from minilm.errors import InputError
from minilm.hub.config import check_type, config_from_json, config_to_json, read_json, settle_labels
from minilm.models.causal_config import LlamaConfig

CLASSES = {name: getattr(hub, name) for name in ("BertConfig", "GPT2Config", "LlamaConfig", "T5Config")}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["0", "1", "a", "rope_type", "factor", "rope_theta"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=150)
@given(st.data())
def test_any_values_give_a_configuration_or_an_input_error(name, data):
    config_class = CLASSES[name]
    names = [*sorted(config_class.__dataclass_fields__), *getattr(config_class, "supported", {}), "unknown"]
    values = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    overrides = data.draw(
        st.dictionaries(st.sampled_from(["num_labels", "id2label", "vocab_size"]), VALUES, max_size=1)
    )
    try:
        config = config_from_json(config_class, values, overrides)
    except InputError:
        return
    again = config_from_json(config_class, json.loads(json.dumps(config_to_json(config, "Model", "float32"))))
    assert again == config


@pytest.mark.parametrize("name", CLASSES)
def test_an_empty_file_is_the_default(name):
    config = config_from_json(CLASSES[name], {})
    assert config == CLASSES[name]()
    written = config_to_json(config, "Model", "float32")
    assert (written["model_type"], written["architectures"]) == (CLASSES[name].model_type, ["Model"])


LABELS = {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    ("values", "overrides", "want"),
    [
        ({}, {}, None),
        ({"id2label": {"1": "b", "0": "a", "2": "c"}}, {}, LABELS),
        ({"label2id": {"a": 0, "b": 1, "c": 2}}, {}, LABELS),
        ({"id2label": {"0": "x"}}, {"id2label": LABELS}, LABELS),
        ({"id2label": {"0": "x"}}, {"num_labels": 2}, {0: "LABEL_0", 1: "LABEL_1"}),
        ({"id2label": LABELS}, {"num_labels": 3}, LABELS),
        ({"num_labels": 2}, {}, {0: "LABEL_0", 1: "LABEL_1"}),
        ({}, {"num_labels": 1}, {0: "LABEL_0"}),
    ],
)
def test_labels_agree(values, overrides, want):
    config = config_from_json(hub.GPT2Config, values, overrides)
    want = want or {0: "LABEL_0", 1: "LABEL_1"}
    assert config.id2label == want
    assert config.num_labels == len(want)
    assert config.label2id == {label: number for number, label in want.items()}


def test_labels_that_contradict():
    with pytest.raises(InputError, match="num_labels is 2, but id2label has 3"):
        settle_labels({}, {"num_labels": 2, "id2label": LABELS})
    with pytest.raises(InputError, match="no classification"):
        settle_labels({}, {"num_labels": 10**9})


@given(st.sampled_from(["int", "float", "str", "bool", "int | None", "dict[int, str] | None", "list | int"]), VALUES)
@example("int", True)
@example("float", 3)
def test_types(annotation, value):
    kinds = {
        "int": int,
        "float": (int, float),
        "str": str,
        "bool": bool,
        "dict": dict,
        "list": list,
        "None": type(None),
    }
    names = [kind.strip().partition("[")[0] for kind in annotation.split("|")]
    fits = any(isinstance(value, kinds[n]) and (n == "bool") >= isinstance(value, bool) for n in names)
    if fits:
        check_type("x", value, annotation)
    else:
        with pytest.raises(InputError, match=r"x is .*; it must be"):
            check_type("x", value, annotation)


def test_names_that_all_families_understand(tmp_path):
    config = config_from_json(hub.GPT2Config, {"n_embd": 12, "num_hidden_layers": 3}, {"hidden_size": 24})
    assert (config.n_embd, config.hidden_size, config.n_layer) == (24, 24, 3)


def test_a_file_that_is_no_config(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(20 << 20)
    with pytest.raises(InputError, match="larger than 16 MB"):
        read_json(path)


@pytest.mark.parametrize("values", [
    {"rope_theta": 0}, {"rope_theta": -3.0}, {"rope_theta": "x"}, {"rope_scaling": {"rope_type": "linear", "factor": 0}},
    {"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 1,
                      "original_max_position_embeddings": 3}},
], ids=str)  # fmt: skip
def test_rotary_positions_that_divide_by_zero_are_refused(values):
    with pytest.raises(InputError, match=r"restore config\.json"):
        LlamaConfig(**values).check()
