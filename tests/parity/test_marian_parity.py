"""Marian and Pegasus beside transformers with the same weights: logits, hidden states, loss, gradients, folders, texts."""

import numpy as np
import pytest

from minilm.hub.marian import (
    MarianConfig,
    MarianModel,
    MarianMTModel,
    PegasusConfig,
    PegasusForConditionalGeneration,
    marian_mapping,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TINY = {
    "vocab_size": 53, "max_position_embeddings": 30, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
    "activation_function": "relu", "dropout": 0.0, "scale_embedding": True, "pad_token_id": 0,
    "decoder_start_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1,
}  # fmt: skip
ODD = {
    "d_model": 18, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 3, "decoder_attention_heads": 6,
    "encoder_ffn_dim": 17, "decoder_ffn_dim": 23, "activation_function": "swish", "scale_embedding": False,
}  # fmt: skip
CASES = {
    "post-norm": (MarianMTModel, {}),
    "post-norm, odd sizes": (MarianMTModel, ODD),
    "pre-norm": (PegasusForConditionalGeneration, {}),
    "pre-norm, odd sizes": (PegasusForConditionalGeneration, {**ODD, "activation_function": "gelu"}),
}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-9}
every_case = pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_pair(kind, options, tmp_path, dtype=np.float32):
    """A minilm model with lively weights, and transformers' model opened from its folder."""
    rng = np.random.default_rng(0)
    model = kind(kind.config_class(**{**TINY, **options}), rng).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1 or len(parameter.data) == 1:  # norms, biases, the bias of the head
            parameter.data += rng.normal(0, 0.3, parameter.shape).astype(np.float32)
    if dtype == np.float64:
        model.double()
    model.save_pretrained(tmp_path / "ours")
    twin = getattr(transformers, kind.__name__).from_pretrained(
        tmp_path / "ours", attn_implementation="eager", dtype=torch.from_numpy(np.zeros(0, dtype)).dtype
    )
    return model, twin


def batch():
    rng = np.random.default_rng(1)
    ids, labels = rng.integers(2, 53, (3, 11)), rng.integers(2, 53, (3, 7))
    mask = np.ones((3, 11), int)
    mask[1, 8:] = 0
    labels[1, 5:] = -100
    return ids, mask, labels


def close(ours, theirs, dtype=np.float32):
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == dtype
    assert np.abs(ours - theirs).max() <= TOLERANCE[dtype] * max(1e-2, np.abs(theirs).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@every_case
def test_everything_is_that_of_transformers(kind, options, dtype, tmp_path):
    model, twin = make_pair(kind, options, tmp_path, dtype)
    if dtype == np.float64:  # transformers makes the table of positions in float32
        for ours, theirs in ((model.encoder, twin.model.encoder), (model.decoder, twin.model.decoder)):
            theirs.embed_positions.weight.data.copy_(torch.from_numpy(ours.positions.table))
    ids, mask, labels = batch()
    asked = {"output_hidden_states": True, "output_attentions": True}
    ours = model(ids, attention_mask=mask, labels=labels, **asked)
    theirs = twin(*map(torch.from_numpy, (ids, mask)), labels=torch.from_numpy(labels), **asked)
    close(ours.loss, theirs.loss, dtype)
    close(ours.logits, theirs.logits, dtype)
    for field in (
        "encoder_hidden_states", "decoder_hidden_states", "encoder_attentions", "decoder_attentions", "cross_attentions",
    ):  # fmt: skip
        mine, wanted = getattr(ours, field), getattr(theirs, field)
        assert len(mine) == len(wanted), field
        for a, b in zip(mine, wanted):
            close(a, b, dtype)
    ours.loss.backward()
    theirs.loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    gradients = dict(marian_mapping(model.config).to_file(trained.items(), is_base=False))
    # opening a folder makes transformers' tables of sines trainable
    wanted = {name: p.grad for name, p in twin.named_parameters() if "embed_positions" not in name}
    assert set(gradients) == set(wanted)
    for name, gradient in gradients.items():
        if not name.endswith("k_proj.bias"):  # adds the same to all scores of a row, so its gradient is rounding
            assert np.abs(gradient).max() > 0, name
            close(gradient, wanted[name], dtype)


@every_case
def test_folders_go_both_ways(kind, options, tmp_path):
    model, twin = make_pair(kind, options, tmp_path)
    twin.save_pretrained(tmp_path / "theirs")
    again = kind.from_pretrained(tmp_path / "theirs")
    for name, array in model.state_dict().items():
        assert np.array_equal(again.state_dict()[name], array), name
    ids, mask, labels = batch()
    assert np.array_equal(again(ids, mask, labels=labels).logits.data, model(ids, mask, labels=labels).logits.data)


def test_the_body_alone(tmp_path):
    _, twin = make_pair(MarianMTModel, {}, tmp_path)
    ids, mask, labels = batch()
    body = MarianModel.from_pretrained(tmp_path / "ours")
    ours = body(ids, mask, decoder_input_ids=labels % 53)
    theirs = twin.model(*map(torch.from_numpy, (ids, mask)), decoder_input_ids=torch.from_numpy(labels % 53))
    close(ours.last_hidden_state, theirs.last_hidden_state)


@pytest.mark.parametrize("beams", [1, 3])
@every_case
def test_texts_are_those_of_transformers(kind, options, beams, tmp_path):
    model, twin = make_pair(kind, options, tmp_path)
    ids, mask, _ = batch()
    asked = {"max_length": 14, "num_beams": beams, "do_sample": False, "forced_eos_token_id": 1}
    ours = model.generate(ids, attention_mask=mask, **asked)
    theirs = twin.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **asked)
    assert np.array_equal(np.asarray(ours), theirs.numpy())


@pytest.mark.parametrize(("own", "name"), [(MarianConfig, "MarianConfig"), (PegasusConfig, "PegasusConfig")])
def test_defaults_are_those_of_transformers(own, name):
    theirs = getattr(transformers, name)()
    for field, value in own().to_dict().items():
        assert getattr(theirs, field, None) == value, field
