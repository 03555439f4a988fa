"""Text: cleaning it, and turning it into ids and back."""

from minilm.text.batch_encoding import BatchEncoding
from minilm.text.bpe import ByteLevelBPETokenizer
from minilm.text.character import CharacterTokenizer
from minilm.text.cleaning import clean, normalize
from minilm.text.families import BertTokenizer, GPT2Tokenizer, WordTokenizer
from minilm.text.pretrained import PretrainedTokenizer
from minilm.text.tokenizer import StreamDecoder, Tokenizer, load_tokenizer, train_tokenizer
from minilm.text.unigram_tokenizer import T5Tokenizer

__all__ = [
    "BatchEncoding",
    "BertTokenizer",
    "ByteLevelBPETokenizer",
    "CharacterTokenizer",
    "GPT2Tokenizer",
    "PretrainedTokenizer",
    "StreamDecoder",
    "T5Tokenizer",
    "Tokenizer",
    "WordTokenizer",
    "clean",
    "load_tokenizer",
    "normalize",
    "train_tokenizer",
]
