"""Models: gpt now; bert, transformer and t5 to come."""

from minilm.models.gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig"]
