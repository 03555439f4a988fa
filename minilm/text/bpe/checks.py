"""What a byte-level vocabulary must be: looked at before it is used."""

from __future__ import annotations

from collections.abc import Sequence

from minilm.errors import InputError
from minilm.text.unicode.byte_map import ALPHABET, CHARACTER_TO_BYTE
from minilm.text.unicode.cleaning import refuse_surrogates


def check_special_tokens(special_tokens: Sequence[str]) -> None:
    """InputError unless these are texts, each once, none empty."""
    if isinstance(special_tokens, str):
        raise InputError(f"special_tokens is the text {special_tokens!r}; give a list of texts")
    if "" in special_tokens or len(set(special_tokens)) < len(special_tokens):
        raise InputError(f"special_tokens {list(special_tokens)} has an empty or a repeated one; give each once")
    for token in special_tokens:
        refuse_surrogates(token)


def check_vocabulary(
    vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], special: dict[str, int], ignore_merges: bool
) -> None:
    """InputError unless every merge joins two tokens into a token, and every token is a byte, a merge or special.

    With ignore_merges a token may be none of these: a word that is looked up whole.
    """
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise InputError(f"the ids of the {len(vocabulary)} tokens are not 0 to {len(vocabulary) - 1}, each once")
    absent = [character for character in ALPHABET if character not in vocabulary]
    if absent:
        raise InputError(
            f"the vocabulary lacks {len(absent)} of the 256 bytes (first {CHARACTER_TO_BYTE[absent[0]]:#04x}, written "
            f"{absent[0]!r}), so not every text could be encoded; use a byte-level vocabulary, or train one"
        )
    made = set(ALPHABET)
    for rank, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in vocabulary:
                raise InputError(
                    f"merge {rank + 1}, {left!r} + {right!r}, needs the token {token!r}, which the vocabulary lacks; "
                    "use vocab.json and merges.txt of the same tokenizer"
                )
            if token in special:
                raise InputError(
                    f"merge {rank + 1} uses {token!r}, but {token!r} is a special token; drop one of the two"
                )
        made.add(left + right)
    ordinary = next((token for token in special if token in made), None)
    if ordinary is not None:
        raise InputError(f"the special token {ordinary!r} is also written like an ordinary one; give it another text")
    orphans = [token for token in vocabulary if token not in made and token not in special]
    if orphans and not ignore_merges:
        raise InputError(
            f"{len(orphans)} tokens of the vocabulary, the first {orphans[0]!r}, come from no merge and are not "
            "special, so they could never be used; merges.txt may be cut short: copy it again, or name them as special tokens"
        )
