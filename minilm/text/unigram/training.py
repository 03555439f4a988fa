r"""Training a Unigram vocabulary: start with too many pieces, throw away the least useful.    [Kudo 2018, §3.2]

    seed      every frequent substring is a piece (seed.py)
    repeat    EM: the probabilities that make the text most probable, all cuts of it taken together
              prune: drop the pieces without which the text loses the least probability
    until the wanted number is left

EM (Dempster, Laird, Rubin 1977). The text's log-likelihood L = Σ_x weight(x) log Σ over cuts z of x  Π_i p(z_i) has no
maximum in closed form, for the cuts are not known. So in turn
    E   count(z) = how often z occurs on average, if the cuts are drawn by their present probability
    M   p(z) = count(z) / Σ_z' count(z')
Neither step can make L smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from minilm.errors import InputError
from minilm.text.unigram.lattice import Arcs, Lattice
from minilm.text.unigram.seed import find_seed

LONGEST_WORD = 256  # characters; a longer word is cut for training, as text without spaces would be one word
LEAST_COUNT = 0.5  # a piece that is expected less often goes
MARGIN = 1.1  # pruning stops this much above the wanted size; the last step takes the most probable pieces


def train_unigram(
    word_counts: Mapping[str, int],
    vocab_size: int,
    *,
    shrinking_factor: float = 0.75,
    em_steps: int = 2,
    max_piece_length: int = 16,
    seed_size: int = 1_000_000,
    exclude: Iterable[str] = (),
) -> list[tuple[str, float]]:
    """The best `vocab_size` pieces with their log-probabilities, the most probable first.

    word_counts: word → how often it occurs; pieces never reach across words. shrinking_factor: how many of the pieces
    stay in each round. em_steps: EM steps between two rounds. max_piece_length: characters. exclude: texts that may
    be no piece (special tokens). Every single character of the words becomes a piece.

    Returns fewer pieces if no more are expected to occur. The same words give the same pieces, whatever their order.
    Raises InputError if vocab_size has no room for the characters, for empty text, and for options out of range.
    """
    _check(vocab_size, shrinking_factor, em_steps, max_piece_length)
    words, weights = _cut_long_words(word_counts)
    if not words:
        raise InputError("there is no text to train a tokenizer on; give it a file that is not empty")
    characters = len(set("".join(words)))
    if characters > vocab_size:
        raise InputError(
            f"a vocabulary of {vocab_size} pieces has no room for the {characters} characters of the text; ask for "
            f"{characters} or more besides the special tokens, or train on text with fewer rare characters"
        )
    seed = find_seed(words, weights, max_piece_length, seed_size)
    lattice = Lattice(np.fromiter(map(len, words), np.int64, len(words)), seed.arcs, weights)
    lengths = np.fromiter(map(len, seed.pieces), np.int64, len(seed.pieces))
    scores = _log_share(seed.counts * np.where(lengths > 1, lengths, 1))
    model = _Vocabulary(np.array(seed.pieces, object), scores, lattice)
    banned = set(exclude)
    if banned & set(seed.pieces):
        model.keep(np.array([piece not in banned or len(piece) == 1 for piece in seed.pieces]))

    while True:
        for _ in range(em_steps):
            model.em_step()
        if len(model.pieces) <= MARGIN * vocab_size:
            break
        before = len(model.pieces)
        model.prune(max(int(MARGIN * vocab_size), int(shrinking_factor * before)))
        if len(model.pieces) == before:
            break  # nothing can go
    model.keep_most_probable(vocab_size)
    for _ in range(em_steps):
        model.em_step(drop=False)
    order = sorted(range(len(model.pieces)), key=lambda n: (-model.scores[n], model.pieces[n]))
    return [(str(model.pieces[n]), float(model.scores[n])) for n in order]


class _Vocabulary:
    """pieces: (V,) texts, scores: (V,) log p, lattice: where the pieces may stand in the words."""

    def __init__(self, pieces: np.ndarray, scores: np.ndarray, lattice: Lattice) -> None:
        self.pieces, self.scores, self.lattice = pieces, scores, lattice
        self.single = np.array([len(piece) == 1 for piece in pieces], bool)

    def em_step(self, drop: bool = True) -> float:
        """One E step and one M step; rare pieces go (`drop`). Returns L before the step.

        Single characters stay, with a count of LEAST_COUNT at least: without them a word might have no cut.
        """
        counts, likelihood = self.lattice.expected_counts(self.scores)
        self.scores = _log_share(np.maximum(counts, np.where(self.single, LEAST_COUNT, TINY)))
        if drop:
            self.keep(self.single | (counts >= LEAST_COUNT))
        return likelihood

    def prune(self, size: int) -> None:
        r"""Drop the pieces whose loss is smallest, down to `size`.    [eq:unigram-loss]

        If piece z goes, the best cut of z by other pieces, z_1 ... z_k, takes its place in the best cuts of the text.
        With N pieces in those, c(z) of them z, that changes the log-likelihood of a place of z by

            log c(z)/N  −  Σ_i log (c(z_i) + c(z)) / (N + (k − 1) c(z))

        and of the whole text by c(z) times as much: the loss. Pieces that no best cut has lose nothing.
        """
        counts = self.lattice.best_counts(self.scores)
        used = np.flatnonzero((counts > 0) & ~self.single)
        loss = np.where(self.single, np.inf, -np.inf)
        if len(used):
            loss[used] = self._losses(used, counts)
        order = np.lexsort((self.pieces, -loss))  # of equal losses the alphabet decides
        kept = np.zeros(len(loss), bool)
        kept[order[:size]] = True
        self.keep((kept & (counts > 0)) | self.single)

    def _losses(self, used: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The loss of each of the pieces `used`; counts: (V,) how often each piece is in the best cuts."""
        total = counts.sum()
        others, parts = self._alternatives(used)  # piece used[others[j]] would become, among others, parts[j]
        more = np.bincount(others, minlength=len(used)) - 1  # k − 1
        own = counts[used]
        log_total = np.log(total + more * own)
        alternative = np.bincount(others, np.log(counts[parts] + own[others]), minlength=len(used))
        return own * (np.log(own / total) - alternative + (more + 1) * log_total)

    def _alternatives(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best cut of each of these pieces without itself: (which of them, a piece of its cut), side by side."""
        place_of = {piece: n for n, piece in enumerate(self.pieces)}
        starts, ends, numbers = [], [], []
        lengths = np.fromiter((len(self.pieces[n]) for n in which), np.int64, len(which))
        first = np.cumsum(lengths + 1) - lengths - 1
        for base, n in zip(first.tolist(), which.tolist()):
            text = self.pieces[n]
            for start in range(len(text)):
                for end in range(start + 1, len(text) + 1):
                    number = place_of.get(text[start:end])
                    if number is not None and number != n:
                        starts.append(base + start)
                        ends.append(base + end)
                        numbers.append(number)
        lattice = Lattice(lengths, Arcs(np.array(starts), np.array(ends), np.array(numbers)), np.ones(len(which)))
        path = lattice.best_arcs(self.scores)
        arcs = np.concatenate([arcs for _, arcs in path])
        return np.concatenate([words for words, _ in path]), lattice.arcs.pieces[arcs]

    def keep_most_probable(self, size: int) -> None:
        """The single characters, and of the others the most probable ones, `size` in all."""
        order = np.lexsort((self.pieces, -self.scores, ~self.single))
        kept = np.zeros(len(order), bool)
        kept[order[:size]] = True
        self.keep(kept)

    def keep(self, kept: np.ndarray) -> None:
        if not kept.all():
            self.lattice = self.lattice.without(kept, np.cumsum(kept) - 1)
            self.pieces, self.scores, self.single = self.pieces[kept], self.scores[kept], self.single[kept]


TINY = 1e-300  # stands for a count of 0, whose logarithm would be −∞


def _log_share(counts: np.ndarray) -> np.ndarray:
    """log (count / Σ counts)."""
    return np.log(counts) - np.log(counts.sum())


def _cut_long_words(word_counts: Mapping[str, int]) -> tuple[list[str], np.ndarray]:
    """The distinct words in the order of the alphabet, none longer than LONGEST_WORD, and how often each occurs."""
    counts: dict[str, int] = {}
    for word, count in word_counts.items():
        for start in range(0, len(word), LONGEST_WORD):
            part = word[start : start + LONGEST_WORD]
            counts[part] = counts.get(part, 0) + count
    words = sorted(word for word, count in counts.items() if count > 0)
    return words, np.array([counts[word] for word in words], float)


def _check(vocab_size: int, shrinking_factor: float, em_steps: int, max_piece_length: int) -> None:
    if vocab_size < 1:
        raise InputError(f"a vocabulary of {vocab_size} pieces is none; ask for more than the special tokens")
    if not 0 < shrinking_factor < 1:
        raise InputError(f"shrinking_factor {shrinking_factor} must lie between 0 and 1; usual is 0.75")
    if em_steps < 1 or max_piece_length < 1:
        raise InputError(f"em_steps {em_steps} and max_piece_length {max_piece_length} must be at least 1")
