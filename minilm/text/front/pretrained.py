"""The common front of all tokenizers, called and answering as in transformers.

tokenizer = PretrainedTokenizer.from_folder("folder")
batch = tokenizer(questions, contexts, truncation="only_second", max_length=384, stride=128,
                  return_overflowing_tokens=True, return_offsets_mapping=True, padding="max_length")
tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from minilm.errors import InputError
from minilm.folders import TOKENIZER_FILES, find_folder
from minilm.text.front.batch_encoding import BatchEncoding
from minilm.text.front.chat import Chats
from minilm.text.front.inputs import as_batch, check_counts, check_side, or_default, whole_numbers
from minilm.text.front.vocabulary import FrontVocabulary
from minilm.text.pipeline.added_tokens import AddedToken
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.encoding import STRATEGIES, Encoding

T = TypeVar("T", bound="PretrainedTokenizer")
UNLIMITED = int(1e30)  # model_max_length where none is known; transformers writes this number, too


class PretrainedTokenizer(Chats, FrontVocabulary):
    """backend: the tokenizer proper. special_tokens: {"cls_token": "[CLS]", ...}, those that the vocabulary lacks are
    added behind it. additional_special_tokens: more of them, without a name. model_max_length: what truncation=True
    goes to. padding_side, truncation_side: "right" or "left". model_input_names: the keys that a call returns.
    clean_up_tokenization_spaces: what decode does if it is not told. settings: further lines for tokenizer_config.json.

    Raises InputError for a side or a name that does not exist.
    """

    CLASS_NAME = "PreTrainedTokenizerFast"  # in tokenizer_config.json
    MODEL_INPUT_NAMES: tuple[str, ...] = ("input_ids", "token_type_ids", "attention_mask")
    DEFAULT_TOKENS: ClassVar[Mapping[str, str]] = {}  # the special tokens of a family

    def __init__(
        self,
        backend: Backend,
        special_tokens: Mapping[str, str | AddedToken | None] | None = None,
        additional_special_tokens: Iterable[str | AddedToken] = (),
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_input_names: Sequence[str] | None = None,
        clean_up_tokenization_spaces: bool = False,
        settings: Mapping[str, Any] | None = None,
        class_name: str | None = None,
    ) -> None:
        self.backend = backend
        self.special_tokens_map: dict[str, str] = {}
        self.additional_special_tokens: list[str] = []
        self.model_max_length = UNLIMITED if model_max_length is None else model_max_length
        self.padding_side = check_side("padding_side", padding_side)
        self.truncation_side = check_side("truncation_side", truncation_side)
        self.model_input_names = list(model_input_names or self.MODEL_INPUT_NAMES)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.settings = dict(settings or {})
        self.class_name = class_name or self.CLASS_NAME
        named = {name: token for name, token in (special_tokens or {}).items() if token is not None}
        self.add_special_tokens({**named, "additional_special_tokens": list(additional_special_tokens)})

    @classmethod
    def from_folder(cls: type[T], folder: str | Path, **changes: Any) -> T:
        """The tokenizer in `folder`: tokenizer.json, or vocab.txt, or vocab.json with merges.txt, and the settings.

        changes: arguments that differ from tokenizer_config.json, as padding_side="left". Called on this class it
        gives the class that the folder names. Raises InputError for a folder that has none, or a damaged one.
        """
        from minilm.text.files.folder import open_folder  # it imports this module

        return open_folder(cls, Path(folder), changes)

    @classmethod
    def from_pretrained(
        cls: type[T],
        name_or_folder: str | Path,
        *,
        revision: str = "main",
        local_files_only: bool = False,
        **changes: Any,
    ) -> T:
        """from_folder for a folder, or for a name that is in the Hugging Face cache or can be downloaded (minilm.folders)."""
        return cls.from_folder(find_folder(name_or_folder, TOKENIZER_FILES, revision, local_files_only), **changes)

    def save_pretrained(self, save_directory: str | Path) -> list[str]:
        """Write all files that minilm, transformers and `tokenizers` read; returns their paths."""
        from minilm.text.files.folder import save_folder

        return save_folder(self, Path(save_directory))

    # Text to ids

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool = False,
    ) -> BatchEncoding:
        """Encode a text or a list of texts, each alone or with its pair.

        text, text_pair: str or list of str (with is_split_into_words: lists of words); text may also be a list of
        pairs. padding: True or "longest" pads to the longest of the batch, "max_length" to max_length.
        truncation: True or "longest_first", "only_first", "only_second" shorten to max_length, which is the model's
        where it is not given. stride: with return_overflowing_tokens, so many tokens come again in the next window;
        overflow_to_sample_mapping then says from which text each row is. return_tensors: "np" for arrays (B, T).

        Raises InputError for what cannot be done, and for lone surrogates in a text.
        """
        check_counts(max_length=max_length, stride=stride, pad_to_multiple_of=pad_to_multiple_of)
        batch, batched = as_batch(text, text_pair, is_split_into_words)
        limit, strategy, length = self._lengths(padding, truncation, max_length, pad_to_multiple_of)
        side = check_side("padding_side", padding_side or self.padding_side)
        if limit is not None and add_special_tokens and limit < self.num_special_tokens_to_add():
            raise InputError(
                f"max_length {limit} has no room for the {self.num_special_tokens_to_add()} special tokens around a text; give "
                "a larger one, or add_special_tokens=False"
            )
        if limit is not None and limit - self.num_special_tokens_to_add() < stride:
            raise InputError(
                f"stride {stride} is more than max_length {limit} leaves beside {self.num_special_tokens_to_add()} "
                "special tokens; give a smaller stride or a larger max_length"
            )
        encode = self.backend.encode_words if is_split_into_words else self.backend.encode
        encodings = []
        for texts in batch:
            parts = [encode(one, n, split_special_tokens) for n, one in enumerate(texts)]
            encodings.append(
                self.backend.assemble(parts, add_special_tokens, limit, stride, strategy, self.truncation_side)
            )
        if length is not None:
            encodings = self._padded(encodings, length, pad_to_multiple_of or 1, side)

        windows = [[e, *e.overflowing] if return_overflowing_tokens else [e] for e in encodings]
        rows = [row for group in windows for row in group]
        wanted = {
            "input_ids": True,
            "token_type_ids": or_default(return_token_type_ids, "token_type_ids" in self.model_input_names),
            "attention_mask": or_default(return_attention_mask, "attention_mask" in self.model_input_names),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        arrays = tensors = return_tensors is not None
        data: dict[str, Any] = {key: [_FIELDS[key](row, arrays) for row in rows] for key in wanted if wanted[key]}
        if return_length:
            data["length"] = [len(row) for row in rows]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [n for n, group in enumerate(windows) for _ in group]
        if not batched and not tensors and not return_overflowing_tokens:
            data = {key: values[0] if isinstance(values[0], list) else values for key, values in data.items()}
        return BatchEncoding(data, rows, return_tensors)

    def _padded(self, encodings: list[Encoding], length: int, multiple: int, side: str) -> list[Encoding]:
        """All of the same length: `length`, or that of the longest if it is negative, rounded up to a multiple."""
        size = max(map(len, encodings), default=0) if length < 0 else length
        size += -size % multiple
        padding = (size, side, self.pad_token_id, self.pad_token, self.pad_token_type_id)
        return [encoding.pad(*padding) for encoding in encodings]

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **options: Any) -> Any:
        """The ids of one text or pair, as a list; options as in a call."""
        return self(text, text_pair, add_special_tokens, **options)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of a text as texts."""
        return self(text, pair, add_special_tokens, **options).tokens()

    def encode_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `text` (n,) and where each token stands in it (n, 2), without special tokens around."""
        encoding = self.backend.encode(text)
        return encoding.ids, encoding.offsets

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad rows that were encoded one by one: a list of dictionaries, or a dictionary of lists, with input_ids."""
        if not isinstance(encoded_inputs, Mapping):
            if not encoded_inputs:
                raise InputError("there are no rows to pad; give at least one")
            encoded_inputs = {key: [row[key] for row in encoded_inputs] for key in encoded_inputs[0]}
        if "input_ids" not in encoded_inputs:
            raise InputError(
                f"the rows to pad have no input_ids, only {', '.join(encoded_inputs)}; give what a tokenizer returned"
            )
        side = check_side("padding_side", padding_side or self.padding_side)
        _, _, length = self._lengths(padding, False, max_length, None)
        rows = {key: [whole_numbers(row) for row in values] for key, values in encoded_inputs.items()}
        rows.setdefault("attention_mask", [[1] * len(row) for row in rows["input_ids"]])
        if length is not None:
            size = max(map(len, rows["input_ids"])) if length < 0 else length
            size += -size % (pad_to_multiple_of or 1)
            fill = {"input_ids": self.pad_token_id, "special_tokens_mask": 1}
            for key, values in rows.items():
                extra = [[fill.get(key, 0)] * (size - len(row)) for row in values]
                rows[key] = [row + new if side == "right" else new + row for row, new in zip(values, extra)]
        return BatchEncoding(rows, None, return_tensors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens, special: {self.special_tokens_map})"

    def _lengths(
        self, padding: bool | str, truncation: bool | str | None, max_length: int | None, multiple: int | None
    ) -> tuple[int | None, str, int | None]:
        """(length to truncate to, strategy, length to pad to: -1 for the longest), None for neither."""
        if max_length is not None and padding is False and truncation is None:
            truncation = True  # transformers' habit: max_length alone truncates
        if padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise InputError(f'padding {padding!r} is unknown; use True, False, "longest" or "max_length"')
        truncates = truncation not in (None, False, "do_not_truncate")
        strategy = str(truncation) if isinstance(truncation, str) else "longest_first"
        if truncates and strategy not in STRATEGIES:
            raise InputError(f"truncation {truncation!r} is unknown; use True, False or one of {', '.join(STRATEGIES)}")
        limit = max_length
        if limit is None and self.model_max_length < UNLIMITED // 10:
            limit = self.model_max_length
        pads = padding not in (False, "do_not_pad")
        if pads and self.pad_token is None:
            raise InputError(
                "there is no padding token to pad with; name one, for example tokenizer.pad_token = tokenizer.eos_token"
            )
        if pads and truncates and multiple and limit and limit % multiple:
            raise InputError(f"max_length {limit} is not a multiple of pad_to_multiple_of {multiple}; give one that is")
        if padding == "max_length":
            return (limit if truncates else None), strategy, limit
        if pads and max_length is not None and not truncates:
            warnings.warn(
                "max_length does nothing with padding=True; use padding='max_length' to pad to it", stacklevel=3
            )
        return (limit if truncates else None), strategy, (-1 if pads else None)


def _offset_pairs(row: Encoding, arrays: bool) -> Any:
    return row.offsets if arrays else [(start, end) for start, end in row.offsets.tolist()]


_FIELDS: dict[str, Any] = {
    "input_ids": lambda row, arrays: row.ids if arrays else row.ids.tolist(),
    "token_type_ids": lambda row, arrays: row.type_ids if arrays else row.type_ids.tolist(),
    "attention_mask": lambda row, arrays: row.attention_mask if arrays else row.attention_mask.tolist(),
    "special_tokens_mask": lambda row, arrays: row.special_tokens_mask if arrays else row.special_tokens_mask.tolist(),
    "offset_mapping": _offset_pairs,
}
