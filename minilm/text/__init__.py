"""Text: cleaning it, and turning it into ids and back.

From the bottom up:

unicode/        characters: cleaning, normal forms, tables
words/          cutting a text into words
pipeline/       the parts of a tokenizer, and how they work together
front/          tokenizer(texts, padding=True, ...), as in transformers
tokenizer.py    the smaller tokenizers of `minilm train`: what they all can do
character.py, word_level.py, bpe/, wordpiece/, unigram/      the five ways to cut, each with its training
files/          Hugging Face's files
"""

from minilm.text.bpe.gpt2 import GPT2Tokenizer
from minilm.text.bpe.tokenizer import ByteLevelBPETokenizer
from minilm.text.character import CharacterTokenizer
from minilm.text.front.batch_encoding import BatchEncoding
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.tokenizer import StreamDecoder, Tokenizer, load_tokenizer, train_tokenizer
from minilm.text.unicode.cleaning import clean, normalize
from minilm.text.unigram.t5 import T5Tokenizer
from minilm.text.word_level import WordTokenizer
from minilm.text.wordpiece.bert import BertTokenizer

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
