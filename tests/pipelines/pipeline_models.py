"""Small models with random weights, and tokenizers that were trained on a few lines, saved to folders."""

from functools import cache
from pathlib import Path

import numpy as np

import minilm
from minilm.text import BertTokenizer, GPT2Tokenizer, T5Tokenizer

SAMPLE = (
    "Ann lives in New York, and Bob works for Microsoft. The naïve cat can't wait: can they? "
    "床前明月光，疑是地上霜。 The end of the longest tale is near 😀. summarize translate English to Chinese: one two three "
) * 4
LENGTH = 48  # what every model here reads at most
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


@cache
def bert_tokenizer():
    return BertTokenizer.train(SAMPLE, 220, model_max_length=LENGTH)


def gpt2_tokenizer():
    return GPT2Tokenizer.train(SAMPLE, 300, model_max_length=LENGTH)


@cache
def t5_tokenizer():
    return T5Tokenizer.train(SAMPLE, 120, extra_ids=4, model_max_length=LENGTH)


def randomized(model, seed=5, spread=0.3):
    """Weights that give far from uniform scores, also in norms and biases."""
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data += spread * rng.standard_normal(parameter.shape, dtype=np.float32)
    return model.eval()


def bert(class_name="BertForMaskedLM", seed=5, **changes):
    config = {**BERT, "vocab_size": len(bert_tokenizer()), "max_position_embeddings": LENGTH, **changes}
    return randomized(getattr(minilm, class_name)(minilm.BertConfig(**config), np.random.default_rng(1)), seed)


def gpt2(class_name="GPT2LMHeadModel", seed=5, **changes):
    end = gpt2_tokenizer().eos_token_id
    sizes = {"vocab_size": len(gpt2_tokenizer()), "n_positions": LENGTH, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = minilm.GPT2Config(**{**sizes, "bos_token_id": end, "eos_token_id": end, **changes})
    return randomized(getattr(minilm, class_name)(config, np.random.default_rng(1)), seed)


def t5(seed=5, **changes):
    sizes = {"vocab_size": len(t5_tokenizer()), "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    config = minilm.T5Config(**{**sizes, **changes})
    return randomized(minilm.T5ForConditionalGeneration(config, np.random.default_rng(1)), seed)


def saved(folder: Path, model, tokenizer) -> Path:
    """Model and tokenizer in one folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
