"""P3: fine-tune an encoder-decoder to write summaries.    [001 §5.2]

    python lessons/programs/p3_summarize.py MODEL FILE --out FOLDER

The encoder reads the text, the decoder writes the summary; in training it sees the true summary, one place to the right, and
learns each next token [F7]. How good a summary is, is counted with ROUGE: the words (or pairs of words) it shares
with the one that a person wrote. It is measured on texts that were kept out of the training, before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)
from minilm.data import PairExample, read_pair_examples, split_examples
from minilm.errors import InputError
from minilm.files import write_text
from minilm.metrics import rouge

PREFIX = "summarize: "  # T5 was trained on many tasks at once, and is told by a word which one is meant
LONGEST_TEXT, LONGEST_SUMMARY = 512, 64  # tokens


def encode(tokenizer: Any, example: PairExample) -> dict[str, Any]:
    """The tokens of the text, and those of its summary as labels."""
    inputs = tokenizer(PREFIX + example.source, truncation=True, max_length=LONGEST_TEXT)
    labels = tokenizer(example.target, truncation=True, max_length=LONGEST_SUMMARY)["input_ids"]
    return {**inputs, "labels": labels}


def summarize(model: Any, tokenizer: Any, texts: Sequence[str], beams: int) -> list[str]:
    """A summary of each text by beam search, which follows the best few texts instead of the most probable token alone."""
    summaries = []
    for text in texts:
        inputs = tokenizer(PREFIX + text, truncation=True, max_length=LONGEST_TEXT, return_tensors="np")
        written = model.generate(**inputs, num_beams=beams, max_new_tokens=LONGEST_SUMMARY)
        summaries.append(tokenizer.decode(written[0], skip_special_tokens=True))
    return summaries


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description="Fine-tune a T5 on pairs of texts and summaries, and write summaries of texts it has not seen.",
        epilog="Example: p3_summarize.py models/t5-small scitldr_a.tsv --columns abstract summary title --source abstract "
        "--out summaries-model",
    )
    parser.add_argument("model", help="folder of a T5: config.json, model.safetensors and the tokenizer's files")
    parser.add_argument("file", help="a .tsv, .csv or .jsonl file of pairs")
    parser.add_argument("--columns", nargs="+", help="names of all columns, where the first line does not name them")
    parser.add_argument("--source", default="text", help="the column that holds the texts (text)")
    parser.add_argument("--target", default="summary", help="the column that holds the summaries (summary)")
    parser.add_argument("--out", default="results", help="folder for the model and summaries.tsv (results)")
    parser.add_argument("--epochs", type=float, default=3, help="passes over the training texts (3)")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="of AdamW (3e-4, usual for T5)")
    parser.add_argument("--batch-size", type=int, default=8, help="pairs per step (8)")
    parser.add_argument("--beams", type=int, default=4, help="texts that beam search follows at once (4)")
    options = parser.parse_args(arguments)

    training, test = split_examples(
        read_pair_examples(options.file, source=options.source, target=options.target, columns=options.columns),
        (0.9, 0.1),
        seed=0,
        group=lambda pair: pair.source,
    )
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(options.model)
    texts, references = [pair.source for pair in test], [pair.target for pair in test]
    before = rouge(summarize(model, tokenizer, texts, options.beams), references)

    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=options.out,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            logging_strategy="epoch",
            save_strategy="no",
        ),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=[encode(tokenizer, pair) for pair in training],
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(options.out)

    summaries = summarize(model, tokenizer, texts, options.beams)
    after = rouge(summaries, references)
    lines = [" ".join(text.split()) for text in ("summary", *summaries)]  # one line each
    write_text(Path(options.out) / "summaries.tsv", "\n".join(lines) + "\n")
    for kind in after:
        print(f"{kind}: {before[kind].f1:.3f} before, {after[kind].f1:.3f} after, {len(test)} texts")
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {"losses": losses, "summaries": summaries, "texts": texts}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
