"""Small models and data files for the documents' programs (lessons/programs), and a way to load these."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np

PROGRAMS = Path(__file__).parents[1] / "lessons" / "programs"
GOOD = ("wonderful", "lovely", "fine", "great")
BAD = ("dreadful", "boring", "awful", "poor")
THINGS = ("film", "story", "actor", "music", "ending", "picture")


def load(name: str, replaced: dict[str, str] | None = None) -> types.ModuleType:
    """The program as a module; replaced: pieces of its text and what stands there instead."""
    path = PROGRAMS / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    for old, new in (replaced or {}).items():
        source = source.replace(old, new)
    module = types.ModuleType(name)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def review(rng: np.random.Generator) -> tuple[str, str]:
    """A sentence and its class, which one word tells."""
    label = str(rng.choice(["negative", "positive"]))
    word = rng.choice(GOOD if label == "positive" else BAD)
    return f"the {rng.choice(THINGS)} was {word} and the {rng.choice(THINGS)} too", label


def reviews_file(path: Path, n: int = 60, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    rows = [review(rng) for _ in range(n)]
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return path


def pairs_file(path: Path, n: int = 60, seed: int = 0) -> Path:
    """Texts of a few words and summaries, which are the text's first thing."""
    rng = np.random.default_rng(seed)
    rows = []
    while len(rows) < n:
        things = rng.choice(THINGS, 3, replace=False)
        rows.append(f"the {things[0]} with the {things[1]} and {rng.choice(GOOD)} {things[2]}\t{things[0]}")
    path.write_text("text\tsummary\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def words() -> list[str]:
    return [" ".join((*GOOD, *BAD, *THINGS, "the was and too with summarize:"))] * 4


def bert_folder(path: Path, kind: str = "BertForSequenceClassification", noise: float = 0.0, **changes: object) -> Path:
    """A BERT for sentences like those above, with its tokenizer. noise: makes it say different things of different texts."""
    from minilm import BertConfig, BertTokenizer, hub

    tokenizer = BertTokenizer.train(words(), 120, model_max_length=32)
    shape = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 32, "initializer_range": 0.2, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    model = getattr(hub, kind)(BertConfig(vocab_size=len(tokenizer), **{**shape, **changes}), rng)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data += noise * rng.standard_normal(parameter.shape, dtype=np.float32)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def gpt_folder(path: Path) -> Path:
    from minilm import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

    tokenizer = GPT2Tokenizer.train(words(), 300)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    model = GPT2LMHeadModel(config, rng)
    for parameter in model.parameters():
        parameter.data += 0.3 * rng.standard_normal(parameter.shape, dtype=np.float32)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def t5_folder(path: Path) -> Path:
    from minilm import T5Config, T5ForConditionalGeneration, T5Tokenizer

    tokenizer = T5Tokenizer.train(words(), 160)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config, np.random.default_rng(0))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
