"""What a run is made of: corpus, tokenizer, model and training options, as YAML on disk and options on the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.files import write_text
from minilm.models import GPTConfig
from minilm.optional import require

SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "adam", "sgd")


@dataclass
class TrainingConfig:
    """How a model is trained.

    Args:
        max_steps: optimizer steps in all.
        batch_size: windows per forward pass.
        gradient_accumulation_steps: forward passes whose gradients are averaged into one step.
        learning_rate: the highest learning rate, reached after the warm-up.
        min_learning_rate: the learning rate at the last step (cosine and linear).
        lr_scheduler_type: cosine, linear or constant, after the warm-up.
        warmup_steps: steps over which the learning rate rises from zero.
        optimizer: adamw, adam or sgd.
        weight_decay: decay of the matrices; biases and norms do not decay.
        adam_beta1: how long Adam remembers the gradient's mean (SGD: the momentum).
        adam_beta2: how long Adam remembers the gradient's square.
        adam_epsilon: ε in Adam's denominator.
        max_grad_norm: gradients are scaled down to this norm; 0 switches clipping off.
        eval_steps: steps between evaluations on the validation split.
        eval_tokens: how many validation tokens such an evaluation reads; 0 reads all. The last one reads all.
        save_steps: steps between checkpoints.
        save_total_limit: how many checkpoints are kept, beside the best one.
        logging_steps: steps between lines of the metrics log.
        early_stopping_patience: stop after so many evaluations without a better validation loss; 0 never stops early.
        seed: from which initial weights, batches and dropout follow.
    """

    max_steps: int = 2000
    batch_size: int = 12
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    lr_scheduler_type: str = "cosine"
    warmup_steps: int = 100
    optimizer: str = "adamw"
    weight_decay: float = 0.1
    adam_beta1: float = 0.9
    adam_beta2: float = 0.99
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    eval_steps: int = 250
    eval_tokens: int = 50_000
    save_steps: int = 250
    save_total_limit: int = 2
    logging_steps: int = 10
    early_stopping_patience: int = 0
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for the first value that cannot work."""
        at_least_one = (
            "max_steps batch_size gradient_accumulation_steps eval_steps save_steps save_total_limit logging_steps"
        )
        for name in at_least_one.split():
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        rates = ("learning_rate", "min_learning_rate", "weight_decay", "max_grad_norm")
        for name in (*rates, "warmup_steps", "eval_tokens", "early_stopping_patience", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.min_learning_rate > self.learning_rate:
            raise InputError(
                f"training.min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}; "
                "lower it, or raise the other"
            )
        for name, known in (("lr_scheduler_type", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise InputError(f"training.{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")


@dataclass
class RunConfig:
    """One training run.

    Args:
        corpus: a text file (UTF-8), or the name of a known corpus such as python-reference, python-source, tinyshakespeare.
        tokenizer: char, or bpe:VOCAB for byte-level BPE with so many tokens, such as bpe:1000.
        validation_fraction: the last part of the corpus, never trained on.
        model: the shape of the model.
        training: how it is trained.
    """

    corpus: str = "python-reference"
    tokenizer: str = "char"
    validation_fraction: float = 0.1
    model: GPTConfig = field(default_factory=GPTConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def check(self) -> None:
        """Raise InputError for the first value that cannot work, before any long work starts."""
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"validation_fraction is {self.validation_fraction}; it must be between 0 and 1, such as 0.1"
            )
        self.training.check()
        shape = GPTConfig(**{**self.model.to_dict(), "vocab_size": self.model.vocab_size or 1})
        shape.check()

    def to_yaml(self) -> str:
        return require("yaml", "writing a run's configuration").safe_dump(asdict(self), sort_keys=False)

    def save(self, path: str | Path) -> None:
        write_text(path, self.to_yaml())

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a config.yaml; raises InputError for a file that is missing, no YAML, or has unknown or mistyped options."""
        yaml = require("yaml", "reading a run's configuration")
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; is it the folder of a run?") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is not a YAML file ({reason}); restore it or start a new run") from error
        return from_mapping(cls, values, str(path))


def from_mapping(kind: Any, values: Any, where: str) -> Any:
    """Build a configuration dataclass from nested dictionaries, checking every name and type."""
    if not isinstance(values, dict):
        raise InputError(
            f"{where} holds {type(values).__name__} where options were expected; write `name: value` lines"
        )
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where} has unknown option(s) {', '.join(map(str, unknown))}; known are {', '.join(known)}")
    defaults = kind()
    converted: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if hasattr(default, "__dataclass_fields__"):
            converted[name] = from_mapping(type(default), value, f"{where}: {name}")
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            converted[name] = float(value)
        elif type(value) is not type(default):
            raise InputError(f"{where}: {name} is {value!r}, but must be of type {type(default).__name__}")
        else:
            converted[name] = value
    return kind(**converted)
