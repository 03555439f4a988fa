"""The options of the command line: the parser, its help, and its complaints as one sentence."""

from __future__ import annotations

import difflib
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from minilm.errors import InputError
from minilm.optional import require

DESCRIPTION = """\
minilm trains, reads and runs language models, written by hand in NumPy.

  minilm train                         train a small GPT on the Python manual (nothing to download)
  minilm train --corpus my.txt         ... on your own text
  minilm finetune TASK --data FILE     fine-tune for a task, with a report
  minilm pretrain FAMILY --data FILE   train a BERT, T5 or GPT-2 on text from nothing
  minilm generate RUN --prompt "The "  let it write
  minilm plot RUN RUN                  compare runs
  minilm explain attention             a formula, its code and an example (--zh: in Chinese)

RUN is the folder that `minilm train` names. Every command has its own --help."""

SUMMARIES = {
    "train": "train a model on text",
    "generate": "let a trained model write",
    "evaluate": "measure a trained model on a text",
    "plot": "compare runs in a picture",
    "info": "show a run's model as a table",
    "doctor": "check the installation",
    "corpora": "list the known corpora",
    "kernels": "compile the kernels ahead of time",
    "bench": "benchmarks beside PyTorch",
    "finetune": "train for a task and write a report",
    "pretrain": "train a BERT, T5 or GPT-2 from nothing",
    "explain": "a formula: its code, an example, its tests",
    "selftest": "compare a GPU with the CPU",
}
CHECKPOINT_HELP = "best (lowest validation loss), last, or the number of a step"
RUN_OPTIONS = ("out", "resume", "quiet")  # options of `train` that are no part of a RunConfig


def parse(arguments: list[str]) -> Any:
    """The options of one command line; raises InputError for what cannot be understood."""
    command = arguments[0]
    parser = build_parser(command)
    arguments = [with_underscores(argument) for argument in arguments]
    resumed = next(values_of("--resume", arguments), None)
    if command == "train" and resumed is not None:  # a resumed run starts from its own configuration
        config = Path(resumed) / "config.yaml"
        if not config.is_file():
            raise InputError(
                f"cannot resume {resumed}: it has no config.yaml; give the folder that `minilm train` named"
            )
        arguments = ["train", "--config", str(config), *arguments[1:]]
    if command == "train":
        for path in values_of("--config", arguments):
            check_config_file(path)
    return parser.parse_args(arguments)


def with_underscores(argument: str) -> str:
    """--max-new-tokens and --max_new_tokens are the same option."""
    name, equals, value = argument.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def values_of(option: str, arguments: list[str]) -> Iterator[str]:
    """What follows `option` in the arguments, each time that it is there."""
    following = [*arguments[1:], ""]
    for argument, value in zip(arguments, following):
        if argument == option and value:
            yield value
        elif argument.startswith(option + "="):
            yield argument.partition("=")[2]


def check_config_file(path: str) -> None:
    """Raise InputError, naming file and option, unless a file for --config holds options of `train` of the right types."""
    from minilm.training.config import RunConfig, from_mapping, read_yaml

    values = read_yaml(path)
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in RUN_OPTIONS}
    from_mapping(RunConfig, values, path)


