"""Words as tokens: a vocabulary of the most frequent ones, and [UNK] for the rest.    [000 §3.1, 003 Q3]"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.pipeline import Pieces, Pipeline
from minilm.text.tokenizer import as_chunks
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.normalization import Lowercase, Normalizer, NormalizerSequence, UnicodeForm
from minilm.text.wordpiece.training import count_words
from minilm.text.words.coverage import vocabulary_coverage
from minilm.text.words.pre_tokenizers import Whitespace


class WordLevel:
    """vocabulary: {word: id}. unk_token: what a word becomes that is not in it.

    Raises InputError if the vocabulary lacks unk_token.
    """

    def __init__(self, vocabulary: Mapping[str, int], unk_token: str = "[UNK]") -> None:
        if unk_token not in vocabulary:
            raise InputError(
                f"the vocabulary of {len(vocabulary)} words lacks the unknown token {unk_token!r}; add it, or name another"
            )
        self.vocabulary = dict(vocabulary)
        self.unk_token = unk_token

    def split(self, words: Sequence[str]) -> list[Pieces]:
        """One piece for each word."""
        unknown = self.vocabulary[self.unk_token]
        return [([self.vocabulary.get(word, unknown)], [0], [len(word)]) for word in words]


class WordTokenizer(PretrainedTokenizer):
    """Whole words by a vocabulary of the most frequent ones; all others are [UNK].    [000 §3.1, 003 Q2 and Q3]

    vocabulary: {word: id}, with [UNK]. lowercase: small letters. options: see PretrainedTokenizer.
    """

    CLASS_NAME = "WordTokenizer"
    MODEL_INPUT_NAMES = ("input_ids", "attention_mask")
    DEFAULT_TOKENS: ClassVar[Mapping[str, str]] = {"unk_token": "[UNK]", "pad_token": "[PAD]"}

    def __init__(self, vocabulary: Mapping[str, int], lowercase: bool = True, **options: Any) -> None:
        special = {name: options.pop(name, token) for name, token in self.DEFAULT_TOKENS.items()}
        steps: list[Normalizer] = [UnicodeForm("NFC"), *([Lowercase()] if lowercase else [])]
        model = WordLevel(dict(vocabulary), str(special["unk_token"]))
        backend = Backend(Pipeline(model, NormalizerSequence(steps), Whitespace()))
        super().__init__(backend, special, settings={"lowercase": lowercase}, **options)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        lowercase: bool = True,
        min_frequency: int = 1,
        progress: bool = False,
        **options: Any,
    ) -> WordTokenizer:
        """[PAD], [UNK] and the most frequent words, the most frequent first; of equals the one that came first.

        min_frequency: leave out words that are rarer. Raises InputError for empty text and a vocab_size below 3.
        """
        if vocab_size < 3:
            raise InputError(f"a vocabulary of {vocab_size} has no room for [PAD], [UNK] and a word; give 3 or more")
        special = list(dict.fromkeys(cls.DEFAULT_TOKENS.values()))[::-1]
        empty = cls({token: n for n, token in enumerate(special)}, lowercase)
        counts = count_words(empty.words(text) for text in as_chunks(texts, progress))
        if not counts:
            raise InputError("there is no text to train a tokenizer on; give it text that is not empty")
        kept = [word for word, count in counts.most_common(vocab_size - len(special)) if count >= min_frequency]
        return cls({word: n for n, word in enumerate([*special, *kept])}, lowercase, **options)

    def words(self, text: str) -> list[str]:
        """The words of a text, known or not."""
        pipeline = self.backend.pipeline
        return pipeline.words(pipeline.normalize(AlignedText.of(text))).strings()

    def coverage(self, texts: Iterable[str] | str) -> dict[str, float]:
        """How much of a text the vocabulary knows.    [F18]

            tokens = words of the text that are known / all its words
            types  = distinct words that are known / all its distinct words

        Raises InputError for a text without words.
        """
        words = (word for text in as_chunks(texts) for word in self.words(text))
        coverage = vocabulary_coverage(words, self.backend.pipeline.vocabulary)
        return {"tokens": coverage.tokens, "types": coverage.types}
