"""Which tensor of a Hugging Face file is which parameter of a minilm model, as data that each family gives.

A family writes one `Mapping`. For BERT it begins:

    BERT = Mapping(
        prefix="bert.", own_prefix="bert.",
        base=(
            Rule("embeddings.word_embeddings.weight", "token_embedding.weight"),
            Rule(("encoder.layer.{i}.attention.self.query.{p}",
                  "encoder.layer.{i}.attention.self.key.{p}",
                  "encoder.layer.{i}.attention.self.value.{p}"),
                 "blocks.{i}.attention.query_key_value.{p}", "stack"),
            ...
        ),
        heads=(Rule("classifier.{p}", "classifier.{p}"), ...),
        optional=("pooler.*",),
        tied={"cls.predictions.decoder.weight": "embeddings.word_embeddings.weight"},
        ignored=("embeddings.position_ids",),
        renames=((".gamma", ".weight"), (".beta", ".bias")),
    )

`{i}` and `{j}` stand for a number, `{p}` for "weight" or "bias". `*` in `optional` and `ignored` stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache

import numpy as np

from minilm.errors import InputError

KINDS = ("same", "transpose", "stack")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """One parameter and the tensor, or tensors, of a file that it is made from.

    file: the name in the file; for "stack" a tuple of names.
    own: the parameter's name in the minilm model.
    kind: "same"; "transpose": (in, out) in the file, (out, in) here (one axis stays as it is); "stack": the file's tensors,
    one after the other along axis 0.
    parts: in which proportion stacked tensors share axis 0; equal unless given. Llama: (heads, key heads, key heads).
    """

    file: str | tuple[str, ...]
    own: str
    kind: str = "same"
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or (self.kind == "stack") != isinstance(self.file, tuple):
            raise ValueError(f"rule for {self.own}: kind {self.kind!r} does not fit {self.file!r}")

    @property
    def files(self) -> tuple[str, ...]:
        """The names in the file, as a tuple."""
        return self.file if isinstance(self.file, tuple) else (self.file,)

    def file_names(self, own_name: str) -> tuple[str, ...] | None:
        """The file's names for a parameter, or None if this rule is not about it."""
        match = pattern(self.own).fullmatch(own_name)
        return match and tuple(name.format(**match.groupdict()) for name in self.files)

    def file_shapes(self, shape: Shape) -> list[Shape]:
        """The shapes that the file's tensors must have for a parameter of `shape`."""
        if self.kind == "transpose":
            return [shape[::-1]]
        return [(stop - start, *shape[1:]) for start, stop in self._bounds(shape)] if self.kind == "stack" else [shape]

    def read(self, tensors: Iterable[np.ndarray], into: np.ndarray) -> None:
        """Write the file's tensors, taken one at a time, into the parameter's array (which may have another dtype)."""
        spans = self._bounds(into.shape) if self.kind == "stack" else [(0, into.shape[0])] if into.ndim else [(0, 0)]
        for (start, stop), tensor in zip(spans, tensors, strict=True):
            if self.kind == "stack":
                into[start:stop] = tensor
            else:
                into[...] = tensor.T if self.kind == "transpose" else tensor

    def write(self, array: np.ndarray) -> list[np.ndarray]:
        """The file's tensors for a parameter's array, as views."""
        if self.kind == "stack":
            return [array[start:stop] for start, stop in self._bounds(array.shape)]
        return [array.T if self.kind == "transpose" else array]

    def _bounds(self, shape: Shape) -> list[tuple[int, int]]:
        """Where each stacked tensor begins and ends along axis 0."""
        parts = self.parts or (1,) * len(self.files)
        if len(parts) != len(self.files) or shape[0] % sum(parts):
            raise ValueError(f"rule for {self.own}: {shape[0]} rows cannot be shared as {parts} by {len(self.files)}")
        unit = shape[0] // sum(parts)
        ends = np.cumsum(parts) * unit
        return [(int(end) - part * unit, int(end)) for part, end in zip(parts, ends)]


