"""The parts that every tokenizer of the Hugging Face kind is put together from, whatever its model.

added_tokens.py      [CLS] and its like, found in a text before it is cut
pipeline.py          text → normalizer → words → model → ids, with places
encoding.py          one encoded text: truncation, windows, padding
post_processing.py   the special tokens around a text
decoding.py          tokens → text
backend.py           all of them together
"""
