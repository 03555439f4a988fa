"""token-classification: a class for each token, or for each name: tokens that belong together.

entities.py puts tokens together; this file finds them and puts the windows of a long text together.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.pipelines.base import Pipeline, Window, one_of, softmax
from minilm.pipelines.entities import STRATEGIES, Piece, entities_of, without_overlaps


class TokenClassificationPipeline(Pipeline):
    """A text → [{"entity": "B-PER", "score": ..., "index": 3, "word": "ann", "start": 8, "end": 11}, ...].

    aggregation_strategy: "none" gives the tokens; the others give groups, {"entity_group": "PER", "score", "word", "start",
    "end"}: "simple" puts neighbouring tokens of one class together; "first", "average" and "max" first give all pieces of a
    word one class, that of the first piece, of the mean of the scores, or of the piece with the highest score.
    ignore_labels: classes that are left out, ["O"] unless given.
    stride: read a long text in windows that overlap by so many tokens; without it the text is cut at the model's length.
    is_split_into_words: a text comes as a list of words; delimiter: what stands between them in the text that start and end
    count characters of.

    score: the probability of the class; of a group the mean over its members. index: the token's place, [CLS] being 0.
    start, end: where it stands in the text, text[start:end].
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        "aggregation_strategy": "none",
        "ignore_labels": None,
        "stride": None,
        "is_split_into_words": False,
        "delimiter": None,
    }

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        p["aggregation_strategy"] = one_of("aggregation_strategy", p["aggregation_strategy"], STRATEGIES)
        if p["stride"] is not None:
            limit = self.longest_text
            if limit is None or not hasattr(p["stride"], "__index__") or not 0 <= p["stride"] < limit:
                raise InputError(
                    f"stride is {p['stride']!r}; give 0 to {limit or 0} − 1, the model's length being {limit}"
                )
            if p["aggregation_strategy"] == "none":
                raise InputError(
                    "with stride the tokens of two windows must be put together, which aggregation_strategy='none' does "
                    "not; use 'simple', 'first', 'average' or 'max'"
                )
        return p

    def arranged(self, inputs: Any, p: dict[str, Any]) -> Any:
        """One text in words; its answer comes in a list, as in transformers."""
        is_one = isinstance(inputs, list | tuple) and any(not isinstance(item, list | tuple) for item in inputs)
        return [list(inputs)] if p["is_split_into_words"] and is_one else inputs

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options: dict[str, Any] = {"truncation": True, "is_split_into_words": p["is_split_into_words"]}
        if p["stride"] is not None:
            options |= {"return_overflowing_tokens": True, "stride": p["stride"]}
        item = list(item) if isinstance(item, tuple) else item
        encodings = self.encode(item, **options)
        text, starts = item, None
        if p["is_split_into_words"]:
            delimiter = " " if p["delimiter"] is None else p["delimiter"]
            text, starts = delimiter.join(item), [0]
            for word in item:
                starts.append(starts[-1] + len(word) + len(delimiter))
        return [self.window(encoding, text, starts) for encoding in encodings]

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        ignored = ["O"] if p["ignore_labels"] is None else p["ignore_labels"]
        found = []
        for window, logits in done:
            pieces = self.pieces(window, softmax(logits), p["aggregation_strategy"])
            groups = entities_of(
                pieces, p["aggregation_strategy"], self.model.config.id2label, self.tokenizer.convert_tokens_to_string
            )
            found += [e for e in groups if e.get("entity") not in ignored and e.get("entity_group") not in ignored]
        return without_overlaps(found) if len(done) > 1 else found

    def pieces(self, window: Window, scores: Any, strategy: str) -> list[Piece]:
        """The tokens of a window that are no special ones.

        Whether a piece continues a word is told from the ## of WordPiece. For other tokenizers from the space before it.
        """
        text, starts, encoding = window.source, window.word_starts, window.encoding
        pieces = []
        model = getattr(getattr(self.tokenizer.backend, "pipeline", None), "model", None)
        marks_words = bool(getattr(model, "continuing_subword_prefix", None))
        if not marks_words and strategy not in ("none", "simple"):
            warnings.warn("this tokenizer does not mark words; they are told from the spaces", stacklevel=2)
        for n, probabilities in enumerate(scores):
            if encoding.special_tokens_mask[n]:
                continue
            token = int(encoding.ids[n])
            start, end = encoding.offsets[n].tolist()
            if starts is not None and encoding.words[n] >= 0:
                start, end = start + starts[encoding.words[n]], end + starts[encoding.words[n]]
            word = self.tokenizer.convert_ids_to_tokens(token)
            inside = start > 0 and " " not in text[start - 1 : start + 1]
            continues = len(word) != end - start if marks_words else inside
            if token == self.tokenizer.unk_token_id:
                word, continues = text[start:end], False
            pieces.append(Piece(word, probabilities, start, end, n, continues))
        return pieces
