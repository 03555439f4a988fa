"""BERT: an encoder that sees the text on both sides of every token.    [Devlin et al. 2018]"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.bert_config import BertConfig
from minilm.models.outputs import BaseModelOutputWithPooling
from minilm.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, TransformerBlock
from minilm.nn.layers import normal
from minilm.nn.transformer import run_blocks
from minilm.tensor import Array, Tensor, as_array
from minilm_kernels.conditions import values_count


class BertModel(Module):
    r"""h⁰ = LayerNorm(word[id] + segment[type] + position[t]),  hˡ = Block(hˡ⁻¹),  pooled = tanh(W h_0 + b).

    [002 §4.2; Devlin et al. 2018 §3]

    The three embeddings are added: [F6; 002 §4.2] multiplies. The blocks are post-norm and see all tokens, before and behind;
    the result is one vector per token, not one per text [003 §2.2 says "fixed-length"]. `pooled` is made from the first token,
    [CLS], for tasks that need one vector.

    pooler: whether the model has one. generator: where the initial weights and the dropout masks come from.
    """

    def __init__(self, config: BertConfig, generator: np.random.Generator | None = None, pooler: bool = True):
        config.check()
        generator = generator or np.random.default_rng()
        self.config = config
        self.generator = generator
        c = config
        self.token_embedding = Embedding(c.vocab_size, c.hidden_size, generator)
        self.segment_embedding = Embedding(c.type_vocab_size, c.hidden_size, generator)
        self.position_embedding = Embedding(c.max_position_embeddings, c.hidden_size, generator)
        self.embedding_norm = LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = Dropout(c.hidden_dropout_prob, generator)
        self.blocks = ModuleList(
            TransformerBlock(
                c.hidden_size, c.num_attention_heads, intermediate_size=c.intermediate_size, activation=c.activation,
                norm_first=False, eps=c.layer_norm_eps, dropout=c.hidden_dropout_prob, generator=generator,
                attention_dropout=c.attention_probs_dropout_prob,
            )
            for _ in range(c.num_hidden_layers)
        )  # fmt: skip
        self.pooler = Linear(c.hidden_size, c.hidden_size, generator=generator) if pooler else None
        initialize(self, c.initializer_range, generator)
        if c.pad_token_id is not None:
            self.token_embedding.weight.data[c.pad_token_id] = 0

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BaseModelOutputWithPooling:
        """input_ids: (B, T) integers.  Returns last_hidden_state (B, T, hidden) and pooler_output (B, hidden).

        attention_mask: (B, T), 1 where there is text, 0 where there is padding.
        token_type_ids: (B, T), the segment, 0 unless given. position_ids: (B, T) or (1, T), 0 … T − 1 unless given.
        output_hidden_states: also return the embeddings and what each block made; output_attentions: also each block's weights
        (B, heads, T, T). Text that consists of padding only attends to nothing: its attention gives zeros.
        Raises InputError for a text that is too long, an empty batch, ids outside their table, shapes that do not agree.
        """
        ids, mask, segments, positions = check_inputs(
            self.config, input_ids, attention_mask, token_type_ids, position_ids
        )
        x = self.dropout(self.embedding_norm(self._embed(ids, segments, positions)))  # (B, T, hidden)
        stack = run_blocks(
            self.blocks, x, output_hidden_states=output_hidden_states, output_attentions=output_attentions,
            attention_mask=mask,
        )  # fmt: skip
        return BaseModelOutputWithPooling(
            last_hidden_state=stack.x,
            pooler_output=None if self.pooler is None else F.tanh(self.pooler(stack.x[:, 0])),
            hidden_states=None if stack.hidden_states is None else (*stack.hidden_states, stack.x),
            attentions=stack.attentions,
        )

    def _embed(self, ids: Array, segments: Array | None, positions: Array | None) -> Tensor:
        """The sum of the three embeddings. Where segment or position are the same in all texts, one row serves all of them."""
        x = F.embedding(ids, self.token_embedding.weight, self.config.pad_token_id)
        x = x + (self.segment_embedding.weight[:1] if segments is None else self.segment_embedding(segments))
        T = ids.shape[1]
        return x + (self.position_embedding.weight[:T] if positions is None else self.position_embedding(positions))

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


def initialize(module: Module, std: float, generator: np.random.Generator) -> None:
    """BERT's start: tables and matrices normal with standard deviation `std`, biases 0, gains of the norms 1."""
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            parameter.data[...] = normal(parameter.shape, std, generator)
        elif name.endswith("bias"):
            parameter.data[...] = 0


def check_inputs(
    config: BertConfig, input_ids: Any, attention_mask: Any, token_type_ids: Any, position_ids: Any
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """The inputs as arrays, or an InputError that says which of them does not fit. A mask that hides nothing becomes None."""
    ids = as_array(input_ids)
    if ids.ndim != 2:
        raise InputError(
            f"input_ids has shape {ids.shape}; BERT wants (texts, tokens): put one text into a list, or use "
            'return_tensors="np"'
        )
    if 0 in ids.shape:
        raise InputError(f"input_ids has shape {ids.shape}: an empty batch; give at least one text with one token")
    longest = config.max_position_embeddings
    if ids.shape[1] > longest:
        raise InputError(
            f"the text has {ids.shape[1]} tokens, but this model knows only {longest} positions; shorten it with "
            f"truncation=True, max_length={longest}"
        )
    check_ids("input_ids", ids, config.vocab_size, "does the tokenizer belong to this model?")
    mask = None if attention_mask is None else as_array(attention_mask)
    if mask is not None:
        same_shape("attention_mask", mask, ids)
        mask = None if values_count(mask) and bool(mask.all()) else mask.astype(bool)
    segments = None if token_type_ids is None else as_array(token_type_ids)
    if segments is not None:
        same_shape("token_type_ids", segments, ids)
        check_ids("token_type_ids", segments, config.type_vocab_size, "number the segments from 0")
    positions = None if position_ids is None else as_array(position_ids)
    if positions is not None:
        same_shape("position_ids", positions, ids, broadcast=True)
        check_ids("position_ids", positions, longest, "number the positions from 0")
    return ids, mask, segments, positions


def check_ids(name: str, ids: Array, count: int, hint: str) -> None:
    """Raise InputError unless all are integers from 0 to count − 1."""
    if ids.dtype.kind not in "iu":
        raise InputError(f"{name} holds {ids.dtype}; it must hold integers from 0 to {count - 1}")
    smallest, largest = (int(ids.min()), int(ids.max())) if values_count(ids) else (0, 0)
    if smallest < 0 or largest >= count:
        wrong = smallest if smallest < 0 else largest
        raise InputError(f"{name} holds {wrong}, but this model has 0 to {count - 1}; {hint}")


def same_shape(name: str, array: Array, ids: Array, broadcast: bool = False) -> None:
    """Raise InputError unless the array has the shape of the ids; with broadcast also (1, T)."""
    if array.shape != ids.shape and not (broadcast and array.shape == (1, ids.shape[1])):
        raise InputError(f"{name} has shape {array.shape}, input_ids {ids.shape}; they must agree")
