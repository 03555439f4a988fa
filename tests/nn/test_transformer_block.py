"""TransformerBlock, with cross-attention too, against its formula; run_blocks collects what passes through a stack."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import Tensor, nn
from minilm.nn.transformer import run_blocks

B, T, C, HIDDEN, HEADS = 2, 4, 3, 12, 4


def block(generator, **options):
    return nn.TransformerBlock(HIDDEN, HEADS, generator=generator, **options).double()


def randomize(module, generator):
    for p in module.parameters():
        p.data[...] = generator.standard_normal(p.shape) * 0.4
    return module


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_three_sub_layers_in_sequence(generator, norm_first, norm):
    """[F9] in sequence: self-attention, cross-attention, feed-forward, each with its residual and its own norm."""
    layer = randomize(block(generator, cross=True, norm_first=norm_first, norm=norm), generator)
    x, context = (Tensor(generator.standard_normal((B, n, HIDDEN))) for n in (T, C))
    mask, context_mask = [[1, 1, 1, 1], [1, 1, 1, 0]], [[1, 1, 0], [1, 1, 1]]
    got = layer(x, causal=True, attention_mask=mask, context=context, context_mask=context_mask)
    h = x
    branches = [
        (layer.attention_norm, lambda a: layer.attention(a, causal=True, attention_mask=mask)),
        (layer.cross_attention_norm, lambda a: layer.cross_attention(a, context, attention_mask=context_mask)),
        (layer.feed_forward_norm, layer.feed_forward),
    ]
    for normalize, branch in branches:
        h = h + branch(normalize(h)) if norm_first else normalize(h + branch(h))
    np.testing.assert_allclose(got.data, h.data, rtol=1e-10, atol=1e-12)


def test_options_reach_both_attentions(generator):
    layer = nn.TransformerBlock(
        HIDDEN, HEADS, bias=False, dropout=0.1, cross=True, generator=generator,
        head_dim=5, scale=1.0, attention_dropout=0.3,
    )  # fmt: skip
    for attention in (layer.attention, layer.cross_attention):
        assert (attention.head_dim, attention.scale, attention.attention_dropout) == (5, 1.0, 0.3)
        assert attention.output_dropout.p == 0.1
        assert attention.output.bias is None


def test_bias_is_added_to_the_scores_of_self_attention(generator):
    layer = randomize(block(generator, cross=True), generator)
    x, context = (Tensor(generator.standard_normal((B, n, HIDDEN))) for n in (T, C))
    hide = np.where(np.tril(np.ones((T, T), bool)), 0, -np.inf)[None, None]
    causal = layer(x, causal=True, context=context).data
    np.testing.assert_allclose(layer(x, bias=hide, context=context).data, causal, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_pair_of_caches_serves_a_decoder_block(generator, norm_first):
    layer = randomize(block(generator, cross=True, norm_first=norm_first), generator)
    x, context = (Tensor(generator.standard_normal((B, n, HIDDEN))) for n in (T, C))
    whole, W, across = layer(x, causal=True, context=context, weights=True)
    caches = tuple(nn.KVCache(B, HEADS, n, HIDDEN // HEADS, np.float64) for n in (T, C))
    for t in range(T):
        # the context is needed once: then its keys and values are in the cache
        y, row, row_across = layer(
            x[:, t : t + 1], causal=True, context=context if t == 0 else None, cache=caches, weights=True
        )
        np.testing.assert_allclose(y.data, whole.data[:, t : t + 1], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(row.data, W.data[:, :, t : t + 1, : t + 1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(row_across.data, across.data[:, :, t : t + 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cross", [False, True])
def test_a_stack_gives_hidden_states_and_attentions(generator, cross):
    blocks = nn.ModuleList(randomize(block(generator, cross=cross, norm_first=False), generator) for _ in range(3))
    x, context = (Tensor(generator.standard_normal((B, n, HIDDEN))) for n in (T, C))
    options = {"context": context} if cross else {}
    plain = run_blocks(blocks, x, **options)
    assert plain.hidden_states is plain.attentions is plain.cross_attentions is None
    full = run_blocks(blocks, x, output_hidden_states=True, output_attentions=True, **options)
    assert np.array_equal(full.x.data, plain.x.data)
    assert len(full.hidden_states) == len(full.attentions) == 3
    h = x
    for i, layer in enumerate(blocks):
        assert np.array_equal(full.hidden_states[i].data, h.data)
        h, W, *across = layer(h, weights=True, **options)
        assert np.array_equal(full.attentions[i].data, W.data)
        assert len(across) == cross
        if cross:
            assert full.cross_attentions[i].shape == (B, HEADS, T, C)
            assert np.array_equal(full.cross_attentions[i].data, across[0].data)
    if not cross:
        assert full.cross_attentions is None


def test_every_parameter_of_a_decoder_block_gets_a_gradient(generator):
    layer = block(generator, cross=True)
    x, context = (Tensor(generator.standard_normal((B, n, HIDDEN)), True) for n in (T, C))
    layer(x, causal=True, context=context).backward(generator.standard_normal((B, T, HIDDEN)))
    for name, p in layer.named_parameters():
        assert p.grad is not None, name
        assert np.abs(p.grad).max() > 0, name
    assert context.grad.any()


def test_a_cross_block_says_what_it_misses(generator):
    with pytest.raises(ValueError, match="needs `context`"):
        block(generator, cross=True)(Tensor(np.zeros((B, T, HIDDEN))))
