"""GPT-2's tokenizer: byte-level BPE behind the common front, trainable from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from minilm.text.bpe.tokenizer import END_OF_TEXT, ByteLevelBPETokenizer
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import ByteLevelDecoder
from minilm.text.pipeline.pipeline import Pipeline
from minilm.text.words.pre_tokenizers import ByteLevel


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
