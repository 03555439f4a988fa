"""The formulas of minilm_kernels.reference, by subject. Attention stands in reference.py itself."""
