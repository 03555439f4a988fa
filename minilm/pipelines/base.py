"""What all pipelines share: text → windows → batches → the model → an answer for each text.

A task says how a text becomes windows (preprocess), if need be how the model is called (forward), and what its answer looks
like (postprocess).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from minilm.devices import to_host
from minilm.errors import InputError
from minilm.generation.decoders import position_limit
from minilm.metrics import evaluation_mode
from minilm.tensor import as_array

Array = np.ndarray
COLUMNS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}  # of an encoding


@dataclass
class Window:
    """One row for the model: a text, or a part of one that is too long.

    inputs: {"input_ids": (T,), "attention_mask": (T,), ...}. source: the text. encoding: what the tokenizer knows of each
    token. prompt_length: so many of the ids are the prompt, where a text is continued. word_starts: where each word stands in
    the source, where words were given. chat: the messages, where a chat is continued.
    """

    inputs: dict[str, Array]
    source: str
    encoding: Any = None
    prompt_length: int = 0
    word_starts: list[int] | None = None
    chat: list[Any] | None = None


class Pipeline:
    """model, tokenizer: as from_pretrained gives them. batch_size: how many windows go through the model at once.

    given: the task's parameters, which a call can replace; those that it has, and their defaults, are in `parameters`.
    Called with one text it gives one answer, with a list a list of answers, and with a generator (or anything else that
    can be iterated over) an iterator that reads a text when its answer is asked for. A list is checked as a whole before
    the model runs. Answers do not depend on batch_size, except for rounding.

    Raises InputError for a parameter that does not exist, an empty list, and texts that the model cannot read.
    """

    parameters: ClassVar[Mapping[str, Any]] = {}
    truncates_by = "give truncation=True"  # what to do about a long text

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        task: str = "",
        batch_size: int | None = None,
        **given: Any,
    ):
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.batch_size = self.check_batch_size(1 if batch_size is None else batch_size)
        given.pop("num_workers", None)
        self.given = self.check(given)
        self.settle({})  # what cannot work is said now
        accepted = inspect.signature(model.forward).parameters
        takes_all = any(parameter.kind == parameter.VAR_KEYWORD for parameter in accepted.values())
        known = [name for name in COLUMNS if takes_all or name in accepted]
        self.input_names = [name for name in known if name == "input_ids" or name in tokenizer.model_input_names]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(task={self.task!r}, model={type(self.model).__name__})"

    def save_pretrained(self, folder: str | Path) -> None:
        """Model and tokenizer into one folder, which pipeline() opens again."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    # What a task defines

    def arranged(self, inputs: Any, p: dict[str, Any]) -> Any:
        """What a call was given as one text, or as what holds several."""
        return inputs

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        """What was given as windows, at least one. p: the parameters. Raises InputError for what cannot be read."""
        raise NotImplementedError

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        """The model's output for each window; unless a task says otherwise its first field without padding, (T, ...)."""
        return self.without_padding(windows, self.run(windows)[0])

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        """The answer for one text from its windows and what forward made of them."""
        raise NotImplementedError

    # The way of a call

    def __call__(self, inputs: Any, **given: Any) -> Any:
        """given: parameters for this call, and batch_size. (num_workers is taken for transformers' sake and does nothing.)"""
        batch_size, _ = given.pop("batch_size", None), given.pop("num_workers", None)
        size = self.batch_size if batch_size is None else self.check_batch_size(batch_size)
        p = self.settle(given)
        inputs = self.arranged(inputs, p)
        is_several = hasattr(inputs, "__iter__") or (hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"))
        if isinstance(inputs, str | Mapping) or not is_several:
            return next(self.answers([self.preprocess(inputs, p)], p, size))
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise InputError("the list is empty; give at least one text")
            return list(self.answers([self.preprocess(item, p) for item in inputs], p, size))
        return self.answers((self.preprocess(item, p) for item in inputs), p, size)

    def answers(self, prepared: Iterable[list[Window]], p: dict[str, Any], batch_size: int) -> Iterator[Any]:
        """One answer after the other; the model sees batch_size windows at once, whichever texts they are from."""
        rows = ((window, n == len(windows)) for windows in prepared for n, window in enumerate(windows, 1))
        done: list[tuple[Window, Any]] = []
        while batch := list(islice(rows, batch_size)):
            windows = [window for window, _ in batch]
            for (window, is_last), output in zip(batch, self.forward(windows, p)):
                done.append((window, output))
                if is_last:
                    yield self.postprocess(done, p)
                    done = []

    def run(self, windows: Sequence[Window]) -> Any:
        """The model's output for a batch, padded at the tokenizer's side."""
        with evaluation_mode(self.model):
            return self.model(**self.padded(windows, self.tokenizer.padding_side))

    def padded(self, windows: Sequence[Window], side: str, padding: int | None = None) -> dict[str, Array]:
        """The windows' inputs as arrays (B, T). padding: the id that fills short rows; the tokenizer's own unless given."""
        longest = max(len(window.inputs["input_ids"]) for window in windows)
        batch = {}
        for name in windows[0].inputs:
            fill = 0 if name != "input_ids" else self.tokenizer.pad_token_id if padding is None else padding
            rows = np.full((len(windows), longest), fill or 0, np.int64)
            for row, window in zip(rows, windows):
                values = window.inputs[name]
                row[self.place(len(values), longest, side)] = values
            batch[name] = rows
        return batch

    def without_padding(self, windows: Sequence[Window], output: Any) -> list[Array]:
        """The rows of a model's output (B, T, ...), each as long as its window."""
        array = to_host(as_array(output))
        side, longest = self.tokenizer.padding_side, array.shape[1]
        return [row[self.place(len(w.inputs["input_ids"]), longest, side)] for row, w in zip(array, windows)]

    @staticmethod
    def place(length: int, longest: int, side: str) -> slice:
        """Where a row stands that is padded at this side."""
        return slice(longest - length, None) if side == "left" else slice(0, length)

    # Texts

    @property
    def longest_text(self) -> int | None:
        """How many tokens a text may have: the tokenizer's model_max_length, or the model's positions if they are fewer."""
        known = [self.tokenizer.model_max_length, position_limit(self.model)]
        limits = [limit for limit in known if limit is not None and 0 < limit < 10**20]  # more means: not known
        return min(limits, default=None)

    def encode(self, text: Any, pair: Any = None, **options: Any) -> list[Any]:
        """The tokenizer's encoding of a text or pair; with return_overflowing_tokens one for each window."""
        expected, kind = ("a list of words", list) if options.get("is_split_into_words") else ("a text", str)
        for one in (text,) if pair is None else (text, pair):
            if not isinstance(one, kind):
                raise InputError(
                    f"{one!r:.60} is a {type(one).__name__} where {expected} was expected; give {expected}"
                )
        truncates = options.get("truncation") not in (None, False, "do_not_truncate")
        if truncates and options.get("max_length") is None:
            options["max_length"] = self.longest_text
            options["truncation"] = False if self.longest_text is None else options["truncation"]
        options.pop("return_tensors", None)
        return self.tokenizer([text], None if pair is None else [pair], **options).encodings

    def window(self, encoding: Any, source: str, word_starts: list[int] | None = None) -> Window:
        """One encoding as a window. Raises InputError for more tokens than positions, none at all, or foreign ones."""
        inputs = {name: getattr(encoding, COLUMNS[name]) for name in self.input_names}
        window = Window(inputs, source, encoding, word_starts=word_starts)
        self.check_fit(window)
        return window

    def check_fit(self, window: Window) -> None:
        ids = window.inputs["input_ids"]
        limit, vocabulary = position_limit(self.model), getattr(self.model.config, "vocab_size", None)
        if not len(ids):
            raise InputError("the text is empty, and this model needs at least one token; give it a text")
        if limit is not None and len(ids) > limit:
            raise InputError(
                f"the text {window.source!r:.40} has {len(ids)} tokens, but the model knows {limit} positions; "
                f"{self.truncates_by}, or shorten it"
            )
        if vocabulary is not None and int(ids.max()) >= vocabulary:
            raise InputError(
                f"the text {window.source!r:.40} has the token {int(ids.max())}, but the model has 0 to {vocabulary - 1}; "
                "use the tokenizer that belongs to the model"
            )

    # Parameters

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a call: its own, then those of the pipeline, then the task's defaults."""
        return {**self.parameters, **self.given, **self.check(given)}

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was given, if it can be. Raises InputError for a name that this task does not have, and the nearest one."""
        for name in given:
            if name not in self.parameters:
                close = get_close_matches(name, self.parameters, 1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(self.parameters)}"
                raise InputError(f"{self.task or type(self).__name__} has no parameter {name!r}; {hint}")
        return dict(given)

    def check_batch_size(self, batch_size: Any) -> int:
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise InputError(f"batch_size is {batch_size!r}; give a whole number from 1")
        if batch_size > 1 and self.tokenizer.pad_token is None and self.needs_padding_token:
            raise InputError(
                "this tokenizer has no padding token, which a batch needs; name one, for example "
                "pipe.tokenizer.pad_token = pipe.tokenizer.eos_token, or use batch_size=1"
            )
        return int(batch_size)

    needs_padding_token: ClassVar[bool] = True


def positive(name: str, value: Any) -> int:
    """A whole number from 1. Raises InputError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise InputError(f"{name} is {value!r}; give a whole number from 1")
    return int(value)


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """The choice in small letters. Raises InputError that lists the choices for anything else."""
    found = value.lower() if isinstance(value, str) else value
    if found not in choices:
        raise InputError(f"{name} is {value!r}; use one of {', '.join(choices)}")
    return found
