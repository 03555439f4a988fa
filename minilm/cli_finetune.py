"""`minilm finetune TASK`: the options of each task, with a help that teaches."""

from __future__ import annotations

import difflib
import shlex
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

from minilm.cli_options import rephrase, with_underscores
from minilm.errors import InputError
from minilm.finetuning.task_options import TASKS
from minilm.optional import require

OVERVIEW = """\
usage: minilm finetune TASK --data FILE [options]

Train a model for a task on your own examples, judge it on a part that it has not seen, and write a report.

  classification   a text into a class: sentiment, topic, intent           accuracy, macro F1
  tagging          a tag for each word: names, slots, parts of speech      entity F1, or accuracy
  qa               the piece of a text that answers a question             exact match, F1
  translation      a text in another language                              BLEU, chrF
  summarization    a short text for a long one                             ROUGE-1, -2, -L

  minilm finetune classification --data reviews.tsv                        a small model from nothing
  minilm finetune classification --data reviews.tsv --model bert-folder    a pretrained one, fine-tuned
  minilm finetune classification --data reviews.tsv --model bert-folder --lora 8    ... by adapters alone

The file is split into training, validation and test, the same way each time; or give --validation and --test files.
The folder that is named at the end holds the model (AutoModel...from_pretrained opens it), report.md and report.json.
`minilm finetune TASK --help` lists the options and shows how files look."""

HELP = {
    "classification": """\
Put texts into classes. A TSV file looks like this, its first line naming the columns:

  text                                label
  a splendid film                     positive
  two hours that I want back          negative

  minilm finetune classification --data reviews.tsv
  minilm finetune classification --data reviews.tsv --model bert-folder --epochs 2 --batch_size 32
  minilm finetune classification --data reviews.tsv --num_hidden_layers 1 --dropout 0.3 --scheduler cosine
  minilm finetune classification --data mails.jsonl --text body --label folder
  minilm finetune classification --data pairs.tsv --text premise --second hypothesis
  minilm finetune classification --data ratings.tsv --columns rating,text --label rating --rating_threshold 0.5
                       (a file without a line of names; ratings above 0.5 are positive, below -0.5 negative)
  minilm finetune classification --data train.jsonl --test validate.jsonl --format snips""",
    "tagging": """\
Tag each word. A CoNLL file has a word and its tag a line, and a blank line between sentences:

  Alice B-PER
  lives O
  in O
  New B-LOC
  York I-LOC

  minilm finetune tagging --data names.conll --model bert-folder
  minilm finetune tagging --data old.conll --scheme IOB1          (entities begin with I-; they are converted)
  minilm finetune tagging --data words.conll --scheme any --tag_column 1     (parts of speech and the like)
  minilm finetune tagging --data slots.jsonl                      ({"tokens": ["Hi", "Ann"], "tags": ["O", "B-PER"]})
  minilm finetune tagging --data train.jsonl --test validate.jsonl --format snips""",
    "qa": """\
Find the piece of a text that answers a question. Files are in SQuAD's format:

  {"data": [{"paragraphs": [{"context": "Ada was born in London.",
                             "qas": [{"id": "1", "question": "Where was Ada born?",
                                      "answers": [{"text": "London", "answer_start": 16}]}]}]}]}

  minilm finetune qa --data train.json --test dev.json --model bert-folder
  minilm finetune qa --data squad.json --max_length 384 --stride 128      (long texts are read in windows that overlap)

Questions about one text stay together when the file is split. With questions that have no answer (SQuAD 2.0) the model
learns to say so; see --null_threshold. From nothing this task is hardly learnt: take a pretrained --model.""",
    "translation": """\
Translate. A TSV file has a text and its translation a line:

  source          target
  Good morning.   早上好。

  minilm finetune translation --data pairs.tsv
  minilm finetune translation --data en_zh.tsv --columns en,zh,by --source en --target zh --size small --epochs 10
  minilm finetune translation --data pairs.tsv --model_type transformer --hidden_size 256 --label_smoothing 0.1
                       (a new encoder-decoder as in "Attention Is All You Need", not a T5; each size can be chosen)
  minilm finetune translation --data pairs.tsv --model t5-folder --prefix "translate English to German: " --beams 4

Several translations of one text stay together when the file is split, and the test takes them all as references.""",
    "summarization": """\
Summarize. A TSV file has a text and its summary a line:

  text                                      summary
  We study how models forget. We find ...   Models forget what they saw once.

  minilm finetune summarization --data papers.tsv
  minilm finetune summarization --data papers.tsv --columns abstract,summary,title --text abstract
  minilm finetune summarization --data papers.tsv --model t5-folder --prefix "summarize: " --max_length 512""",
}


def main(arguments: Sequence[str]) -> int:
    """Run `minilm finetune` with these arguments; returns the exit code. Raises InputError for what cannot work."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW)
        return 0
    options, quiet = parse(arguments[0], list(arguments[1:]))
    from minilm.finetuning import finetune
    from minilm.warmup import compiling_is_said

    def say(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    with compiling_is_said():
        result = finetune(options, say, progress=not quiet)
    if result.judgement is None:
        print(f"stopped after step {result.steps}; the model is saved as it was then: {result.folder / 'model'}")
        return 128 + (result.received or 2)  # as shells do
    if quiet:
        for name, interval in result.judgement.scores.items():
            print(f"{name} {interval.score:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
    else:
        print(f"open it     from_pretrained({shlex.quote(str(result.folder / 'model'))})")
    return 0


def parse(task: str, arguments: list[str]) -> tuple[Any, bool]:
    """The options of a task as its dataclass, and whether to be quiet."""
    if task not in TASKS:
        close = difflib.get_close_matches(task, TASKS, n=1)
        advice = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(TASKS)}"
        raise InputError(f"there is no task {task}; {advice} (see minilm finetune --help)")
    parser = build_parser(task)
    given = parser.parse_args([with_underscores(argument) for argument in arguments]).as_dict()
    quiet = given.pop("quiet")
    given.pop("config", None)
    return TASKS[task](**given), quiet


def build_parser(task: str) -> Any:
    """The parser of one task; its options are the fields of the task's class."""
    require("yaml", "the command line")  # jsonargparse needs it too, and its absence would be blamed on jsonargparse
    jsonargparse: Any = require("jsonargparse", "the command line")

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            names = [name for action in parser._actions for name in action.option_strings]
            sentence = rephrase(" ".join(str(message).split()), "train", names)
            raise InputError(f"{sentence} (see minilm finetune {task} --help)") from ex

    class Help(RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
        """Keeps the line breaks of HELP."""

    parser = Parser(
        description=HELP[task], usage=f"minilm finetune {task} --data FILE [options]", formatter_class=Help,
        allow_abbrev=False, prog="minilm",
    )  # fmt: skip
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile, help="a YAML file with any of these options")
    parser.add_class_arguments(TASKS[task], as_group=False)
    parser.add_argument("--quiet", action="store_true", help="print the scores only")
    return parser
