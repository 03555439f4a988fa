"""Adapters with peft's names: which layers, what a file holds, and back into a model."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minilm import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    get_peft_model,
)
from minilm.errors import InputError
from minilm.nn.lora import add_lora, merge_lora
from minilm.training import LoraConfig, Trainer, TrainingArguments, load_adapter, save_adapter

BERT = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 16,
}  # fmt: skip
IDS = np.array([[5, 6, 7, 8], [9, 10, 11, 12]])


def bert(seed=0):
    return BertForSequenceClassification(BertConfig(**BERT), np.random.default_rng(seed)).eval()


MODELS = {
    "bert": lambda rng: BertForSequenceClassification(BertConfig(**BERT), rng),
    "gpt2": lambda rng: GPT2LMHeadModel(
        GPT2Config(vocab_size=30, n_embd=8, n_layer=2, n_head=2, n_positions=16), rng
    ),
    "llama": lambda rng: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=12, max_position_embeddings=16,
        ), rng,
    ),
    "t5": lambda rng: T5ForConditionalGeneration(
        T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, decoder_start_token_id=0), rng
    ),
}  # fmt: skip
ADAPTED = {
    "bert": ("bert.encoder.layer.1.attention.self.value", (8, 8)),
    "gpt2": ("transformer.h.1.attn.c_attn", (24, 8)),
    "llama": ("model.layers.1.self_attn.v_proj", (4, 8)),
    "t5": ("decoder.block.1.layer.1.EncDecAttention.v", (8, 8)),
}


def randomize(model, seed=1):
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.data[...] = rng.standard_normal(p.shape) * 0.3
    return model


def logits(model):
    labels = IDS if isinstance(model, T5ForConditionalGeneration) else None
    return model(IDS, labels=labels).logits.data


@pytest.mark.parametrize("family", MODELS)
def test_an_adapter_is_saved_and_opened_on_the_same_model(tmp_path, family):
    model = get_peft_model(MODELS[family](np.random.default_rng(0)).eval(), LoraConfig(r=3, lora_alpha=6))
    randomize(model)
    save_adapter(model, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name, (out, into) = ADAPTED[family]
    assert tensors[f"base_model.model.{name}.lora_A.weight"].shape == (3, into)
    assert tensors[f"base_model.model.{name}.lora_B.weight"].shape == (out, 3)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert name in config["target_modules"]
    assert (config["r"], config["lora_alpha"], config["fan_in_fan_out"]) == (3, 6, family == "gpt2")
    fresh = MODELS[family](np.random.default_rng(0)).eval()
    before = logits(fresh).copy()
    load_adapter(fresh, tmp_path)
    np.testing.assert_array_equal(logits(fresh), logits(model))
    assert np.abs(logits(fresh) - before).max() > 1e-3
    merged = logits(merge_lora(fresh))
    np.testing.assert_allclose(merged, logits(model), rtol=1e-4, atol=1e-5)


def test_the_head_is_trained_and_saved_whole(tmp_path):
    model = get_peft_model(bert(), LoraConfig(r=2))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"classifier.weight", "classifier.bias"} <= trained
    assert len(trained) == 2 + 2 * 2 * 2  # two layers, queries and values, A and B
    save_adapter(randomize(model), tmp_path)
    assert "base_model.model.classifier.bias" in load_file(tmp_path / "adapter_model.safetensors")
    fresh = load_adapter(bert(), tmp_path)
    np.testing.assert_array_equal(fresh.classifier.weight.data, model.classifier.weight.data)


def test_a_merged_model_is_saved_as_any_other(tmp_path):
    model = randomize(get_peft_model(bert(), LoraConfig(target_modules=["query", "key", "output.dense"])))
    expected = logits(model).copy()
    merge_lora(model).save_pretrained(tmp_path)
    np.testing.assert_allclose(
        logits(BertForSequenceClassification.from_pretrained(tmp_path)), expected, rtol=1e-4, atol=1e-5
    )


def test_the_trainer_saves_the_adapter_alone(tmp_path):
    data = [{"input_ids": row.tolist(), "label": i} for i, row in enumerate(IDS)]
    model = get_peft_model(bert(), LoraConfig(r=2))
    base = model.bert.token_embedding.weight.data.copy()
    args = TrainingArguments(tmp_path, max_steps=3, save_steps=3, disable_tqdm=True, learning_rate=1e-2)
    trainer = Trainer(model, args, train_dataset=data)
    trainer.train()
    trainer.save_model()
    for folder in (tmp_path, tmp_path / "checkpoint-3"):
        names = {path.name for path in folder.iterdir()}
        assert {"adapter_model.safetensors", "adapter_config.json"} <= names
        assert "model.safetensors" not in names
        np.testing.assert_array_equal(logits(load_adapter(bert(), folder)), logits(model))
    np.testing.assert_array_equal(model.bert.token_embedding.weight.data, base)
    assert trainer.optimizer.flat.data.size == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    model = randomize(get_peft_model(bert(), LoraConfig(r=2)))
    save_adapter(model, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
    broken = {
        **tensors,
        "base_model.model.other.lora_A.weight": np.zeros(3, np.float32),
        name: np.zeros((5, 8), np.float32),
    }
    del broken["base_model.model.classifier.bias"]
    save_file(broken, file)
    before = logits(model).copy()
    with pytest.raises(InputError, match=r"missing: .*classifier\.bias; unexpected: .*other.*; shape of .*query"):
        load_adapter(model, tmp_path)
    np.testing.assert_array_equal(logits(model), before)
    plain = bert()
    names = list(plain.state_dict())
    with pytest.raises(InputError, match="does not fit"):
        load_adapter(plain, tmp_path)
    assert list(plain.state_dict()) == names
    with pytest.raises(InputError, match="cannot read"):
        load_adapter(bert(), tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PREFIX"}')
    with pytest.raises(InputError, match="not LORA"):
        load_adapter(bert(), tmp_path)
    for values, message in (
        ({"use_rslora": True}, "use_rslora is True, and minilm has plain LoRA only"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern"),
        ({"r": "8"}, "r is '8'; the rank must be a whole number"),
        ({"r": 0}, "r is 0"),
        ({"lora_dropout": 2}, "lora_dropout is 2; it must be a number from 0 to 1"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"target_modules": [3]}, "give a list of layers' names"),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **values}))
        with pytest.raises(InputError, match=message):
            load_adapter(bert(), tmp_path)
    (tmp_path / "adapter_config.json").write_text("[1")
    with pytest.raises(InputError, match="is no adapter's configuration"):
        load_adapter(bert(), tmp_path)
    with pytest.raises(InputError, match="no LoRA adapter"):
        save_adapter(bert(), tmp_path)
    with pytest.raises(InputError, match=r"no linear layer 'q_proj'; it has .*query"):
        get_peft_model(bert(), LoraConfig(target_modules=["q_proj"]))


def test_an_update_of_queries_keys_and_values_at_once_has_no_name_in_a_file(tmp_path):
    model = bert()
    add_lora(model, ["query_key_value"])
    with pytest.raises(InputError, match=r"rows \(0, 24\) is for no single layer"):
        save_adapter(model, tmp_path)
    assert not list(tmp_path.iterdir())
