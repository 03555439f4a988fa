"""The model and tokenizer of a job: pretrained ones, or new ones of a small size."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.finetuning.options import SHAPE, FinetuningOptions
from minilm.finetuning.task import Parts, Task
from minilm.hub import AutoConfig, AutoTokenizer, BertConfig, MarianConfig, PegasusConfig, T5Config
from minilm.text import BertTokenizer, T5Tokenizer
from minilm.text.unigram.training import train_unigram
from minilm.training import LoraConfig, get_peft_model

ENCODERS = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
}
WRITERS = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256},
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512},
}
DROPOUTS = (  # what configurations call it
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout_rate", "dropout", "resid_pdrop", "embd_pdrop",
    "attn_pdrop",
)  # fmt: skip
PIECE_BEFORE = "▁"  # Unigram's mark where a word begins


def open_tokenizer(task: Task, parts: Parts, progress: bool) -> Any:
    """The pretrained model's tokenizer, or a new one that has seen the training part alone."""
    options: FinetuningOptions = task.options
    if options.model:
        tokenizer = AutoTokenizer.from_pretrained(options.model)
        if tokenizer.pad_token is None:  # GPT-2 has none; the attention mask says what is padding
            if tokenizer.eos_token is None:
                raise InputError(
                    f"the tokenizer of {options.model} has no token to pad with; add pad_token to its files"
                )
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer
    texts = task.texts(parts.training)
    if task.auto_class == "AutoModelForSeq2SeqLM":
        return train_writers_tokenizer(texts, options.vocab_size)
    shown = progress and sys.stderr.isatty()
    return BertTokenizer.train(texts, vocab_size=options.vocab_size, progress=shown)


def train_writers_tokenizer(texts: Iterable[str], vocab_size: int) -> T5Tokenizer:
    """Unigram pieces of texts as they stand: a decoder has to write what the references have, wide commas too.

    (T5's own tokenizer brings all texts into the form NFKC, so that it can write no "，".)
    """
    special = ["<pad>", "</s>", "<unk>"]
    words = Counter(PIECE_BEFORE + word for text in texts for word in text.split())
    pieces = train_unigram(words, vocab_size - len(special), exclude=special)
    return T5Tokenizer([*((token, 0.0) for token in special), *pieces], normalizer=None, extra_ids=0)


def open_model(task: Task, tokenizer: Any, max_length: int) -> Any:
    """The pretrained model with a head for the task's classes, or a new one; with adapters where LoRA is asked for.

    Raises InputError for a model of the wrong kind, one that the tokenizer does not fit, and unknown LoRA targets.
    """
    options: FinetuningOptions = task.options
    seeds = np.random.default_rng(options.seed).spawn(2)
    auto = getattr(importlib.import_module("minilm.hub"), task.auto_class)
    classes = class_names(task)
    if options.model:
        changes = {**classes, **dropouts(AutoConfig.from_pretrained(options.model), options.dropout)}
        model = auto.from_pretrained(options.model, generator=seeds[0], ignore_mismatched_sizes=True, **changes)
        if len(tokenizer) > model.config.vocab_size:
            raise InputError(
                f"the tokenizer of {options.model} has {len(tokenizer)} tokens and its model {model.config.vocab_size}; they "
                "do not belong together, restore the folder"
            )
        if getattr(model.config, "pad_token_id", 0) is None:
            model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = auto.from_config(new_config(task, tokenizer, max_length, classes), seeds[0])
    if options.lora:
        alpha = options.lora_alpha if options.lora_alpha is not None else 2 * options.lora
        targets = options.lora_targets
        targets = [name.strip() for name in targets.split(",")] if isinstance(targets, str) else targets
        config = LoraConfig(options.lora, alpha, options.lora_dropout, targets)
        get_peft_model(model, config, seeds[1])
    return model


def new_config(task: Task, tokenizer: Any, max_length: int, classes: dict[str, Any]) -> Any:
    """The shape of a new model. Raises InputError for sizes that do not fit one another."""
    options: FinetuningOptions = task.options
    writes = task.auto_class == "AutoModelForSeq2SeqLM"
    given = {name: value for name in SHAPE if (value := getattr(options, name)) is not None}
    shape = {**(WRITERS if writes else ENCODERS)[options.size], **given}
    if shape["hidden_size"] % shape["num_attention_heads"]:
        raise InputError(
            f"hidden_size is {shape['hidden_size']}, which {shape['num_attention_heads']} heads cannot share evenly; change "
            "--hidden_size or --num_attention_heads"
        )
    if writes:
        config = new_writer(task, tokenizer, max_length, shape)
    else:
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=max_length, **shape, **classes)
    for name, value in dropouts(config, options.dropout).items():
        setattr(config, name, value)
    return config


def new_writer(task: Task, tokenizer: Any, max_length: int, shape: dict[str, int]) -> Any:
    """The shape of a new encoder-decoder."""
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    heads, inner = shape["num_attention_heads"], shape["intermediate_size"]
    size = len(tokenizer)
    if task.options.model_type == "t5":
        return T5Config(
            vocab_size=size, feed_forward_proj="gated-gelu", d_model=width, d_kv=width // heads, d_ff=inner,
            num_layers=layers, num_heads=heads,
        )  # fmt: skip
    kind = MarianConfig if task.options.model_type == "transformer" else PegasusConfig
    return kind(
        vocab_size=size, max_position_embeddings=max(max_length, task.options.max_target_length + 1), d_model=width,
        encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=inner, decoder_ffn_dim=inner, activation_function="relu", scale_embedding=True,
        pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, forced_eos_token_id=None,
    )  # fmt: skip


def dropouts(config: Any, dropout: float | None) -> dict[str, float]:
    """What sets the dropout of a configuration; nothing where none was asked for."""
    return {} if dropout is None else {name: dropout for name in DROPOUTS if hasattr(config, name)}


def class_names(task: Task) -> dict[str, Any]:
    """The classes as a configuration has them."""
    if task.labels is None:
        return {}
    names = list(task.labels)
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: n for n, name in enumerate(names)},
    }


def longest_text(task: Task) -> int:
    """max_length, chosen or usual, and within the model's positions."""
    options: FinetuningOptions = task.options
    positions = None
    if options.model:
        positions = getattr(AutoConfig.from_pretrained(options.model), "max_position_embeddings", None)
    if options.max_length is not None and positions is not None and options.max_length > positions:
        raise InputError(
            f"max_length is {options.max_length}, and {options.model} has {positions} positions; give at most that many"
        )
    wanted = options.max_length or options.default_length
    return wanted if positions is None else min(wanted, positions)
