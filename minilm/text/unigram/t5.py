"""T5's tokenizer: Unigram pieces with SentencePiece's way with text, trainable from nothing.

text → normalize (sentencepiece_text.py) → words that begin with ▁ → pieces (model.py) → ids, and </s> at the end
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from minilm.errors import InputError
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.pipeline.added_tokens import as_special
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import MetaspaceDecoder
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.pipeline.post_processing import TemplateProcessing
from minilm.text.tokenizer import as_chunks
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unicode.normalization import Normalizer
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.sentencepiece_text import WhitespaceMetaspace, sentencepiece_normalizer
from minilm.text.unigram.training import train_unigram


class T5Tokenizer(PretrainedTokenizer):
    """Unigram as T5 has it: text </s>, and text </s> pair </s>.

    vocabulary: [(piece, log-probability)], the place being the id; with <pad>, </s> and <unk>. normalizer: what is
    done to a text first; Nmt, NFKC and single spaces if not given, None for nothing. extra_ids: so many sentinels
    <extra_id_0>, <extra_id_1>, ... for span corruption; those that the vocabulary lacks are added behind it, counted
    down, so that <extra_id_0> is the last id. options: see PretrainedTokenizer; special tokens may be given by their
    names. Raises InputError if the vocabulary lacks <unk> or </s>.
    """

    CLASS_NAME = "T5Tokenizer"
    MODEL_INPUT_NAMES = ("input_ids", "attention_mask")
    DEFAULT_TOKENS: ClassVar[Mapping[str, str]] = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

    def __init__(
        self,
        vocabulary: Sequence[tuple[str, float]],
        normalizer: Normalizer | str | None = "default",
        extra_ids: int = 100,
        **options: Any,
    ) -> None:
        special = {name: options.pop(name, token) for name, token in self.DEFAULT_TOKENS.items()}
        known = {piece for piece, _ in vocabulary}
        sentinels = [f"<extra_id_{n}>" for n in reversed(range(extra_ids))]
        pieces = [*vocabulary, *((token, 0.0) for token in sentinels if token not in known)]
        chosen = sentencepiece_normalizer() if isinstance(normalizer, str) else normalizer
        names = {name: str(token) for name, token in special.items() if token is not None}
        backend = self.backend_of(pieces, chosen, **names)
        options.setdefault("additional_special_tokens", sentinels[::-1])
        # transformers' own T5Tokenizer knows no normalizer but a charsmap; the general class takes the file as it is
        fits = chosen is None or isinstance(chosen, Precompiled)
        options.setdefault("class_name", self.CLASS_NAME if fits else PretrainedTokenizer.CLASS_NAME)
        super().__init__(backend, special, settings={"extra_ids": extra_ids} if fits else {}, **options)

    @staticmethod
    def backend_of(
        vocabulary: Sequence[tuple[str, float]],
        normalizer: Normalizer | None,
        eos_token: str = "</s>",
        unk_token: str = "<unk>",
        **_: str,
    ) -> Backend:
        """The parts of such a tokenizer."""
        places = {piece: n for n, (piece, _) in enumerate(vocabulary)}
        for token in (eos_token, unk_token):
            if token not in places:
                raise InputError(f"the vocabulary lacks {token!r}; add it, with the log-probability 0")
        pipeline = Pipeline(Unigram(vocabulary, places[unk_token]), normalizer, WhitespaceMetaspace())
        single, pair = f"$A:0 {eos_token}:0", f"$A:0 {eos_token}:0 $B:0 {eos_token}:0"
        end = TemplateProcessing.parse(single, pair, {eos_token: places[eos_token]})
        added = {places[token]: as_special(token) for token in (eos_token, unk_token)}
        return Backend(pipeline, added, end, MetaspaceDecoder("▁", "always"))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        extra_ids: int = 100,
        progress: bool = False,
        shrinking_factor: float = 0.75,
        max_piece_length: int = 16,
        **options: Any,
    ) -> T5Tokenizer:
        """Learn the pieces from nothing; `train_unigram` says how.

        texts: one string, or several; each is normalized and cut by itself. vocab_size: ids wanted, with <pad>, </s>,
        <unk> (0, 1, 2) and the sentinels.

        Raises InputError for empty text, and for a vocab_size that has no room for the characters.
        """
        special = ["<pad>", "</s>", "<unk>"]
        normalizer, cut = sentencepiece_normalizer(), WhitespaceMetaspace()
        counts: Counter[str] = Counter()
        for text in as_chunks(texts, progress):
            counts.update(cut(normalizer(AlignedText.of(text))).strings())
        room = vocab_size - len(special) - extra_ids
        if room < 1:
            raise InputError(
                f"a vocabulary of {vocab_size} has no room beside {len(special)} special tokens and {extra_ids} extra_ids; "
                "ask for more, or for fewer extra_ids"
            )
        pieces = train_unigram(
            counts, room, shrinking_factor=shrinking_factor, max_piece_length=max_piece_length, exclude=special
        )
        return cls([*((token, 0.0) for token in special), *pieces], extra_ids=extra_ids, **options)


def sample_ids(pipeline: Pipeline, text: str, generator: np.random.Generator, alpha: float = 0.1) -> list[int]:
    """The ids of `text`, every word cut at random as in `Unigram.sample`: subword regularization, for training.

    Raises InputError for a pipeline whose model is no Unigram.
    """
    model = pipeline.model
    if not isinstance(model, Unigram):
        raise InputError(f"a {type(model).__name__} has one way to cut a word; sampling needs a Unigram model")
    ids: list[int] = []
    for word in pipeline.words(pipeline.normalize(AlignedText.of(text))).strings():
        ids += model.as_pieces(word, model.sample(word, generator, alpha))[0]
    return ids
