"""What generation needs of a model, and how minilm's models give it.

A model that can be decoded has three methods:

    state = start(input_ids, attention_mask, max_length, use_cache)
    logits = step(ids, state)
    reorder(state, rows)

`start` looks at the prompts (B, T) and makes ready; for an encoder-decoder it encodes them. `step` takes the tokens that are
new since the last step, (B, n), at first the whole text, and gives the logits of the next token, (B, V), on the host, where
tokens are chosen: of a model on a GPU they are all that comes back in a step. `reorder` makes
row i of the state what row rows[i] was: beam search drops texts and splits others, and several samples of one prompt share
its first step. A model that has the three methods itself is used as it is.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from minilm import functional as F
from minilm.devices import to_host
from minilm.errors import InputError
from minilm.models.cache import DecoderCache, reorder_caches
from minilm.tensor import Tensor


class Decoder(Protocol):
    """The three methods; see the head of this file."""

    def start(self, input_ids: np.ndarray, attention_mask: np.ndarray, max_length: int, use_cache: bool) -> Any: ...

    def step(self, ids: np.ndarray, state: Any) -> np.ndarray: ...

    def reorder(self, state: Any, rows: np.ndarray) -> None: ...


def decoder_of(model: Any) -> Decoder:
    """The model itself, or what makes one of minilm's models decodable. Raises InputError for a model that writes no text."""
    if all(hasattr(model, name) for name in ("start", "step", "reorder")):
        return model
    encodes = is_encoder_decoder(model)
    has_head = hasattr(model, "score") if encodes else hasattr(model, "head") or hasattr(model, "lm_head")
    if not has_head or not hasattr(model, "new_cache"):
        raise InputError(
            f"{type(model).__name__} writes no text: it has no head for the next token; open the folder with "
            "AutoModelForCausalLM or AutoModelForSeq2SeqLM"
        )
    return Seq2SeqDecoder(model) if encodes else CausalDecoder(model)


def is_called_by_name(model: Any) -> bool:
    """Whether the model is called under transformers' names, or has the three methods; minilm's own GPT is not."""
    if all(hasattr(model, name) for name in ("start", "step", "reorder")) or is_encoder_decoder(model):
        return True
    return "past_key_values" in inspect.signature(getattr(model, "forward", model)).parameters


def is_encoder_decoder(model: Any) -> bool:
    """Whether a source is encoded first; otherwise the prompt is continued."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def position_limit(model: Any) -> int | None:
    """How many tokens a text of this model may have; None for no limit (T5)."""
    config = getattr(model, "config", None)
    for name in ("context_length", "n_positions", "max_position_embeddings", "max_positions"):
        limit = getattr(config, name, None)
        if limit is not None:
            return int(limit)
    return None


@dataclass
class CausalState:
    """A batch of texts as a decoder-only model sees it.

    mask: (B, max_length) bool, False where a row is padded on the left; None where no row is. length: tokens so far.
    ids: all of them, kept where there is no cache.
    """

    mask: np.ndarray | None
    length: int
    cache: Any
    ids: np.ndarray | None


class CausalDecoder:
    """A GPT, GPT2LMHeadModel or LlamaForCausalLM, or what is called like one of them."""

    def __init__(self, model: Any):
        self.model = model
        names = inspect.signature(model.forward).parameters
        self.named = is_called_by_name(model)  # otherwise as models.GPT is
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in names else {}

    def start(self, input_ids: np.ndarray, attention_mask: np.ndarray, max_length: int, use_cache: bool) -> CausalState:
        B, T = input_ids.shape
        mask = None
        if not attention_mask.all():
            mask = np.ones((B, max_length), bool)
            mask[:, :T] = attention_mask
        cache = self.model.new_cache(B, max_length) if use_cache else None
        return CausalState(mask, 0, cache, None if use_cache else np.zeros((B, 0), np.int64))

    def step(self, ids: np.ndarray, state: CausalState) -> np.ndarray:
        state.length += ids.shape[1]
        if state.ids is not None:
            state.ids = ids = np.concatenate([state.ids, ids], axis=1)
        mask = None if state.mask is None else state.mask[:, : state.length]
        positions = None
        if mask is not None:
            # padding does not count; where it stands any position will do
            positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, -ids.shape[1] :]
        return to_host(self._logits(ids, mask, positions, state.cache).data[:, -1])

    def _logits(self, ids: np.ndarray, mask: Any, positions: Any, cache: Any) -> Tensor:
        """(B, 1 or T, V)."""
        if self.named:
            return self.model(
                ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=cache is not None,
                **self.last_only,
            ).logits  # fmt: skip
        if mask is None:
            return self.model(ids, cache=cache, last_only=True)[0]
        x = self.model.through_blocks(ids, cache, positions, attention_mask=mask).x[:, -1:]
        x = self.model.final_norm(x)
        return F.linear(x, self.model.token_embedding.weight) if self.model.head is None else self.model.head(x)

    def reorder(self, state: CausalState, rows: np.ndarray) -> None:
        if state.mask is not None:
            state.mask = state.mask[rows]
        if state.ids is not None:
            state.ids = state.ids[rows]
        if state.cache is not None:
            reorder_caches(state.cache, rows)


@dataclass
class Seq2SeqState:
    """A batch of sources, encoded, and what the decoder has of its texts.

    source: (B,), which of the encoded prompts a row belongs to: rows of one prompt are alike in cross-attention.
    """

    encoded: Tensor
    mask: np.ndarray | None
    source: np.ndarray
    cache: DecoderCache | None
    ids: np.ndarray | None


class Seq2SeqDecoder:
    """A T5 or a Transformer: what has encode() and new_cache(), and takes encoder_outputs."""

    def __init__(self, model: Any):
        self.model = model

    def start(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, max_length: int, use_cache: bool
    ) -> Seq2SeqState:
        mask = None if attention_mask.all() else attention_mask.astype(bool)
        encoded = self.model.encode(input_ids, mask).last_hidden_state
        return self.start_encoded(encoded, mask, max_length, use_cache)

    def start_encoded(self, encoded: Tensor, mask: Any, max_length: int, use_cache: bool) -> Seq2SeqState:
        """The same from what encode() gave earlier."""
        B, S = encoded.shape[:2]
        cache = self.model.new_cache(B, max_length, S) if use_cache else None
        return Seq2SeqState(encoded, mask, np.arange(B), cache, None if use_cache else np.zeros((B, 0), np.int64))

    def step(self, ids: np.ndarray, state: Seq2SeqState) -> np.ndarray:
        if state.ids is not None:
            state.ids = ids = np.concatenate([state.ids, ids], axis=1)
        output = self.model(
            attention_mask=state.mask, decoder_input_ids=ids, encoder_outputs=state.encoded, past_key_values=state.cache
        )
        return to_host(output.logits.data[:, -1])

    def reorder(self, state: Seq2SeqState, rows: np.ndarray) -> None:
        if state.ids is not None:
            state.ids = state.ids[rows]
        source = state.source[rows]
        moved = not np.array_equal(
            source, state.source
        )  # within the beams of a prompt the encoder's side stays as it is
        if moved:
            state.encoded = state.encoded[rows]
            state.mask = None if state.mask is None else state.mask[rows]
            state.source = source
        if state.cache is not None:
            reorder_caches(state.cache.own, rows)
            if moved:
                reorder_caches(state.cache.cross, rows)
