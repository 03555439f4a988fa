"""GPT-2 and Llama against transformers: outputs, loss, gradients of every parameter, the cache, and files both ways.

transformers computes Llama's norms and angles, and every loss, in float32 whatever the model's dtype. Where minilm is
compared in float64, these pieces of the oracle are replaced by the same formulas in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

from minilm import hub, optim

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is an oracle of these tests and is not installed"
)
modeling_llama = pytest.importorskip("transformers.models.llama.modeling_llama")

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

GPT2 = {"bos_token_id": 0, "eos_token_id": 0}
LLAMA = {"num_hidden_layers": 2, "vocab_size": 31, "max_position_embeddings": 20, "eos_token_id": 2}
STRETCH = {"rope_theta": 10.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS = {
    "gpt2": dict(GPT2, vocab_size=37, n_positions=19, n_embd=24, n_layer=3, n_head=4),
    "gpt2-odd": dict(GPT2, vocab_size=29, n_positions=13, n_embd=15, n_layer=1, n_head=5, n_inner=17,
                     activation_function="gelu", layer_norm_epsilon=1e-3),
    "gpt2-untied": dict(GPT2, vocab_size=31, n_positions=17, n_embd=14, n_layer=2, n_head=1, n_inner=9,
                        activation_function="relu", tie_word_embeddings=False),
    "llama": dict(LLAMA, hidden_size=24, intermediate_size=36, num_attention_heads=4, num_key_value_heads=2),
    "llama-tied": dict(LLAMA, hidden_size=20, intermediate_size=7, num_attention_heads=2, num_key_value_heads=2,
                       tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 50.0}),
    "llama-3": dict(LLAMA, hidden_size=18, intermediate_size=25, num_attention_heads=3, num_key_value_heads=1, head_dim=10,
                    rms_norm_eps=1e-3,
                    rope_parameters={"rope_type": "llama3", "original_max_position_embeddings": 16, **STRETCH}),
    "llama-head": dict(LLAMA, hidden_size=15, intermediate_size=9, num_attention_heads=5, num_key_value_heads=1, head_dim=6),
    "llama-linear": dict(LLAMA, hidden_size=12, intermediate_size=16, num_attention_heads=6, num_key_value_heads=3,
                         rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}),
}  # fmt: skip
PRECISIONS = [(torch.float32, 1e-5), (torch.float64, 1e-9)]


def oracle(name, head="LMHead", attention="eager", **changes):
    """A model of transformers with weights large enough that attention is far from uniform."""
    torch.manual_seed(5)
    llama = name.startswith("llama")
    config = (transformers.LlamaConfig if llama else transformers.GPT2Config)(
        **{**CONFIGS[name], **changes}, attn_implementation=attention
    )
    heads = {
        "LMHead": ("LlamaForCausalLM", "GPT2LMHeadModel"), "base": ("LlamaModel", "GPT2Model"),
        "class": ("LlamaForSequenceClassification", "GPT2ForSequenceClassification"),
    }  # fmt: skip
    model = getattr(transformers, heads[head][not llama])(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def ours(theirs, folder, **options):
    theirs.save_pretrained(folder)
    return getattr(hub, type(theirs).__name__).from_pretrained(folder, **options)


def batch(vocab_size, length=11):
    """Three texts of unequal length, padded on the right, and labels that leave the padding out."""
    rng = np.random.default_rng(2)
    ids = rng.integers(0, vocab_size, (3, length))
    mask = np.ones_like(ids)
    mask[1, 7:] = mask[2, 3:] = 0
    return ids, mask, np.where(mask == 1, ids, -100)


def relative(got, want):
    """‖got − want‖ / ‖want‖."""
    got, want = np.asarray(got), want.detach().numpy()
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@pytest.fixture
def llama_in_float64(monkeypatch):
    """The formulas of RMSNorm and of rotary angles in the dtype of their input."""

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    def angles(self, x, position_ids):
        exact = self.inv_freq.to(x.dtype)
        if x.dtype == torch.float64:
            exact = torch.tensor(self.minilm_theta)
        angle = position_ids[..., None].to(x.dtype) * exact
        angle = torch.cat([angle, angle], -1)
        return angle.cos(), angle.sin()

    monkeypatch.setattr(modeling_llama.LlamaRMSNorm, "forward", norm)
    monkeypatch.setattr(modeling_llama.LlamaRotaryEmbedding, "forward", angles)


def next_token_loss(logits, labels):
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), torch.tensor(labels)[:, 1:].flatten())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["float32", "float64"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_loss_and_every_gradient(name, padded, dtype, tolerance, tmp_path, llama_in_float64):
    theirs = oracle(name, attention="eager" if name.startswith("gpt2") or dtype == torch.float32 else "sdpa").to(dtype)
    model = ours(theirs, tmp_path)
    if name.startswith("llama"):
        theta = model.config.rotary_frequencies()
        theirs.model.rotary_emb.minilm_theta = theta
        np.testing.assert_allclose(theirs.model.rotary_emb.inv_freq, theta, rtol=1e-6)
    ids, mask, labels = batch(theirs.config.vocab_size)
    if not padded:
        mask, labels = np.ones_like(mask), ids
    asked = {"output_hidden_states": True, "output_attentions": theirs.config._attn_implementation == "eager"}
    got = model(ids, attention_mask=mask, labels=labels, **asked)
    want = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels), **asked)
    loss = next_token_loss(want.logits, labels)
    assert relative(got.logits, want.logits) < tolerance
    assert got.loss.item() == pytest.approx(want.loss.item(), rel=1e-5)
    assert got.loss.item() == pytest.approx(loss.item(), rel=tolerance)
    assert len(got.hidden_states) == len(want.hidden_states)
    for h, g in zip(got.hidden_states, want.hidden_states, strict=True):
        assert relative(h, g) < tolerance
    if asked["output_attentions"]:
        assert len(got.attentions) == len(want.attentions)
        for w, v in zip(got.attentions, want.attentions, strict=True):
            assert relative(w, v) < tolerance
    got.loss.backward()
    loss.backward()
    check_gradients(model, theirs, tolerance)


def check_gradients(model, theirs, tolerance):
    expected = dict(theirs.named_parameters())
    gradients = ((name, p.grad) for name, p in model.named_parameters())
    seen = set()
    for name, gradient in model.mapping(model.config).to_file(gradients, model.is_base):
        assert relative(gradient, expected[name].grad) < tolerance, name
        seen.add(name)
    assert seen == set(expected)


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama-3"])
def test_left_padding_with_positions(name, tmp_path):
    """Texts that begin at different places, as batched prompts do; what stands before them does not matter."""
    theirs = oracle(name)
    model = ours(theirs, tmp_path)
    ids, mask, _ = batch(theirs.config.vocab_size)
    mask = mask[:, ::-1].copy()
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    labels = np.where((mask == 1) & (positions > 0), ids, -100)
    got = model(ids, attention_mask=mask, position_ids=positions, labels=labels)
    want = theirs(
        torch.tensor(ids), attention_mask=torch.tensor(mask), position_ids=torch.tensor(positions),
        labels=torch.tensor(labels),
    )  # fmt: skip
    assert relative(got.logits.data[mask == 1], want.logits[torch.tensor(mask) == 1]) < 1e-5
    assert got.loss.item() == pytest.approx(want.loss.item(), rel=1e-5)
    got.loss.backward()
    want.loss.backward()
    check_gradients(model, theirs, 1e-5)
    if name == "gpt2":  # one row of positions for all texts
        got = model(ids, position_ids=np.arange(3, 14))
        want = theirs(torch.tensor(ids), position_ids=torch.arange(3, 14)[None])
        assert relative(got.logits, want.logits) < 1e-5


@pytest.mark.parametrize("name", ["gpt2-odd", "llama-tied"])
def test_the_body_alone(name, tmp_path):
    theirs = oracle(name, "base")
    model = ours(theirs, tmp_path)
    ids, mask, _ = batch(theirs.config.vocab_size)
    got = model(ids, mask, output_hidden_states=True)
    want = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask), output_hidden_states=True)
    assert got.keys() == ["last_hidden_state", "hidden_states"]
    assert relative(got.last_hidden_state, want.last_hidden_state) < 1e-5
    assert relative(got[0], want.hidden_states[-1]) < 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_with_a_cache_token_by_token(name, tmp_path):
    theirs = oracle(name)
    model = ours(theirs, tmp_path)
    ids, mask, _ = batch(theirs.config.vocab_size)
    mask = mask[:, ::-1].copy()
    with torch.no_grad():
        want = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    past, pieces = None, [(0, 4), (4, 9), (9, 10), (10, 11)]
    for start, stop in pieces:
        out = model(ids[:, start:stop], attention_mask=mask[:, :stop], past_key_values=past, use_cache=True)
        past = out.past_key_values
        seen = mask[:, start:stop] == 1
        np.testing.assert_allclose(out.logits.data[seen], want[:, start:stop][seen], rtol=1e-4, atol=1e-5)
    last = model(ids[:, -1:], past_key_values=model.new_cache(3), logits_to_keep=1)
    assert last.logits.shape == (3, 1, theirs.config.vocab_size)


@pytest.mark.parametrize(
    ("name", "changes", "labels"),
    [
        ("gpt2", {"num_labels": 3}, [2, 0, 1]),
        ("llama", {"num_labels": 2}, [1, 0, 1]),
        ("gpt2-odd", {"num_labels": 1}, [0.5, -1.0, 2.0]),
        (
            "llama-tied",
            {"num_labels": 2, "problem_type": "multi_label_classification"},
            [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]],
        ),
    ],
)
def test_classifiers(name, changes, labels, tmp_path):
    theirs = oracle(name, "class", pad_token_id=0, **changes)
    model = ours(theirs, tmp_path)
    ids, mask, _ = batch(theirs.config.vocab_size)
    ids = np.where(mask == 1, np.maximum(ids, 1), 0)
    labels = np.array(labels, np.int64 if isinstance(labels[0], int) else np.float32)
    got = model(ids, attention_mask=mask, labels=labels)
    want = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels))
    assert relative(got.logits, want.logits) < 1e-5
    assert got.loss.item() == pytest.approx(want.loss.item(), rel=1e-5)
    got.loss.backward()
    want.loss.backward()
    check_gradients(model, theirs, 1e-5)


@pytest.mark.parametrize("head", ["LMHead", "base", "class"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shards", ["5GB", 3000])
def test_transformers_opens_what_minilm_saves(name, head, shards, tmp_path):
    theirs = oracle(name, head)
    model = ours(theirs, tmp_path / "theirs")
    model.save_pretrained(tmp_path / "ours", max_shard_size=shards)
    again, loading = type(theirs).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    state = again.state_dict()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, state[key]), key
    ids = torch.tensor(batch(theirs.config.vocab_size)[0][:1])
    assert torch.equal(again(ids)[0], theirs(ids)[0])  # the configurations say the same
    assert again.config.to_dict().keys() >= {"vocab_size", "model_type"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_other_dtypes_both_ways(name, dtype, tmp_path):
    theirs = oracle(name)
    kept = {key: value.to(getattr(torch, dtype)) for key, value in theirs.state_dict().items()}
    theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path / "theirs")
    model = type(ours(theirs, tmp_path / "t")).from_pretrained(tmp_path / "theirs", dtype="float32")
    for key, value in model.mapping(model.config).to_file(model.state_dict().items(), False):
        assert np.array_equal(value, kept[key].float().numpy()), key
    model.save_pretrained(tmp_path / "ours", dtype=dtype)
    again = type(theirs).from_pretrained(tmp_path / "ours", dtype="auto")
    assert again.dtype == getattr(torch, dtype)
    for key, value in again.state_dict().items():
        assert torch.equal(value, kept[key].float().to(value.dtype)), key


def test_files_older_than_today(tmp_path):
    """Without the prefix, and with the triangles of ones that GPT-2 once stored."""
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors' side for PyTorch is not there")
    theirs = oracle("gpt2")
    model = ours(theirs, tmp_path)
    tensors = {key.removeprefix("transformer."): value for key, value in theirs.transformer.state_dict().items()}
    for i in range(3):
        tensors[f"h.{i}.attn.bias"] = torch.ones(19, 19).tril()[None, None]
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    (tmp_path / "model.safetensors").unlink()
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    old = hub.GPT2LMHeadModel.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert np.array_equal(value, old.state_dict()[name]), name


@pytest.mark.parametrize("name", ["gpt2-untied", "llama"])
def test_the_body_of_a_model_with_a_head(name, tmp_path):
    theirs = oracle(name)
    theirs.save_pretrained(tmp_path)
    model = hub.AutoModel.from_pretrained(tmp_path)
    ids = batch(theirs.config.vocab_size)[0]
    want = theirs.base_model(torch.tensor(ids)).last_hidden_state
    assert relative(model(ids).last_hidden_state, want) < 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_fine_tuning_keeps_step(name, tmp_path):
    """Opened, trained for ten steps, saved, opened by transformers: the weights are those of the same ten steps there."""
    theirs = oracle(name)
    model = ours(theirs, tmp_path)
    # a bias of the keys has no gradient but rounding errors, which a small eps would blow up to steps of full length
    options = {"lr": 1e-2, "weight_decay": 0.01, "eps": 1e-3}
    optimizer = optim.AdamW(model.parameters(), **options)
    other = torch.optim.AdamW(theirs.parameters(), **options)
    ids, mask, labels = batch(theirs.config.vocab_size)
    losses = []
    for _ in range(10):
        loss = model(ids, attention_mask=mask, labels=labels).loss
        want = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)).loss
        losses.append(loss.item())
        assert loss.item() == pytest.approx(want.item(), rel=1e-4)
        for step, value in ((optimizer, loss), (other, want)):
            step.zero_grad()
            value.backward()
            step.step()
    assert losses[-1] < losses[0] - 0.5, "nothing was learned"
    model.save_pretrained(tmp_path / "trained")
    again = type(theirs).from_pretrained(tmp_path / "trained").state_dict()
    for key, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(again[key].numpy(), tensor.numpy(), atol=1e-4, err_msg=key)
