"""Where CI has installed the oracles, a missing one is an error and not a skip."""

import importlib
import os


def pytest_configure(config):
    if os.environ.get("MINILM_ORACLES_REQUIRED"):
        for oracle in (
            "torch",
            "transformers",
            "tokenizers",
            "sacrebleu",
            "rouge_score",
            "seqeval",
            "sklearn",
            "torchmetrics",
        ):
            importlib.import_module(oracle)
