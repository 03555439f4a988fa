"""The command line: `minilm train | finetune | generate | evaluate | plot | info | doctor | ... | explain`."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from minilm.errors import InputError, MissingDependencyError, TrainingDivergedError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done, 1 training diverged, 2 something that the user can mend, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without some character shows "?" in its place
        sys.stdout.reconfigure(errors="replace")
    with warnings.catch_warnings():
        warnings.showwarning = show_warning  # type: ignore[assignment]  # as the docs of `warnings` allow
        return guarded(lambda: dispatch(arguments))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what a user can mend is one line on stderr, and its exit code."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # here a reader that has gone can still be caught
    except (InputError, MissingDependencyError) as error:
        return complain(error, 2)
    except TrainingDivergedError as error:
        return complain(error, 1)
    except MemoryError as error:
        advice = "choose a smaller model, --training.batch_size or --model.context_length"
        return complain(f"there is not enough memory: {error or 'none is left'}; {advice}", 2)
    except KeyboardInterrupt:
        return complain("stopped", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `minilm generate RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk or a folder that nothing above has a better word for
        where = f" ({error.filename})" if error.filename else ""
        return complain(f"the system refuses: {error.strerror or error}{where}; mend that and try again", 2)


def complain(what: object, code: int) -> int:
    print("minilm:", " ".join(str(what).splitlines()), file=sys.stderr)
    return code


def show_warning(message: Warning | str, *_: Any) -> None:
    """A warning as a line of its own, without the line of code that gave it."""
    complain(f"warning: {message}", 0)


def dispatch(arguments: list[str]) -> int:
    """Find the command and run it."""
    if arguments[:1] == ["bench"]:  # the benchmarks bring command lines of their own
        from minilm.bench import main as bench

        return bench(arguments[1:])
    if arguments[:1] == ["finetune"]:  # its tasks have options of their own
        from minilm.cli_finetune import main as finetune

        return finetune(arguments[1:])
    if arguments[:1] == ["pretrain"]:  # so have its families
        from minilm.cli_pretrain import main as pretrain

        return pretrain(arguments[1:])
    from minilm.cli_options import build_parser, parse

    if not arguments:
        build_parser().print_help()
        return 0
    options = parse(arguments)
    command, own = COMMANDS[options.command], options[options.command]
    if options.command not in COMPUTING:
        return command(own)
    from minilm.warmup import compiling_is_said

    with compiling_is_said():
        return command(own)


# --- the commands -----------------------------------------------------------------------------------------------------


def train(options: Any) -> int:
    from minilm.generation import GenerationConfig
    from minilm.training import ProgressBar, RunConfig, StopOnSignal, open_run, resume_run, start_run
    from minilm.training.config import from_mapping
    from minilm.training.run import default_folder

    names = [f.name for f in fields(RunConfig)]
    values = options.as_dict()
    config = from_mapping(RunConfig, {name: values[name] for name in names}, "the command line")
    folder = Path(options.resume or options.out or default_folder(config.corpus))
    if options.resume and options.out:
        raise InputError(
            "--resume continues a run in its own folder; leave --out away, or start a new run without --resume"
        )
    say = (lambda line: None) if options.quiet else print
    signals = StopOnSignal()
    callbacks = [ProgressBar(disable=True if options.quiet else None), signals]
    begin = resume_run if options.resume else start_run
    report = begin(config, folder, callbacks, say, progress=not options.quiet)

    say("")
    if report.stop_reason:
        print(f"{report.stop_reason} after step {report.step} of {config.training.max_steps}; everything is saved")
    if report.interrupted:
        print(f"continue        minilm train --resume {shlex.quote(str(folder))}")
        return 128 + (signals.received or 2)  # as shells do
    print(f"validation loss {report.loss:.3f} nats per token, {report.bits_per_character:.3f} bits per character")
    print(f"perplexity      {report.perplexity:.2f}   (a bigram model: {report.bigram_perplexity:.2f})")
    run = open_run(folder, "last")
    if not options.quiet:
        print("\nA sample:\n")
        stream(run, "", GenerationConfig(max_new_tokens=300, temperature=0.8, top_k=40), config.training.seed)
        print("\n")
    print(f"run folder      {folder}   (loss curve: {folder / 'loss.png'})")
    print(f"next            minilm generate {shlex.quote(str(folder))} {example_prompt(run)}".rstrip())
    return 0


def example_prompt(run: Any) -> str:
    """--prompt with something that the tokenizer can encode."""
    try:
        run.tokenizer.encode("The ")
    except InputError:
        return ""
    return '--prompt "The "'


def stream(run: Any, prompt: str, config: Any, seed: int | None) -> None:
    """Print what the model writes, token by token; an empty prompt stands for a line break that is not shown."""
    import numpy as np

    from minilm.generation import generate_tokens
    from minilm.training.threads import limited_threads, thread_limit

    try:
        ids = run.tokenizer.encode(prompt or "\n")
    except InputError:
        if prompt:
            raise
        ids = []
    if not ids and not prompt:
        ids = [0]  # a vocabulary without a line break: begin after its first token
    tokens = generate_tokens(run.model, ids, config, np.random.default_rng(seed))
    decoder = run.tokenizer.stream_decoder()
    print(prompt, end="", flush=True)
    with limited_threads(thread_limit(run.config.model, batch_size=1)):
        for token in tokens:
            if token < run.tokenizer.vocab_size:  # a model padded to a round vocabulary may invent one
                print(decoder.push(token), end="", flush=True)
    print(decoder.flush(), end="", flush=True)


def generate(options: Any) -> int:
    from minilm.generation import GenerationConfig
    from minilm.training import open_run

    config = GenerationConfig(**{f.name: options[f.name] for f in fields(GenerationConfig)})
    if options.seed is not None and options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must be 0 or more")
    stream(on_device(open_run(options.run, options.checkpoint), options.device), options.prompt, config, options.seed)
    print()
    return 0


def on_device(run: Any, device: str) -> Any:
    """An opened run with its model on a device."""
    run.model.to(device)
    return run


def evaluate(options: Any) -> int:
    from minilm.data import open_corpus
    from minilm.training import evaluate_on, open_run

    corpus = open_corpus(options.corpus)
    run = on_device(open_run(options.run, options.checkpoint), options.device)
    loss, perplexity, bits, tokens = evaluate_on(run, corpus)
    print(f"corpus              {corpus.name} ({tokens:,} tokens predicted)")
    print(f"checkpoint          step {run.checkpoint.step}")
    print(f"loss                {loss:.4f} nats per token")
    print(f"perplexity          {perplexity:.3f}")
    print(f"bits per character  {bits:.4f}")
    return 0


def plot(options: Any) -> int:
    from minilm.training import plot_runs

    print(plot_runs(options.runs, options.out))
    return 0


def info(options: Any) -> int:
    from minilm.models.summary import summary
    from minilm.training import open_run

    run = open_run(options.run, options.checkpoint)
    print(f"run         {run.folder}, step {run.checkpoint.step} of {run.config.training.max_steps}")
    print(f"corpus      {run.config.corpus}")
    print(f"tokenizer   {run.config.tokenizer}, {run.tokenizer.vocab_size} tokens\n")
    print(summary(run.model, run.config.training.batch_size))
    return 0


def doctor(options: Any) -> int:
    from minilm.doctor import examine

    print(examine())
    return 0


def corpora(options: Any) -> int:
    from minilm.data import CATALOGUE

    for entry in CATALOGUE.values():
        print(f"{entry.name:<20} {entry.description}  [{entry.licence}]")
    return 0


def kernels(options: Any) -> int:
    from minilm.warmup import compile_kernels

    print(compile_kernels(("float32", "float64") if options.dtype == "both" else (options.dtype,)))
    return 0


def selftest(options: Any) -> int:
    from minilm.selftest import selftest as run

    return run(options.device)


def explain(options: Any) -> int:
    from minilm.formulas import explain, overview

    language = "zh" if options.zh else "en"
    print(explain(options.formula, language, options.latex) if options.formula else overview(language))
    return 0


COMMANDS = {
    "train": train,
    "generate": generate,
    "evaluate": evaluate,
    "plot": plot,
    "info": info,
    "doctor": doctor,
    "corpora": corpora,
    "kernels": kernels,
    "explain": explain,
    "selftest": selftest,
}
COMPUTING = ("train", "generate", "evaluate")  # these may have to compile kernels first