def parser_maker(jsonargparse: Any, command: str) -> Callable[[str, str], Any]:
    """What makes a parser from its description and usage; of all that it makes, the first is the one of all commands."""
    made: list[Any] = []

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            raise InputError(explain(" ".join(str(message).split()), made[0], command)) from ex

    class Help(RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
        """Keeps the line breaks of DESCRIPTION; adds type and default only where the text does not say them."""

        def _get_help_string(self, action: Any) -> str | None:
            text = action.help or ""
            return text if "(default" in text or not action.option_strings else super()._get_help_string(action)

    def make(description: str, usage: str) -> Any:
        parser = Parser(
            description=description, usage=f"minilm {usage}", formatter_class=Help, allow_abbrev=False, prog="minilm"
        )
        made.append(parser)
        return parser

    return make


def build_parser(command: str = "") -> Any:
    """The parser of all commands; options of `train` come from the fields of the configuration classes."""
    require("yaml", "the command line")  # jsonargparse needs it too, and its absence would be blamed on jsonargparse
    jsonargparse: Any = require("jsonargparse", "the command line")
    from minilm import __version__

    make = parser_maker(jsonargparse, command)
    parser = make(DESCRIPTION, "COMMAND ...")
    parser.add_argument(
        "--version", action="version", version=f"minilm {__version__}", help="Show the version and exit."
    )
    commands = parser.add_subcommands(
        dest="command", required=True, metavar="COMMAND", title="commands", description=""
    )
    parsers = (train_parser(make, jsonargparse), *reader_parsers(make), *other_parsers(make))
    for name, subparser in zip(SUMMARIES, parsers):
        commands.add_subcommand(name, subparser, help=SUMMARIES[name])
    return parser


def train_parser(make: Callable[[str, str], Any], jsonargparse: Any) -> Any:
    """The options of `train`: the fields of a RunConfig, and RUN_OPTIONS."""
    from minilm.training.config import RunConfig

    train = make(
        "Train a GPT on text. Ctrl-C saves a checkpoint; --resume continues from it, bit for bit.", "train [options]"
    )
    train.add_argument("--config", action=jsonargparse.ActionConfigFile, help="a YAML file with any of these options")
    train.add_class_arguments(RunConfig, as_group=False)
    train.add_argument("--out", type=str | None, help="the run folder to make (default: runs/CORPUS-DATE-TIME)")
    train.add_argument("--resume", type=str | None, help="continue the run in this folder (default: a new run)")
    train.add_argument("--quiet", action="store_true", help="print the result only, no progress, no sample")
    return train


def reader_parsers(make: Callable[[str, str], Any]) -> tuple[Any, ...]:
    """The options of the commands that look at runs: generate, evaluate, plot, info."""
    from minilm.generation import GenerationConfig

    generate = make(
        "Let a trained model continue a text; what it writes is streamed to the terminal.", "generate RUN [options]"
    )
    generate.add_argument("run", type=str, help="the run folder")
    generate.add_argument("--prompt", type=str, default="", help="the text to continue (default: a line break)")
    generate.add_class_arguments(GenerationConfig, as_group=False)
    generate.add_argument("--seed", type=int | None, help="a number that makes the text repeatable (default: none)")

    evaluate = make(
        "Measure a trained model on a text: loss, perplexity, bits per character.", "evaluate RUN --corpus FILE"
    )
    evaluate.add_argument("run", type=str, help="the run folder")
    evaluate.add_argument("--corpus", type=str, required=True, help="a text file, or the name of a known corpus")

    plot = make("Draw the loss curves of one or more runs into one picture.", "plot RUN [RUN ...] [--out FILE]")
    plot.add_argument("runs", type=str, nargs="+", help="run folders")
    plot.add_argument("--out", type=str, default="loss.png", help="the picture to write: .png, .svg or .pdf")

    info = make("Show a run's model as a table: layers, shapes, parameters, cost per token, memory.", "info RUN")
    info.add_argument("run", type=str, help="the run folder")
    for reader in (generate, evaluate):
        reader.add_argument("--device", type=str, default="cpu", help="cpu, or cuda for a GPU")
    for reader in (generate, evaluate, info):
        reader.add_argument("--checkpoint", type=str, default="best", help=CHECKPOINT_HELP)
    return generate, evaluate, plot, info


def other_parsers(make: Callable[[str, str], Any]) -> tuple[Any, ...]:
    """The options of doctor, corpora, kernels and explain; bench, finetune and pretrain read theirs themselves."""
    doctor = make("Say what is installed, which BLAS runs on how many threads, whether Numba and CuPy work.", "doctor")
    corpora = make("List the corpora that `minilm train --corpus` knows by name.", "corpora")
    kernels = make(
        "Compile the kernels for this processor now. Otherwise each is compiled when it is first used; both happen "
        "once, the results are kept on disk.",
        "kernels [--dtype DTYPE]",
    )
    kernels.add_argument(
        "--dtype", type=Literal["float32", "float64", "both"], default="float32", help="for which numbers"
    )
    bench = make("Benchmarks beside PyTorch; see minilm bench --help.", "bench NAME")
    finetune = make("Train a model for a task; see minilm finetune --help.", "finetune TASK --data FILE")
    pretrain = make("Train a model from nothing; see minilm pretrain --help.", "pretrain FAMILY --data FILE")
    explain = make(
        "Show a formula: how it reads, the code that realises it, an example with every number in between, where the documents "
        "have it, which tests prove it. Without a name: the list of all.",
        "explain [NAME] [--zh] [--latex]",
    )
    explain.add_argument("formula", type=str, nargs="?", metavar="NAME", help="such as attention, or a number: F1")
    explain.add_argument("--zh", action="store_true", help="in Chinese")
    explain.add_argument("--latex", action="store_true", help="also as LaTeX")
    selftest = make(
        "Check that a GPU computes what the CPU computes: every kernel, a short training; then the times of both. Without "
        "a GPU: the reason, exit code 2.",
        "selftest --device cuda",
    )
    selftest.add_argument("--device", type=str, default="cuda", help="cuda, the GPU")
    return doctor, corpora, kernels, bench, finetune, pretrain, explain, selftest


def own_parser(command: str, kind: str, description: str, usage: str) -> tuple[Any, Any]:
    """(parser, jsonargparse) of a command that reads its own options, as `minilm pretrain KIND` does.

    Complaints are one sentence; the help keeps the line breaks of the description.
    """
    require("yaml", "the command line")  # jsonargparse needs it too, and its absence would be blamed on jsonargparse
    jsonargparse: Any = require("jsonargparse", "the command line")
    where = f"minilm {command} {kind}".rstrip()

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            names = [name for action in parser._actions for name in action.option_strings]
            sentence = rephrase(" ".join(str(message).split()), command, names)
            raise InputError(f"{sentence} (see {where} --help)") from ex

    class Help(RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
        """Keeps the line breaks of the description."""

    parser = Parser(description=description, usage=usage, formatter_class=Help, allow_abbrev=False, prog="minilm")
    return parser, jsonargparse


def explain(message: str, parser: Any, command: str) -> str:
    """A parser's complaint as one sentence: the option's name without jargon, a near miss named, where to read on."""
    known = command if command in SUMMARIES else ""
    subparser = parser._subcommands_action._name_parser_map[known] if known else parser
    sentence = rephrase(message, command, [name for action in subparser._actions for name in action.option_strings])
    return f"{sentence} (see minilm {known + ' ' if known else ''}--help)"


def rephrase(message: str, command: str, options: list[str]) -> str:
    """A complaint of jsonargparse (worded differently in its versions) in our words, or as it is where we have none."""
    from minilm.training.config import TYPE_NAMES

    types = {kind.__name__: name for kind, name in TYPE_NAMES.items()}
    if "invalid choice" in message and command not in SUMMARIES:
        close = difflib.get_close_matches(command, SUMMARIES, n=1)
        advice = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(SUMMARIES)}"
        return f"there is no command {command}; {advice}"
    if found := re.match(r"[Uu]nrecognized arguments: ([^\s=]+)", message):
        given = found[1]
        if not given.startswith("-"):
            return f"{given!r} is one word too many; a text of several words goes in quotes"
        close = difflib.get_close_matches(given.lstrip("-"), [name.lstrip("-") for name in options], n=1)
        return f"there is no option {given}" + (f"; did you mean --{close[0]}?" if close else "")
    if found := re.match(r"argument (--\S+): expected one argument", message):
        return f"{found[1]} wants a value; one that begins with a dash is written {found[1]}=VALUE"
    if found := re.match(r"the following arguments are required: (.*)", message) or re.search(
        r"[\"']([\w.]+)[\"'] is required", message
    ):
        names = [name.removeprefix(f"{command}.") for name in found[1].split(", ")]
        return "missing: " + ", ".join(f"--{name}" if f"--{name}" in options else name.upper() for name in names)
    if found := re.match(r'Parser key "([^"]+)": .*?Literal\[([^\]]*)\].*? (?:Got|Given) value: (.*)', message):
        known = found[2].replace("'", "").replace('"', "")
        return f"--{found[1].removeprefix(command + '.')} is one of {known}, not {found[3]}"
    if found := re.match(
        r'Parser key "([^"]+)": .*?Expected an? <class \'(?!NoneType)(\w+)\'>.*? (?:Got|Given) value: (.*)', message
    ):
        return f"--{found[1].removeprefix(command + '.')} wants {types.get(found[2], found[2])}, not {found[3]}"
    if found := re.match(r'Parser key "([^"]+)": Unable to load config ["\']([^"\']*)', message):
        return f"--{found[1]} wants a YAML file with its options, and {found[2]} is none"
    return message
