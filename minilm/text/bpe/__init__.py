"""Byte-level BPE.

training.py    which pairs to join, learned from a text
encoding.py    the merges applied to words
words.py       the array of words on which both work
tokenizer.py   ByteLevelBPETokenizer, which does both
gpt2.py        GPT2Tokenizer: the same behind the common front
"""
