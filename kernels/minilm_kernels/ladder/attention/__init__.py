"""Attention, rung by rung: each file is one idea, each gives the same numbers. `minilm_kernels.ladder` lists them."""
