"""Models: gpt now; bert, transformer and t5 to come. ngram is what they must beat."""

from minilm.models.gpt import GPT, GPTConfig
from minilm.models.ngram import BigramModel

__all__ = ["GPT", "BigramModel", "GPTConfig"]
