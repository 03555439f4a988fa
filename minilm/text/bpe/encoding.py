"""Applying BPE: the merges of training, in the order in which they were learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import numpy as np

from minilm.text.bpe.words import BARRIER, DEAD, SHIFT, lay_out, links, positions_by_key, split_words

NO_MERGE = np.iinfo(np.int64).max


class Merger:
    """Splits words into pieces: of all neighbours in a word, join the pair with the lowest rank, again and again.

    byte_ids: the id of each of the 256 bytes. merges: (left id, right id, id of the two joined), by rank.
    """

    def __init__(self, byte_ids: Sequence[int], merges: Sequence[tuple[int, int, int]]) -> None:
        self._merges = list(merges)
        self._rank = {a << SHIFT | b: rank for rank, (a, b, _) in enumerate(merges)}
        self._byte_ids = np.array(byte_ids, np.int64)
        self._byte_ids[0xFF] = BARRIER
        # The rank of every pair of bytes as a table, so that the first look at all words is one NumPy expression.
        byte_of = {n: byte for byte, n in enumerate(byte_ids)}
        self._byte_rank = np.full((256, 256), NO_MERGE, np.int64)
        for rank, (a, b, _) in enumerate(merges):
            if a in byte_of and b in byte_of:
                self._byte_rank[byte_of[a], byte_of[b]] = rank
        self._byte_rank[0xFF, :] = self._byte_rank[:, 0xFF] = NO_MERGE

    def split(self, words: Iterable[str]) -> list[list[int]]:
        """The ids of each word's pieces.

        Words do not touch each other, so all of them are merged together, rank by rank: what a rank costs is shared by
        every place where its pair stands. The work is that of the merges done, and never grows with a word's square.
        """
        raw = lay_out(words)
        symbols = self._byte_ids[raw].tolist()
        following, preceding = links(len(symbols))
        ranks = self._byte_rank[raw[:-1], raw[1:]]
        places = np.flatnonzero(ranks != NO_MERGE)
        waiting = positions_by_key(ranks[places], places)  # rank → where its pair stands
        heap = sorted(waiting)
        rank_of = self._rank.get

        while heap:
            rank = heappop(heap)
            a, b, new = self._merges[rank]
            todo = sorted(waiting.pop(rank))
            for n, i in enumerate(todo):
                j = following[i]
                if symbols[i] != a or symbols[j] != b:
                    continue  # an earlier merge took one of the two
                h, k = preceding[i], following[j]
                symbols[i], symbols[j] = new, DEAD  # h a b k → h new k
                following[i], preceding[k] = k, i
                lowest = rank
                for place, pair in ((h, symbols[h] << SHIFT | new), (i, new << SHIFT | symbols[k])):
                    found = rank_of(pair)  # a barrier is negative, so its pair is in no table
                    if found is None:
                        continue
                    if found in waiting:
                        waiting[found].append(place)
                    else:
                        waiting[found] = [place]
                        heappush(heap, found)
                    lowest = min(lowest, found)
                if lowest < rank:
                    # Another merge, an earlier one, makes `new` too, and a pair with `new` comes before this one.
                    waiting[rank] = todo[n + 1 :]
                    heappush(heap, rank)
                    break
        return split_words(symbols)
