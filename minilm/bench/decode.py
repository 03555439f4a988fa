"""Time generation beside Hugging Face transformers: tokens per second of greedy decoding with the cache, one text.

The opponent is transformers' GPT2LMHeadModel in eager mode: model.generate(), what a user of it calls, and beside it
a bare loop over its forward pass with the same cache, which leaves out what generate() does around it. Both models have
the same weights, copied, and must write the same tokens; only then are they timed, prompt included.

They run in one process and in turns, so that whatever else the machine does hits both alike: only the ratio of the
medians means much. Each turn begins with a pause (--pause) in which the other one's thread pool falls asleep:
OpenBLAS's threads and those of PyTorch's OpenMP go on spinning when they have finished, and on few cores take half of the
machine from whoever is next. In processes of their own they would do the same to each other, so the pause is what
makes it fair; with it each has the speed that it has alone (`--only minilm`, `--only transformers` show that).

Look at the load in the first line before believing a figure: while other programs keep the cores busy, both engines can
fall to a tenth of their speed and less, because one thread of each small product waits for the other to get a core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.bench import machine
from minilm.errors import InputError
from minilm.generation import GenerationConfig, generate
from minilm.models import GPT, GPTConfig
from minilm.optional import require

PROMPT_LENGTH = 8


@dataclass(frozen=True)
class Subject:
    """One model to decode with, and how many tokens a turn takes."""

    title: str
    config: GPTConfig
    tokens: int


SUBJECTS = {
    "char": Subject("4 layers, width 128, 65 tokens", GPTConfig.nanogpt_char(context_length=256), 200),
    "char-big": Subject("6 layers, width 384, 65 tokens", GPTConfig.nanogpt_char_big(), 200),
    "gpt2": Subject("GPT-2 small: 12 layers, width 768, 50,257 tokens", GPTConfig.gpt2(), 64),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if the two write different tokens."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    code = machine.in_child("decode", argv, options.threads)
    if code is not None:
        return code
    results = decode(
        options.models or list(SUBJECTS), options.tokens, options.repeats, options.threads, options.pause, options.only
    )
    machine.write_json(options.json, "decode", argv, results)
    return 0 if all(result.get("agree", True) for result in results.values()) else 1


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("decode", __doc__ or "")
    machine.add_threads(options)
    options.add_argument("--models", nargs="+", choices=list(SUBJECTS), help="which models (default: all three)")
    options.add_argument("--tokens", type=machine.positive, help="new tokens per turn (default: 200, 200 and 64)")
    options.add_argument("--repeats", type=machine.positive, default=7, help="turns of each (default: 7)")
    options.add_argument("--pause", type=float, default=0.1, help="seconds of rest before each turn (default: 0.1)")
    options.add_argument("--only", choices=["minilm", "transformers"], help="time one alone, without the comparison")
    return options


def decode(
    models: Sequence[str],
    tokens: int | None = None,
    repeats: int = 7,
    threads: int = 2,
    pause: float = 0.1,
    only: str | None = None,
) -> dict[str, Any]:
    """Check and time each of `models`, print a table, return the figures.

    threads: for PyTorch; a BLAS has its own number from the start of the process (see machine.in_child).
    Raises MissingDependencyError without PyTorch or transformers, InputError if so many tokens do not fit the context.
    """
    if only != "minilm":
        for library in ("torch", "transformers"):
            require(library, "comparing with transformers")
    results: dict[str, Any] = {}
    rows = [["tokens per second", "minilm", "generate()", "ratio", "bare loop", "ratio"]]
    for name in models:
        subject = SUBJECTS[name]
        count = tokens or subject.tokens
        if PROMPT_LENGTH + count > subject.config.context_length:
            raise InputError(
                f"--tokens {count} does not fit: {name} has room for {subject.config.context_length - PROMPT_LENGTH} "
                f"tokens after the prompt of {PROMPT_LENGTH}; take fewer, transformers has no sliding window here"
            )
        contestants = make_contestants(subject.config, count, threads, only)
        if not results:
            print(machine.headline(threads))
        print(f"{name}: {subject.title}; {count} tokens after a prompt of {PROMPT_LENGTH}, {repeats} turns each")
        results[name] = result = measure(contestants, count, repeats, pause)
        speed = {who: f"{count / statistics.median(times):.1f}" for who, times in result["seconds"].items()}
        ratio = {who: f"{value:.2f}" for who, value in result.get("ratio", {}).items()}
        cells = [speed.get("minilm", "")]
        for who in ("generate()", "bare loop"):
            cells += [speed.get(who, ""), ratio.get(who, "")]
        rows.append([name, *cells])
        if not result["agree"]:
            print(f"{name}: THE TOKENS DIFFER, first at number {result['first_difference']}")
    print(machine.table(rows))
    if only is None:
        print("ratio: tokens per second of minilm ÷ of transformers (above 1, ours is faster)")
    return results


Contestants = dict[str, Callable[[], np.ndarray]]


def make_contestants(config: GPTConfig, count: int, threads: int, only: str | None = None) -> Contestants:
    """Functions that decode `count` tokens greedily from one prompt and return them, all from the same weights."""
    generator = np.random.default_rng(0)
    model = GPT(config, generator)
    enliven(model)
    prompt = generator.integers(0, config.vocab_size, (1, PROMPT_LENGTH))
    greedy = GenerationConfig(max_new_tokens=count, temperature=0)

    contestants: Contestants = {}
    if only != "transformers":
        contestants["minilm"] = lambda: generate(model, prompt, greedy)[0, PROMPT_LENGTH:]
    if only == "minilm":
        return contestants
    torch = require("torch", "comparing with transformers")
    torch.set_num_threads(threads)
    partner = transformers_twin(model)
    start = torch.from_numpy(prompt)

    def with_generate() -> np.ndarray:
        with torch.no_grad():
            out = partner.generate(
                start, attention_mask=torch.ones_like(start), max_new_tokens=count, min_new_tokens=count,
                do_sample=False, use_cache=True, pad_token_id=0,
            )  # fmt: skip
        return out[0, PROMPT_LENGTH:].numpy()

    def bare_loop() -> np.ndarray:
        ids, cache, found = start, None, []
        with torch.no_grad():
            for _ in range(count):
                out = partner(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                ids = out.logits[:, -1].argmax(-1, keepdim=True)
                found.append(int(ids))
        return np.array(found)

    return {**contestants, "generate()": with_generate, "bare loop": bare_loop}


def enliven(model: GPT) -> None:
    """Enlarge some weights of a fresh model: at first it repeats its last token for ever, which would prove little.

    What attention and feed-forward add outweighs the token's own embedding then, and positions make a difference.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name != "token_embedding.weight":
            parameter.data *= 20 if name.startswith("position") else 6


