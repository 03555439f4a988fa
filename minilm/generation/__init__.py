"""Generation: a trained model continues a text."""

from minilm.generation.generate import GenerationConfig, generate, generate_tokens
from minilm.generation.processors import (
    apply_temperature,
    greedy,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    sample,
)

__all__ = [
    "GenerationConfig",
    "apply_temperature",
    "generate",
    "generate_tokens",
    "greedy",
    "keep_top_k",
    "keep_top_p",
    "penalize_repetition",
    "sample",
]
