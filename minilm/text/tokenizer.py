"""What every tokenizer can do: text to ids, ids to text, to a folder and back."""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index
from pathlib import Path
from typing import TypeVar

import numpy as np

from minilm.errors import InputError
from minilm.optional import require
from minilm.text import storage
from minilm.text.unicode.cleaning import refuse_surrogates

T = TypeVar("T", bound="Tokenizer")


class Tokenizer(ABC):
    """Text as a sequence of whole numbers, the ids, each the place of one token in a vocabulary.

    Whatever can be encoded comes back unchanged: decode(encode(text)) == text.
    """

    @property
    @abstractmethod
    def tokens(self) -> list[str]:
        """The vocabulary as it stands in vocab.json: tokens[id] is the token of that id."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token stands for; for a byte-level tokenizer they may be part of a character."""

    @abstractmethod
    def encode_array(self, text: str) -> np.ndarray:
        """The ids of `text`: (n,) of the smallest unsigned dtype that holds the vocabulary (`dtype`). The fast way.

        Raises InputError for text that cannot be encoded: lone surrogates, and for a character tokenizer characters
        that are not in its vocabulary.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, any sequence or one-dimensional array of integers.

        Raises InputError for ids outside the vocabulary. Bytes that are no UTF-8, as when a character's tokens are not
        all there, become "\\ufffd".
        """

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the tokenizer to `folder`, which is made if need be. Raises InputError if that cannot be done."""

    @classmethod
    @abstractmethod
    def load(cls: type[T], folder: str | Path) -> T:
        """Read a tokenizer that `save` wrote. Raises InputError, which says what is wrong with the folder."""

    @property
    def vocab_size(self) -> int:
        """The number of tokens; ids run from 0 to vocab_size - 1."""
        return len(self.tokens)

    @property
    def dtype(self) -> np.dtype:
        """uint16 for up to 65,536 tokens, uint32 for more."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def encode(self, text: str) -> list[int]:
        """The ids of `text` as a list; `encode_array` says what it raises."""
        return self.encode_array(text).tolist()

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of a text that comes in pieces, as when it is larger than memory: an array per piece, maybe one more.

        Joined they are `encode_array` of the joined text, wherever the pieces were cut.
        """
        return map(self.encode_array, chunks)

    def token_strings(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The text of each id by itself, to show a person how a text was cut."""
        return [self.token_bytes(n).decode("utf-8", "replace") for n in self.check_ids(ids).tolist()]

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes one id at a time, for text that appears while it is generated."""
        return StreamDecoder(self.token_bytes)

    def check_ids(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """`ids` as an array of integers, one dimension. Raises InputError unless each is in the vocabulary."""
        array = np.asarray(ids)
        if array.size == 0 and array.ndim == 1:
            return array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InputError(
                f"ids of shape {array.shape} and type {array.dtype} cannot be decoded; give one sequence of integers"
            )
        for wrong in (array.min(), array.max()):
            if not 0 <= wrong < self.vocab_size:
                raise InputError(
                    f"id {wrong} is not in the vocabulary of {self.vocab_size} tokens (0 to {self.vocab_size - 1}); "
                    "decode with the tokenizer that made the ids"
                )
        return array

    def __len__(self) -> int:
        return self.vocab_size

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Tokenizer) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash((type(self), self.vocab_size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


class StreamDecoder:
    """Decodes ids one by one; all that was pushed and flushed, joined, is `decode` of the ids.

    A character of several bytes may be spread over several tokens: its text comes when its last byte is there.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes, maybe none. Raises InputError for an id outside the vocabulary."""
        return self._decoder.decode(self._token_bytes(index(token_id)))

    def flush(self) -> str:
        """What is left at the end: "\\ufffd" for a character that was never completed, else "". Then all starts anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def train_tokenizer(spec: str, texts: Iterable[str], progress: bool = False) -> Tokenizer:
    """Make a tokenizer for `texts`.

    spec: "char"; "bpe:VOCAB" with the number of tokens, e.g. "bpe:8000"; "wordpiece:VOCAB", "unigram:VOCAB" or "word:VOCAB",
    which do not keep every space (running_text.py); "word" alone has 8,000 words. texts: pieces of one text, or one
    string; an iterator will do, for a text larger than memory. progress: show a bar.

    Raises InputError for a spec that is none of these, and for text without a single character.
    """
    from minilm.text.bpe.tokenizer import ByteLevelBPETokenizer  # they import this module
    from minilm.text.character import CharacterTokenizer

    kind, _, number = spec.partition(":")
    if spec == "char":
        return CharacterTokenizer.train(texts, progress=progress)
    if kind not in ("bpe", "wordpiece", "unigram", "word"):
        raise InputError(
            f'tokenizer {spec!r} is unknown; available are "char" and "bpe:VOCAB", "wordpiece:VOCAB", "unigram:VOCAB", '
            '"word:VOCAB", e.g. "bpe:8000"'
        )
    if spec != "word" and not re.fullmatch("[0-9]{1,9}", number):
        raise InputError(f'tokenizer {spec!r} needs its number of tokens after "{kind}:", e.g. "{kind}:8000"')
    if kind == "bpe":
        return ByteLevelBPETokenizer.train(texts, int(number), progress=progress)
    from minilm.text.running_text import RunningTextTokenizer

    return RunningTextTokenizer.train(kind, texts, int(number) if number else None, progress)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer in `folder`, of the class that its tokenizer_config.json names.

    Raises InputError if the folder has no tokenizer, a damaged one, or one of a class that minilm does not have.
    """
    from minilm.text.bpe.tokenizer import ByteLevelBPETokenizer  # they import this module
    from minilm.text.character import CharacterTokenizer

    name = storage.read_config(folder).get("tokenizer_class")
    if name is None and (Path(folder) / "merges.txt").exists():
        name = ByteLevelBPETokenizer.__name__  # the first GPT-2 folders do not say what they are
    if name == CharacterTokenizer.__name__:
        return CharacterTokenizer.load(folder)
    if name in ByteLevelBPETokenizer.CLASS_NAMES:
        return ByteLevelBPETokenizer.load(folder)
    from minilm.text.running_text import CLASSES, RunningTextTokenizer

    if name in CLASSES:
        return RunningTextTokenizer.load(folder)
    known = ", ".join([CharacterTokenizer.__name__, *ByteLevelBPETokenizer.CLASS_NAMES, *CLASSES])
    raise InputError(
        f"{Path(folder) / storage.CONFIG} names the tokenizer_class {name!r}, which this minilm does not have; "
        f"it has {known}: update minilm, name one of these if the files are in its format, or open "
        "it with PretrainedTokenizer.from_folder, if it is not for running text"
    )


def as_chunks(texts: Iterable[str], progress: bool = False) -> Iterator[str]:
    """The pieces of a text, one string being one piece, each free of lone surrogates (else InputError)."""
    if isinstance(texts, str):
        texts = [texts]
    elif progress:
        texts = require("tqdm", "a progress bar").tqdm(texts, desc="reading text", unit=" pieces", leave=False)
    for text in texts:
        refuse_surrogates(text)
        yield text
