"""Small models of the families whose files are tested here."""

import numpy as np

from minilm import hub

GPT2 = {"vocab_size": 13, "n_positions": 8, "n_embd": 6, "n_layer": 2, "n_head": 2}
LLAMA = {
    "vocab_size": 13, "max_position_embeddings": 8, "hidden_size": 8, "intermediate_size": 5, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
CLASSES = {
    "GPT2Model": GPT2, "GPT2LMHeadModel": GPT2, "GPT2ForSequenceClassification": {**GPT2, "num_labels": 3},
    "LlamaModel": LLAMA, "LlamaForCausalLM": LLAMA, "LlamaForSequenceClassification": LLAMA,
}  # fmt: skip
IDS = np.array([[1, 2, 3], [4, 5, 6]])


def new(name="GPT2LMHeadModel", **changes):
    """A small model whose norms and biases are not all ones and zeros."""
    cls = getattr(hub, name)
    rng = np.random.default_rng(3)
    model = cls(cls.config_class(**{**CLASSES[name], **changes}), rng).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * rng.standard_normal(parameter.shape, dtype=np.float32)
    return model
