"""The seven special tokens that have a name, as attributes of a tokenizer: tokenizer.cls_token, tokenizer.cls_token_id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minilm.errors import InputError
from minilm.text.pipeline.added_tokens import AddedToken

if TYPE_CHECKING:
    from minilm.text.front.vocabulary import FrontVocabulary

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class SpecialToken:
    """The text of one of them, None if there is none; setting it takes a token that is in the vocabulary, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: FrontVocabulary | None, owner: type) -> Any:
        return self if tokenizer is None else tokenizer.special_tokens_map.get(self._name)

    def __set__(self, tokenizer: FrontVocabulary, token: str | AddedToken | None) -> None:
        if token is None:
            tokenizer.special_tokens_map.pop(self._name, None)
            return
        if str(token) not in tokenizer.backend.ids:
            raise InputError(
                f"{self._name} {str(token)!r} is not in the vocabulary; add it with "
                f'add_special_tokens({{"{self._name}": {str(token)!r}}}) and make the embedding of the model larger'
            )
        tokenizer.add_special_tokens({self._name: token})


class SpecialTokenId:
    """The id of one of them, None if there is none."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.removesuffix("_id")

    def __get__(self, tokenizer: FrontVocabulary | None, owner: type) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer.special_tokens_map.get(self._name)
        return None if token is None else tokenizer.backend.ids[token]

    def __set__(self, tokenizer: FrontVocabulary, token_id: int | None) -> None:
        setattr(tokenizer, self._name, None if token_id is None else tokenizer.backend.token(token_id))