def measure(contestants: Contestants, count: int, repeats: int, pause: float) -> dict[str, Any]:
    """Check that all write the same tokens, then time each `repeats` times, in turns."""
    written = {who: run() for who, run in contestants.items()}  # this also warms everything up
    reference = next(iter(written.values()))
    different = [np.flatnonzero(tokens != reference) for tokens in written.values()]
    first = min((int(places[0]) for places in different if places.size), default=None)

    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    for turn in range(repeats):
        order = list(contestants)
        for who in order if turn % 2 == 0 else reversed(order):
            time.sleep(pause)
            began = time.perf_counter()
            contestants[who]()
            seconds[who].append(time.perf_counter() - began)
    result: dict[str, Any] = {"agree": first is None, "first_difference": first, "tokens": count, "seconds": seconds}
    result["distinct_tokens"] = len(np.unique(reference))
    if "minilm" in seconds and len(seconds) > 1:
        ours = statistics.median(seconds["minilm"])
        result["ratio"] = {who: statistics.median(s) / ours for who, s in seconds.items() if who != "minilm"}
    return result


def transformers_twin(model: GPT) -> Any:
    """A transformers GPT2LMHeadModel with the weights of `model`, in eval mode.

    Its Conv1D layers keep W transposed, (in, out), and always have a bias, here 0 where ours has none.
    Raises InputError for a layout that GPT-2 does not have, MissingDependencyError without transformers.
    """
    torch, transformers = (require(name, "comparing with transformers") for name in ("torch", "transformers"))
    c = model.config
    activations = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
    layout = (c.norm, c.positions, c.tie_embeddings, c.num_kv_heads or c.num_heads)
    if layout != ("layer_norm", "learned", True, c.num_heads) or c.activation not in activations:
        raise InputError(
            "GPT-2 has layer_norm, learned positions, a tied head, as many key heads as heads and one of the "
            f"activations {', '.join(activations)}; this model has another layout"
        )
    twin = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=c.vocab_size, n_positions=c.context_length, n_layer=c.num_layers, n_head=c.num_heads,
            n_embd=c.hidden_size, n_inner=c.intermediate_size or None, activation_function=activations[c.activation],
            layer_norm_epsilon=c.norm_eps, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    names = {
        "token_embedding": "wte",
        "position_embedding": "wpe",
        "blocks": "h",
        "attention_norm": "ln_1",
        "attention.query_key_value": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
        "final_norm": "ln_f",
    }
    own = model.state_dict()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()  # the biases that ours does not have
        places = dict(twin.transformer.named_parameters())
        for name, array in own.items():
            theirs = name
            for ours, other in names.items():
                theirs = theirs.replace(f"{ours}.", f"{other}.")
            source = array.T if ".c_" in theirs and array.ndim == 2 else array
            places[theirs].copy_(torch.from_numpy(np.array(source, dtype=np.float32)))
    return twin.eval()
