"""BERT's and GPT-2's tokenizers and the word tokenizer, with their own defaults, trainable from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.text.aligned import AlignedText
from minilm.text.backend import Backend
from minilm.text.bpe import END_OF_TEXT, ByteLevelBPETokenizer
from minilm.text.decoding import ByteLevelDecoder, WordPieceDecoder
from minilm.text.normalization import BertNormalizer, Lowercase, Normalizer, NormalizerSequence, UnicodeForm
from minilm.text.pipeline import Pipeline
from minilm.text.post_processing import bert_processing
from minilm.text.pretrained import PretrainedTokenizer
from minilm.text.tokenizer import as_chunks
from minilm.text.word_level import WordLevel
from minilm.text.wordpiece import WordPiece
from minilm.text.wordpiece_training import count_words, learn_pieces
from minilm.text.words import BertPreTokenizer, ByteLevel, Whitespace


class BertTokenizer(PretrainedTokenizer):
    """WordPiece with BERT's cleaning: [CLS] text [SEP], [CLS] text [SEP] pair [SEP].

    vocabulary: {piece: id}. do_lower_case: small letters, and without accents unless strip_accents says otherwise.
    tokenize_chinese_chars: every Chinese character is a word. options: see PretrainedTokenizer; special tokens may be
    given by their names. Raises InputError if the vocabulary lacks [UNK].
    """

    CLASS_NAME = "BertTokenizer"
    DEFAULT_TOKENS: ClassVar[Mapping[str, str]] = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        do_lower_case: bool = True,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        **options: Any,
    ) -> None:
        special = {name: options.pop(name, token) for name, token in self.DEFAULT_TOKENS.items()}
        flags: dict[str, Any] = {
            "do_lower_case": do_lower_case,
            "tokenize_chinese_chars": tokenize_chinese_chars,
            "strip_accents": strip_accents,
        }
        names: dict[str, Any] = {name: str(token) for name, token in special.items()}
        backend = self.backend_of(dict(vocabulary), **flags, **names)
        super().__init__(backend, special, settings=flags, **options)

    @staticmethod
    def backend_of(
        vocabulary: dict[str, int],
        do_lower_case: bool = True,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        unk_token: str = "[UNK]",
        sep_token: str = "[SEP]",
        cls_token: str = "[CLS]",
        **_: str,
    ) -> Backend:
        """The parts of such a tokenizer."""
        for token in (cls_token, sep_token):
            if token not in vocabulary:
                raise InputError(f"the vocabulary lacks {token!r}, which stands around every text; add it")
        pipeline = Pipeline(
            WordPiece(vocabulary, unk_token),
            BertNormalizer(True, tokenize_chinese_chars, strip_accents, do_lower_case),
            BertPreTokenizer(),
        )
        around = bert_processing((cls_token, vocabulary[cls_token]), (sep_token, vocabulary[sep_token]))
        return Backend(pipeline, {}, around, WordPieceDecoder(cleanup=True))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        do_lower_case: bool = True,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        min_frequency: int = 2,
        limit_alphabet: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> BertTokenizer:
        """Learn the pieces from nothing; `learn_pieces` says how.

        texts: one string, or several; each is normalized and cut by itself. min_frequency: join no pair that is rarer.
        limit_alphabet: leave out all but so many characters; for Chinese, of which a text may have thousands.

        Raises InputError for empty text, and for a vocab_size that has no room for the characters.
        """
        normalizer = BertNormalizer(True, tokenize_chinese_chars, strip_accents, do_lower_case)
        cut = BertPreTokenizer()
        counts = count_words(cut(normalizer(AlignedText.of(t))).strings() for t in as_chunks(texts, progress))
        if not counts:
            raise InputError("there is no text to train a tokenizer on; give it text that is not empty")
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces = learn_pieces(counts, vocab_size, special, min_frequency, limit_alphabet, progress=progress)
        vocabulary = {piece: n for n, piece in enumerate(pieces)}
        return cls(vocabulary, do_lower_case, tokenize_chinese_chars, strip_accents, **options)


class GPT2Tokenizer(PretrainedTokenizer):
    """Byte-level BPE: no special tokens around a text; <|endoftext|> is beginning, end and unknown at once.

    vocabulary: {token: id} with the 256 bytes. merges: pairs of tokens. add_prefix_space: a space before a text that
    has none. options: see PretrainedTokenizer; special tokens may be given by their names.
    """

    CLASS_NAME = "GPT2Tokenizer"
    MODEL_INPUT_NAMES = ("input_ids", "attention_mask")
    DEFAULT_TOKENS: ClassVar[Mapping[str, str]] = {
        "unk_token": END_OF_TEXT,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
    }

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        add_prefix_space: bool = False,
        **options: Any,
    ) -> None:
        special = {name: options.pop(name, token) for name, token in self.DEFAULT_TOKENS.items()}
        for name in ("pad_token", "sep_token", "cls_token", "mask_token"):
            special[name] = options.pop(name, None)
        more = options.get("additional_special_tokens", ())
        found = {str(token) for token in [*special.values(), *more] if token is not None} & vocabulary.keys()
        backend = self.backend_of(ByteLevelBPETokenizer(dict(vocabulary), merges, sorted(found)), add_prefix_space)
        super().__init__(backend, special, settings={"add_prefix_space": add_prefix_space}, **options)

    @staticmethod
    def backend_of(model: ByteLevelBPETokenizer, add_prefix_space: bool = False) -> Backend:
        """The parts of such a tokenizer."""
        return Backend(Pipeline(model, None, ByteLevel(add_prefix_space)), {}, None, ByteLevelDecoder())

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        min_frequency: int = 2,
        progress: bool = False,
        **options: Any,
    ) -> GPT2Tokenizer:
        """Learn the merges from nothing, as ByteLevelBPETokenizer.train does, with <|endoftext|> as the last token."""
        return cls.of(ByteLevelBPETokenizer.train(texts, vocab_size, [END_OF_TEXT], min_frequency, progress), **options)

    @classmethod
    def of(cls, tokenizer: ByteLevelBPETokenizer, **options: Any) -> GPT2Tokenizer:
        """The same tokenizer with this front; its special tokens are kept."""
        kept = [*tokenizer.special_tokens, *options.pop("additional_special_tokens", ())]
        return cls(tokenizer.vocabulary, tokenizer.merges, additional_special_tokens=kept, **options)


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
        counts = count_words(self.words(text) for text in as_chunks(texts))
        if not counts:
            raise InputError("there are no words whose coverage could be told; give text that is not empty")
        known = {word: count for word, count in counts.items() if word in self.backend.pipeline.vocabulary}
        return {"tokens": sum(known.values()) / sum(counts.values()), "types": len(known) / len(counts)}
