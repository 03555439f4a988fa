"""From a corpus to batches: catalogue and download, text streams, token files, windows.

corpus = open_corpus("tinyshakespeare")                         # text, streamed
training, validation = prepare_tokens(corpus, tokenizer, folder)  # ids, memory-mapped
batches = RandomWindows(training, 12, 64, generator)
inputs, targets = batches.next_batch()                          # (12, 64) each
"""

from minilm.data.catalogue import CATALOGUE, CorpusEntry
from minilm.data.corpus import CorpusText, check_corpus, open_corpus
from minilm.data.download import cache_folder, download
from minilm.data.tokens import TokenFile, prepare_tokens, tokenizer_fingerprint
from minilm.data.windows import RandomWindows, SequentialWindows, check_length

__all__ = [
    "CATALOGUE",
    "CorpusEntry",
    "CorpusText",
    "RandomWindows",
    "SequentialWindows",
    "TokenFile",
    "cache_folder",
    "check_corpus",
    "check_length",
    "download",
    "open_corpus",
    "prepare_tokens",
    "tokenizer_fingerprint",
]
