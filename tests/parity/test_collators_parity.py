"""Collators beside those of transformers, where nothing is drawn: the same batches."""

import numpy as np
import pytest

from minilm.data import collators

transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers` is not installed")


@pytest.fixture(params=["right", "left"])
def tokenizer(request):
    model = tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[MASK]": 2}, "[UNK]")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(model),
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        padding_side=request.param,
    )


ROWS = [[5, 6, 7, 8], [9], [10, 11]]


def assert_same(ours, theirs, features):
    got = ours([dict(feature) for feature in features])
    expected = theirs([dict(feature) for feature in features])
    assert set(got) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], np.asarray(array), err_msg=name)


@pytest.mark.parametrize("options", [{}, {"padding": "max_length", "max_length": 7}, {"pad_to_multiple_of": 8}])
def test_padding(tokenizer, options):
    features = [{"input_ids": row, "attention_mask": [1] * len(row), "label": n} for n, row in enumerate(ROWS)]
    ours = collators.DataCollatorWithPadding(tokenizer, **options)
    assert_same(ours, transformers.DataCollatorWithPadding(tokenizer, return_tensors="np", **options), features)


def test_default():
    features = [{"input_ids": [1, 2], "label": 0}, {"input_ids": [3, 4], "label": 1}]
    assert_same(
        collators.default_data_collator,
        lambda rows: transformers.default_data_collator(rows, return_tensors="np"),
        features,
    )


def test_token_classification(tokenizer):
    features = [{"input_ids": row, "labels": [n % 3 for n in row]} for row in ROWS]
    theirs = transformers.DataCollatorForTokenClassification(tokenizer, return_tensors="pt")
    assert_same(collators.DataCollatorForTokenClassification(tokenizer), theirs, features)


@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 4}])
def test_seq2seq(tokenizer, options):
    features = [{"input_ids": row, "labels": [*row[::-1], 3]} for row in ROWS]
    theirs = transformers.DataCollatorForSeq2Seq(tokenizer, return_tensors="np", **options)
    ours = collators.DataCollatorForSeq2Seq(tokenizer, **options)

    def without_decoder(rows):  # transformers makes decoder_input_ids only where it has a model
        batch = ours(rows)
        batch.pop("decoder_input_ids", None)
        return batch

    assert_same(without_decoder, theirs, features)


def test_causal(tokenizer):
    features = [{"input_ids": row} for row in ROWS]
    theirs = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False, return_tensors="np")
    assert_same(collators.DataCollatorForLanguageModeling(tokenizer, mlm=False), theirs, features)


def test_shift_right():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    config = transformers.T5Config(
        vocab_size=20, d_model=4, d_kv=2, d_ff=4, num_layers=1, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    labels = np.array([[4, 5, 1], [6, 1, -100]])
    expected = transformers.T5ForConditionalGeneration(config).prepare_decoder_input_ids_from_labels(
        torch.tensor(labels)
    )
    np.testing.assert_array_equal(collators.shift_tokens_right(labels, 0, 0), expected.numpy())
