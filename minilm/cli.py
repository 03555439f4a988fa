"""The command line: `minilm train | generate | evaluate | plot | info | doctor | bench`."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm.errors import InputError, MissingDependencyError, TrainingDivergedError
from minilm.optional import require

DESCRIPTION = """\
minilm trains, reads and runs language models, written by hand in NumPy.

  minilm train                       train a small GPT on the Python manual (nothing to download)
  minilm train --corpus my.txt       ... on your own text
  minilm generate RUN --prompt "The" let it write
  minilm plot RUN RUN                compare runs

Every command has its own --help."""

CHECKPOINT_HELP = "best (lowest validation loss), last, or the number of a step"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 training diverged, 2 bad input, 130 stopped by Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bench"]:  # the benchmarks bring command lines of their own
        from minilm.bench import main as bench

        return _guarded(lambda: bench(arguments[1:]))
    return _guarded(lambda: _dispatch(arguments))


def _guarded(command: Any) -> int:
    try:
        return command() or 0
    except (InputError, MissingDependencyError) as error:
        print(f"minilm: {error}", file=sys.stderr)
        return 2
    except TrainingDivergedError as error:
        print(f"minilm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minilm: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `minilm generate RUN | head`
        sys.stderr.close()
        return 0


def _dispatch(arguments: list[str]) -> int:
    parser = build_parser(arguments[0] if arguments else "")
    if not arguments:
        parser.print_help()
        return 0
    arguments = [_with_underscores(argument) for argument in arguments]
    resumed = _value_of("--resume", arguments)
    if arguments[0] == "train" and resumed is not None:  # a resumed run starts from its own configuration
        config = Path(resumed) / "config.yaml"
        if not config.exists():
            raise InputError(
                f"cannot resume {resumed}: it has no config.yaml; give the folder that `minilm train` named"
            )
        arguments = ["train", "--config", str(config), *arguments[1:]]
    options = parser.instantiate(parser.parse_args(arguments))
    return COMMANDS[options.command](options[options.command])


def _with_underscores(argument: str) -> str:
    """--max-new-tokens and --max_new_tokens are the same option."""
    name, equals, value = argument.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def _value_of(option: str, arguments: list[str]) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None


def build_parser(command: str = "") -> Any:
    """The parser of all commands; options of `train` come from the fields of the configuration classes."""
    jsonargparse: Any = require("jsonargparse", "the command line")
    from minilm.generation import GenerationConfig
    from minilm.training.config import RunConfig

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            raise InputError(explain(" ".join(str(message).split()), parser, command)) from ex

    def make(description: str, usage: str) -> Any:
        return Parser(description=description, usage=f"minilm {usage}")

    parser = Parser(prog="minilm", description=DESCRIPTION, formatter_class=raw_formatter(jsonargparse))
    from minilm import __version__

    parser.add_argument("--version", action="version", version=f"minilm {__version__}")
    commands = parser.add_subcommands(dest="command", required=True)

    train = make(
        "Train a GPT on text. Ctrl-C saves a checkpoint; --resume continues from it, bit for bit.", "train [options]"
    )
    train.add_argument("--config", action=jsonargparse.ActionConfigFile, help="a YAML file with any of these options")
    train.add_class_arguments(RunConfig, as_group=False)
    train.add_argument("--out", type=str | None, help="the run folder to make (default: runs/CORPUS-DATE-TIME)")
    train.add_argument("--resume", type=str | None, help="continue the run in this folder")
    train.add_argument("--quiet", action="store_true", help="no progress bar and no sample")
    commands.add_subcommand("train", train, help="train a model on text")

    generate = make(
        "Let a trained model continue a text; what it writes is streamed to the terminal.", "generate RUN [options]"
    )
    generate.add_argument("run", type=str, help="the run folder")
    generate.add_argument("--prompt", type=str, default="\n", help="the text to continue")
    generate.add_class_arguments(GenerationConfig, as_group=False)
    generate.add_argument("--seed", type=int | None, help="a number that makes the text repeatable (default: none)")
    generate.add_argument("--checkpoint", type=str, default="best", help=CHECKPOINT_HELP)
    commands.add_subcommand("generate", generate, help="let a trained model write")

    evaluate = make(
        "Measure a trained model on a text: loss, perplexity, bits per character.", "evaluate RUN --corpus FILE"
    )
    evaluate.add_argument("run", type=str, help="the run folder")
    evaluate.add_argument("--corpus", type=str, required=True, help="a text file, or the name of a known corpus")
    evaluate.add_argument("--checkpoint", type=str, default="best", help=CHECKPOINT_HELP)
    commands.add_subcommand("evaluate", evaluate, help="measure a trained model on a text")

    plot = make("Draw the loss curves of one or more runs into one picture.", "plot RUN [RUN ...] [--out FILE]")
    plot.add_argument("runs", type=str, nargs="+", help="run folders")
    plot.add_argument("--out", type=str, default="loss.png", help="the picture to write: .png, .svg or .pdf")
    commands.add_subcommand("plot", plot, help="compare runs in a picture")

    info = make("Show a run's model as a table: layers, shapes, parameters, cost per token, memory.", "info RUN")
    info.add_argument("run", type=str, help="the run folder")
    info.add_argument("--checkpoint", type=str, default="best", help=CHECKPOINT_HELP)
    commands.add_subcommand("info", info, help="show a run's model as a table")

    doctor = make("Say what is installed, which BLAS runs on how many threads, whether Numba and CuPy work.", "doctor")
    commands.add_subcommand("doctor", doctor, help="check the installation")
    corpora = make("List the corpora that `minilm train --corpus` knows by name.", "corpora")
    commands.add_subcommand("corpora", corpora, help="list the known corpora")
    bench = make("Benchmarks against PyTorch; see minilm bench --help.", "bench NAME")
    commands.add_subcommand("bench", bench, help="benchmarks against PyTorch")
    return parser


def explain(message: str, parser: Any, command: str) -> str:
    """A parser's complaint as one sentence: the option's name without jargon, a near miss named, where to read on."""
    known = command if command in COMMANDS else ""
    wrong_type = r"Parser key \"([^\"]+)\": Expected a <class '(\w+)'>\. Got value: (.*)"
    message = re.sub(wrong_type, r"--\1 wants a value of type \2, not \3", message)
    message = message.replace("the following arguments are required: ", "missing: ").replace(f"{command}.", "")
    if message.startswith("unrecognized arguments: "):
        option = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        message = f"there is no option {option}"
        if known:
            subparser = parser._subcommands_action._name_parser_map[known]
            options = [name for action in subparser._actions for name in action.option_strings]
            close = difflib.get_close_matches(option, options, n=1)
            message += f"; did you mean {close[0]}?" if close else ""
    return f"{message} (see minilm {known + ' ' if known else ''}--help)"


def raw_formatter(jsonargparse: Any) -> Any:
    """Keep the line breaks of DESCRIPTION."""
    from argparse import RawDescriptionHelpFormatter

    class Raw(RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
        pass

    return Raw


# --- the commands -----------------------------------------------------------------------------------------------------


def train(options: Any) -> int:
    from minilm.training import ProgressBar, RunConfig, StopOnSignal, resume_run, start_run
    from minilm.training.run import default_folder

    names = ("corpus", "tokenizer", "validation_fraction", "model", "training")
    config = RunConfig(**{name: options[name] for name in names})
    folder = Path(options.resume or options.out or default_folder(config.corpus))
    if options.resume and options.out:
        raise InputError(
            "--resume continues a run in its own folder; leave --out away, or start a new run without --resume"
        )
    say = (lambda line: None) if options.quiet else print
    callbacks = [ProgressBar(disable=True if options.quiet else None), StopOnSignal()]
    report = (resume_run if options.resume else start_run)(config, folder, callbacks, say)

    if report.stop_reason:
        say(f"\n{report.stop_reason} after step {report.step} of {config.training.max_steps}; everything is saved.")
    say(f"\nvalidation loss {report.loss:.3f} nats per token, {report.bits_per_character:.3f} bits per character")
    say(f"perplexity      {report.perplexity:.2f}   (a bigram model: {report.bigram_perplexity:.2f})")
    if not options.quiet:
        print("\nA sample:\n")
        write(folder, "\n", 300, temperature=0.8, top_k=40, seed=config.training.seed)
    say(f"run folder      {folder}   (loss curve: {folder / 'loss.png'})")
    if report.step < config.training.max_steps and (report.stop_reason or "").startswith("stopped"):
        say(f"continue        minilm train --resume {folder}")
        return 130
    say(f'next            minilm generate {folder} --prompt "The "')
    return 0


def write(folder: Path, prompt: str, max_new_tokens: int, temperature: float, top_k: int, seed: int) -> None:
    """Print a sample of the last checkpoint of a run."""
    from minilm.generation import GenerationConfig
    from minilm.training import open_run

    run = open_run(folder, "last")
    config = GenerationConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k)
    try:
        stream(run, prompt, config, seed)
    except InputError:  # a vocabulary without a line break: start from the corpus' first token
        stream(run, run.tokenizer.decode([0]), config, seed)
    print("\n")


def stream(run: Any, prompt: str, config: Any, seed: int | None) -> None:
    """Print tokens as they come."""
    import numpy as np

    from minilm.generation import generate_tokens

    decoder = run.tokenizer.stream_decoder()
    ids = run.tokenizer.encode(prompt)
    for token in generate_tokens(run.model, ids, config, np.random.default_rng(seed)):
        print(decoder.push(token), end="", flush=True)
    print(decoder.flush(), end="", flush=True)


def generate(options: Any) -> int:
    from dataclasses import fields

    from minilm.generation import GenerationConfig
    from minilm.training import open_run

    config = GenerationConfig(**{f.name: options[f.name] for f in fields(GenerationConfig)})
    run = open_run(options.run, options.checkpoint)
    run.tokenizer.encode(options.prompt)  # a prompt that cannot be encoded is refused before anything is printed
    print(options.prompt, end="", flush=True)
    stream(run, options.prompt, config, options.seed)
    print()
    return 0


def evaluate(options: Any) -> int:
    from minilm.data import open_corpus
    from minilm.training import evaluate_on, open_run

    corpus = open_corpus(options.corpus)
    run = open_run(options.run, options.checkpoint)
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

    entries = CATALOGUE.values() if isinstance(CATALOGUE, dict) else CATALOGUE
    for entry in entries:
        print(f"{entry.name:<20} {entry.description}  [{entry.licence}]")
    return 0


COMMANDS = {
    "train": train,
    "generate": generate,
    "evaluate": evaluate,
    "plot": plot,
    "info": info,
    "doctor": doctor,
    "corpora": corpora,
}
