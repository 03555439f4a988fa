"""The simplest tokenizer: every character is a token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.tokenizer import Tokenizer, as_chunks
from minilm.text.unicode.cleaning import refuse_surrogates

SHOWN = 5  # so many unknown characters are named in an error


class CharacterTokenizer(Tokenizer):
    """Ids for the characters of one text: the vocabulary is those that occur in it, sorted by code point.

    characters: the vocabulary in order of the ids, each once. Raises InputError for an empty one, a repeated
    character, or an entry that is not one character.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._tokens = list(characters)
        if not self._tokens:
            raise InputError("a character tokenizer needs at least one character, and there is none; give it some text")
        for n, character in enumerate(self._tokens):
            if len(character) != 1:
                raise InputError(f"entry {n} of the vocabulary, {character!r}, is not one character; give single ones")
        refuse_surrogates("".join(self._tokens))
        # Two tables that undo each other. The last entry of the first stands for all code points beyond it: unknown.
        self._code_of = np.array([ord(character) for character in self._tokens], "<u4")
        if len(np.unique(self._code_of)) < len(self._tokens):
            raise InputError("the vocabulary has a character twice; give each once")
        self._id_of = np.full(int(self._code_of.max()) + 2, -1, np.int32)
        self._id_of[self._code_of] = np.arange(len(self._tokens))

    @classmethod
    def train(cls, texts: Iterable[str], progress: bool = False) -> CharacterTokenizer:
        """The tokenizer of all characters in `texts` (pieces of one text, or one string)."""
        found: set[str] = set()
        for chunk in as_chunks(texts, progress):
            found.update(chunk)
        return cls(sorted(found))

    @property
    def tokens(self) -> list[str]:
        return self._tokens

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.vocab_size:
            self.check_ids([token_id])  # raises
        return self._tokens[token_id].encode()

    def encode_array(self, text: str) -> np.ndarray:
        refuse_surrogates(text)
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        ids = self._id_of.take(codes, mode="clip")
        if len(ids) and ids.min() < 0:
            raise InputError(self._explain_unknown(codes[ids < 0]))
        return ids.astype(self.dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._code_of[self.check_ids(ids)].tobytes().decode("utf-32-le")

    def save(self, folder: str | Path) -> None:
        """Write vocab.json ({"character": id}) and tokenizer_config.json."""
        vocabulary = {character: n for n, character in enumerate(self._tokens)}
        storage.write_folder(folder, type(self).__name__, {"vocab.json": storage.to_json(vocabulary)})

    @classmethod
    def load(cls, folder: str | Path) -> CharacterTokenizer:
        vocabulary = storage.read_vocabulary(folder, storage.read_config(folder, [cls.__name__]))
        try:
            return cls(list(vocabulary))
        except InputError as error:
            raise InputError(f"{Path(folder) / 'vocab.json'} is damaged: {error}") from None

    def _explain_unknown(self, codes: np.ndarray) -> str:
        distinct = list(dict.fromkeys(codes.tolist()))  # in the order of the text
        named = ", ".join(f"{chr(code)!r} (U+{code:04X})" for code in distinct[:SHOWN])
        if len(distinct) > SHOWN:
            named += f" and {len(distinct) - SHOWN} more"
        return (
            f"the character tokenizer never saw {named} in training; its vocabulary has {self.vocab_size} characters: "
            "use other text, or train with a bpe tokenizer (bpe:8000), which can encode any text"
        )