@dataclass(frozen=True)
class Mapping:
    """All rules of a family.

    base: the rules of the model without a head, names without prefix on both sides.
    heads: the rules of all heads of the family, full names on both sides. A head that is not in the file is new (and
    announced); one that the model does not have is left out (and announced).
    prefix: what stands before the base's names in files of models with a head, such as "bert.". Files are read with and
    without it.
    own_prefix: the same in minilm models with a head: the name of the attribute that holds the base, with a dot.
    optional: parts of the base that come and go like a head, by their names in the file: "pooler.*".
    tied: names in the file that repeat another one, name → the other. They are used only where that one is absent, or
    where the model has a parameter of their own for them (an untied head).
    ignored: tensors in (older) files that are no parameters, such as attention masks.
    renames: (old ending, new ending) of names in older files.
    Names in optional, tied and ignored are without prefix.
    """

    base: tuple[Rule, ...]
    heads: tuple[Rule, ...] = ()
    prefix: str = ""
    own_prefix: str = ""
    optional: tuple[str, ...] = ()
    tied: MappingType[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()

    def plain(self, file_name: str) -> str:
        """A name in a file as the rules spell it: without prefix, in today's spelling."""
        for old, new in self.renames:
            if file_name.endswith(old):
                file_name = file_name.removesuffix(old) + new
        return file_name.removeprefix(self.prefix)

    def find(self, own_name: str) -> tuple[Rule, tuple[str, ...], bool]:
        """The rule for a parameter, its names in the file (without prefix), and whether it is part of the base."""
        plain = own_name.removeprefix(self.own_prefix)
        for rules, name, is_base in ((self.base, plain, True), (self.heads, own_name, False)):
            for rule in rules:
                names = rule.file_names(name)
                if names is not None:
                    return rule, names, is_base
        raise LookupError(f"no rule tells where {own_name} stands in a Hugging Face file")

    def comes_and_goes(self, plain: str) -> bool:
        """Whether a name in the file (without prefix) is of a head or of an optional part."""
        heads = (pattern(name) for rule in self.heads for name in rule.files)
        return any(head.fullmatch(plain) for head in heads) or matches(plain, (*self.optional, *self.tied))

    def plan(self, own: MappingType[str, Shape], file: MappingType[str, Shape], new_heads: bool = False) -> Plan:
        """Decide what is read from where, before anything is read.

        own: the model's parameters and their shapes; file: the file's tensors and theirs.
        new_heads: start a head whose shape differs in the file anew instead of refusing it.
        Raises InputError that lists every missing, unexpected, mis-shaped and repeated tensor.
        """
        at, problems = self._by_plain_name(file)
        plan, used = Plan(), set[str]()
        for own_name, shape in own.items():
            rule, names, _ = self.find(own_name)
            found = [name if name in at else self._twin(name, at) for name in names]
            used.update(name for name in found if name is not None)
            absent = [name for name, there in zip(names, found) if there is None]
            may_be_new = all(self.comes_and_goes(name) for name in names)
            if absent and may_be_new and len(absent) == len(names):
                plan.new.append(own_name)
                continue
            problems += [f"missing: {name} (for {own_name})" for name in absent]
            wrong = [
                f"shape of {at[there]}: {tuple(file[at[there]])} in the file, {want} in the model"
                for there, want in zip(found, rule.file_shapes(shape))
                if there is not None and tuple(file[at[there]]) != want
            ]
            if wrong and may_be_new and new_heads:
                plan.new.append(own_name)
            elif wrong and may_be_new:
                problems += [f"{line} (a head: ignore_mismatched_sizes=True starts it anew)" for line in wrong]
            else:
                problems += wrong
            if not absent and not wrong:
                plan.reads.append((own_name, rule, tuple(at[there] for there in found if there is not None)))
        for plain, name in at.items():
            if plain not in used and not matches(plain, self.ignored):
                if plain in self.tied and self.tied[plain] in used and self.tied[plain] in at:
                    plan.copies.append((name, at[self.tied[plain]]))
                elif self.comes_and_goes(plain):
                    plan.left_out.append(name)
                else:
                    problems.append(f"unexpected: {name}")
        if problems:
            shown = "; ".join(problems[:12]) + (f"; and {len(problems) - 12} more" if len(problems) > 12 else "")
            raise InputError(
                f"these weights do not fit the model ({shown}); "
                "open them with the class and the config.json that they were saved with"
            )
        return plan

    def _by_plain_name(self, file: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        at: dict[str, str] = {}
        problems = []
        for name in file:
            plain = self.plain(name)
            if plain in at and not matches(plain, self.ignored):
                problems.append(f"twice: {at[plain]} and {name}")
            at[plain] = name
        return at, problems

    def _twin(self, name: str, at: MappingType[str, str]) -> str | None:
        """A tied name that is in the file instead of `name`, which is not."""
        return next((twin for twin, other in self.tied.items() if other == name and twin in at), None)

    def to_file(self, own: Iterable[tuple[str, np.ndarray]], is_base: bool) -> Iterator[tuple[str, np.ndarray]]:
        """The parameters as (name in the file, view of the array); tied tensors once.

        is_base: whether the model is the base itself, whose files have no prefix.
        """
        for own_name, array in own:
            rule, names, in_base = self.find(own_name)
            prefix = self.prefix if in_base and not is_base else ""
            yield from zip((prefix + name for name in names), rule.write(array), strict=True)


@dataclass
class Plan:
    """What is read: (parameter, rule, names in the file); parameters that are new; tensors that are left out.

    copies: (name in the file, another that it repeats), of which the first is not read.
    """

    reads: list[tuple[str, Rule, tuple[str, ...]]] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)


@cache
def pattern(text: str) -> re.Pattern[str]:
    """A rule's name as a regular expression: {i} and {j} are numbers, {p} is weight or bias."""
    escaped = re.escape(text)
    for name, expression in (("i", r"\d+"), ("j", r"\d+"), ("p", "weight|bias")):
        escaped = escaped.replace(rf"\{{{name}\}}", f"(?P<{name}>{expression})", 1)
    return re.compile(escaped)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns, such as "pooler.*"."""
    return any(fnmatchcase(name, each) for each in patterns)
