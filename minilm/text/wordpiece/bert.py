"""BERT's tokenizer: WordPiece after BERT's cleaning, trainable from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import WordPieceDecoder
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.pipeline.post_processing import bert_processing
from minilm.text.tokenizer import as_chunks
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.normalization import BertNormalizer
from minilm.text.wordpiece.model import WordPiece
from minilm.text.wordpiece.training import count_words, learn_pieces
from minilm.text.words.pre_tokenizers import BertPreTokenizer


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
