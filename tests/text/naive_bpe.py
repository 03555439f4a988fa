"""Byte-level BPE as slowly and plainly as it can be written, to compare with."""

from itertools import pairwise

from minilm.text.unicode.byte_map import ALPHABET, to_bytes


def train(word_counts, max_pieces, min_frequency=2):
    """Count all pairs in all words anew for every merge."""
    pieces = [to_bytes(character) for character in ALPHABET]
    words = {word: [bytes([byte]) for byte in word.encode()] for word in word_counts}
    merges = []
    while len(pieces) < max_pieces:
        counts = {}
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                counts[pair] = counts.get(pair, 0) + word_counts[word]
        if not counts or max(counts.values()) < min_frequency:
            break
        best = max(counts.values())
        pair = min(
            (pair for pair in counts if counts[pair] == best),
            key=lambda pair: (pieces.index(pair[0]), pieces.index(pair[1])),
        )
        merges.append(pair)
        pieces.append(pair[0] + pair[1])
        for word, symbols in words.items():
            words[word] = join_all(symbols, pair)
    return pieces, merges


def join_all(symbols, pair):
    joined, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            joined.append(pair[0] + pair[1])
            i += 2
        else:
            joined.append(symbols[i])
            i += 1
    return joined


def split(word, merges):
    """Join the leftmost pair of the lowest rank, one at a time. merges: pairs of bytes."""
    rank = {pair: n for n, pair in enumerate(merges)}
    symbols = [bytes([byte]) for byte in word.encode()]
    while True:
        found = [(rank[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in rank]
        if not found:
            return symbols
        _, i = min(found)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
