"""Characters and their forms, whatever a text is then cut into.

cleaning.py        `clean` and `normalize`: what is done to a corpus before anything else
aligned.py         a changed text that knows where each of its characters came from
normalization.py   the normalizers of tokenizers; normal_forms.py NFC, NFD, NFKC, NFKD with places
charsmap.py        SentencePiece's table of replacements
tables.py          which characters are accents, punctuation, controls
byte_map.py        any byte as one visible character
"""
