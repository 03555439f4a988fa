"""Kernels of minilm: arrays in, arrays out. This package knows no Tensor and no model."""

from minilm_kernels.namespace import array_namespace

__all__ = ["array_namespace"]
