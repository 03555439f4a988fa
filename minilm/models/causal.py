"""GPT-2 and Llama as Hugging Face calls them: the body of models.gpt with options, and heads on top.

    model = GPT2LMHeadModel(GPT2Config(...))
    output = model(input_ids, attention_mask=mask, labels=input_ids)     # output.loss, output.logits, ...

Here labels are the input's own ids: the model moves them one place by itself (GPT in gpt.py takes them already moved).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.bert_losses import class_loss, sequence_loss
from minilm.models.causal_config import GPT2Config, LlamaConfig
from minilm.models.gpt import GPTModel, initialize
from minilm.models.outputs import BaseModelOutput, ClassifierOutput, LMOutput
from minilm.nn import KVCache, Linear, Module
from minilm.tensor import Array, Tensor, as_array
from minilm_kernels import array_namespace

Generator = np.random.Generator


class GPT2Model(GPTModel):
    """GPT-2 without a head: learned positions, LayerNorm before each branch, GELU."""

    def __init__(self, config: GPT2Config, generator: Generator | None = None):
        config.check()
        super().__init__(config.engine(), generator, attention_dropout=config.attn_pdrop)
        self.config = config
        self.dropout.p = config.embd_pdrop
        initialize(self, config.n_layer, self.generator, config.initializer_range)


class LlamaModel(GPTModel):
    """Llama without a head: rotary positions, RMSNorm before each branch, SwiGLU, grouped queries."""

    def __init__(self, config: LlamaConfig, generator: Generator | None = None):
        config.check()
        super().__init__(
            config.engine(), generator,
            rotary=config.rotary(), head_dim=config.dim_per_head, attention_dropout=config.attention_dropout,
        )  # fmt: skip
        self.config = config
        initialize(self, config.num_hidden_layers, self.generator, config.initializer_range)


class CausalLM(Module):
    """A body and a head that scores every next token; the head is the embedding table where the two are tied."""

    body_name: str
    body_class: type[GPTModel]

    def __init__(self, config: Any, generator: Generator | None = None):
        self.config = config
        self.generator = generator or np.random.default_rng()
        body = self.body_class(config, self.generator)
        setattr(self, self.body_name, body)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False, generator=self.generator)
            initialize(self.lm_head, 1, self.generator, config.initializer_range)

    @property
    def body(self) -> GPTModel:
        """The model without the head."""
        return getattr(self, self.body_name)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: list[KVCache] | None = None,
        labels: Any = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        logits_to_keep: int = 0,
    ) -> LMOutput:
        """Called as GPTModel is, and returns logits (B, T, vocab).

        labels: (B, T), as a rule input_ids themselves, −100 where nothing is to be predicted; logits at t are compared with
        labels at t + 1.  loss = mean over those of −log P(label), in nats.
        logits_to_keep: score only so many of the last positions, which is all that decoding needs; 0: all.
        Raises InputError as GPTModel does, and for labels of another shape or outside the vocabulary.
        """
        base = self.body(
            input_ids, attention_mask, position_ids, past_key_values, use_cache, output_hidden_states, output_attentions
        )
        h = base.last_hidden_state
        if logits_to_keep:
            if labels is not None:
                raise InputError("logits_to_keep leaves out scores that labels need; give one of the two")
            h = h[:, -logits_to_keep:]
        logits = F.linear(h, self.body.token_embedding.weight) if self.lm_head is None else self.lm_head(h)
        loss = None if labels is None else next_token_loss(logits, labels)
        return LMOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> list[KVCache]:
        """An empty cache, as the body makes it."""
        return self.body.new_cache(batch_size, max_length)

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


class GPT2LMHeadModel(CausalLM):
    """GPT-2 that predicts the next token.    [F15; 000 §2.1, 004 §2.1]"""

    body_name, body_class = "transformer", GPT2Model


class LlamaForCausalLM(CausalLM):
    """Llama that predicts the next token."""

    body_name, body_class = "model", LlamaModel


class CausalClassifier(Module):
    """A body and a classifier that looks at the last token of each text, the one that has seen all others."""

    body_name: str
    body_class: type[GPTModel]

    def __init__(self, config: Any, generator: Generator | None = None):
        self.config = config
        self.generator = generator or np.random.default_rng()
        setattr(self, self.body_name, self.body_class(config, self.generator))
        self.score = Linear(config.hidden_size, config.num_labels, bias=False, generator=self.generator)
        initialize(self.score, 1, self.generator, config.initializer_range)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        labels: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ClassifierOutput:
        """labels: (B,) classes, or numbers for a regression.  Returns logits (B, num_labels).

        The last token is the last that is not config.pad_token_id. Raises InputError for a batch of several texts where the
        configuration names no such token.
        """
        body: GPTModel = getattr(self, self.body_name)
        base: BaseModelOutput = body(
            input_ids, attention_mask, position_ids,
            output_hidden_states=output_hidden_states, output_attentions=output_attentions,
        )  # fmt: skip
        last = self.last_tokens(as_array(input_ids))
        assert base.last_hidden_state is not None
        rows = array_namespace(last).arange(len(last))
        logits = self.score(base.last_hidden_state[rows, last])  # (B, num_labels)
        loss = None if labels is None else sequence_loss(logits, labels, self.config)
        return ClassifierOutput(loss, logits, base.hidden_states, base.attentions)

    def last_tokens(self, ids: Array) -> Array:
        """Where each text ends: (B, T) → (B,)."""
        B, T = ids.shape
        xp, padding = array_namespace(ids), self.config.pad_token_id
        if padding is None:
            if B > 1:
                raise InputError(
                    "config.pad_token_id is not set, so the ends of several texts cannot be told; set it, or give one text"
                )
            return xp.full(B, T - 1)
        return (xp.arange(T) * (ids != padding)).argmax(axis=1)

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


class GPT2ForSequenceClassification(CausalClassifier):
    """GPT-2 that puts each text into a class."""

    body_name, body_class = "transformer", GPT2Model


class LlamaForSequenceClassification(CausalClassifier):
    """Llama that puts each text into a class."""

    body_name, body_class = "model", LlamaModel


def next_token_loss(logits: Tensor, labels: Any) -> Tensor:
    """L = mean over t of −log P(labels[t + 1] | logits[t]), without the labels −100.    [F2; 001 §4.2]"""
    labels = as_array(labels)
    if labels.shape != logits.shape[:2]:
        raise InputError(f"labels have shape {labels.shape}; give {logits.shape[:2]}, as the input's")
    if labels.shape[1] < 2:
        raise InputError("a text of one token has no next one to predict; give at least two")
    return class_loss(logits[:, :-1], labels[:, 1:])
