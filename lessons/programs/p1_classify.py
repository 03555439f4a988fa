"""P1: which class does a sentence belong to?    [000 §5]

    python lessons/programs/p1_classify.py MODEL FILE

The model gives one number per class, the logits z; softmax makes probabilities of them, p_i = exp(z_i) / Σ_j exp(z_j), and the
class with the largest is the answer.

The document opens "bert-base-uncased" and prints a class. That folder has no classifier: its head is new, its weights are
random, and so is the answer. minilm says which parts of a model are new; the answers are worth something once the model
was fine-tuned, as p4_finetune.py does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import minilm
from minilm import AutoModelForSequenceClassification, AutoTokenizer
from minilm.data import read_text_examples
from minilm.errors import InputError


def classify(model: Any, tokenizer: Any, text: str) -> tuple[str, float]:
    """The most probable class of a text, and its probability."""
    inputs = tokenizer(text, truncation=True, return_tensors="np")  # input_ids, attention_mask, …: (1, T)
    with minilm.no_grad():  # nothing is trained, so nothing has to be kept for a backward pass
        logits = model(**inputs).logits  # (1, classes)
    probabilities = logits.softmax(-1)[0]  # (classes,)
    best = int(probabilities.argmax())
    return model.config.id2label[best], float(probabilities[best])


def main(arguments: Sequence[str] | None = None) -> list[tuple[str, float]]:
    parser = argparse.ArgumentParser(
        description="Put each text of a file into a class, with a model that was trained for that.",
        epilog="Example: p4_finetune.py models/bert reviews.tsv --out reviews-model, "
        "then p1_classify.py reviews-model more.tsv",
    )
    parser.add_argument(
        "model", help="folder of a classifier: config.json, model.safetensors and the tokenizer's files"
    )
    parser.add_argument("file", help="a .tsv, .csv or .jsonl file with the texts")
    parser.add_argument("--columns", nargs="+", help="names of all columns, where the first line does not name them")
    parser.add_argument("--text", default="text", help="the column that holds the texts (text)")
    options = parser.parse_args(arguments)

    examples = read_text_examples(options.file, text=options.text, label=None, columns=options.columns)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model)
    answers = []
    for example in examples:
        label, probability = classify(model, tokenizer, example.text)
        answers.append((label, probability))
        print(f"{label}\t{probability:.3f}\t{example.text}")
    return answers


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
