"""WordPiece, Unigram and word vocabularies for `minilm train`: running text without special tokens, as Tokenizer has it.

Unlike characters and byte-level BPE these keep less than the text: whitespace becomes one space, and what the vocabulary
lacks becomes [UNK]. So the text of the ids is not always the text that was encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.tokenizer import Tokenizer, as_chunks
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.sentencepiece_text import METASPACE
from minilm.text.unigram.t5 import T5Tokenizer
from minilm.text.word_level import WordTokenizer
from minilm.text.wordpiece.bert import BertTokenizer
from minilm.text.wordpiece.model import WordPiece

CLASSES = ("BertTokenizer", "T5Tokenizer", "WordTokenizer", "PreTrainedTokenizerFast")  # in tokenizer_config.json
_LAST_SPACE = re.compile(r"[ \t\r\n](?=[^ \t\r\n]*\Z)")


class RunningTextTokenizer(Tokenizer):
    """front: a tokenizer whose words end at whitespace: BertTokenizer, T5Tokenizer, WordTokenizer.

    A word's first token stands for a space and its text; so decode() begins with a space.
    """

    def __init__(self, front: PretrainedTokenizer) -> None:
        self.front = front
        self._tokens = [front.backend.token(n) for n in range(len(front))]
        model = front.backend.pipeline.model
        self._texts = [_text_of(token, model) for token in self._tokens]

    @classmethod
    def train(
        cls, kind: str, texts: Iterable[str], vocab_size: int | None = None, progress: bool = False
    ) -> RunningTextTokenizer:
        """kind: "wordpiece", "unigram" or "word"; all three tell capitals from small letters.

        Raises InputError for another kind, for empty text and for a vocab_size that has no room.
        """
        size: dict[str, Any] = {} if vocab_size is None else {"vocab_size": vocab_size}
        if kind == "wordpiece":
            return cls(BertTokenizer.train(texts, do_lower_case=False, progress=progress, **size))
        if kind == "unigram":
            return cls(T5Tokenizer.train(texts, extra_ids=0, progress=progress, **size))
        if kind == "word":
            return cls(WordTokenizer.train(texts, lowercase=False, progress=progress, **size))
        raise InputError(f"{kind!r} is no way to cut words; there are wordpiece, unigram and word")

    @property
    def tokens(self) -> list[str]:
        return self._tokens

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.vocab_size:
            self.check_ids([token_id])  # raises
        return self._texts[token_id].encode()

    def encode_array(self, text: str) -> np.ndarray:
        return self.front.encode_offsets(text)[0].astype(self.dtype)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        """As Tokenizer says; what stands behind a chunk's last space waits for the next one."""
        rest = ""
        for chunk in as_chunks(chunks):
            rest += chunk
            found = _LAST_SPACE.search(rest)
            if found:
                yield self.encode_array(rest[: found.start()])
                rest = rest[found.start() :]
        yield self.encode_array(rest)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(self._texts[n] for n in self.check_ids(ids).tolist())

    def save(self, folder: str | Path) -> None:
        """Write the files of Hugging Face's layout, which transformers reads too."""
        self.front.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path) -> RunningTextTokenizer:
        return cls(PretrainedTokenizer.from_folder(folder))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.front!r})"


def _text_of(token: str, model: object) -> str:
    """What a token stands for in running text."""
    if isinstance(model, Unigram):
        return token.replace(METASPACE, " ")
    if isinstance(model, WordPiece) and token.startswith("##") and len(token) > 2:
        return token[2:]
    return f" {token}"
