"""Cutting a text into words, before a model cuts the words into pieces.

gpt2_pattern.py     GPT-2's cut, of which byte-level BPE's training and encoding are made
pre_tokenizers.py   all the cuts that tokenizer.json can name, with places
coverage.py         how much of a text a vocabulary of words knows
"""
