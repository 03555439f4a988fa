"""T5 beside Hugging Face transformers with the same weights: logits, hidden states, attentions, loss, every gradient."""

import numpy as np
import pytest

from minilm.hub.t5 import t5_mapping
from minilm.models.t5 import T5Config, T5ForConditionalGeneration, T5Model
from minilm.models.t5_positions import relative_position_bucket

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TINY = {"vocab_size": 53, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
CONFIGS = {
    "plain, tied": {},
    "gated, untied": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "odd sizes": {"d_model": 21, "d_kv": 5, "num_heads": 3, "d_ff": 17, "num_layers": 1, "num_decoder_layers": 3},
    "few buckets": {
        "relative_attention_num_buckets": 6,
        "relative_attention_max_distance": 9,
        "layer_norm_epsilon": 1e-3,
    },
    "tied, not scaled": {"scale_decoder_outputs": False, "feed_forward_proj": "gated-silu"},
}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-9}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def norm_in_its_own_dtype(self, x):
    """transformers takes the mean of squares in float32 always; a float64 oracle must not round there."""
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def make_pair(options, dtype, own_class=T5ForConditionalGeneration, seed=0):
    """A minilm model with lively weights, and transformers' model with the same."""
    generator = np.random.default_rng(seed)
    config = T5Config(**{**TINY, **options})
    model = own_class(config, generator).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or "position_bias" in name:  # norms that do something, positions that matter
            parameter.data += generator.normal(0, 0.3, parameter.shape).astype(np.float32)
    if dtype == np.float64:
        model.double()
    values = {k: v for k, v in config.to_dict().items() if k not in ("scale_decoder_outputs", "tie_word_embeddings")}
    their_config = transformers.T5Config(
        **values, tie_word_embeddings=config.scale_decoder_outputs, attn_implementation="eager"
    )
    twin = getattr(transformers, own_class.__name__)(their_config).to(torch.from_numpy(np.zeros(0, dtype)).dtype).eval()
    if not config.tie_word_embeddings and hasattr(twin, "lm_head"):
        twin.lm_head.weight = torch.nn.Parameter(twin.lm_head.weight.detach().clone())
    theirs = dict(twin.named_parameters())
    if dtype == np.float64:
        for module in twin.modules():
            if type(module).__name__ == "T5LayerNorm":
                module.forward = norm_in_its_own_dtype.__get__(module)
    named = file_arrays(model, {n: p.data for n, p in model.named_parameters()})
    assert set(named) == set(theirs)
    with torch.no_grad():
        for name, array in named.items():
            theirs[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return model, twin


def file_arrays(model, arrays):
    """minilm's arrays under the names of a Hugging Face file."""
    return dict(t5_mapping(model.config).to_file(arrays.items(), is_base=True))


def batch(generator, padded=True):
    ids = generator.integers(2, 53, (3, 11))
    mask = np.ones((3, 11), int)
    labels = generator.integers(2, 53, (3, 7))
    if padded:
        mask[1, 8:] = 0
        mask[2, :4] = 0  # on the left
        labels[1, 5:] = -100
    return ids, mask, labels


def close(ours, theirs, dtype):
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == dtype
    assert np.abs(ours - theirs).max() <= TOLERANCE[dtype] * max(1e-3, np.abs(theirs).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_everything_is_that_of_transformers(options, dtype, generator):
    model, twin = make_pair(options, dtype)
    ids, mask, labels = batch(generator)
    asked = {"output_hidden_states": True, "output_attentions": True}
    ours = model(ids, attention_mask=mask, labels=labels, **asked)
    theirs = twin(
        input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), labels=torch.from_numpy(labels), **asked
    )
    close(ours.loss, theirs.loss, dtype)
    close(ours.logits, theirs.logits, dtype)
    close(ours.encoder_last_hidden_state, theirs.encoder_last_hidden_state, dtype)
    for field in (
        "encoder_hidden_states", "decoder_hidden_states", "encoder_attentions", "decoder_attentions", "cross_attentions",
    ):  # fmt: skip
        mine, wanted = getattr(ours, field), getattr(theirs, field)
        assert len(mine) == len(wanted), field
        for a, b in zip(mine, wanted):
            close(a, b, dtype)
    ours.loss.backward()
    theirs.loss.backward()
    gradients = file_arrays(model, {n: p.grad for n, p in model.named_parameters()})
    wanted = {n: p.grad for n, p in twin.named_parameters()}
    assert set(gradients) == set(wanted)
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 0, name
        close(gradient, wanted[name], dtype)


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_the_model_without_a_head(options, generator):
    model, twin = make_pair({**options, "tie_word_embeddings": True}, np.float32, T5Model)
    ids, mask, labels = batch(generator)
    labels[labels < 0] = 0
    decoder_mask = np.ones_like(labels)
    decoder_mask[0, 4:] = 0
    ours = model(ids, mask, decoder_input_ids=labels, decoder_attention_mask=decoder_mask)
    theirs = twin(*(torch.from_numpy(a) for a in (ids, mask, labels, decoder_mask)))
    close(ours.last_hidden_state, theirs.last_hidden_state, np.float32)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (6, 9), (8, 20), (64, 1000), (16, 17)])
