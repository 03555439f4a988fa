"""What `minilm finetune` can be told whatever the task; task_options.py adds what each task has of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from minilm.devices import as_device
from minilm.errors import InputError
from minilm.files import unused_folder
from minilm.optim import check_precision

Size = Literal["tiny", "small"]
SHAPE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")  # of a new model


@dataclass
class FinetuningOptions:
    """What all tasks have in common.

    Args:
        data: the file with the training examples; validation and test are split off it unless they are given.
        validation: a file with examples to watch the training with.
        test: a file with examples that the report judges, and that nothing else looks at.
        validation_fraction: the part of data that becomes validation; 0 for none.
        test_fraction: the part of data that becomes the test.
        split_seed: another number splits the file another way.
        max_train_examples: use at most so many training examples, drawn with split_seed; 0 uses all.
        max_test_examples: judge at most so many test examples, drawn with split_seed; 0 judges all.
        model: a pretrained model, as a folder or a Hugging Face name; unless given, a new one starts from nothing.
        size: of a new model, tiny or small; the next four options change single numbers of it.
        num_hidden_layers: of a new model; an encoder-decoder has so many of each.
        hidden_size: width of a new model: numbers per token.
        num_attention_heads: of a new model, per layer.
        intermediate_size: width of a new model inside the feed-forward networks.
        dropout: probability with which activations are dropped in training; unless given, what the model has.
        vocab_size: pieces of a new model's tokenizer, which is trained on the training part alone.
        max_length: the longest text in tokens; unless given, what suits the task and the model.
        too_long: what happens to a longer text, cut (the report says how many) or refuse.
        epochs: passes over the training part.
        max_steps: steps instead of epochs; 0 goes by epochs.
        batch_size: examples per forward pass.
        gradient_accumulation_steps: forward passes that make one step.
        learning_rate: the highest; unless given 5e-5 for a pretrained model, 5e-4 with LoRA, 1e-3 for a new one.
        weight_decay: of AdamW.
        warmup_ratio: the part of the steps over which the learning rate rises.
        scheduler: what the learning rate does then: linear or cosine, down to 0, or constant.
        label_smoothing: how much of the right answer's probability is spread over all answers in training; 0.1 is usual.
        group_by_length: put texts of similar length together; little is padded, but batches are less mixed.
        evaluations: how often validation is measured on the way.
        keep: last keeps the weights of the last step, best those that did best on validation.
        seed: from which new weights, the order of the examples and dropout follow.
        lora: train low-rank adapters of this rank and leave the model's own weights alone; 0 trains everything.
        lora_alpha: the adapters' update is multiplied by this over the rank; unless given twice the rank.
        lora_dropout: dropout before the adapters.
        lora_targets: the layers that get adapters, by the ends of their names (query,key); unless given queries and values.
        resamples: test sets that the bootstrap draws for the confidence intervals.
        shown: how many examples of each kind the report shows.
        device: cpu, or cuda for a GPU.
        precision: float32, or on a GPU bfloat16 or float16: the model computes in 16 bits, the weights stay float32.
        out: the folder to make; unless given runs/TASK-DATE-TIME.
    """

    data: str = ""
    validation: str | None = None
    test: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    max_train_examples: int = 0
    max_test_examples: int = 0
    model: str | None = None
    size: Size = "tiny"
    num_hidden_layers: int | None = None
    hidden_size: int | None = None
    num_attention_heads: int | None = None
    intermediate_size: int | None = None
    dropout: float | None = None
    vocab_size: int = 8000
    max_length: int | None = None
    too_long: Literal["cut", "refuse"] = "cut"
    epochs: float = 3.0
    max_steps: int = 0
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    label_smoothing: float = 0.0
    group_by_length: bool = False
    evaluations: int = 3
    keep: Literal["last", "best"] = "last"
    seed: int = 0
    lora: int = 0
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    lora_targets: list[str] | str | None = None
    resamples: int = 1000
    shown: int = 5
    device: str = "cpu"
    precision: str = "float32"
    out: str | None = None

    task: ClassVar[str] = ""
    default_length: ClassVar[int] = 128

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        if not self.data:
            raise InputError("there is no data; give the file with the examples: --data FILE")
        for name in ("batch_size", "gradient_accumulation_steps", "resamples", "evaluations"):
            self.check_number(name, 1)
        for name in (
            "split_seed", "max_train_examples", "max_test_examples", "max_steps", "seed", "lora", "lora_alpha", "shown",
            "weight_decay", "epochs",
        ):  # fmt: skip
            self.check_number(name, 0)
        for name in (
            "validation_fraction", "test_fraction", "warmup_ratio", "lora_dropout", "dropout", "label_smoothing"
        ):  # fmt: skip
            self.check_number(name, 0, below=1)
        self.check_number("max_length", 4)
        self.check_number("vocab_size", 20)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0, such as 5e-5")
        if not self.max_steps and not self.epochs:
            raise InputError("epochs is 0 and so is max_steps; give one of the two")
        for name, choices in (
            ("size", ("tiny", "small")), ("too_long", ("cut", "refuse")), ("keep", ("last", "best")),
            ("scheduler", ("linear", "cosine", "constant")),
        ):  # fmt: skip
            self.check_choice(name, choices)
        for name in SHAPE:
            self.check_number(name, 1)
            if self.model and getattr(self, name) is not None:
                raise InputError(
                    f"{name} is for a new model, and {self.model} has its own; leave --{name} or --model out"
                )
        if self.test is None and not self.test_fraction:
            raise InputError(
                "there is nothing to judge the model with; give --test FILE, or a test_fraction such as 0.1"
            )
        parts = [self.test is None and self.test_fraction, self.validation is None and self.validation_fraction]
        if sum(parts) >= 1:
            raise InputError(
                f"validation_fraction {self.validation_fraction} and test_fraction {self.test_fraction} leave nothing "
                "to train on; give smaller ones"
            )
        if self.keep == "best" and self.validation is None and not self.validation_fraction:
            raise InputError("keep best needs validation; give --validation FILE, or a validation_fraction above 0")
        if not self.lora:
            for name in ("lora_alpha", "lora_targets", "lora_dropout"):
                if getattr(self, name):
                    raise InputError(f"{name} is for LoRA, which is off; give a rank too, such as --lora 8")
        self.check_device()

    def check_device(self) -> None:
        """Raise InputError for a device or a precision that cannot be used here."""
        check_precision(self.precision, as_device(self.device).type)

    def check_number(self, name: str, least: float, below: float = math.inf) -> None:
        """Raise InputError unless the value is None or a number in these bounds."""
        value = getattr(self, name)
        if value is not None and not least <= value < below:
            limit = f" and below {below:g}" if below < math.inf else ""
            raise InputError(f"{name} is {value}; it must be at least {least:g}{limit}")

    def check_choice(self, name: str, choices: tuple[Any, ...]) -> None:
        """Raise InputError unless the value is one of these."""
        if getattr(self, name) not in choices:
            known = ", ".join(str(choice) for choice in choices if choice is not None)
            raise InputError(f"{name} is {getattr(self, name)!r}; choose one of {known}")

    def rate(self) -> float:
        """The learning rate, chosen or usual."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 5e-4 if self.lora else 5e-5 if self.model else 1e-3

    def folder(self) -> Path:
        """Where everything goes: out, or runs/TASK-DATE-TIME, which is new."""
        if self.out:
            return Path(self.out).expanduser()
        return unused_folder(self.task)

    def to_dict(self) -> dict[str, Any]:
        """All options by name."""
        return {"task": self.task, **{f.name: getattr(self, f.name) for f in fields(self)}}
