"""What stands on top of a BERT: heads for pre-training and for the tasks it is fine-tuned for."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.models.bert import BertModel, initialize
from minilm.models.bert_config import BertConfig
from minilm.models.bert_losses import answer_loss, class_loss, sequence_loss
from minilm.models.outputs import (
    BaseModelOutputWithPooling,
    ClassifierOutput,
    LMOutput,
    PreTrainingOutput,
    QuestionAnsweringOutput,
)
from minilm.nn import Dropout, LayerNorm, Linear, Module
from minilm.nn.layers import FUSED_ACTIVATIONS
from minilm.tensor import Parameter, Tensor

Generator = np.random.Generator


class BertHead(Module):
    """A BERT with something on top. All are called as BertModel is, and with labels give a loss."""

    def __init__(self, config: BertConfig, generator: Generator | None = None, pooler: bool = True):
        self.config = config
        self.generator = generator or np.random.default_rng()
        self.bert = BertModel(config, self.generator, pooler)

    def _classifier(self, outputs: int) -> Linear:
        """A new linear layer on top, from hidden_size to `outputs`."""
        layer = Linear(self.config.hidden_size, outputs, generator=self.generator)
        initialize(layer, self.config.initializer_range, self.generator)
        return layer

    def _classifier_dropout(self) -> Dropout:
        c = self.config
        p = c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout
        return Dropout(p, self.generator)

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


class LabelledHead(BertHead):
    """A BERT with one kind of scores and one kind of labels. A subclass writes score(), and loss() if it is another one."""

    output_class: type[LMOutput] | type[ClassifierOutput] = ClassifierOutput

    def score(self, base: BaseModelOutputWithPooling) -> Tensor:
        """The logits of what the encoder made of the texts."""
        raise TypeError(f"{type(self).__name__} has no score(); write one that gives logits")

    def loss(self, logits: Tensor, labels: Any) -> Tensor:
        """Cross-entropy over the labels that are not −100."""
        return class_loss(logits, labels)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        labels: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> LMOutput | ClassifierOutput:
        """Called as BertModel is. What `labels` are, and the shape of the logits, each class says itself.

        Raises InputError as BertModel does, and for labels of another shape or outside the classes.
        """
        base = self.bert(
            input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states, output_attentions
        )
        logits = self.score(base)
        loss = None if labels is None else self.loss(logits, labels)
        return self.output_class(loss=loss, logits=logits, **collected(base))


class MaskedLMScores(Module):
    r"""logits = E LayerNorm(f(W h + b)) + b_v: a score for every word of the vocabulary at every position.

    weight E: (vocab, hidden), the embedding table itself where the configuration ties them.
    """

    def __init__(self, config: BertConfig, table: Parameter, generator: Generator):
        self.activation = config.activation
        self.dense = Linear(config.hidden_size, config.hidden_size, generator=generator)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        initialize(self, config.initializer_range, generator)
        own = Linear(config.hidden_size, config.vocab_size, bias=False, generator=generator)
        initialize(own, config.initializer_range, generator)
        self.weight = table if config.tie_word_embeddings else own.weight
        self.bias = Parameter(np.zeros(config.vocab_size, np.float32))

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, T, hidden).  Returns (B, T, vocab)."""
        fused = self.activation in FUSED_ACTIVATIONS
        h = self.dense(h, activation=self.activation) if fused else F.tanh(self.dense(h))  # tanh is the one that is not
        return F.linear(self.norm(h), self.weight, self.bias)


class BertForMaskedLM(LabelledHead):
    """Predict the words that are hidden behind [MASK].    [F16; 002 §3.1, 004 §3.3]

    labels: (B, T), the hidden words' ids, −100 where nothing is to be predicted.  Returns logits (B, T, vocab).
    """

    output_class = LMOutput

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator, pooler=False)
        self.predictions = MaskedLMScores(config, self.bert.token_embedding.weight, self.generator)

    def score(self, base: BaseModelOutputWithPooling) -> Tensor:
        return self.predictions(base.last_hidden_state)


