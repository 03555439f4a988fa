"""Training WordPiece: single characters first, then the most frequent pairs of pieces joined, as for BPE.    [000 §3.1]

Schuster and Nakajima, "Japanese and Korean voice search", 2012, score a pair by what joining it adds to the likelihood
of the text. The Rust package `tokenizers` scores by frequency, as BPE does, and trains fast; so it is done here. The
pieces then serve the greedy longest match of model.py: the order of the merges is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from minilm.errors import InputError
from minilm.optional import require
from minilm.text.bpe.training import Words
from minilm.text.bpe.words import BARRIER

PREFIX = "##"


def learn_pieces(
    word_counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    min_frequency: int = 0,
    limit_alphabet: int | None = None,
    prefix: str = PREFIX,
    progress: bool = False,
) -> list[str]:
    """The vocabulary in order of its ids.

    First the special tokens, then all characters by code point (only the `limit_alphabet` most frequent ones if it
    is given; the others are as if they were not in the words), then those characters inside words with `prefix`,
    by code point, then what joining the most frequent pair makes, again and again:

        count(a, b) = Σ over words w of  word_counts[w] · (places in w where a stands directly before b)

    Of equally frequent pairs the one with the older left piece goes first, then the one with the older right piece:
    the same text always gives the same vocabulary. (In the Rust package the order of ##-characters, and with it the
    choice between equals, differs from run to run.) It ends with vocab_size pieces, or when no pair occurs
    min_frequency times any more.

    Raises InputError if the characters alone are more than vocab_size.
    """
    kept = _alphabet(word_counts, limit_alphabet)
    inside = sorted({c for word in word_counts for c in _spelled(word, kept)[1:]})
    pieces = list(dict.fromkeys([*special_tokens, *sorted(kept), *(prefix + c for c in inside)]))
    if len(pieces) > vocab_size:
        raise InputError(
            f"a vocabulary of {vocab_size} pieces is too small: {len(special_tokens)} special tokens and the "
            f"{len(kept)} characters of the text, most of them also as {prefix} pieces, are {len(pieces)} already; ask "
            "for more, or give limit_alphabet to leave out rare characters"
        )
    id_of = {piece: n for n, piece in enumerate(pieces)}
    symbols = [BARRIER]
    for word in word_counts:
        spelled = _spelled(word, kept)
        symbols += [id_of[prefix + c if n else c] for n, c in enumerate(spelled)]
        symbols.append(BARRIER)
    words = Words(np.array(symbols, np.int64), word_counts.values())

    bar = None
    if progress:
        bar = require("tqdm", "a progress bar").tqdm(total=vocab_size, initial=len(pieces), desc="learning pieces")
    while len(pieces) < vocab_size and (pair := words.most_frequent_pair(min_frequency)):
        left, right = pieces[pair[0]], pieces[pair[1]]
        joined = left + right.removeprefix(prefix)
        if joined not in id_of:
            id_of[joined] = len(pieces)
            pieces.append(joined)
            if bar is not None:
                bar.update()
        words.join(*pair, id_of[joined])
    if bar is not None:
        bar.close()
    return pieces


def _alphabet(word_counts: Mapping[str, int], limit: int | None) -> set[str]:
    """The characters of all words, or the `limit` most frequent ones; of equals the one with the lower code point."""
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    if limit is None:
        return set(counts)
    return set(sorted(counts, key=lambda character: (-counts[character], character))[:limit])


def _spelled(word: str, kept: set[str]) -> str:
    """The word without the characters that are not kept."""
    return word if kept.issuperset(word) else "".join(character for character in word if character in kept)


def count_words(words_of_texts: Iterable[Iterable[str]]) -> Counter[str]:
    """How often each word occurs in all texts together, the words in the order in which they first occur."""
    counts: Counter[str] = Counter()
    for words in words_of_texts:
        counts.update(words)
    return counts
