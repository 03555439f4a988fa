"""Training byte-level BPE: which pairs of pieces to join, the most frequent first.    [000 §3.1]

Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", 2016, on bytes as in GPT-2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np

from minilm.optional import require
from minilm.text.bpe.words import BARRIER, DEAD, SHIFT, lay_out, links, positions_by_key
from minilm.text.unicode.byte_map import ALPHABET, CHARACTER_TO_BYTE
from minilm.text.words.gpt2_pattern import pretokenize_chunks, special_pattern


def count_words(chunks: Iterable[str], special_tokens: Iterable[str] = ()) -> Counter[str]:
    """How often each pre-token occurs in the chunks joined; special tokens are not words and are left out."""
    special_tokens = list(special_tokens)
    counts: Counter[str] = Counter()
    hold = max(map(len, special_tokens), default=1) + 1
    for words in pretokenize_chunks(chunks, special_pattern(special_tokens), hold):
        counts.update(words)
    for token in special_tokens:
        counts.pop(token, None)
    return counts


def learn_merges(
    word_counts: dict[str, int], max_pieces: int, min_frequency: int = 2, progress: bool = False
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Start from the 256 bytes; as long as pieces are wanted, join the most frequent pair of neighbours everywhere.

        count(a, b) = Σ over words w of  word_counts[w] · (places in w where a stands directly before b)

    word_counts: word → how often it occurs. max_pieces: stop when there are so many, bytes included.
    min_frequency: stop when the most frequent pair is rarer than this.

    Where two pairs are equally frequent, the one whose left piece is the older goes first, then the one whose right
    piece is the older (the 256 bytes count as old in GPT-2's order, "!" first). That makes training deterministic.

    Returns (pieces in order of their ids, merges in order); merge n makes piece 256 + n.

    """
    pieces = [bytes([CHARACTER_TO_BYTE[character]]) for character in ALPHABET]
    merges: list[tuple[bytes, bytes]] = []
    words = Words(_byte_symbols(word_counts, pieces), word_counts.values())
    bar = None
    if progress:
        bar = require("tqdm", "a progress bar").tqdm(total=max_pieces - len(pieces), desc="learning merges")

    while len(pieces) < max_pieces and (pair := words.most_frequent_pair(min_frequency)):
        a, b = pair
        words.join(a, b, len(pieces))
        merges.append((pieces[a], pieces[b]))
        pieces.append(pieces[a] + pieces[b])
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()
    return pieces, merges


def _byte_symbols(words: Iterable[str], pieces: list[bytes]) -> np.ndarray:
    id_of = np.empty(256, np.int64)
    id_of[[piece[0] for piece in pieces]] = np.arange(256)
    id_of[0xFF] = BARRIER
    return id_of[lay_out(words)]


class Words:
    """All distinct words as symbols, with the count and the places of every pair of neighbours, kept up to date.

    symbols: one dimension, a BARRIER before, between and after the words. word_counts: how often each word occurs.

    Counting anew after each merge would read all words each time. Only the neighbours of a merged pair change, so the
    counts are kept and corrected there, with a list of places for every pair; a heap gives the most frequent. A pair
    that is counted already can only become rarer, so an entry of the heap that is out of date is too high: when it
    comes up, it goes back with the right count.
    """

    def __init__(self, symbols: np.ndarray, word_counts: Iterable[int]) -> None:
        word_lengths = np.diff(np.flatnonzero(symbols == BARRIER))  # with one barrier each
        weight = np.repeat(np.fromiter(word_counts, np.int64), word_lengths)

        places = np.flatnonzero((symbols[:-1] != BARRIER) & (symbols[1:] != BARRIER))
        keys = symbols[places] << SHIFT | symbols[places + 1]
        self.places = positions_by_key(keys, places)
        self.counts = {key: int(weight[where].sum()) for key, where in self.places.items()}
        self.symbols = symbols.tolist()
        self.weight = weight.tolist()  # of each place: how often its word occurs
        self.following, self.preceding = links(len(symbols))
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapify(self.heap)

    def most_frequent_pair(self, min_frequency: int) -> tuple[int, int] | None:
        """The most frequent pair of neighbours, to be joined; of equals the one whose symbols are the smaller numbers.

        None if no pair occurs as often as min_frequency says, or at all.
        """
        while self.heap:
            negative, pair = heappop(self.heap)
            count = self.counts[pair]
            if count < max(min_frequency, 1):
                continue
            if count != -negative:
                heappush(self.heap, (-count, pair))
                continue
            return pair >> SHIFT, pair & ((1 << SHIFT) - 1)
        return None

    def join(self, a: int, b: int, new: int) -> None:
        """Write `new` wherever a stands before b, left to right ("aaa" becomes aa+a).

        `new` may be a symbol that other pairs have made already, as WordPiece's ##ab + ##c and ##a + ##bc do.
        """
        symbols, weight, counts, places = self.symbols, self.weight, self.counts, self.places
        following, preceding = self.following, self.preceding
        arose = set()
        for i in sorted(places.pop(a << SHIFT | b)):
            j = following[i]
            if symbols[i] != a or symbols[j] != b:
                continue  # an earlier merge took one of the two
            w, h, k = weight[i], preceding[i], following[j]
            symbols[i], symbols[j] = new, DEAD  # h a b k → h new k
            following[i], preceding[k] = k, i
            left, right = symbols[h], symbols[k]
            if left != BARRIER:
                counts[left << SHIFT | a] -= w
                pair = left << SHIFT | new
                arose.add(pair)
                counts[pair] = counts.get(pair, 0) + w
                places.setdefault(pair, []).append(h)
            if right != BARRIER:
                counts[b << SHIFT | right] -= w
                pair = new << SHIFT | right
                arose.add(pair)
                counts[pair] = counts.get(pair, 0) + w
                places.setdefault(pair, []).append(i)
        counts[a << SHIFT | b] = 0
        for pair in arose:
            heappush(self.heap, (-counts[pair], pair))
