"""GPT: a decoder-only Transformer, from GPT-2's layout to the modern one, chosen by its configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.cache import GrowingCache
from minilm.models.gpt_config import GPTConfig
from minilm.models.outputs import BaseModelOutput
from minilm.nn import (
    Dropout,
    Embedding,
    KVCache,
    LearnedPositions,
    Linear,
    Module,
    ModuleList,
    RotaryPositions,
    TransformerBlock,
)
from minilm.nn.layers import normal
from minilm.nn.transformer import StackOutput, make_norm, run_blocks
from minilm.tensor import Array, Tensor, as_array
from minilm_kernels import array_namespace
from minilm_kernels.conditions import values_count

__all__ = ["GPT", "GPTConfig", "GPTModel"]


class GPTModel(Module):
    """The body of a GPT: tokens and positions, causal blocks, a last norm; no head.

    generator: where the initial weights and the dropout masks come from. The same generator state gives the same
    model, bit for bit.
    rotary: positions of another kind than the configuration's, such as Llama 3's; attention_options: what
    MultiHeadAttention takes besides (head_dim, output_bias, attention_dropout).
    """

    def __init__(
        self,
        config: GPTConfig,
        generator: np.random.Generator | None = None,
        *,
        rotary: RotaryPositions | None = None,
        **attention_options: Any,
    ):
        config.check(attention_options.get("head_dim"))
        generator = generator or np.random.default_rng()
        self.config: Any = config
        self.generator = generator
        self.context_length = config.context_length
        c = config
        self.token_embedding = Embedding(c.vocab_size, c.hidden_size, generator)
        if c.positions == "rotary" and rotary is None:
            rotary = BatchRotaryPositions(c.context_length, c.head_dim)
        self.position_embedding = None if rotary else LearnedPositions(c.context_length, c.hidden_size, generator)
        self.dropout = Dropout(c.dropout, generator)
        self.blocks = ModuleList(
            TransformerBlock(
                c.hidden_size, c.num_heads, c.num_kv_heads or None, c.intermediate_size or None,
                activation=c.activation, norm=c.norm, eps=c.norm_eps, bias=c.bias, dropout=c.dropout,
                rotary=rotary, generator=generator, **attention_options,
            )
            for _ in range(c.num_layers)
        )  # fmt: skip
        self.final_norm = make_norm(c.norm, c.hidden_size, c.norm_eps, c.bias)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: list[KVCache] | None = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Any:
        """input_ids: (B, T) integers.  Returns a BaseModelOutput with last_hidden_state (B, T, hidden).

        attention_mask: (B, Tk), 1 where a token may be looked at; Tk counts the tokens in the cache as well.
        position_ids: (B, T) or (T,), where each token stands; from 0, or from the end of the cache, unless given.
        past_key_values: what an earlier call with use_cache=True returned; input_ids are then the tokens that follow.
        hidden_states: what went into each block, and last_hidden_state. attentions: (B, H, T, Tk) for each block.
        Raises InputError for ids that the vocabulary does not have, too many positions, or a mask of another shape.
        """
        input_ids = self.check_input(input_ids, attention_mask, position_ids, past_key_values)
        if use_cache and past_key_values is None:
            past_key_values = self.new_cache(len(input_ids), input_ids.shape[1])
        out = self.through_blocks(
            input_ids,
            past_key_values,
            position_ids,
            output_hidden_states,
            output_attentions,
            attention_mask=attention_mask,
        )
        x = self.final_norm(out.x)
        return BaseModelOutput(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*out.hidden_states, x) if out.hidden_states is not None else None,
            attentions=out.attentions,
        )

    def through_blocks(
        self,
        input_ids: Any,
        cache: list[KVCache] | None = None,
        position_ids: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        **masks: Any,
    ) -> StackOutput:
        """Embed the tokens and pass them through the blocks: (B, T) → (B, T, hidden), before the last norm."""
        start = cache[0].length if cache is not None else 0
        x = self.token_embedding(input_ids)  # (B, T, hidden)
        if self.position_embedding is not None:
            if position_ids is None:
                x = self.position_embedding(x, start)
            else:
                x = x + F.embedding(position_ids, self.position_embedding.weight)
        x = self.dropout(x)
        asked = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        with self.positions_at(position_ids):
            return run_blocks(self.blocks, x, cache, **asked, causal=True, **masks)

    @contextmanager
    def positions_at(self, position_ids: Any) -> Iterator[None]:
        """Let rotary positions turn the tokens of this pass by position_ids instead of counting."""
        rotary = self.blocks[0].attention.rotary
        if position_ids is None or rotary is None:
            yield
            return
        rotary.position_ids = as_array(position_ids, self.token_embedding.weight.data)
        try:
            yield
        finally:
            rotary.position_ids = None

    def check_input(
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, cache: list[KVCache] | None = None
    ) -> Array:
        """The ids as an array (B, T). Raises InputError for what forward() could not use."""
        ids = as_array(input_ids)
        if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise InputError(
                f"input_ids have shape {ids.shape} and type {ids.dtype}; give integers (batch, tokens), at least one of each"
            )
        B, T = ids.shape
        total = T + (cache[0].length if cache is not None else 0)
        rows = self.token_embedding.weight.shape[0]
        low, high = (int(ids.min()), int(ids.max())) if values_count(ids) else (0, 0)
        if low < 0 or high >= rows:
            raise InputError(
                f"input_ids run from {low} to {high}, but the model has tokens 0 to {rows - 1}; "
                "encode the text with the model's own tokenizer"
            )
        if position_ids is not None:
            places = as_array(position_ids)
            known = values_count(places)
            fits = places.shape in ((B, T), (1, T), (T,)) and places.dtype.kind in "iu"
            if not fits or (known and places.min() < 0):
                raise InputError(
                    f"position_ids have shape {places.shape} and type {places.dtype}; give ({B}, {T}) whole numbers from 0"
                )
        last = total - 1 if position_ids is None else int(places.max()) if known else 0
        if last >= self.context_length:
            raise InputError(
                f"the text reaches position {last}, but the model has positions 0 to {self.context_length - 1}; "
                f"shorten it to {self.context_length} tokens (truncation=True in the tokenizer)"
            )
        if attention_mask is not None and as_array(attention_mask).shape != (B, total):
            raise InputError(
                f"attention_mask has shape {as_array(attention_mask).shape}; give ({B}, {total}): a 1 or 0 for each token"
                + (", those in the cache as well" if total > T else "")
            )
        return ids

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> list[KVCache]:
        """Empty caches, one per block, with room for `max_length` positions (the whole context unless given); they grow."""
        length = min(max_length or self.context_length, self.context_length)
        dtype = self.token_embedding.weight.dtype
        attention = [block.attention for block in self.blocks]
        return [GrowingCache(batch_size, each.num_kv_heads, length, each.head_dim, dtype) for each in attention]

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


class GPT(GPTModel):
    r"""P(w_t | w_<t) = softmax(logits_t): embed the tokens, pass them through causal blocks, score every next token.

    [eq:next-token] [F15; 000 §2.1, 004 §2.1]
    """

    def __init__(self, config: GPTConfig, generator: np.random.Generator | None = None):
        generator = generator or np.random.default_rng()
        super().__init__(config, generator)
        c = config
        self.head = None if c.tie_embeddings else Linear(c.hidden_size, c.vocab_size, bias=False, generator=generator)
        initialize(self, c.num_layers, generator)

    def forward(  # type: ignore[override]  # labels come second, and last_only is its own
        self,
        input_ids: Any,
        labels: Any = None,
        attention_mask: Any = None,
        cache: list[KVCache] | None = None,
        last_only: bool = False,
        position_ids: Any = None,
    ) -> tuple[Tensor, Tensor | None]:
        """input_ids: (B, T) integers.  Returns logits (B, T, vocab) and, with labels (B, T), the mean loss in nats per token.

        labels are the next tokens, already shifted: labels[t] is what should follow input_ids[t]; −100 does not count.
        attention_mask: (B, Tk), 1 where a token may be looked at.
        cache: one KVCache per block; input_ids are then the tokens that follow the cached ones.
        last_only: score only the last position, (B, 1, vocab): all that decoding needs.
        position_ids: (B, T) or (T,), where each token stands; from 0, or from the end of the cache, unless given.
        """
        if position_ids is not None:
            input_ids = self.check_input(input_ids, attention_mask, position_ids, cache)
        x = self.through_blocks(input_ids, cache, position_ids, attention_mask=attention_mask).x
        if last_only:
            x = x[:, -1:]
        x = self.final_norm(x)
        logits = F.linear(x, self.token_embedding.weight) if self.head is None else self.head(x)
        return logits, None if labels is None else F.cross_entropy(logits, labels)


class BatchRotaryPositions(RotaryPositions):
    """Rotary positions for rows that begin at different places, as left padding makes them.

    position_ids: (B, T) of the pass at hand, which the model sets; None: the tokens are counted from `start`.
    """

    position_ids: Array | None = None

    def forward(self, x: Any, start: int = 0) -> Tensor:
        """x: (B, H, T, head_dim).  Returns the same shape."""
        if self.position_ids is None:
            return super().forward(x, start)
        B, H, T, D = x.shape
        at = array_namespace(x.data).broadcast_to(self.position_ids, (B, T)).reshape(-1)
        x = x.transpose(0, 1).reshape(H, B * T, D)  # all rows as one long one, each position with its own angle
        return F.rotary(x, self.cos[at], self.sin[at]).reshape(H, B, T, D).transpose(0, 1)


def initialize(model: Module, num_layers: int, generator: np.random.Generator, std: float = 0.02) -> None:
    """GPT-2's start: normal with σ = 0.02; what feeds a residual gets 0.02/√(2 layers), so that the sum does not grow."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            into_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            sigma = std / math.sqrt(2 * num_layers) if into_residual else std
            parameter.data[...] = normal(parameter.shape, sigma, generator)
        elif name.endswith("bias"):
            parameter.data[...] = 0