def test_the_bucket_of_every_distance(bidirectional, buckets, distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = np.arange(-3 * distance, 3 * distance + 1)
    theirs = T5Attention._relative_position_bucket(torch.from_numpy(distances), bidirectional, buckets, distance)
    ours = relative_position_bucket(distances, bidirectional, buckets, distance)
    assert np.array_equal(ours, theirs.numpy())


def test_loss_and_steps_of_training_stay_together(generator):
    """Twenty steps of AdamW in float64 on one batch: the losses agree."""
    from minilm.optim import AdamW

    model, twin = make_pair(CONFIGS["gated, untied"], np.float64)
    ids, mask, labels = batch(generator)
    mine = AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    their = torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(20):
        ours = model(ids, mask, labels=labels).loss
        theirs = twin(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), labels=torch.from_numpy(labels)
        ).loss
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-8)
        mine.zero_grad()
        ours.backward()
        mine.step()
        their.zero_grad()
        theirs.backward()
        their.step()


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_folders_go_both_ways(options, tmp_path, generator):
    """What minilm saves transformers opens, and what that saves minilm opens: the same logits each time."""
    from minilm.hub.t5 import T5ForConditionalGeneration as FromHub

    model, twin = make_pair(options, np.float32, FromHub)
    ids, mask, labels = batch(generator)
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": labels % 53}
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    wanted = model(**inputs).logits.data

    model.save_pretrained(tmp_path / "ours")
    opened = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    close(wanted, opened(**tensors).logits, np.float32)

    twin.save_pretrained(tmp_path / "theirs")
    again = FromHub.from_pretrained(tmp_path / "theirs")
    close(again(**inputs).logits.data, twin(**tensors).logits, np.float32)
    assert (again.lm_head is None) == (model.lm_head is None)


def test_older_files_with_an_untied_head(tmp_path, generator):
    """T5 1.1 and Flan as published: tie_word_embeddings false and two tables; the base opens without the head."""
    from minilm.hub import t5 as hub

    model, _ = make_pair(CONFIGS["gated, untied"], np.float32, hub.T5ForConditionalGeneration)
    model.save_pretrained(tmp_path)
    ids, mask, labels = batch(generator)
    body = hub.T5Model.from_pretrained(tmp_path)
    wanted = model(ids, mask, decoder_input_ids=labels % 53)
    got = body(ids, mask, decoder_input_ids=labels % 53)
    assert np.array_equal(got.encoder_last_hidden_state.data, wanted.encoder_last_hidden_state.data)
    body.save_pretrained(tmp_path / "body")
    assert transformers.T5Model.from_pretrained(tmp_path / "body") is not None
