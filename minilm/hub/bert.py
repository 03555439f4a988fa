"""BERT's files: the names of its tensors in a Hugging Face folder, and its classes with from_pretrained and save_pretrained."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from minilm.hub.mapping import Mapping, Rule
from minilm.hub.pretrained import Pretrained
from minilm.models import bert, bert_heads
from minilm.models.bert_config import BertConfig

LAYER, BLOCK = "encoder.layer.{i}", "blocks.{i}"

BERT = Mapping(
    prefix="bert.",
    own_prefix="bert.",
    base=(
        Rule("embeddings.word_embeddings.weight", "token_embedding.weight"),
        Rule("embeddings.token_type_embeddings.weight", "segment_embedding.weight"),
        Rule("embeddings.position_embeddings.weight", "position_embedding.weight"),
        Rule("embeddings.LayerNorm.{p}", "embedding_norm.{p}"),
        Rule(
            (
                f"{LAYER}.attention.self.query.{{p}}",
                f"{LAYER}.attention.self.key.{{p}}",
                f"{LAYER}.attention.self.value.{{p}}",
            ),
            f"{BLOCK}.attention.query_key_value.{{p}}",
            "stack",
        ),
        Rule(f"{LAYER}.attention.output.dense.{{p}}", f"{BLOCK}.attention.output.{{p}}"),
        Rule(f"{LAYER}.attention.output.LayerNorm.{{p}}", f"{BLOCK}.attention_norm.{{p}}"),
        Rule(f"{LAYER}.intermediate.dense.{{p}}", f"{BLOCK}.feed_forward.up.{{p}}"),
        Rule(f"{LAYER}.output.dense.{{p}}", f"{BLOCK}.feed_forward.down.{{p}}"),
        Rule(f"{LAYER}.output.LayerNorm.{{p}}", f"{BLOCK}.feed_forward_norm.{{p}}"),
        Rule("pooler.dense.{p}", "pooler.{p}"),
    ),
    heads=(
        Rule("cls.predictions.transform.dense.{p}", "predictions.dense.{p}"),
        Rule("cls.predictions.transform.LayerNorm.{p}", "predictions.norm.{p}"),
        Rule("cls.predictions.bias", "predictions.bias"),
        Rule("cls.seq_relationship.{p}", "next_sentence.{p}"),
        Rule("classifier.{p}", "classifier.{p}"),
        Rule("qa_outputs.{p}", "qa_outputs.{p}"),
    ),
    optional=("pooler.*",),
    tied={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignored=("embeddings.position_ids", "embeddings.token_type_ids"),
    renames=((".gamma", ".weight"), (".beta", ".bias")),  # what the first checkpoints called a norm's gain and bias
)

# An untied head has a table of its own, and then it is the decoder's bias that counts: where a file has both, nothing reads
# the other.
BERT_UNTIED = replace(
    BERT,
    heads=(Rule("cls.predictions.decoder.{p}", "predictions.{p}"), *BERT.heads),
    tied={"cls.predictions.bias": "cls.predictions.decoder.bias"},
    ignored=(*BERT.ignored, "cls.predictions.bias"),
)


class BertPretrained(Pretrained):
    """What all BERT classes have in common."""

    config_class: ClassVar[type] = BertConfig

    @classmethod
    def mapping(cls, config: BertConfig) -> Mapping:
        return BERT if config.tie_word_embeddings else BERT_UNTIED


class BertModel(BertPretrained, bert.BertModel):
    __doc__ = bert.BertModel.__doc__
    is_base = True


class BertForMaskedLM(BertPretrained, bert_heads.BertForMaskedLM):
    __doc__ = bert_heads.BertForMaskedLM.__doc__


class BertForNextSentencePrediction(BertPretrained, bert_heads.BertForNextSentencePrediction):
    __doc__ = bert_heads.BertForNextSentencePrediction.__doc__


class BertForPreTraining(BertPretrained, bert_heads.BertForPreTraining):
    __doc__ = bert_heads.BertForPreTraining.__doc__


class BertForSequenceClassification(BertPretrained, bert_heads.BertForSequenceClassification):
    __doc__ = bert_heads.BertForSequenceClassification.__doc__


class BertForTokenClassification(BertPretrained, bert_heads.BertForTokenClassification):
    __doc__ = bert_heads.BertForTokenClassification.__doc__


class BertForQuestionAnswering(BertPretrained, bert_heads.BertForQuestionAnswering):
    __doc__ = bert_heads.BertForQuestionAnswering.__doc__
