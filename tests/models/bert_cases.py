"""Small BERT models with labels for each head, and the losses by their formulas."""

from __future__ import annotations

import numpy as np

from minilm.models import bert_heads
from minilm.models.bert import BertModel
from minilm.models.bert_config import BertConfig

SHAPE = {
    "vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17,
    "max_position_embeddings": 9,
}  # fmt: skip
B, T = 3, 7
OK = np.ones((B, T), int)
HEADS = [
    "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining", "BertForSequenceClassification",
    "BertForTokenClassification", "BertForQuestionAnswering",
]  # fmt: skip


def make(name="BertModel", generator=None, **changes):
    generator = generator or np.random.default_rng(1)
    cls = BertModel if name == "BertModel" else getattr(bert_heads, name)
    model = cls(BertConfig(**{**SHAPE, **changes}), generator).double().eval()
    for p in model.parameters():
        p.data += 0.3 * generator.standard_normal(p.shape)
    return model


def labels_for(name, generator, classes=2):
    words = generator.integers(0, 23, (B, T))
    return {
        "BertModel": {},
        "BertForMaskedLM": {"labels": np.where(generator.random((B, T)) < 0.5, words, -100)},
        "BertForNextSentencePrediction": {"labels": np.array([0, 1, 1])},
        "BertForPreTraining": {"labels": words, "next_sentence_label": np.array([0, 1, 1])},
        "BertForSequenceClassification": {"labels": generator.integers(0, classes, B)},
        "BertForTokenClassification": {"labels": generator.integers(0, classes, (B, T))},
        "BertForQuestionAnswering": {"start_positions": np.array([1, 0, 3]), "end_positions": np.array([1, 0, 6])},
    }[name]


def cross_entropy(logits, classes):
    """−log softmax, averaged over the rows whose class is not −100."""
    rows, classes = logits.reshape(-1, logits.shape[-1]), np.asarray(classes).reshape(-1)
    e = np.exp(rows - rows.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return -np.mean([np.log(p[i, c]) for i, c in enumerate(classes) if c != -100])
