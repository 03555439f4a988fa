"""`minilm pretrain FAMILY`: the options of each family, with a help that teaches."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any

from minilm.cli_options import own_parser, with_underscores
from minilm.errors import InputError
from minilm.pretraining.options import FAMILIES, PretrainingOptions

OVERVIEW = """\
usage: minilm pretrain FAMILY --data FILE [FILE ...] [options]
       minilm pretrain --resume FOLDER

Train a model on your own text, from nothing: first its tokenizer, then its weights. Nobody has to label anything, for the text
itself is what the model has to say.

  bert   names hidden words, and tells whether the second text follows the first      for classification, tagging, qa
  t5     writes the stretches that were cut out of a text                              for translation, summarization
  gpt    names the next token                                                          for writing on

  minilm pretrain bert --data books.txt --out runs/books
  minilm pretrain bert --data books.txt --tokenizer wordpiece:16000 --size small --steps 20000
  minilm pretrain t5   --data news.jsonl letters.txt          (JSON lines: {"text": "..."})
  minilm pretrain gpt  --data poems.txt
  minilm pretrain --resume runs/books                         after Ctrl-C, a crash or a power cut: the same bits

Plain text has an empty line between documents. The folder that is named at the end holds model/ (from_pretrained opens it, here
and in transformers; `minilm finetune TASK --model FOLDER/model` goes on from it), report.md, report.json and loss.png.
`minilm pretrain FAMILY --help` lists the options. `minilm train` is the shorter way to a GPT that writes in the terminal."""

HELP = {
    "bert": """\
Pre-train a BERT. 15 % of the tokens are chosen: most are hidden behind [MASK], some are replaced by another word, some stay,
and the model names what was there. Of each pair of texts it also tells whether the second follows the first (NSP); half of them
do:

  [CLS] the cat [MASK] on the mat [SEP] it was fast [MASK] [SEP]      sat, asleep; it follows

  minilm pretrain bert --data books.txt --out runs/books
  minilm pretrain bert --data books.txt --whole_words true              (all pieces of a word are hidden together)
  minilm pretrain bert --data tweets.txt --nsp false                    (texts of one sentence make no pairs)
  minilm pretrain bert --data chinese.txt --tokenizer wordpiece:8000
  minilm finetune classification --data reviews.tsv --model runs/books/model

A document is what stands between empty lines (or a JSON line), a sentence is a line or ends with a mark.
The report has the loss and the accuracy of hidden words and of pairs, on documents that the training has not seen.""",
    "t5": """\
Pre-train a T5. Stretches of a text, 15 % of its tokens and about three at a time, are cut out; the model reads the rest and
writes them:

  Thank you <extra_id_0> me to your party <extra_id_1> week      <extra_id_0> for inviting <extra_id_1> last

  minilm pretrain t5 --data news.jsonl --out runs/news
  minilm pretrain t5 --data news.jsonl --tokenizer unigram:16000 --size small --steps 20000
  minilm finetune summarization --data papers.tsv --model runs/news/model

The report has the loss, the perplexity and the accuracy of what was cut out, on text that the training has not seen.""",
    "gpt": """\
Pre-train a GPT-2. The model names each next token of a text:

  minilm pretrain gpt --data poems.txt --out runs/poems
  minilm pretrain gpt --data poems.txt --tokenizer bpe:4000 --max_length 256 --size small

The report has the loss, the perplexity and the bits per character, on text that the training has not seen.
`minilm train` trains the same kind of model with more choices (characters as tokens, rotary positions, ...) into a run folder
for `minilm generate`; this command makes a Hugging Face folder for pipeline("text-generation") and for fine-tuning.""",
}


def main(arguments: Sequence[str]) -> int:
    """Run `minilm pretrain` with these arguments; returns the exit code. Raises InputError for what cannot work."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW)
        return 0
    options, folder, quiet = parse(list(arguments))
    from minilm.pretraining import pretrain, resume
    from minilm.warmup import compiling_is_said

    def say(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    with compiling_is_said():
        result = resume(folder, say, not quiet) if options is None else pretrain(options, say, not quiet)
    if result.scores is None:
        print(f"stopped after step {result.steps}; everything is saved")
        print(f"continue    minilm pretrain --resume {shlex.quote(str(result.folder))}")
        return 128 + (result.received or 2)  # as shells do
    if quiet:
        for name, interval in result.scores.items():
            print(f"{name} {interval.score:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
    return 0


def parse(arguments: list[str]) -> tuple[PretrainingOptions | None, str, bool]:
    """(options, folder to resume, quiet): of the first two, one."""
    arguments = [with_underscores(argument) for argument in arguments]
    family = "" if arguments[0].startswith("-") else arguments.pop(0)
    if family and family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, n=1)
        advice = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(FAMILIES)}"
        raise InputError(f"there is no family {family}; {advice} (see minilm pretrain --help)")
    if any(argument.partition("=")[0] == "--resume" for argument in arguments):
        given = resume_parser().parse_args(arguments)
        return None, given.resume, given.quiet
    if not family:
        raise InputError(f"say first what to train: {', '.join(FAMILIES)} (see minilm pretrain --help)")
    values = family_parser(family).parse_args(arguments).as_dict()
    quiet = values.pop("quiet")
    values.pop("config", None)
    return FAMILIES[family](**values), "", quiet


def family_parser(family: str) -> Any:
    """The parser of one family; its options are the fields of the family's class."""
    parser, jsonargparse = own_parser(
        "pretrain", family, HELP[family], f"minilm pretrain {family} --data FILE ... [options]"
    )
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile, help="a YAML file with any of these options")
    parser.add_class_arguments(FAMILIES[family], as_group=False, skip={"data", "validation"})
    parser.add_argument("--data", type=str, nargs="+", default=[], metavar="FILE", help="the files with the text; .jsonl "
                        "files have a document a line, others are plain text in UTF-8")  # fmt: skip
    parser.add_argument("--validation", type=str, nargs="+", default=[], metavar="FILE", help="files to measure with; "
                        "unless given, a part of data that the training does not see")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print the scores only")
    return parser


def resume_parser() -> Any:
    """The parser of `minilm pretrain --resume FOLDER`: the folder knows everything else."""
    parser, _ = own_parser(
        "pretrain", "", "Go on with a run that was interrupted.", "minilm pretrain --resume FOLDER [--quiet]"
    )
    parser.add_argument("--resume", type=str, required=True, metavar="FOLDER", help="the folder of the run")
    parser.add_argument("--quiet", action="store_true", help="print the scores only")
    return parser
