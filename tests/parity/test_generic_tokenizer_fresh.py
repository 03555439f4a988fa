"""A tokenizer.json that transformers saved without a family: the same keys, so that any model can be called with them."""

from __future__ import annotations

import pytest

from minilm import AutoTokenizer

tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is the oracle and is not installed")


@pytest.mark.parametrize("names", [None, ["input_ids", "token_type_ids", "attention_mask"]])
def test_the_keys_are_those_of_transformers(tmp_path, names):
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    given = {} if names is None else {"model_input_names": names}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **given)
    theirs.save_pretrained(tmp_path)
    ours = AutoTokenizer.from_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for pair in (None, "b a"):
        assert dict(ours("a b c", pair)) == dict(again("a b c", pair))
    assert ours.model_input_names == again.model_input_names
