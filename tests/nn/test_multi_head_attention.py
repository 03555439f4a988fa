"""MultiHeadAttention: against its formula head by head, with masks, groups, context and cache."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import Tensor, nn
from minilm import functional as F
from minilm.models import GPT, GPTConfig

B, T, HIDDEN, HEADS = 2, 5, 12, 4


def by_hand(layer, x, context=None, causal=False, attention_mask=None, bias=None):
    """Head by head with plain NumPy: what the docstring's formula says."""
    D = layer.head_dim
    if layer.cross:
        q = x @ layer.query.weight.data.T + layer.query.bias.data
        kv = context @ layer.key_value.weight.data.T + layer.key_value.bias.data
    else:
        qkv = x @ layer.query_key_value.weight.data.T + layer.query_key_value.bias.data
        q, kv = qkv[..., :HIDDEN], qkv[..., HIDDEN:]
    k, v = np.split(kv, 2, axis=-1)
    heads = []
    for h in range(layer.num_heads):
        g = h // (layer.num_heads // layer.num_kv_heads)
        Q, K, V = q[..., h * D : (h + 1) * D], k[..., g * D : (g + 1) * D], v[..., g * D : (g + 1) * D]
        S = Q @ K.swapaxes(-1, -2) / np.sqrt(D)
        if bias is not None:
            S = S + bias
        if causal:
            S = np.where(np.tril(np.ones(S.shape[-2:], bool)), S, -np.inf)
        if attention_mask is not None:
            S = np.where(np.asarray(attention_mask, bool)[:, None], S, -np.inf)
        W = np.exp(S - S.max(-1, keepdims=True))
        heads.append(W / W.sum(-1, keepdims=True) @ V)
    return np.concatenate(heads, -1) @ layer.output.weight.data.T + layer.output.bias.data


@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("masks", [
    {}, {"causal": True}, {"attention_mask": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]},
    {"bias": np.linspace(-1, 1, T * T).reshape(T, T)},
    {"causal": True, "attention_mask": [[1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], "bias": np.linspace(-1, 1, T * T).reshape(T, T)},
])  # fmt: skip
def test_against_the_formula(generator, kv_heads, cross, masks):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, kv_heads, cross=cross, generator=generator).double()
    x = generator.standard_normal((B, T, HIDDEN))
    context = generator.standard_normal((B, T, HIDDEN)) if cross else None
    y = layer(Tensor(x), None if context is None else Tensor(context), **masks)
    np.testing.assert_allclose(y.data, by_hand(layer, x, context, **masks), rtol=1e-10, atol=1e-12)


def test_context_may_have_another_length(generator):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, cross=True, generator=generator).double()
    x, context = generator.standard_normal((B, T, HIDDEN)), generator.standard_normal((B, 3, HIDDEN))
    y = layer(Tensor(x), Tensor(context))
    np.testing.assert_allclose(y.data, by_hand(layer, x, context), rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="needs `context`"):
        layer(Tensor(x))


def test_a_bool_bias_hides(generator):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, generator=generator).double()
    x, seen = Tensor(generator.standard_normal((B, T, HIDDEN))), np.tril(np.ones((T, T), bool))
    np.testing.assert_allclose(layer(x, bias=seen).data, layer(x, causal=True).data, rtol=1e-12, atol=1e-14)


def test_all_parameters_get_gradients(generator):
    for cross in (False, True):
        layer = nn.MultiHeadAttention(HIDDEN, HEADS, 2, cross=cross, generator=generator)
        x, context = (Tensor(generator.standard_normal((B, T, HIDDEN)).astype(np.float32), True) for _ in range(2))
        layer(x, context if cross else None, causal=True).backward(np.ones((B, T, HIDDEN)))
        for name, p in layer.named_parameters():
            assert p.grad is not None, name
            assert np.isfinite(p.grad).all()
            assert p.grad.dtype == np.float32
        assert x.grad.any()
        assert (context.grad is not None) == cross


