"""GPT-2 learns to name the next token.    [Radford et al. 2019]

Documents stand one after the other with <|endoftext|> between them, cut into rows of equal length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minilm.data.collators import DataCollatorWithPadding
from minilm.hub import GPT2Config, GPT2LMHeadModel
from minilm.pretraining.families import (
    BODIES,
    Family,
    Judged,
    Row,
    blocks,
    frequency_baseline,
    judged_words,
    loss_and_right,
    nothing_in,
)
from minilm.pretraining.options import GptOptions
from minilm.text import GPT2Tokenizer

SHOWN = 20  # tokens of an example, before and after the place


class Gpt(Family):
    """Rows: max_length tokens, labels that are the ids themselves (the model shifts them)."""

    options: GptOptions
    tokens_needed = ("eos_token",)
    what = "next tokens"

    def documents(self, texts: Sequence[str]) -> list[str]:
        return list(texts)  # empty lines are part of what it learns to write

    def train_tokenizer(self, documents: Sequence[str], pieces: int, progress: bool) -> GPT2Tokenizer:
        return GPT2Tokenizer.train(documents, pieces, progress=progress, model_max_length=self.options.max_length)

    def rows(self, documents: Sequence[str], tokenizer: Any, part: str, encode: Callable[..., list[Any]]) -> list[Row]:
        texts = blocks(encode(documents), self.options.max_length, 2, between=tokenizer.eos_token_id)
        if not texts:
            raise nothing_in(part, "two tokens")
        return [{"input_ids": text, "labels": text} for text in texts]

    def model(self, tokenizer: Any, generator: np.random.Generator) -> GPT2LMHeadModel:
        body, end = BODIES[self.options.size], tokenizer.eos_token_id
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=self.options.max_length, n_embd=body["hidden_size"],
            n_layer=body["num_hidden_layers"], n_head=body["num_attention_heads"], bos_token_id=end, eos_token_id=end,
        )  # fmt: skip
        return GPT2LMHeadModel(config, generator)

    def collator(self, tokenizer: Any, seed: int) -> DataCollatorWithPadding:
        return DataCollatorWithPadding(tokenizer, pad_token_id=tokenizer.eos_token_id)

    def compressed(self, predictions: Any, labels: Any) -> tuple[Any, ...]:
        logits = predictions[0] if isinstance(predictions, tuple) else predictions
        pair = loss_and_right(logits[:, :-1], labels[:, 1:])
        return tuple(np.pad(values, ((0, 0), (1, 0))) for values in pair)  # the first token is no target

    def judged(self, predictions: Any, labels: Any) -> dict[str, Judged]:
        return {"token": judged_words(predictions, without_first(labels))}

    def baseline(self, training: list[Row], validation_labels: Any, tokenizer: Any) -> dict[str, tuple[float, float]]:
        labels = without_first(validation_labels)
        return {"token": frequency_baseline([row["input_ids"] for row in training], labels, len(tokenizer))}

    def examples(
        self, model: Any, tokenizer: Any, rows: list[Row], batch: Mapping[str, Any]
    ) -> Iterator[tuple[str, ...]]:
        for row in rows:
            ids = row["input_ids"]
            middle = len(ids) // 2
            begin, rest = ids[max(0, middle - SHOWN) : middle], ids[middle : middle + SHOWN]
            written = model.generate(begin[None], max_new_tokens=len(rest), do_sample=False)[0][len(begin) :]
            yield tuple(tokenizer.decode([int(i) for i in one]) for one in (begin, rest, written))

    def how_to_use(self, folder: str) -> list[str]:
        return [
            f'pipeline("text-generation", model={folder!r})',
            f"minilm finetune classification --data FILE --model {folder}",
        ]


def without_first(labels: np.ndarray) -> np.ndarray:
    """Labels as they count: of each row the first is no target."""
    counted = labels.copy()
    counted[:, 0] = -100
    return counted