class BertForNextSentencePrediction(LabelledHead):
    """Is sentence B the one that follows sentence A? Class 0: yes, class 1: no.    [eq:next-sentence] [F16; 002 §3.1, 004 §3.3]

    labels: (B,), 0 where B follows A, 1 where it does not.  Returns logits (B, 2).
    """

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator)
        self.next_sentence = self._classifier(2)

    def score(self, base: BaseModelOutputWithPooling) -> Tensor:
        return self.next_sentence(base.pooler_output)  # (B, 2)  [eq:next-sentence]


class BertForPreTraining(BertHead):
    """Both at once, as BERT was trained: L = L_words + L_next.    [eq:bert-pretraining] [F16; Devlin et al. 2018 §3.1]"""

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator)
        self.predictions = MaskedLMScores(config, self.bert.token_embedding.weight, self.generator)
        self.next_sentence = self._classifier(2)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        labels: Any = None,
        next_sentence_label: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> PreTrainingOutput:
        """labels: (B, T) as in BertForMaskedLM; next_sentence_label: (B,) as in BertForNextSentencePrediction.

        Returns prediction_logits (B, T, vocab) and seq_relationship_logits (B, 2). The loss is the sum of those whose labels
        are given.
        """
        base = self.bert(
            input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states, output_attentions
        )
        words, follows = self.predictions(base.last_hidden_state), self.next_sentence(base.pooler_output)
        losses = [] if labels is None else [class_loss(words, labels)]
        if next_sentence_label is not None:
            losses.append(class_loss(follows, next_sentence_label, "next_sentence_label"))
        loss = losses[0] + losses[1] if len(losses) == 2 else losses[0] if losses else None
        return PreTrainingOutput(
            loss=loss, prediction_logits=words, seq_relationship_logits=follows, **collected(base)
        )  # fmt: skip


class BertForSequenceClassification(LabelledHead):
    """A class, several classes, or a number for a whole text: logits = W dropout(pooled) + b.    [000 §5, 002 §5.2, 004 §4]

    Returns logits (B, num_labels). config.problem_type says what `labels` are; the first labels set it where it is None:

    regression: numbers (B,) or (B, num_labels), where num_labels is 1; loss mean (x − y)².
    single_label_classification: classes (B,), where the labels are integers; cross-entropy.
    multi_label_classification: 0 or 1 for each class, (B, num_labels); binary cross-entropy.
    """

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator)
        self.dropout = self._classifier_dropout()
        self.classifier = self._classifier(config.num_classes)

    def score(self, base: BaseModelOutputWithPooling) -> Tensor:
        return self.classifier(self.dropout(base.pooler_output))

    def loss(self, logits: Tensor, labels: Any) -> Tensor:
        return sequence_loss(logits, labels, self.config)


class BertForTokenClassification(LabelledHead):
    """A class for every token: names, parts of speech, slots.    [000 §3.3, 004 §3.4]

    labels: (B, T) classes, −100 where a token does not count.  Returns logits (B, T, num_labels).
    """

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator, pooler=False)
        self.dropout = self._classifier_dropout()
        self.classifier = self._classifier(config.num_classes)

    def score(self, base: BaseModelOutputWithPooling) -> Tensor:
        return self.classifier(self.dropout(base.last_hidden_state))


class BertForQuestionAnswering(BertHead):
    """Where in the text the answer begins and ends: two scores per token.    [000 §3.3, 004 §3.4; Devlin et al. 2018 §4.2]"""

    def __init__(self, config: BertConfig, generator: Generator | None = None):
        super().__init__(config, generator, pooler=False)
        self.qa_outputs = self._classifier(2)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        start_positions: Any = None,
        end_positions: Any = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> QuestionAnsweringOutput:
        """start_positions, end_positions: (B,) the answer's first and last token; one behind the text does not count.

        Returns start_logits and end_logits (B, T). The loss is the mean of the two cross-entropies.
        """
        base = self.bert(
            input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states, output_attentions
        )
        scores = self.qa_outputs(base.last_hidden_state)  # (B, T, 2)
        start, end = scores[..., 0], scores[..., 1]
        loss = answer_loss(start, end, start_positions, end_positions)
        return QuestionAnsweringOutput(loss=loss, start_logits=start, end_logits=end, **collected(base))


def collected(base: BaseModelOutputWithPooling) -> dict[str, Any]:
    """The fields that a head hands on as they are."""
    return {"hidden_states": base.hidden_states, "attentions": base.attentions}
