"""What a person calls: tokenizer(texts, padding=True, ...), as in transformers, the same for every model.

pretrained.py       PretrainedTokenizer, the base of BertTokenizer, GPT2Tokenizer, T5Tokenizer and WordTokenizer
inputs.py           what it may be given: one text, many, pairs, words
batch_encoding.py   what it returns
vocabulary.py       its tokens and ids; special_tokens.py those that have a name
"""
