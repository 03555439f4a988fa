"""Seq2SeqTrainer: evaluations that write texts, and the options of how they are written."""

import numpy as np
import pytest

from minilm import (
    BertConfig,
    BertForMaskedLM,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
)
from minilm.data.collators import DataCollatorForSeq2Seq
from minilm.errors import InputError

CONFIG = {
    "vocab_size": 14, "d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0,
    "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip


def copies(n=32, seed=0):
    """The target is the source's first token, twice."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(2, 14, rng.integers(2, 5)).tolist() for _ in range(n)]
    return [{"input_ids": [*ids, 1], "labels": [ids[0], ids[0], 1]} for ids in texts]


def exact(prediction):
    written, labels = prediction
    width = labels.shape[1]
    written = np.where(written == -100, 0, written)[:, 1 : width + 1]  # behind the start token
    written = np.pad(written, ((0, 0), (0, width - written.shape[1])))
    return {"exact": (written == np.where(labels == -100, 0, labels)).all(1).mean()}


def make(folder, **options):
    model = T5ForConditionalGeneration(T5Config(**CONFIG), np.random.default_rng(0))
    defaults = {"max_steps": 2, "disable_tqdm": True, "save_strategy": "no", "per_device_eval_batch_size": 8}
    return Seq2SeqTrainer(
        model, Seq2SeqTrainingArguments(folder, **{**defaults, **options}), DataCollatorForSeq2Seq(pad_token_id=0, model=model),
        copies(), copies(12), compute_metrics=exact,
    )  # fmt: skip


def test_it_learns_and_is_measured_by_what_it_writes(tmp_path):
    trainer = make(
        tmp_path, max_steps=250, learning_rate=1e-2, predict_with_generate=True, generation_max_length=6,
        lr_scheduler_type="constant",
    )  # fmt: skip
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate(num_beams=2)
    assert before["eval_exact"] < 0.3
    assert after["eval_exact"] > 0.8
    assert after["eval_loss"] < before["eval_loss"]


def test_what_is_predicted(tmp_path):
    trainer = make(tmp_path, predict_with_generate=True, generation_max_length=6)
    written = trainer.predict(copies(12, 1)).predictions
    assert written.dtype.kind == "i"
    assert written.shape[0] == 12
    assert written.shape[1] <= 6
    assert trainer.predict(copies(3, 1), max_length=3).predictions.shape[1] <= 3
    scoring = make(tmp_path)
    scoring.compute_metrics = None
    assert scoring.predict(copies(3)).predictions[0].shape == (3, 3, 14)
    with pytest.raises(InputError, match="max_length are for texts to be written; set predict_with_generate"):
        make(tmp_path).evaluate(max_length=3)
    with pytest.raises(InputError, match="generation_num_beams is 0"):
        make(tmp_path, generation_num_beams=0)


def test_a_model_that_writes_nothing_is_noticed_before_the_training(tmp_path):
    trainer = make(tmp_path, predict_with_generate=True, eval_strategy="epoch")
    trainer.model = BertForMaskedLM(
        BertConfig(vocab_size=14, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    )
    with pytest.raises(InputError, match="BertForMaskedLM writes no texts"):
        trainer.train()
    assert trainer.step == 0
