"""WordPiece.

model.py      the greedy longest match
training.py   the pieces, learned from the words of a text
bert.py       BertTokenizer
"""
