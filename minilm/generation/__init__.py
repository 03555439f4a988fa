"""Generation: a trained model continues a text, or writes one from a source."""

from minilm.generation.decoders import Decoder
from minilm.generation.decoding import GenerateOutput
from minilm.generation.generate import GenerationConfig, generate, generate_tokens
from minilm.generation.mixin import Generates
from minilm.generation.options import GenerationOptions
from minilm.generation.processors import (
    apply_temperature,
    forbid_repeated_ngrams,
    forbid_tokens,
    greedy,
    keep_epsilon,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalize_repetition,
    sample,
)
from minilm.generation.prompting import choice_scores, few_shot_prompt
from minilm.generation.streaming import TextStreamer

__all__ = [
    "Decoder",
    "GenerateOutput",
    "Generates",
    "GenerationConfig",
    "GenerationOptions",
    "TextStreamer",
    "apply_temperature",
    "choice_scores",
    "few_shot_prompt",
    "forbid_repeated_ngrams",
    "forbid_tokens",
    "generate",
    "generate_tokens",
    "greedy",
    "keep_epsilon",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical",
    "penalize_repetition",
    "sample",
]
