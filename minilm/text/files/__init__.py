"""Tokenizers in files, as Hugging Face lays them out.

folder.py           a tokenizer's folder: vocab.txt, merges.txt, tokenizer_config.json, ...
tokenizer_json.py   tokenizer.json, with the parts of component_json.py
"""
