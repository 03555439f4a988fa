"""P2: how does a text go on?    [001 §5.1]

    python lessons/programs/p2_generate.py MODEL FILE

pipeline("text-generation") holds all that lies between two texts: the tokenizer cuts the prompt into tokens, the model gives
P(next token | tokens so far), a token is chosen and appended, and so on [F15]; at last the tokens become text again.

Greedy decoding takes the most probable token each time, so the same prompt always gives the same text. The document's
call draws the tokens (--sample), and what it prints differs from seed to seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from minilm import pipeline
from minilm.data import read_text_examples
from minilm.errors import InputError


def main(arguments: Sequence[str] | None = None) -> list[str]:
    parser = argparse.ArgumentParser(
        description="Continue each prompt of a file with a language model.",
        epilog='Example: a file with the lines "text" and "The world is a beautiful place.", and the folder of a GPT-2.',
    )
    parser.add_argument("model", help="folder of a GPT-2 or a Llama: config.json, model.safetensors, tokenizer files")
    parser.add_argument("file", help="a .tsv, .csv or .jsonl file with the prompts")
    parser.add_argument("--columns", nargs="+", help="names of all columns, where the first line does not name them")
    parser.add_argument("--text", default="text", help="the column that holds the prompts (text)")
    parser.add_argument("--tokens", type=int, default=30, help="how many tokens to write at most (30)")
    parser.add_argument("--sample", action="store_true", help="draw each token instead of taking the most probable")
    parser.add_argument("--seed", type=int, default=0, help="where the draws of --sample begin (0)")
    options = parser.parse_args(arguments)

    prompts = [
        example.text
        for example in read_text_examples(options.file, text=options.text, label=None, columns=options.columns)
    ]
    write = pipeline("text-generation", model=options.model)
    generator = np.random.default_rng(options.seed)
    texts = []
    for prompt in prompts:
        result = write(prompt, max_new_tokens=options.tokens, do_sample=options.sample, generator=generator)
        texts.append(result[0]["generated_text"])  # the prompt and what was written
        print(texts[-1], end="\n\n")
    return texts


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
