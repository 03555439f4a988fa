"""generation_config.json: read with a model, used by generate(), written again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minilm import GPT2Config, GPT2LMHeadModel, InputError


@pytest.fixture
def model(generator):
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=32, n_embd=8, n_layer=1, n_head=2), generator)


def test_a_folder_without_one(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
    assert GPT2LMHeadModel.from_pretrained(tmp_path).generation_config == {}


def test_what_it_says_is_what_generate_does_unless_told_otherwise(model, tmp_path):
    model.save_pretrained(tmp_path)
    said = {"max_new_tokens": 3, "transformers_version": "5.0"}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    opened = GPT2LMHeadModel.from_pretrained(tmp_path)
    ids = np.array([[1, 2, 3]])
    assert opened.generate(ids).shape == (1, 6)
    assert opened.generate(ids, max_new_tokens=5).shape == (1, 8)
    opened.save_pretrained(tmp_path / "again")
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "again").generation_config == {"max_new_tokens": 3}


def test_options_as_one_argument(model):
    from minilm.generation import GenerationConfig, GenerationOptions

    ids = np.array([[1, 2, 3]])
    want = model.generate(ids, max_new_tokens=4, num_beams=2)
    for given in ({"max_new_tokens": 4, "num_beams": 2}, GenerationOptions(max_new_tokens=4, num_beams=2)):
        assert model.generate(ids, generation_config=given).tolist() == want.tolist()
    assert model.generate(ids, generation_config={"max_new_tokens": 9}, max_new_tokens=2).shape == (1, 5)
    assert model.generate(ids, generation_config=GenerationConfig(max_new_tokens=2, temperature=0)).shape == (1, 5)
    with pytest.raises(InputError, match="generation_config is a int; give a dictionary"):
        model.generate(ids, generation_config=3)
    with pytest.raises(InputError, match="no option 'max_tokens'"):
        model.generate(ids, generation_config={"max_tokens": 3})


def test_a_caller_may_ask_for_less_than_the_folders_least(model):
    model.generation_config = {"min_new_tokens": 6, "eos_token_id": list(range(0, 20, 2))}
    assert model.generate(np.array([[1, 2]]), max_new_tokens=3).shape == (1, 5)
    with pytest.raises(InputError, match="min_new_tokens is 6 and max_new_tokens 3"):
        model.generate(np.array([[1, 2]]), max_new_tokens=3, min_new_tokens=6)


def test_a_damaged_one_is_an_error(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(InputError, match=r"generation_config\.json is not JSON"):
        GPT2LMHeadModel.from_pretrained(tmp_path)


def test_a_tokenizer_is_found_by_name_like_a_model(tmp_path):
    from minilm import BertTokenizer

    with pytest.raises(InputError, match="there is no folder no/such/place"):
        BertTokenizer.from_pretrained("no/such/place")
