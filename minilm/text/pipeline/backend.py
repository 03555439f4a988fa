"""All parts of a tokenizer together, as tokenizer.json describes them.

text → added tokens and the text between them → pipeline → post-processor → encoding
ids → tokens → decoder → text
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from minilm.errors import InputError
from minilm.text.pipeline.added_tokens import AddedToken, AddedTokens
from minilm.text.pipeline.decoding import Decoder
from minilm.text.pipeline.encoding import WORDS, Encoding, concatenate, truncate
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.pipeline.post_processing import PostProcessor
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.cleaning import refuse_surrogates


class Backend:
    """pipeline: normalizer, pre-tokenizer and model. added: {id: token} that are found before words are cut.

    post_processor and decoder may be None: then nothing is put around a text, and tokens are joined by spaces.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        added: Mapping[int, AddedToken] | None = None,
        post_processor: PostProcessor | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.pipeline, self.post_processor, self.decoder = pipeline, post_processor, decoder
        self._names = {n: token for token, n in pipeline.vocabulary.items()}
        self.added = AddedTokens({}, str)
        self.add(added or {})

    def add(self, tokens: Mapping[int, AddedToken]) -> None:
        """Know more added tokens; one whose text is known already replaces it."""
        for n, token in tokens.items():
            name = self._names.get(n, token.content)
            if name != token.content:
                raise InputError(
                    f"the added token {token.content!r} has the id {n}, which is that of {name!r}; give another"
                )
        self.added = AddedTokens({**self.added.tokens, **tokens}, self._normalized)
        self._names.update((n, token.content) for n, token in tokens.items())
        self.ids = {token: n for n, token in self._names.items()}
        self.size = max(self._names, default=-1) + 1

    def _normalized(self, text: str) -> str:
        return self.pipeline.normalize(AlignedText.of(text)).text

    def encode(self, text: str, sequence: int = 0, split_special_tokens: bool = False) -> Encoding:
        """One text, without special tokens around it.

        sequence: 0 for the first text of a pair, 1 for the second. split_special_tokens: special tokens that stand in
        the text are cut as ordinary text. Raises InputError for a lone surrogate.
        """
        refuse_surrogates(text)
        given = AlignedText.of(text)
        parts: list[Encoding] = []
        words = 0
        for start, end, n in self.added.find(text, False, split_special_tokens):
            part = given.cut(start, end)
            if n is not None:
                parts.append(self._added(n, part, words, sequence))
                words += 1
                continue
            part = self.pipeline.normalize(part)
            for begin, stop, m in self.added.find(part.text, True, split_special_tokens):
                piece = part if (begin, stop) == (0, len(part.text)) else part.cut(begin, stop)
                if m is not None:
                    parts.append(self._added(m, piece, words, sequence))
                    words += 1
                    continue
                cut = self.pipeline.encode_aligned(piece)
                tokens = self._token_texts(cut.ids, cut.text, cut.spans)
                parts.append(Encoding.of_text(cut.ids, cut.offsets, cut.words + words, tokens, sequence))
                words += cut.word_count
        return concatenate(parts) if parts else self._nothing(sequence)

    def encode_words(self, words: Sequence[str], sequence: int = 0, split_special_tokens: bool = False) -> Encoding:
        """A text that comes as words: each is encoded by itself, and offsets are those in its word."""
        parts = []
        for n, word in enumerate(words):
            part = self.encode(word, sequence, split_special_tokens)
            parts.append(part.with_column(WORDS, n))
        return concatenate(parts) if parts else self._nothing(sequence)

    def special_count(self, pair: bool) -> int:
        """How many special tokens are put around a text, or a pair."""
        return self.post_processor.added(pair) if self.post_processor else 0

    def assemble(
        self,
        parts: Sequence[Encoding],
        add_special_tokens: bool = True,
        max_length: int | None = None,
        stride: int = 0,
        strategy: str = "longest_first",
        side: str = "right",
    ) -> Encoding:
        """One text or a pair, truncated to max_length if that is given, with the special tokens around."""
        if max_length is not None:
            room = max_length - (self.special_count(len(parts) == 2) if add_special_tokens else 0)
            if room < 0:
                raise InputError(f"max_length {max_length} does not even hold the special tokens; give a larger one")
            parts = truncate(parts, room, stride, strategy, side)
        if self.post_processor:
            parts = self.post_processor(list(parts), add_special_tokens)
        return concatenate(parts)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of `ids`. Raises InputError for an id that no token has."""
        skipped = self.added.special_ids if skip_special_tokens else ()
        tokens = [self._decoded_form(n) for n in ids if n not in skipped]
        return "".join(self.decoder(tokens)) if self.decoder else " ".join(tokens)

    def token(self, n: int) -> str:
        """The token of an id. Raises InputError if there is none."""
        try:
            return self._names[n]
        except KeyError:
            raise InputError(
                f"id {n} is not in the vocabulary of {self.size} tokens (0 to {self.size - 1}); "
                "decode with the tokenizer that made the ids"
            ) from None

    def _decoded_form(self, n: int) -> str:
        token = self.added.tokens.get(n)
        return self._normalized(token.content) if token and token.normalized else self.token(n)

    def _token_texts(self, ids: np.ndarray, text: str, spans: np.ndarray) -> list[str]:
        """The tokens of the ids; what a Unigram model does not know keeps its text."""
        unknown = getattr(self.pipeline.model, "unk_id", None)
        tokens = [*map(self._names.__getitem__, ids.tolist())]
        if unknown is not None:
            for n in np.flatnonzero(ids == unknown).tolist():
                tokens[n] = text[spans[n, 0] : spans[n, 1]]
        return tokens

    @staticmethod
    def _added(n: int, part: AlignedText, word: int, sequence: int) -> Encoding:
        offsets = part.spans(np.zeros(1, np.intp), np.array([len(part.text)]))
        return Encoding.of_text(np.array([n], np.int64), offsets, np.array([word]), [part.text], sequence)

    @staticmethod
    def _nothing(sequence: int) -> Encoding:
        empty = np.empty(0, np.int64)
        return Encoding.of_text(empty, empty.reshape(0, 2), empty, [], sequence)
