"""A small model of each family with one batch, for the same computation on the CPU and on the stand-in for CuPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.models import GPT, GPTConfig, bert_heads
from minilm.models.bert_config import BertConfig
from minilm.models.causal import GPT2ForSequenceClassification, GPT2LMHeadModel, LlamaForCausalLM
from minilm.models.causal_config import GPT2Config, LlamaConfig
from minilm.models.t5 import T5Config, T5ForConditionalGeneration
from minilm.models.transformer import Transformer, TransformerConfig
from minilm.nn.lora import add_lora

V, B, T = 23, 3, 7
CASES: dict[str, Callable[[], tuple[Any, dict[str, np.ndarray]]]] = {}


def case(build: Callable[[], tuple[Any, dict[str, np.ndarray]]]) -> Callable:
    CASES[build.__name__] = build
    return build


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def words(*shape: int) -> np.ndarray:
    return rng().integers(1, V, shape or (B, T))


def padding() -> np.ndarray:
    mask = np.ones((B, T), np.int64)
    mask[0, 5:] = mask[1, 3:] = 0
    return mask


def gpt_of(**changes: Any) -> GPT:
    sizes = {"vocab_size": V, "context_length": 16, "num_layers": 2, "num_heads": 4, "hidden_size": 16}
    return GPT(GPTConfig(**{**sizes, **changes}), rng())


def language_batch() -> dict[str, np.ndarray]:
    ids = words(B, T + 1)
    return {"input_ids": ids[:, :-1], "labels": ids[:, 1:]}


@case
def gpt():
    return gpt_of(), language_batch()


@case
def gpt_with_dropout():
    return gpt_of(dropout=0.2), language_batch()


@case
def gpt_in_llamas_layout():
    return gpt_of(
        positions="rotary", norm="rms_norm", num_kv_heads=2, activation="swiglu", bias=False
    ), language_batch()


@case
def gpt_with_padding():
    mask = padding()[:, ::-1].copy()
    places = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    return gpt_of(positions="rotary"), {**language_batch(), "attention_mask": mask, "position_ids": places}


@case
def gpt_with_lora():
    model = gpt_of()
    add_lora(model, {"blocks.0.attention.query_key_value": [(0, 16), (32, 48)]}, rank=2, dropout=0.1, generator=rng())
    for name, p in model.named_parameters():
        if name.endswith(".B"):
            p.data += 0.1
    return model, language_batch()


@case
def gpt2_lm():
    config = GPT2Config(vocab_size=V, n_positions=16, n_embd=16, n_layer=2, n_head=4)
    return GPT2LMHeadModel(config, rng()), {"input_ids": words(), "labels": words(), "attention_mask": padding()}


@case
def gpt2_classifier():
    config = GPT2Config(vocab_size=V, n_positions=16, n_embd=16, n_layer=1, n_head=4, pad_token_id=0, num_labels=3)
    ids = words() * padding()
    return GPT2ForSequenceClassification(config, rng()), {"input_ids": ids, "labels": np.array([0, 2, 1])}


@case
def llama_lm():
    config = LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    return LlamaForCausalLM(config, rng()), {"input_ids": words(), "labels": words(), "attention_mask": padding()}


def bert(name: str, batch: dict[str, np.ndarray], **changes: Any):
    shape = {
        "vocab_size": V, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17,
        "max_position_embeddings": 9,
    }  # fmt: skip
    model = getattr(bert_heads, name)(BertConfig(**{**shape, **changes}), rng())
    return model, {"input_ids": words(), "attention_mask": padding(), "token_type_ids": padding(), **batch}


@case
def bert_masked_lm():
    return bert("BertForMaskedLM", {"labels": np.where(rng().random((B, T)) < 0.5, words(), -100)})


@case
def bert_pretraining():
    return bert("BertForPreTraining", {"labels": words(), "next_sentence_label": np.array([0, 1, 1])})


@case
def bert_classes():
    return bert("BertForSequenceClassification", {"labels": np.array([0, 1, 1])})


@case
def bert_numbers():
    return bert("BertForSequenceClassification", {"labels": np.array([0.5, 1, -1], np.float32)}, num_labels=1)


@case
def bert_several_labels():
    labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]], np.float32)
    return bert(
        "BertForSequenceClassification", {"labels": labels}, num_labels=3, problem_type="multi_label_classification"
    )


@case
def bert_tokens():
    return bert("BertForTokenClassification", {"labels": rng().integers(0, 2, (B, T))})


@case
def bert_answers():
    return bert(
        "BertForQuestionAnswering", {"start_positions": np.array([1, 0, 3]), "end_positions": np.array([1, 0, 6])}
    )


@case
def t5():
    config = T5Config(vocab_size=V, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    return T5ForConditionalGeneration(config, rng()), {
        "input_ids": words(), "attention_mask": padding(), "labels": words(B, 5)
    }  # fmt: skip


@case
def transformer():
    config = TransformerConfig(
        vocab_size=V, max_positions=16, num_encoder_layers=1, num_decoder_layers=2, num_heads=4, hidden_size=16
    )
    return Transformer(config, rng()), {"input_ids": words(), "attention_mask": padding(), "labels": words(B, 5)}


def loss_and_gradients(model: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Of one step in training mode: the loss and the gradient of every parameter that has one, where the model is."""
    model.train()
    outputs = model(**batch)
    loss = outputs[1] if isinstance(outputs, tuple) else outputs.loss
    loss.backward()
    return loss.data, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
