"""Seq2SeqTrainer: a Trainer whose evaluations can write the texts they are measured by.    [001 §5.2]"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minilm.errors import InputError
from minilm.training.arguments import TrainingArguments
from minilm.training.predictions import PredictionOutput, arrays_of
from minilm.training.trainer import Trainer


@dataclass(init=False)
class Seq2SeqTrainingArguments(TrainingArguments):
    """TrainingArguments, and how texts are written in evaluations.

    Args:
        predict_with_generate: predictions are tokens that the model wrote, not scores; −100 behind the shorter texts.
        generation_max_length: the longest text, in tokens. generation_num_beams: beams of the search.
    """

    predict_with_generate: bool = False
    generation_max_length: int | None = None
    generation_num_beams: int | None = None

    def check(self) -> None:
        super().check()
        for name in ("generation_max_length", "generation_num_beams"):
            if getattr(self, name) is not None:
                self._check_number(name, 1, whole=True)


class Seq2SeqTrainer(Trainer):
    """A Trainer for encoder-decoders: with args.predict_with_generate, compute_metrics gets (written tokens, labels)."""

    generation_options: dict[str, Any]

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Iterable[str] | None = None,
        metric_key_prefix: str = "eval",
        **options: Any,
    ) -> dict[str, float]:
        """options: of generate(), such as max_length and num_beams, instead of those in the arguments."""
        self.set_generation_options(options)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self,
        test_dataset: Any,
        ignore_keys: Iterable[str] | None = None,
        metric_key_prefix: str = "test",
        **options: Any,
    ) -> PredictionOutput:
        """As evaluate()."""
        self.set_generation_options(options)
        return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    def set_generation_options(self, options: dict[str, Any]) -> None:
        """Options of generate() for the next evaluation, the arguments' where they are not given."""
        if options and not self.generates:
            raise InputError(f"{', '.join(options)} are for texts to be written; set predict_with_generate=True")
        if "max_length" not in options and "max_new_tokens" not in options:
            options = {"max_length": getattr(self.args, "generation_max_length", None), **options}
        beams = getattr(self.args, "generation_num_beams", None)
        self.generation_options = {
            name: value for name, value in {"num_beams": beams, **options}.items() if value is not None
        }

    @property
    def generates(self) -> bool:
        """Whether texts are written in evaluations."""
        return getattr(self.args, "predict_with_generate", False)

    def check_eval_dataset(self) -> None:
        super().check_eval_dataset()
        if self.generates and not hasattr(self.model, "generate"):
            raise InputError(
                f"predict_with_generate is True, but a {type(self.model).__name__} writes no texts: it has no generate(); "
                "set it to False, or train a model that has"
            )

    def prediction_step(
        self, batch: dict[str, Any], loss_only: bool = False, ignore_keys: Iterable[str] | None = None
    ) -> tuple[float | None, Any, Any]:
        loss, scores, labels = super().prediction_step(batch, loss_only, ignore_keys)
        if loss_only or not self.generates:
            return loss, scores, labels
        given = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        model: Any = self.model
        return loss, arrays_of(model.generate(**given, **self.generation_options)), labels
