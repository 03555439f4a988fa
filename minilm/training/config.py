"""What a run is made of: corpus, tokenizer, model and training options, as YAML on disk and options on the command line."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.files import write_text
from minilm.models import GPTConfig
from minilm.optim import check_precision
from minilm.optional import require

SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "adam", "sgd")
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list such as [1, 2]",
}


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
        rates = ("learning_rate", "min_learning_rate", "weight_decay", "max_grad_norm", "adam_epsilon")
        for name in (*rates, "warmup_steps", "eval_tokens", "early_stopping_patience", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be a number from 0 on")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.min_learning_rate > self.learning_rate:
            raise InputError(
                f"training.min_learning_rate {self.min_learning_rate} is above training.learning_rate "
                f"{self.learning_rate}; lower the one, or raise the other"
            )
        for name, known in (("lr_scheduler_type", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise InputError(f"training.{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")


@dataclass
class RunConfig:
    """One training run.

    Args:
        corpus: a text file (UTF-8), or the name of a known corpus such as python-reference, python-source, tinyshakespeare.
        tokenizer: char, or bpe:VOCAB for byte-level BPE with so many tokens, such as bpe:1000; wordpiece:VOCAB, unigram:VOCAB
            and word:VOCAB do not keep line breaks, nor what their vocabulary lacks.
        validation_fraction: the last part of the corpus, never trained on.
        model: the shape of the model.
        training: how it is trained.
        device: cpu, or cuda for a GPU; a run may be resumed on another one.
        precision: float32, or on a GPU bfloat16 or float16: the model computes in 16 bits, the weights stay float32.
    """

    corpus: str = "python-reference"
    tokenizer: str = "char"
    validation_fraction: float = 0.1
    model: GPTConfig = field(default_factory=GPTConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    device: str = "cpu"
    precision: str = "float32"

    def check(self) -> None:
        """Raise InputError for the first value that cannot work, before any long work starts."""
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"validation_fraction is {self.validation_fraction}; it must be between 0 and 1, such as 0.1"
            )
        check_precision(self.precision, self.device)
        self.training.check()
        shape = GPTConfig(**{**self.model.to_dict(), "vocab_size": self.model.vocab_size or 1})
        shape.check()

    def to_yaml(self) -> str:
        """The configuration as YAML."""
        return require("yaml", "writing a run's configuration").safe_dump(asdict(self), sort_keys=False)

    def save(self, path: str | Path) -> None:
        """Write it to a file that load() reads."""
        write_text(path, self.to_yaml())

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a config.yaml; raises InputError for a file that is missing, no YAML, or has unknown or mistyped options."""
        return from_mapping(cls, read_yaml(path), str(path))


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds; raises InputError if it cannot be read."""
    yaml = require("yaml", "reading a configuration")
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a YAML file with options") from error
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, " ".join(str(error.problem).split())
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place} is not YAML ({problem}); write `name: value` lines") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a YAML file, or damaged; write `name: value` lines, or restore it") from error


def from_mapping(kind: Any, values: Any, where: str) -> Any:
    """Build a configuration dataclass from nested dictionaries; raises InputError for a wrong name or type."""
    if not isinstance(values, dict):
        kind_of = {list: "a list", str: "a text", type(None): "nothing"}.get(type(values), f"the value {values}")
        raise InputError(f"{where} holds {kind_of} where options were expected; write `name: value` lines")
    known = {f.name: f for f in fields(kind)}
    for name in map(str, values):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise InputError(f"{where} has an unknown option {name}; {advice}")
    defaults = kind()
    converted: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if hasattr(default, "__dataclass_fields__"):
            converted[name] = from_mapping(type(default), value, f"{where}: {name}")
        elif isinstance(default, float) and is_number(value):
            converted[name] = float(value)
        elif type(value) is not type(default):
            raise InputError(f"{where}: {name} is {value!r}, but must be {TYPE_NAMES[type(default)]}")
        else:
            converted[name] = value
    return kind(**converted)


def is_number(value: Any) -> bool:
    """Whether a value from YAML is a number; 1e-3 without a point comes as a text."""
    if isinstance(value, str):
        return re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]+", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)
