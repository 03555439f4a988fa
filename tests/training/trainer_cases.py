"""A Trainer on a small task: texts whose class is their first token's."""

import numpy as np

from minilm import BertConfig, BertForSequenceClassification
from minilm.training import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

SHAPE = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 16,
}  # fmt: skip


class Tokens:
    """What the Trainer needs of a tokenizer."""

    pad_token_id, mask_token_id, padding_side, all_special_ids = 0, 3, "right", (0, 1, 2, 3)

    def __len__(self):
        return 30

    def save_pretrained(self, folder):
        (folder / "vocab.txt").write_text("[PAD]\n")


def reviews(n=24, seed=0):
    """Texts whose class is their first token's."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(4, 30, rng.integers(2, 9)).tolist() for _ in range(n)]
    return [{"text": "left out", "input_ids": ids, "label": int(ids[0] >= 17)} for ids in texts]


def make_model(seed=0, dropout=0.1, kind=BertForSequenceClassification):
    config = BertConfig(**SHAPE, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    return kind(config, np.random.default_rng(seed))


def make(folder, model=None, data=None, callbacks=(), eval_data=None, collator=None, metrics=None, **options):
    defaults = {"max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "disable_tqdm": True}
    args = TrainingArguments(folder, **{**defaults, **options})
    return Trainer(
        model or make_model(), args, collator, reviews() if data is None else data, eval_data, Tokens(),
        compute_metrics=metrics, callbacks=list(callbacks),
    )  # fmt: skip


def accuracy(prediction):
    scores, labels = prediction
    return {"accuracy": (scores.argmax(-1) == labels).mean()}


def weights(trainer):
    return {name: array.copy() for name, array in trainer.model.state_dict().items()}


def assert_same_weights(a, b):
    for name, array in weights(a).items():
        np.testing.assert_array_equal(array, weights(b)[name], err_msg=name)


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = control.should_save = True
