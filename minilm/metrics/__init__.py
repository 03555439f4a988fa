"""Metrics: how well a model does, as a number. Perplexity now; accuracy, F1, BLEU and ROUGE to come."""

from minilm.metrics.evaluation import EvaluationResult, evaluate_loss, evaluation_mode
from minilm.metrics.perplexity import bits_per_character, perplexity

__all__ = ["EvaluationResult", "bits_per_character", "evaluate_loss", "evaluation_mode", "perplexity"]
