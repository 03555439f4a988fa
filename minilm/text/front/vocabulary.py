"""The half of a tokenizer's front that deals with its vocabulary: tokens and ids, special tokens, ids back to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text.front.inputs import is_batch, or_default, whole_numbers
from minilm.text.front.special_tokens import NAMES, SpecialToken, SpecialTokenId
from minilm.text.pipeline.added_tokens import AddedToken, as_special
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import clean_up


class FrontVocabulary:
    """What PretrainedTokenizer knows of tokens. special_tokens_map: {"cls_token": "[CLS]", ...}."""

    backend: Backend
    class_name: str
    special_tokens_map: dict[str, str]
    additional_special_tokens: list[str]
    clean_up_tokenization_spaces: bool
    pad_token_type_id = 0

    bos_token, eos_token, unk_token, sep_token = SpecialToken(), SpecialToken(), SpecialToken(), SpecialToken()
    pad_token, cls_token, mask_token = SpecialToken(), SpecialToken(), SpecialToken()
    bos_token_id, eos_token_id, unk_token_id = SpecialTokenId(), SpecialTokenId(), SpecialTokenId()
    sep_token_id, pad_token_id, cls_token_id = SpecialTokenId(), SpecialTokenId(), SpecialTokenId()
    mask_token_id = SpecialTokenId()

    @property
    def vocab_size(self) -> int:
        """The tokens of the model, without those that were added."""
        return len(self.backend.pipeline.vocabulary)

    def __len__(self) -> int:
        """All tokens; what an embedding must have rows for."""
        return self.backend.size

    def get_vocab(self) -> dict[str, int]:
        """{token: id} of all tokens."""
        return dict(self.backend.ids)

    @property
    def vocab(self) -> dict[str, int]:
        return self.get_vocab()

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, each once: those that have a name, then the others."""
        named = [self.special_tokens_map[name] for name in NAMES if name in self.special_tokens_map]
        return list(dict.fromkeys([*named, *self.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        return [self.backend.ids[token] for token in self.all_special_tokens]

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that are found before a text is cut into words. Returns how many are new to the vocabulary."""
        tokens = [new_tokens] if isinstance(new_tokens, str | AddedToken) else list(new_tokens)
        found: dict[int, AddedToken] = {}
        new: dict[str, int] = {}
        for token in tokens:
            content = str(token)
            if not content or not isinstance(token, str | AddedToken):
                raise InputError(f"an added token is {token!r}; give texts with at least one character, or AddedTokens")
            n = self.backend.ids.get(content, -1)
            if n < 0:
                n = new.setdefault(content, self.backend.size + len(new))
            known = self.backend.added.tokens.get(n)
            if isinstance(token, str):
                token = known or (as_special(token) if special_tokens else AddedToken(token))
            found[n] = replace(token, special=True) if special_tokens else token
        if any(self.backend.added.tokens.get(n) != token for n, token in found.items()):
            self.backend.add(found)
        return len(new)

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any]) -> int:
        """Name special tokens, {"pad_token": "[PAD]"}, or under "additional_special_tokens" a list of more.

        Returns how many are new to the vocabulary. Raises InputError for a name that does not exist.
        """
        count = 0
        for name, value in special_tokens_dict.items():
            if name in ("additional_special_tokens", "extra_special_tokens"):
                count += self.add_tokens(list(value), special_tokens=True)
                self.additional_special_tokens += [
                    str(t) for t in value if str(t) not in self.additional_special_tokens
                ]
            elif name in NAMES:
                count += self.add_tokens([value], special_tokens=True)
                self.special_tokens_map[name] = str(value)
            else:
                names = ", ".join(NAMES)
                raise InputError(f"special token {name!r} is unknown; there are {names} and additional_special_tokens")
        return count

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of a token, or the list of those of several; unknown ones get unk_token_id (None if there is none)."""
        if isinstance(tokens, str):
            return self.backend.ids.get(tokens, self.unk_token_id)
        return [self.backend.ids.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the list of those of several. Raises InputError for an id that no token has."""
        if isinstance(ids, int | np.integer):
            return self.backend.token(int(ids))
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend.token(n) for n in whole_numbers(ids) if n not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of tokens."""
        decoder = self.backend.decoder
        return "".join(decoder(list(tokens))) if decoder else " ".join(tokens)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return self.backend.special_count(pair)

    def get_special_tokens_mask(
        self, token_ids_0: Sequence[int], token_ids_1: None = None, already_has_special_tokens: bool = True
    ) -> list[int]:
        """1 for special tokens, 0 for the others."""
        special = set(self.all_special_ids)
        return [int(n in special) for n in whole_numbers(token_ids_0)]

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text of ids; a list of texts for a batch, (B, T) or a list of lists."""
        if isinstance(token_ids, Mapping):
            token_ids = token_ids["input_ids"]
        if is_batch(token_ids):
            return self.batch_decode(token_ids, skip_special_tokens, clean_up_tokenization_spaces)
        text = self.backend.decode(whole_numbers(token_ids), skip_special_tokens)
        cleans = or_default(clean_up_tokenization_spaces, self.clean_up_tokenization_spaces)
        return clean_up(text) if cleans and self.class_name.removesuffix("Fast") != "GPT2Tokenizer" else text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]
