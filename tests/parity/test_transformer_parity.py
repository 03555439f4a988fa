"""The encoder-decoder's layers beside torch.nn.Transformer with the same weights: outputs and every gradient."""

import numpy as np
import pytest

from minilm.models.transformer import Transformer, TransformerConfig
from minilm.nn.transformer import run_blocks
from minilm.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-9}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def whole(p):
    return lambda field: field(p)


def packed(p, rows):
    return lambda field: field(p)[rows]


def pairs(block, layer):
    """(minilm's parameter, what takes PyTorch's tensors and gives the same array) for one block."""

    d = block.attention_norm.weight.shape[0]
    attentions = [("attention", layer.self_attn)] + ([("cross_attention", layer.multihead_attn)] if block.cross else [])
    norms = ["attention_norm"] + (["cross_attention_norm"] if block.cross else []) + ["feed_forward_norm"]
    for name, theirs in attentions:
        ours = getattr(block, name)
        for kind, packed_name in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
            source = getattr(theirs, packed_name)
            if ours.cross:
                yield getattr(ours.query, kind), packed(source, slice(None, d))
                yield getattr(ours.key_value, kind), packed(source, slice(d, None))
            else:
                yield getattr(ours.query_key_value, kind), whole(source)
            yield getattr(ours.output, kind), whole(getattr(theirs.out_proj, kind))
    for i, name in enumerate(norms, 1):
        for kind in ("weight", "bias"):
            yield getattr(getattr(block, name), kind), whole(getattr(getattr(layer, f"norm{i}"), kind))
    for name, theirs in (("up", layer.linear1), ("down", layer.linear2)):
        for kind in ("weight", "bias"):
            yield getattr(getattr(block.feed_forward, name), kind), whole(getattr(theirs, kind))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
def test_two_layers_of_each(norm_first, activation, dtype, generator):
    config = TransformerConfig(
        vocab_size=9, num_encoder_layers=2, num_decoder_layers=2, num_heads=3, hidden_size=18, intermediate_size=25,
        dropout=0.0, norm_first=norm_first, activation=activation,
    )  # fmt: skip
    model = Transformer(config, generator).eval()
    for parameter in model.parameters():
        parameter.data += generator.normal(0, 0.1, parameter.shape).astype(np.float32)
    if dtype == np.float64:
        model.double()
    twin = torch.nn.Transformer(
        18, 3, 2, 2, 25, 0.0, activation, norm_first=norm_first, batch_first=True,
        dtype=torch.from_numpy(np.zeros(0, dtype)).dtype,
    ).train()  # fmt: skip  # in eval mode it would take a fast path of its own
    if not norm_first:
        twin.encoder.norm = twin.decoder.norm = None  # PyTorch adds a last norm; the paper has none
    matched = []
    for ours, theirs in ((model.encoder, twin.encoder), (model.decoder, twin.decoder)):
        for block, layer in zip(ours.blocks, theirs.layers):
            matched += pairs(block, layer)
        if norm_first:
            for kind in ("weight", "bias"):
                matched.append((getattr(ours.final_norm, kind), whole(getattr(theirs.norm, kind))))
    with torch.no_grad():
        for ours, theirs in matched:
            theirs(lambda p: p).copy_(torch.from_numpy(ours.data))
    source, target = (generator.normal(size=(2, n, 18)).astype(dtype) for n in (7, 5))
    seen = np.ones((2, 7), bool)
    seen[1, 5:] = False
    x, y = Tensor(source), Tensor(target)
    encoded = run_blocks(model.encoder.blocks, x, attention_mask=seen).x
    encoded = model.encoder.final_norm(encoded) if norm_first else encoded
    decoded = run_blocks(model.decoder.blocks, y, causal=True, context=encoded, context_mask=seen).x
    decoded = model.decoder.final_norm(decoded) if norm_first else decoded
    padding = torch.from_numpy(~seen)
    wanted = twin(
        torch.from_numpy(source), torch.from_numpy(target), tgt_mask=torch.ones(5, 5).triu(1).bool(),
        src_key_padding_mask=padding, memory_key_padding_mask=padding,
    )  # fmt: skip

    def close(mine, theirs):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= TOLERANCE[dtype] * max(1e-2, np.abs(theirs).max())

    close(decoded.data, wanted.detach().numpy())
    cotangent = generator.normal(size=decoded.shape).astype(dtype)
    decoded.backward(cotangent)
    wanted.backward(torch.from_numpy(cotangent))
    assert len(matched) == 2 * 12 + 2 * 20 + 4 * norm_first
    for ours, theirs in matched:
        close(ours.grad, theirs(lambda p: p.grad).numpy())
