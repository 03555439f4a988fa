"""Unigram.

sentencepiece_text.py   what is done to a text first: ▁ for the spaces
model.py                the most probable cut (Viterbi), and cuts drawn at random
seed.py, lattice.py     all substrings worth a piece; all cuts of all words
training.py             EM and pruning
t5.py                   T5Tokenizer
"""
