"""P5: topics of newsgroup articles, with a training loop of one's own.    [003 §5.2]

    python lessons/programs/p5_topics.py MODEL FILE --out FOLDER

The document trains a BertModel and reads outputs.logits. A BertModel has none: it ends with one vector per token
(last_hidden_state) and one per text (pooler_output), and nothing that would turn these into topics. The program as printed
stops with an error at its first batch. What it needs is the same model with a linear layer on top:
BertForSequenceClassification.

The loop, which the Trainer hides otherwise, is the same for every model: forward, loss, backward, step.
The document's 85.3 % is introduced with "assume"; what this prints was measured on articles that were kept out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

import minilm
from minilm import AutoTokenizer, BertForSequenceClassification
from minilm.data import read_text_examples, split_examples
from minilm.errors import InputError
from minilm.metrics import accuracy, bootstrap_interval
from minilm.optim import Adam


def train_epoch(model: Any, optimizer: Any, tokenizer: Any, texts: list[str], labels: list[int], batches: Any) -> float:
    """One pass over the texts; returns the mean loss. batches: which texts are in each batch."""
    model.train()  # with dropout
    total = 0.0
    for rows in batches:
        inputs = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="np")
        targets = minilm.tensor([labels[i] for i in rows])
        loss = model(**inputs, labels=targets).loss  # −(1/B) Σ_b ln p(label_b)    [F2]
        optimizer.zero_grad()
        loss.backward()  # the gradient of every parameter
        optimizer.step()  # each parameter a little against its gradient
        total += loss.item() * len(rows)
    return total / len(texts)


def predict(model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """The number of each text's most probable topic."""
    model.eval()  # without dropout
    found: list[int] = []
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        inputs = tokenizer(part, padding=True, truncation=True, return_tensors="np")
        with minilm.no_grad():
            logits = model(**inputs).logits  # (B, topics)
        found += logits.argmax(-1).tolist()
    return np.array(found)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description="Fine-tune a BERT to tell the topic of a text, in a loop that is written out.",
        epilog="Example: p5_topics.py models/bert newsgroups.tsv --out topics-model",
    )
    parser.add_argument("model", help="folder of a BERT: config.json, model.safetensors and the tokenizer's files")
    parser.add_argument("file", help="a .tsv, .csv or .jsonl file of examples")
    parser.add_argument("--columns", nargs="+", help="names of all columns, where the first line does not name them")
    parser.add_argument("--text", default="text", help="the column that holds the texts (text)")
    parser.add_argument("--label", default="label", help="the column that holds the topics (label)")
    parser.add_argument("--out", default="results", help="folder for the model (results)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training texts (3)")
    parser.add_argument("--learning-rate", type=float, default=1e-5, help="of Adam (1e-5)")
    parser.add_argument("--batch-size", type=int, default=16, help="texts per step (16)")
    parser.add_argument("--seed", type=int, default=0, help="of the new head, the order of the texts and dropout (0)")
    options = parser.parse_args(arguments)

    examples = read_text_examples(options.file, text=options.text, label=options.label, columns=options.columns)
    topics = sorted({str(example.label) for example in examples})
    if len(topics) < 2:
        raise InputError(f"all examples of {options.file} are about {topics[0]}; give examples of at least two topics")
    training, test = split_examples(examples, (0.8, 0.2), seed=0)
    number = {topic: i for i, topic in enumerate(topics)}
    texts, labels = [e.text for e in training], [number[str(e.label)] for e in training]

    generator = np.random.default_rng(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = BertForSequenceClassification.from_pretrained(
        options.model,
        id2label=dict(enumerate(topics)),
        label2id=number,
        generator=generator,
    )
    optimizer = Adam(model.parameters(), lr=options.learning_rate)
    losses = []
    for epoch in range(options.epochs):
        order = generator.permutation(len(texts))  # each epoch in another order
        batches = [order[i : i + options.batch_size] for i in range(0, len(order), options.batch_size)]
        losses.append(train_epoch(model, optimizer, tokenizer, texts, labels, batches))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")

    predicted = predict(model, tokenizer, [e.text for e in test], options.batch_size)
    actual = np.array([number[str(e.label)] for e in test])
    interval = bootstrap_interval(
        lambda rows: accuracy(predicted[rows], actual[rows]), len(test), np.random.default_rng(0)
    )
    print(f"accuracy {interval.score:.3f} (95 %: {interval.low:.3f} to {interval.high:.3f}), {len(test)} texts")
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    return {"losses": losses, "predicted": predicted, "actual": actual, "model": model}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
