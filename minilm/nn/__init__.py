"""Layers that own parameters, under PyTorch's names."""

from minilm.nn.attention import KVCache, MultiHeadAttention
from minilm.nn.layers import Dropout, Embedding, FeedForward, LayerNorm, Linear, RMSNorm
from minilm.nn.module import Module, ModuleList, Sequential
from minilm.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from minilm.nn.transformer import StackOutput, TransformerBlock, run_blocks
from minilm.tensor import Parameter

__all__ = [
    "Dropout",
    "Embedding",
    "FeedForward",
    "KVCache",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "RMSNorm",
    "RotaryPositions",
    "Sequential",
    "SinusoidalPositions",
    "StackOutput",
    "TransformerBlock",
    "run_blocks",
]
