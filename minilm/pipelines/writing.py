"""What the pipelines that write text share: which options generate() gets, and the texts of each window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np

from minilm.errors import InputError
from minilm.generation import GenerationOptions, generate
from minilm.generation.decoders import position_limit
from minilm.generation.options import options_of
from minilm.pipelines.base import Array, Pipeline, Window

OPTIONS = tuple(field.name for field in fields(GenerationOptions) if field.name != "return_dict_in_generate")
BESIDES = ("streamer", "generator")  # which generate() takes, too
SAMPLING = ("temperature", "top_k", "top_p", "min_p")  # without effect unless tokens are drawn


class WritingPipeline(Pipeline):
    """Parameters that are not the task's own are options of generate(), under transformers' names.

    What is not given is what the model's generation_config.json says, and then what the task uses (`own_defaults`).
    stop_sequence, stop, stop_strings: texts that end what is written. generator: where draws come from. generation_config:
    options as a dictionary or a GenerationConfig; those that are given by name go first.
    """

    own_defaults: ClassVar[Mapping[str, Any]] = {}
    needs_padding_token = False

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("generation_config") is not None:  # several options at once
            given = {**options_of(given["generation_config"]), **given}
        given = {name: value for name, value in given.items() if name != "generation_config"}
        known = (*self.parameters, *OPTIONS, *BESIDES)
        for name in given:
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
                raise InputError(f"{self.task or type(self).__name__} has no parameter {name!r}; {hint}")
        return dict(given)

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, and of them: options, those of generate(); checked, the same as it will understand them;
        may_be_shorter, whether max_new_tokens is only the task's default."""
        p = super().settle(given)
        options = {name: p[name] for name in (*OPTIONS, *BESIDES) if name in p}
        stop = p["stop_sequence"] if p["stop"] is None else p["stop"]
        if stop is not None:
            options["stop_strings"] = stop
        options = {**self.task_options(p), **options}
        for name in ("max_length", "min_length"):  # they count the prompt, but not what the task puts before it
            if isinstance(options.get(name), int):
                options[name] += self.prefix_length(p)
        added = self.defaults_for(options)
        p |= {"options": {**added, **options}, "may_be_shorter": "max_new_tokens" in added}
        named = {name: value for name, value in p["options"].items() if name in OPTIONS}
        p["checked"] = GenerationOptions.for_model(self.model, **named)
        return p

    def task_options(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """Options that the model's config.json has for this task."""
        return {}

    def prefix_length(self, p: Mapping[str, Any]) -> int:
        """How many tokens the task puts before a prompt that is continued."""
        return 0

    def defaults_for(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The task's defaults for what is said neither here nor in the model's generation_config.json."""
        said = {**{name: value for name, value in self.model.generation_config.items() if value is not None}, **options}
        added = {name: value for name, value in self.own_defaults.items() if name not in said}
        if "max_length" in said:
            added.pop("max_new_tokens", None)
        if not {**added, **said}.get("do_sample"):
            added = {name: value for name, value in added.items() if name not in SAMPLING}
        has_padding = "pad_token_id" in said or getattr(self.model.config, "pad_token_id", None) is not None
        if not has_padding and self.tokenizer.pad_token is not None:
            added["pad_token_id"] = self.tokenizer.pad_token_id
        return added

    def counts_prompt(self, prompt_length: int, p: Mapping[str, Any]) -> bool:
        """Whether how much is written depends on how long the prompt is."""
        checked, limit = p["checked"], position_limit(self.model)
        if p["may_be_shorter"] and limit is not None and prompt_length + checked.max_new_tokens > limit:
            return True
        return checked.max_new_tokens is None or (checked.min_length > 0 and checked.min_new_tokens is None)

    def check_room(self, window: Window, p: dict[str, Any]) -> None:
        """Raise InputError if prompt and text cannot fit the model's positions, before anything is written."""
        limit, length = position_limit(self.model), len(window.inputs["input_ids"])
        if limit is None:
            return
        new = 1 if p["may_be_shorter"] else p["checked"].length_limit(length) - length
        if length + new > limit:
            raise InputError(
                f"the prompt {window.source!r:.40} has {length} tokens and {new} more may follow, but the model knows {limit} "
                "positions; shorten the prompt or give a smaller max_new_tokens"
            )

    def written(self, batch: Mapping[str, Array], p: dict[str, Any], prompt_length: int) -> Array:
        """The texts of a batch, (B, copies, T): what generate() returns, those of one prompt together."""
        options = dict(p["options"])
        limit = position_limit(self.model)
        if limit is not None and p["may_be_shorter"]:
            options["max_new_tokens"] = max(1, min(options["max_new_tokens"], limit - prompt_length))
        texts = generate(
            self.model,
            batch["input_ids"],
            attention_mask=batch["attention_mask"],
            tokenizer=self.tokenizer,
            **options,
        )
        texts = np.atleast_2d(texts)
        return texts.reshape(len(batch["input_ids"]), -1, texts.shape[-1])

    def rows(self, windows: Sequence[Window], side: str) -> dict[str, Array]:
        """ids and mask of a batch; short rows are filled with the padding token, or with any other: the mask hides it."""
        return self.padded(windows, side, self.tokenizer.pad_token_id or 0)
