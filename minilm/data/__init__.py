"""From a corpus to batches: catalogue and download, text streams, token files, windows.

corpus = open_corpus("tinyshakespeare")                         # text, streamed
training, validation = prepare_tokens(corpus, tokenizer, folder)  # ids, memory-mapped
batches = RandomWindows(training, 12, 64, generator)
inputs, targets = batches.next_batch()                          # (12, 64) each

And from a task's file to examples:

reviews = read_text_examples("reviews.tsv")                     # [TextExample(text, label), ...]
training, validation, test = split_examples(reviews, seed=0)
"""

from minilm.data.catalogue import CATALOGUE, CorpusEntry
from minilm.data.conll import iob1_to_bio, read_conll
from minilm.data.corpus import CorpusText, check_corpus, open_corpus
from minilm.data.download import cache_folder, download
from minilm.data.squad import read_squad
from minilm.data.tables import read_pair_examples, read_text_examples, read_token_examples, sign_label
from minilm.data.tasks import Answer, PairExample, QuestionExample, TextExample, TokensExample
from minilm.data.tasks_snips import read_snips_intents, read_snips_slots
from minilm.data.tasks_split import split_examples
from minilm.data.tokens import TokenFile, prepare_tokens, tokenizer_fingerprint
from minilm.data.windows import RandomWindows, SequentialWindows, check_length

__all__ = [
    "CATALOGUE",
    "Answer",
    "CorpusEntry",
    "CorpusText",
    "PairExample",
    "QuestionExample",
    "RandomWindows",
    "SequentialWindows",
    "TextExample",
    "TokenFile",
    "TokensExample",
    "cache_folder",
    "check_corpus",
    "check_length",
    "download",
    "iob1_to_bio",
    "open_corpus",
    "prepare_tokens",
    "read_conll",
    "read_pair_examples",
    "read_snips_intents",
    "read_snips_slots",
    "read_squad",
    "read_text_examples",
    "read_token_examples",
    "sign_label",
    "split_examples",
    "tokenizer_fingerprint",
]
