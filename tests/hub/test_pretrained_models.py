"""Models saved and opened again, on GPT-2 and Llama: everything comes back, whole or not at all."""

import json

import numpy as np
import pytest
from hub_models import CLASSES, new
from model_files import edit, first_output, snapshot

from minilm import hub
from minilm.errors import InputError
from minilm.hub import saving
from minilm.hub.weights import open_weights, read_header


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


def test_the_older_name_of_dtype(folder):
    with pytest.warns(DeprecationWarning, match="torch_dtype is called dtype now"):
        model = hub.GPT2LMHeadModel.from_pretrained(folder, torch_dtype="float64")
    assert next(iter(model.parameters())).dtype == np.float64


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
