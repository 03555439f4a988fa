"""One encoded text or pair: ids, and for each token all that is known of it; truncation, windows, padding.

The arithmetic of windows is that of the Rust package `tokenizers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minilm.errors import InputError

SIDES = ("right", "left")
STRATEGIES = ("longest_first", "only_first", "only_second")


IDS, TYPES, START, END, WORDS, SEQUENCES, SPECIAL, ATTENTION = range(8)  # the columns of an encoding's table


class Encoding:
    """One row of numbers for each token, table: (n, 8), so that cutting and joining are one operation.

    ids, type_ids, attention_mask, special_tokens_mask: (n,). offsets: (n, 2) in the given text, (0, 0) for what is
    in no text. words: (n,) number of the word, sequences: (n,) 0 or 1 for the first or second text; both -1 for what
    is in no text. tokens: n texts. overflowing: the windows that follow this one, if it was truncated.
    """

    __slots__ = ("overflowing", "table", "tokens")

    def __init__(self, table: np.ndarray, tokens: list[str], overflowing: Sequence[Encoding] = ()) -> None:
        self.table, self.tokens, self.overflowing = table, tokens, list(overflowing)

    @classmethod
    def of_text(
        cls, ids: np.ndarray, offsets: np.ndarray, words: np.ndarray, tokens: list[str], sequence: int = 0
    ) -> Encoding:
        """The tokens of one text, the first (sequence 0) or second (1)."""
        table = np.empty((len(ids), 8), np.int64)
        table[:, IDS], table[:, START : END + 1], table[:, WORDS] = ids, offsets, words
        table[:, [TYPES, SEQUENCES, SPECIAL, ATTENTION]] = sequence, sequence, 0, 1
        return cls(table, tokens)

    @classmethod
    def special(cls, ids: Sequence[int], tokens: Sequence[str], type_id: int, attended: bool = True) -> Encoding:
        """Tokens that are in no text: [CLS], padding."""
        rows = [[n, type_id, 0, 0, -1, -1, 1, int(attended)] for n in ids]
        return cls(np.array(rows, np.int64).reshape(-1, 8), list(tokens))

    ids = property(lambda self: self.table[:, IDS])
    type_ids = property(lambda self: self.table[:, TYPES])
    offsets = property(lambda self: self.table[:, START : END + 1])
    words = property(lambda self: self.table[:, WORDS])
    sequences = property(lambda self: self.table[:, SEQUENCES])
    special_tokens_mask = property(lambda self: self.table[:, SPECIAL])
    attention_mask = property(lambda self: self.table[:, ATTENTION])

    def __len__(self) -> int:
        return len(self.table)

    def with_column(self, column: int | slice, values: int | np.ndarray) -> Encoding:
        """The same with other numbers in a column, the windows as they are."""
        table = self.table.copy()
        table[:, column] = values
        return Encoding(table, self.tokens, self.overflowing)

    def cut(self, start: int, end: int) -> Encoding:
        """The tokens from start to end, without the windows."""
        return Encoding(self.table[start:end], self.tokens[start:end])

    def truncate(self, length: int, stride: int = 0, side: str = "right") -> Encoding:
        """At most `length` tokens; the rest in windows of that length, each with the last `stride` tokens of the one
        before it. side: "right" keeps the beginning, "left" the end, and its windows go towards the beginning.
        """
        n = len(self)
        if length >= n:
            return self
        if length <= 0:
            return Encoding(self.table[:0], [], [Encoding(self.table, self.tokens)])
        if stride >= length:
            raise InputError(
                f"stride {stride} leaves no step for windows of {length} tokens (special tokens not counted); "
                "give a smaller stride or a larger max_length"
            )
        step, spans = length - stride, []
        for start in range(0, n, step):
            spans.append((start, min(start + length, n)))
            if start + length >= n:
                break
        if side == "left":
            spans = [(n - end, n - start) for start, end in spans]
        first, *others = (self.cut(start, end) for start, end in spans)
        return Encoding(first.table, first.tokens, others)

    def pad(self, length: int, side: str, pad_id: int, pad_token: str, pad_type_id: int) -> Encoding:
        """`length` tokens, padding at the side; longer ones stay as they are. The windows are padded, too."""
        windows = [window.pad(length, side, pad_id, pad_token, pad_type_id) for window in self.overflowing]
        missing = length - len(self)
        if missing <= 0:
            return Encoding(self.table, self.tokens, windows)
        padding = Encoding.special([pad_id] * missing, [pad_token] * missing, pad_type_id, attended=False)
        padded = _join([self, padding] if side == "right" else [padding, self])
        return Encoding(padded.table, padded.tokens, windows)


def concatenate(parts: Sequence[Encoding]) -> Encoding:
    """One after the other. Where parts have windows, each window of one is joined with each of the others."""
    if len(parts) == 1:
        return parts[0]
    whole, windows = [parts[0]], [[window] for window in parts[0].overflowing]
    for part in parts[1:]:
        windows = [[*window, other] for window in windows for other in (part, *part.overflowing)]
        windows += [[*whole, other] for other in part.overflowing]
        whole.append(part)
    joined = _join(whole)
    return Encoding(joined.table, joined.tokens, [_join(window) for window in windows])


def _join(parts: Sequence[Encoding]) -> Encoding:
    table = np.concatenate([part.table for part in parts])
    return Encoding(table, [token for part in parts for token in part.tokens])


def truncate(encodings: Sequence[Encoding], length: int, stride: int, strategy: str, side: str) -> list[Encoding]:
    """Shorten one text, or a pair, to `length` tokens together.

    strategy: "longest_first" takes from the longer until both are equally long, then from both; "only_first" and
    "only_second" take from one. Raises InputError for an unknown strategy, and where that one is too short.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"truncation {strategy!r} is unknown; use True, False or one of {', '.join(STRATEGIES)}")
    excess = sum(map(len, encodings)) - length
    if excess <= 0:
        return list(encodings)
    if length == 0:
        return [encoding.truncate(0, stride, side) for encoding in encodings]
    if strategy == "longest_first":
        lengths = _share([len(encoding) for encoding in encodings], length)
        return [encoding.truncate(n, stride, side) for encoding, n in zip(encodings, lengths)]
    which = STRATEGIES.index(strategy) - 1
    if which >= len(encodings):
        raise InputError('truncation "only_second" needs a second text; give text_pair, or truncation="only_first"')
    left = len(encodings[which]) - excess
    if left <= 0:
        raise InputError(
            f'truncation "{strategy}" would have to take {excess} tokens from a text of {len(encodings[which])}; '
            'give a larger max_length, or truncation="longest_first"'
        )
    return [encoding.truncate(left, stride, side) if n == which else encoding for n, encoding in enumerate(encodings)]


def _share(lengths: list[int], total: int) -> list[int]:
    """What is left of each: the shorter keeps all it has while the other has more than its half."""
    if len(lengths) == 1:
        return [total]
    short, long = sorted(lengths)
    long = short if short > total else max(short, total - short)
    if short + long > total:
        short, long = total // 2, total // 2 + total % 2
    return [short, long] if lengths[0] <= lengths[1] else [long, short]
