"""Extractive question answering: from an answer's place in the text to the tokens where it starts and ends, and back.

A long context is cut into windows that overlap; the answer is whole in some of them. In the others both positions are
0, the [CLS] token: "not here".    [BERT §4.2–4.3]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minilm.errors import InputError

NOT_HERE = 0


def answer_positions(
    offsets: Sequence[Sequence[int]] | np.ndarray,
    sequence_ids: Sequence[int | None],
    answer_start: int,
    answer_text: str,
    context_sequence: int = 1,
) -> tuple[int, int]:
    """(start_position, end_position): the first and the last token of the answer in one window; (0, 0) if it is not there.

    offsets: (T, 2) where each token stands in its text (characters). sequence_ids: (T,) 0 for the question, 1 for the
    context, None for special tokens and padding. answer_start: the answer's first character in the context.
    context_sequence: 0 where the context comes first.

    Raises InputError for an empty answer or a negative place, and for lists of different length.
    """
    if not answer_text or answer_start < 0:
        raise InputError(
            f"the answer {answer_text!r} at {answer_start} is none; drop the example or mend its answer_start"
        )
    if len(offsets) != len(sequence_ids):
        raise InputError(f"{len(offsets)} offsets and {len(sequence_ids)} sequence_ids do not belong together")
    answer_end = answer_start + len(answer_text)
    context = np.flatnonzero([n == context_sequence for n in sequence_ids])
    if not len(context):
        return NOT_HERE, NOT_HERE
    starts, ends = np.asarray(offsets)[context].T
    if starts[0] > answer_start or ends[-1] < answer_end:
        return NOT_HERE, NOT_HERE
    first = context[np.flatnonzero(starts <= answer_start)[-1]]  # the last token that begins no later than the answer
    last = context[np.flatnonzero(ends >= answer_end)[0]]  # the first token that ends no earlier
    return (int(first), int(max(first, last)))


def answer_span(
    offsets: Sequence[Sequence[int]] | np.ndarray, start_position: int, end_position: int
) -> tuple[int, int]:
    """Where in the context the answer of these two tokens stands: (first character, the one after the last)."""
    if not 0 <= start_position <= end_position < len(offsets):
        raise InputError(
            f"the answer from token {start_position} to {end_position} is not in a window of {len(offsets)} tokens; "
            "the end must not come before the start"
        )
    return int(offsets[start_position][0]), int(offsets[end_position][1])
