"""What `minilm pretrain` can be told: what all families have in common, and what each has of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from minilm.devices import as_device
from minilm.errors import InputError
from minilm.files import unused_folder
from minilm.optim import check_precision

Size = Literal["tiny", "small", "base"]
SIZES = ("tiny", "small", "base")


@dataclass
class PretrainingOptions:
    """What all families have in common.

    Args:
        data: the files with the text; .jsonl files have a document a line, others are plain text in UTF-8.
        validation: files to measure the model with; unless given, a part of data that the training does not see.
        validation_fraction: the part of data that is set aside for it.
        text: the field of a JSON line with its text.
        tokenizer: as in wordpiece:8000, the kind and how many pieces to learn from the text; or the folder of a tokenizer.
        size: of the model, tiny, small or base.
        max_length: tokens that the model reads at once.
        steps: how often the weights are moved.
        batch_size: examples per forward pass.
        gradient_accumulation_steps: forward passes that make one step.
        learning_rate: the highest; unless given 1e-3 for tiny, 5e-4 for small, 1e-4 for base.
        weight_decay: of AdamW.
        warmup_ratio: the part of the steps over which the learning rate rises; then it falls to 0 in a straight line.
        evaluations: how often the validation part is measured on the way, and a checkpoint written.
        seed: from which new weights, the order of the examples, masks and dropout follow.
        resamples: validation sets that the bootstrap draws for the confidence intervals.
        shown: how many examples the report shows.
        device: cpu, or cuda for a GPU.
        precision: float32, or on a GPU bfloat16 or float16: the model computes in 16 bits, the weights stay float32.
        out: the folder to make; unless given runs/pretrain-FAMILY-DATE-TIME.
    """

    data: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    validation_fraction: float = 0.05
    text: str = "text"
    tokenizer: str = ""
    size: Size = "tiny"
    max_length: int = 128
    steps: int = 1000
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    evaluations: int = 10
    seed: int = 0
    resamples: int = 1000
    shown: int = 5
    device: str = "cpu"
    precision: str = "float32"
    out: str | None = None

    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""  # of the tokenizer that the family has

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        if not self.data:
            raise InputError("there is no data; give one or more text files: --data FILE ...")
        for name in ("steps", "batch_size", "gradient_accumulation_steps", "evaluations", "resamples"):
            self.check_number(name, 1)
        for name in ("seed", "shown", "weight_decay"):
            self.check_number(name, 0)
        self.check_number("max_length", 8)
        self.check_number("warmup_ratio", 0, below=1)
        if not self.validation and not 0 < self.validation_fraction < 1:
            raise InputError(
                f"validation_fraction is {self.validation_fraction}; give one above 0 and below 1, such as 0.05, or a file "
                "for --validation"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0, such as 1e-3")
        if self.size not in SIZES:
            raise InputError(f"size is {self.size!r}; choose one of {', '.join(SIZES)}")
        if self.tokenizer and self.pieces() is None and not Path(self.tokenizer).expanduser().is_dir():
            raise InputError(
                f"tokenizer is {self.tokenizer!r}; give {self.kind}:N, such as {self.kind}:8000, to train one on the text, or "
                "the folder of a tokenizer"
            )
        self.check_device()

    def check_device(self) -> None:
        """Raise InputError for a device or a precision that cannot be used here."""
        check_precision(self.precision, as_device(self.device).type)

    def check_number(self, name: str, least: float, below: float = math.inf) -> None:
        """Raise InputError unless the value is a number in these bounds."""
        value = getattr(self, name)
        if not least <= value < below:
            limit = f" and below {below:g}" if below < math.inf else ""
            raise InputError(f"{name} is {value}; it must be at least {least:g}{limit}")

    def pieces(self) -> int | None:
        """How many pieces a new tokenizer learns; None for the folder of an old one.

        Raises InputError for a kind that is not the family's, and for a number that is none.
        """
        given = self.tokenizer or f"{self.kind}:8000"
        kind, colon, count = given.partition(":")
        if not colon or Path(given).is_dir():
            if kind in ("wordpiece", "unigram", "bpe"):
                raise InputError(f"tokenizer is {kind!r}; say how many pieces, as in {kind}:8000")
            return None
        if kind != self.kind:
            raise InputError(
                f"tokenizer is {self.tokenizer!r}, and {self.family} reads {self.kind}; give {self.kind}:{count or 8000}, or "
                "the folder of a tokenizer"
            )
        if not count.isdecimal() or int(count) < 20:
            raise InputError(f"tokenizer is {self.tokenizer!r}; give a number of 20 pieces or more: {kind}:8000")
        return int(count)

    def rate(self) -> float:
        """The learning rate, chosen or usual."""
        return self.learning_rate or {"tiny": 1e-3, "small": 5e-4, "base": 1e-4}[self.size]

    def folder(self) -> Path:
        """Where everything goes: out, or runs/pretrain-FAMILY-DATE-TIME, which is new."""
        if self.out:
            return Path(self.out).expanduser()
        return unused_folder(f"pretrain-{self.family}")

    def to_dict(self) -> dict[str, Any]:
        """All options by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass
class BertOptions(PretrainingOptions):
    """BERT: name the words that are hidden, and tell whether the second text follows the first.

    Args:
        nsp: also learn whether the second text follows the first; false for text that has no documents of several sentences.
        whole_words: hide whole words, all their pieces at once.
        mask_probability: the part of the tokens that is chosen; of these 80 % are hidden, 10 % replaced, 10 % left.
        pair_draws: how often the text is cut into pairs, each time elsewhere.
        lowercase: small letters and no accents, for a new tokenizer.
    """

    nsp: bool = True
    whole_words: bool = False
    mask_probability: float = 0.15
    pair_draws: int = 2
    lowercase: bool = True
    family: ClassVar[str] = "bert"
    kind: ClassVar[str] = "wordpiece"

    def check(self) -> None:
        super().check()
        self.check_number("pair_draws", 1)
        self.check_number("mask_probability", 0.01, below=1)


@dataclass
class T5Options(PretrainingOptions):
    """T5: write the stretches that were cut out of a text.

    Args:
        noise_density: the part of the tokens that is cut out.
        mean_span: the mean length of a stretch, in tokens.
        sentinels: how many stretches a text can have; a new tokenizer gets a special token for each.
    """

    noise_density: float = 0.15
    mean_span: float = 3.0
    sentinels: int = 100
    family: ClassVar[str] = "t5"
    kind: ClassVar[str] = "unigram"

    def check(self) -> None:
        super().check()
        self.check_number("noise_density", 0.01, below=1)
        self.check_number("mean_span", 1)
        self.check_number("sentinels", 1)
        spans = round(round(self.max_length * self.noise_density) / self.mean_span)
        if spans > self.sentinels:
            raise InputError(
                f"a text of {self.max_length} tokens has {spans} stretches cut out of it, and there are {self.sentinels} "
                "sentinels; give more sentinels, a longer mean_span, or a smaller max_length or noise_density"
            )


@dataclass
class GptOptions(PretrainingOptions):
    """GPT-2: name the next token."""

    family: ClassVar[str] = "gpt"
    kind: ClassVar[str] = "bpe"


FAMILIES: dict[str, type[PretrainingOptions]] = {kind.family: kind for kind in (BertOptions, T5Options, GptOptions)}
