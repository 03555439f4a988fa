r"""Unigram: a word is cut into the pieces whose probabilities have the greatest product.    [Kudo 2018, §3.1–3.2]

Every piece z of the vocabulary has a probability p(z), learned in training.py and kept as log p(z). A word x
can be cut in many ways z_1 z_2 ... z_m; taking the pieces as independent, a cut has the probability Π p(z_i), and

    best cut  = argmax over cuts of x  Σ_i log p(z_i)

    "▁unbar"   ▁un + bar     −7.1 + −9.0              = −16.1   the best
               ▁un + b + ar  −7.1 + −6.0 + −7.2       = −20.3
               ▁ + u + n + b + a + r                  = −31.9

Kudo, "Subword regularization", 2018. This is the model of T5, ALBERT and XLM-R (SentencePiece's `unigram`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text.pipeline.pipeline import Pieces

UNKNOWN_PENALTY = 10.0  # an unknown character costs this much more than the least probable piece

Segment = tuple[int, int, int]  # (id of the piece, where it starts in the word, where it ends)


class Unigram:
    """The vocabulary with its log-probabilities, and the best cut of a word.

    pieces: (text, log-probability), the place being the id. unk_id: the id of the unknown piece; None if there is
    none, and then a character that no piece has is an InputError. byte_fallback: unknown text becomes the pieces
    <0x00> ... <0xFF> of its UTF-8 bytes, if all of those are in the vocabulary.

    Raises InputError for an empty vocabulary, an unk_id outside it, a score that is no finite number.
    """

    def __init__(
        self, pieces: Sequence[tuple[str, float]], unk_id: int | None = None, byte_fallback: bool = False
    ) -> None:
        self.pieces = [str(text) for text, _ in pieces]
        self.scores = [float(score) for _, score in pieces]
        self.unk_id, self.byte_fallback = unk_id, byte_fallback
        _check(self.pieces, self.scores, unk_id)
        self.ids = {text: n for n, text in enumerate(self.pieces)}  # of two equal pieces the last counts
        self.unknown_score = min(self.scores) - UNKNOWN_PENALTY
        self._bytes = [self.ids.get(f"<0x{byte:02X}>") for byte in range(256)]
        self._table = self._prefix_table()

    def _prefix_table(self) -> dict[str, tuple[int, float] | None]:
        """Every piece → (id, score), and every other beginning of a piece → None: a trie, written as one dictionary.

        While a slice of the word is in the table, a longer one may be a piece; when it is not, no longer one is.
        """
        table: dict[str, tuple[int, float] | None] = {}
        for text, n in self.ids.items():
            for end in range(1, len(text)):
                table.setdefault(text[:end], None)
            if text:
                table[text] = (n, self.scores[n])
        return table

    @property
    def vocabulary(self) -> dict[str, int]:
        """{piece: id}."""
        return self.ids

    def split(self, words: Iterable[str]) -> list[Pieces]:
        """The pieces of the best cut of each word, unknown neighbours fused into one, with their places in the word.

        Raises InputError for a character that no piece has, if the vocabulary has no unknown piece.
        """
        return [self.as_pieces(word, self.best_path(word)) for word in words]

    def best_path(self, word: str) -> list[Segment]:  # [eq:unigram-viterbi]
        """Viterbi: argmax over the cuts of `word` of Σ_i log p(z_i).

        best(0) = 0,    best(e) = max over pieces z = word[s:e] of  best(s) + log p(z)

        The best cut of word[:e] ends with some piece word[s:e], and what stands before is the best cut of word[:s]:
        so one pass from left to right finds it, with work proportional to the pieces that occur, not to the 2^(n-1)
        cuts. A character that is no piece by itself may be taken as unknown, at `unknown_score`. Of equal sums the one
        found first stays, the last piece being the longest.

        Returns [(id, start, end)]; unknown characters are single here, `as_pieces` fuses them.
        """
        table, length = self._table, len(word)
        best = [0.0] + [-math.inf] * length
        before = [0] * (length + 1)  # where the last piece of the best cut of word[:e] starts
        last = [-1] * (length + 1)  # and its id
        for start in range(length):
            reached = best[start]
            single = False
            for end in range(start + 1, length + 1):
                entry = table.get(word[start:end], _MISSING)
                if entry is None:
                    continue  # no piece, but a beginning of one
                if entry is _MISSING:
                    break
                n, score = entry
                single = single or end == start + 1
                if reached + score > best[end]:
                    best[end], before[end], last[end] = reached + score, start, n
            if not single and reached + self.unknown_score > best[start + 1]:
                best[start + 1], before[start + 1] = reached + self.unknown_score, start
                last[start + 1] = self._unknown(word[start])
        path = []
        end = length
        while end > 0:
            path.append((last[end], before[end], end))
            end = before[end]
        return path[::-1]

    def as_pieces(self, word: str, path: Iterable[Segment]) -> Pieces:
        """A path as ids and places: unknown neighbours become one piece, or their bytes with byte_fallback."""
        segments: list[Segment] = []
        run = None  # where the unknown neighbours began
        for n, start, end in [*path, (-1, len(word), len(word))]:
            if n == self.unk_id:
                run = start if run is None else run
                continue
            if run is not None:
                segments += self._unknown_segments(word[run:start], run, start)
                run = None
            segments.append((n, start, end))
        segments.pop()  # the end mark
        return [n for n, _, _ in segments], [start for _, start, _ in segments], [end for _, _, end in segments]

    def _unknown_segments(self, text: str, start: int, end: int) -> list[Segment]:
        if text in self.ids:  # the unknown piece written out, or the sum of two unknown ones
            return [(self.ids[text], start, end)]
        if self.byte_fallback:
            ids = [self._bytes[byte] for byte in text.encode()]
            known = [n for n in ids if n is not None]
            if len(known) == len(ids):
                return [(n, start, end) for n in known]
        return [(self._unknown(text[0]), start, end)]

    def _unknown(self, character: str) -> int:
        if self.unk_id is None:
            raise InputError(
                f"{character!r} is in no piece and the vocabulary has no unknown piece; train on text that has it, or "
                "name an unk_id"
            )
        return self.unk_id

    def log_probability(self, word: str, path: Iterable[Segment]) -> float:
        """Σ_i log p(z_i) of a path of `word`."""
        scores = (self.scores[n] if word[s:e] == self.pieces[n] else self.unknown_score for n, s, e in path)
        return math.fsum(scores)

    def n_best(self, word: str, count: int) -> list[tuple[list[Segment], float]]:
        """The `count` most probable cuts of `word`, best first, each with its log-probability; fewer if there are fewer.

        Viterbi with `count` best paths kept at every place instead of one. Raises InputError for count below 1.
        """
        if count < 1:
            raise InputError(f"the {count} best cuts were asked for; ask for 1 or more")
        # at each place: (sum, segment, the place in the list of the paths before it), the greatest sums first
        paths: list[list[tuple[float, Segment | None, int]]] = [[(0.0, None, 0)], *([] for _ in word)]
        arcs = self.arcs(word)
        for end in range(1, len(word) + 1):
            found: list[tuple[float, Segment | None, int]] = [
                (total + score, (n, start, end), rank)
                for n, start, score in arcs[end]
                for rank, (total, _, _) in enumerate(paths[start])
            ]
            paths[end] = sorted(found, key=lambda path: -path[0])[:count]
        results = []
        for total, segment, rank in paths[-1]:
            path = []
            while segment is not None:
                path.append(segment)
                _, segment, rank = paths[segment[1]][rank]
            results.append((path[::-1], total))
        return results

    def sample(self, word: str, generator: np.random.Generator, alpha: float = 0.1) -> list[Segment]:
        """A cut drawn at random: P(z) ∝ p(z)^α, subword regularization.    [Kudo 2018, §3.3]

        alpha: 0 draws all cuts alike, 1 by their probability, large values nearly always the best one.

        Forward: a(e) = log Σ over pieces word[s:e] of exp(a(s) + α log p). Then from the end backward each last piece
        is drawn with probability exp(a(s) + α log p − a(e)): exact, and without listing the cuts.
        Raises InputError for a negative alpha.
        """
        if not alpha >= 0:
            raise InputError(f"alpha {alpha} is no exponent to sample with; give 0 (all cuts alike) or more")
        arcs = self.arcs(word)
        forward = np.zeros(len(word) + 1)
        for end in range(1, len(word) + 1):
            forward[end] = np.logaddexp.reduce([forward[start] + alpha * score for _, start, score in arcs[end]])
        path = []
        end = len(word)
        while end > 0:
            weights = np.exp([forward[start] + alpha * score - forward[end] for _, start, score in arcs[end]])
            drawn = int(np.searchsorted(np.cumsum(weights), generator.random() * weights.sum(), side="right"))
            n, start, _ = arcs[end][min(drawn, len(weights) - 1)]
            path.append((n, start, end))
            end = start
        return path[::-1]

    def arcs(self, word: str) -> list[list[tuple[int, int, float]]]:
        """For each place e in `word`, the pieces that end there: (id, start, log p)."""
        arcs: list[list[tuple[int, int, float]]] = [[] for _ in range(len(word) + 1)]
        for start in range(len(word)):
            single = False
            for end in range(start + 1, len(word) + 1):
                entry = self._table.get(word[start:end], _MISSING)
                if entry is _MISSING:
                    break
                if entry is not None:
                    arcs[end].append((entry[0], start, entry[1]))
                    single = single or end == start + 1
            if not single:
                arcs[start + 1].append((self._unknown(word[start]), start, self.unknown_score))
        return arcs

    @classmethod
    def from_json(cls, model: dict[str, Any]) -> Unigram:
        """Read the "model" part of a tokenizer.json. Raises InputError, which says what is wrong with it."""
        if not isinstance(model, dict) or model.get("type", "Unigram") != "Unigram":
            kind = model.get("type") if isinstance(model, dict) else type(model).__name__
            raise InputError(f'the model is {kind!r} where an object with "type": "Unigram" was expected')
        vocab = model.get("vocab")
        if not isinstance(vocab, list):
            raise InputError('a Unigram model needs "vocab", a list of [piece, score]; the file is damaged')
        for n, entry in enumerate(vocab):
            if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)):
                raise InputError(f"entry {n} of the Unigram vocabulary is {entry!r}; expected [piece, score]")
            if isinstance(entry[1], bool) or not isinstance(entry[1], (int, float)):
                raise InputError(f"the score of piece {entry[0]!r} is {entry[1]!r}; expected a number")
        unk_id = model.get("unk_id")
        if unk_id is not None and type(unk_id) is not int:
            raise InputError(f"unk_id is {unk_id!r}; expected the place of the unknown piece, or null")
        return cls([(text, score) for text, score in vocab], unk_id, bool(model.get("byte_fallback", False)))

    def to_json(self) -> dict[str, Any]:
        """The "model" part of a tokenizer.json."""
        vocab = [[text, score] for text, score in zip(self.pieces, self.scores)]
        return {"type": "Unigram", "unk_id": self.unk_id, "vocab": vocab, "byte_fallback": self.byte_fallback}


_MISSING: Any = object()


def _check(pieces: list[str], scores: list[float], unk_id: int | None) -> None:
    if not pieces:
        raise InputError("a Unigram vocabulary needs at least one piece; this one is empty")
    if unk_id is not None and not 0 <= unk_id < len(pieces):
        raise InputError(f"unk_id {unk_id} is not in the vocabulary of {len(pieces)} pieces; name the unknown piece")
    odd = next((n for n, score in enumerate(scores) if not math.isfinite(score)), None)
    if odd is not None:
        raise InputError(f"the score of piece {pieces[odd]!r} is {scores[odd]}; expected a finite log-probability")
    for piece in pieces:
        if any("\ud800" <= character <= "\udfff" for character in piece):
            raise InputError(f"the piece {piece!r} has a lone surrogate, which is no character; remove it")
