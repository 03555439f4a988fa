"""P6: train on a handful of sentences and predict them: the smallest fine-tuning there is.    [004 §4]

    python lessons/programs/p6_two_sentences.py MODEL FILE

The document has two sentences, one positive and one negative, in one batch. All of it is here: text → tokens → ids → logits
→ loss → gradients → step, three times, and then a prediction.

That the model then predicts the two sentences shows that it can learn them by heart, and not that it knows sentiment:
for that it must be asked about sentences that it was not trained on, as p4_finetune.py and p5_topics.py do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

import minilm
from minilm import AutoTokenizer, BertForSequenceClassification
from minilm.data import read_text_examples
from minilm.errors import InputError
from minilm.optim import Adam


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description="Train a BERT on a few sentences, all in one batch, and predict their classes.",
        epilog='Example: a .tsv file with the columns text and label, and two lines: "I love this movie." positive, '
        '"I hate this movie." negative.',
    )
    parser.add_argument("model", help="folder of a BERT: config.json, model.safetensors and the tokenizer's files")
    parser.add_argument("file", help="a .tsv, .csv or .jsonl file with a few examples")
    parser.add_argument("--columns", nargs="+", help="names of all columns, where the first line does not name them")
    parser.add_argument("--text", default="text", help="the column that holds the sentences (text)")
    parser.add_argument("--label", default="label", help="the column that holds the classes (label)")
    parser.add_argument("--epochs", type=int, default=3, help="steps on these sentences (3)")
    parser.add_argument("--learning-rate", type=float, default=1e-5, help="of Adam (1e-5)")
    parser.add_argument("--seed", type=int, default=0, help="of the new head and dropout (0)")
    options = parser.parse_args(arguments)

    examples = read_text_examples(options.file, text=options.text, label=options.label, columns=options.columns)
    names = sorted({str(example.label) for example in examples})
    if len(names) < 2:
        raise InputError(f"all examples of {options.file} are {names[0]}; give examples of at least two classes")
    number = {name: i for i, name in enumerate(names)}

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = BertForSequenceClassification.from_pretrained(
        options.model,
        id2label=dict(enumerate(names)),
        label2id=number,
        generator=np.random.default_rng(options.seed),
    )
    inputs = tokenizer([e.text for e in examples], padding=True, truncation=True, return_tensors="np")  # (B, T) each
    labels = minilm.tensor([number[str(e.label)] for e in examples])  # (B,)

    optimizer = Adam(model.parameters(), lr=options.learning_rate)
    losses = []
    model.train()
    for epoch in range(options.epochs):
        outputs = model(**inputs, labels=labels)
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
        losses.append(outputs.loss.item())
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")

    model.eval()
    with minilm.no_grad():
        logits = model(**inputs).logits  # (B, classes)
    predictions = [names[i] for i in logits.argmax(-1).tolist()]
    for example, name in zip(examples, predictions):
        print(f"{name}\t{example.text}")
    return {"losses": losses, "predictions": predictions, "logits": logits.tolist()}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
