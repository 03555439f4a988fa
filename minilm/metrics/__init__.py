"""Metrics: how well a model does, as a number, each computed here by its formula.

language models   evaluate_loss, perplexity, bits_per_character, bits_per_byte, vocabulary_coverage
classification    accuracy, precision_recall_f1, confusion_matrix, classification_report
entities          entity_f1
answers           answer_scores (exact match and F1)
translation       bleu, sentence_bleu, chrf
summaries         rouge
how sure          bootstrap_interval, paired_bootstrap

Predictions come first, references second. All are shares from 0 to 1, except BLEU and chrF, which go to 100.
"""

from minilm.metrics.answers import AnswerScores, answer_scores, answer_statistics, exact_match, token_f1
from minilm.metrics.bleu import BLEU, bleu, bleu_of, bleu_statistics, sentence_bleu
from minilm.metrics.bootstrap import Comparison, Interval, bootstrap_interval, paired_bootstrap
from minilm.metrics.chrf import chrf, chrf_of, chrf_statistics
from minilm.metrics.classification import (
    ClassificationReport,
    ConfusionMatrix,
    accuracy,
    classification_report,
    confusion_matrix,
    precision_recall_f1,
)
from minilm.metrics.entities import Entity, EntityReport, entity_counts, entity_f1, find_entities
from minilm.metrics.evaluation import EvaluationResult, evaluate_loss, evaluation_mode
from minilm.metrics.perplexity import bits_per_byte, bits_per_character, perplexity
from minilm.metrics.rouge import rouge, rouge_scores
from minilm.metrics.scores import Scores, average_scores, f_score, scores_of
from minilm.text.words.coverage import Coverage, vocabulary_coverage

__all__ = [
    "BLEU",
    "AnswerScores",
    "ClassificationReport",
    "Comparison",
    "ConfusionMatrix",
    "Coverage",
    "Entity",
    "EntityReport",
    "EvaluationResult",
    "Interval",
    "Scores",
    "accuracy",
    "answer_scores",
    "answer_statistics",
    "average_scores",
    "bits_per_byte",
    "bits_per_character",
    "bleu",
    "bleu_of",
    "bleu_statistics",
    "bootstrap_interval",
    "chrf",
    "chrf_of",
    "chrf_statistics",
    "classification_report",
    "confusion_matrix",
    "entity_counts",
    "entity_f1",
    "evaluate_loss",
    "evaluation_mode",
    "exact_match",
    "f_score",
    "find_entities",
    "paired_bootstrap",
    "perplexity",
    "precision_recall_f1",
    "rouge",
    "rouge_scores",
    "scores_of",
    "sentence_bleu",
    "token_f1",
    "vocabulary_coverage",
]
