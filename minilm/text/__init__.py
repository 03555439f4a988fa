"""Text: cleaning it, and turning it into ids and back."""

from minilm.text.bpe import ByteLevelBPETokenizer
from minilm.text.character import CharacterTokenizer
from minilm.text.cleaning import clean, normalize
from minilm.text.tokenizer import StreamDecoder, Tokenizer, load_tokenizer, train_tokenizer

__all__ = [
    "ByteLevelBPETokenizer",
    "CharacterTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "clean",
    "load_tokenizer",
    "normalize",
    "train_tokenizer",
]
