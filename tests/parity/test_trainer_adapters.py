"""Adapters against peft: an adapter that peft wrote gives the same logits here, and one from here opens in peft."""

from __future__ import annotations

import numpy as np
import pytest

import minilm
from minilm.training import LoraConfig, get_peft_model, load_adapter, save_adapter

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is the oracle of these tests and is not installed"
)
peft = pytest.importorskip("peft", reason="peft is the oracle of these tests and is not installed")

torch.set_num_threads(1)
IDS = np.array([[5, 6, 7, 8, 9], [9, 10, 11, 12, 4]])
CASES = {
    "bert": (
        "BertForSequenceClassification", "SEQ_CLS", ["query", "value", "output.dense"],
        lambda: transformers.BertConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=16,
        ),
    ),
    "gpt2": (
        "GPT2LMHeadModel", "CAUSAL_LM", ["c_attn", "c_fc"],
        lambda: transformers.GPT2Config(
            vocab_size=30, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2
        ),
    ),
    "llama": (
        "LlamaForCausalLM", "CAUSAL_LM", ["q_proj", "v_proj", "down_proj"],
        lambda: transformers.LlamaConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=12, max_position_embeddings=16,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", CASES)
def test_adapters_go_both_ways(tmp_path, family):
    name, task, targets, config = CASES[family]
    torch.manual_seed(0)
    base = getattr(transformers, name)(config())
    base.save_pretrained(tmp_path / "base")
    theirs = peft.get_peft_model(
        base, peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type=task, init_lora_weights=False)
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    theirs.eval()
    expected = theirs(input_ids=torch.tensor(IDS)).logits.detach().numpy()

    own = load_adapter(getattr(minilm, name).from_pretrained(tmp_path / "base"), tmp_path / "theirs")
    np.testing.assert_allclose(own(IDS).logits.data, expected, rtol=1e-4, atol=1e-5)

    fresh = get_peft_model(
        getattr(minilm, name).from_pretrained(tmp_path / "base"), LoraConfig(r=2, lora_alpha=7, target_modules=targets)
    )
    rng = np.random.default_rng(0)
    for parameter in fresh.parameters():
        if parameter.requires_grad:
            parameter.data[...] = 0.2 * rng.standard_normal(parameter.shape)
    save_adapter(fresh, tmp_path / "ours")
    base = getattr(transformers, name).from_pretrained(tmp_path / "base")
    opened = peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    logits = opened(input_ids=torch.tensor(IDS)).logits.detach().numpy()
    np.testing.assert_allclose(fresh(IDS).logits.data, logits, rtol=1e-4, atol=1e-5)