def test_dropout_acts_while_training_only(generator):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, dropout=0.5, generator=generator)
    x = Tensor(generator.standard_normal((B, T, HIDDEN)).astype(np.float32))
    assert not np.array_equal(layer(x).data, layer(x).data)
    layer.eval()
    assert np.array_equal(layer(x).data, layer(x).data)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((100, 12), "hidden_size 100 is not a multiple of num_heads 12; use 96 or 108"),
        ((5, 12), "use 12"),
        ((12, 4, 3), "num_heads 4 is not a multiple of num_kv_heads 3; use one of 1, 2, 4"),
        ((12, 0), "must be at least 1"),
        ((12, 4, -2), "must be at least 1"),
    ],
)
def test_heads_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        nn.MultiHeadAttention(*sizes)


# --- the cache ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("chunks", [[1] * 7, [7], [3, 1, 2, 1], [1, 6]])
def test_cached_equals_uncached(generator, rotary, kv_heads, chunks):
    positions = nn.RotaryPositions(7, 4) if rotary else None
    layer = nn.MultiHeadAttention(16, 4, kv_heads, rotary=positions, generator=generator).double()
    x = Tensor(generator.standard_normal((B, 7, 16)))
    full = layer(x, causal=True).data
    cache = nn.KVCache(B, kv_heads or 4, 7, 4, np.float64)
    start, parts = 0, []
    for size in chunks:
        parts.append(layer(x[:, start : start + size], causal=True, cache=cache).data)
        start += size
    assert cache.length == 7
    np.testing.assert_allclose(np.concatenate(parts, 1), full, rtol=1e-11, atol=1e-12)


CONFIGS = {
    "nanogpt": {"num_layers": 2, "num_heads": 2, "hidden_size": 16},
    "gpt2": {"num_layers": 2, "num_heads": 2, "hidden_size": 16, "bias": True, "activation": "gelu_tanh"},
    "llama": GPTConfig.llama(num_layers=2, hidden_size=16, intermediate_size=24).to_dict(),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_with_cache_equals_the_model_without(generator, name):
    """Also with a padding mask, in chunks, and when only the last logits are asked for."""
    config = GPTConfig(**{**CONFIGS[name], "vocab_size": 11, "context_length": 9})
    model = GPT(config, generator).double().eval()
    for p in model.parameters():
        p.data[...] = generator.standard_normal(p.shape) * 0.3
    ids = generator.integers(0, 11, (2, 9))
    mask = np.ones((2, 9), int)
    mask[1, :2] = 0  # padded on the left
    full = model(ids, attention_mask=mask)[0].data
    cache, start = model.new_cache(batch_size=2), 0
    for size in (4, 1, 3, 1):
        stop = start + size
        logits, _ = model(ids[:, start:stop], attention_mask=mask[:, :stop], cache=cache)
        np.testing.assert_allclose(logits.data, full[:, start:stop], rtol=1e-9, atol=1e-10)
        start = stop
    last, loss = model(ids, attention_mask=mask, last_only=True)
    assert loss is None
    np.testing.assert_allclose(last.data, full[:, -1:], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match=r"9 positions|only 9"):
        model(ids[:, :1], cache=cache)


def test_the_cache_keeps_its_dtype_and_says_when_it_is_full():
    cache = nn.KVCache(1, 2, 3, 4)
    assert (cache.keys.dtype, cache.max_length, cache.length) == (np.float32, 3, 0)
    k, v = cache.append(np.ones((1, 2, 2, 4)), np.full((1, 2, 2, 4), 2.0))
    assert k.shape == v.shape == (1, 2, 2, 4)
    assert (k == 1).all()
    assert (v == 2).all()
    with pytest.raises(ValueError, match="holds 3 positions, 4 were asked for"):
        cache.append(np.ones((1, 2, 2, 4)), np.ones((1, 2, 2, 4)))


def test_the_cache_refuses_another_batch_size():
    with pytest.raises(ValueError, match="takes keys and values of shape"):
        nn.KVCache(2, 1, 3, 4).append(np.ones((1, 1, 1, 4)), np.ones((1, 1, 1, 4)))


def test_gpt_with_labels_gives_the_mean_cross_entropy(generator):
    model = GPT(GPTConfig(**CONFIGS["nanogpt"], vocab_size=11, context_length=9), generator)
    ids = generator.integers(0, 11, (2, 9))
    labels = np.where(generator.random((2, 9)) < 0.3, -100, ids)
    logits, loss = model(ids, labels)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item())
    assert abs(loss.item() - np.log(11)) < 0.2, "an untrained model knows nothing"
