"""The options of each task: a class whose fields are the options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from minilm.errors import InputError
from minilm.finetuning.options import FinetuningOptions

Language = Literal["auto", "en", "zh"]
ModelType = Literal["t5", "transformer", "transformer_pre_norm"]


@dataclass
class TableOptions(FinetuningOptions):
    """What tasks on tables of texts have in common.

    Args:
        columns: names of all columns, as in rating,text, for a TSV or CSV file without a line of names.
    """

    columns: str | None = None

    def column_names(self) -> list[str] | None:
        """columns as a list."""
        return None if self.columns is None else [name.strip() for name in self.columns.split(",")]


@dataclass
class ClassificationOptions(TableOptions):
    """A text into one of several classes.

    Args:
        format: tsv, csv, jsonl, or snips (commands with intents); unless given, as the file's name ends.
        text: the column with the text.
        label: the column with the class.
        second: the column with the other text, for pairs.
        rating_threshold: labels are numbers; above this they are positive, below its negative negative, between left out.
    """

    format: Literal["tsv", "csv", "jsonl", "snips"] | None = None
    text: str = "text"
    label: str = "label"
    second: str | None = None
    rating_threshold: float | None = None
    task: ClassVar[str] = "classification"

    def check(self) -> None:
        super().check()
        self.check_choice("format", (None, "tsv", "csv", "jsonl", "snips"))
        self.check_number("rating_threshold", 0)
        if self.format == "snips" and (self.rating_threshold is not None or self.second or self.columns):
            raise InputError("the snips format has intents alone; leave rating_threshold, second and columns away")


@dataclass
class TaggingOptions(FinetuningOptions):
    """A tag for each word: names of people and places, slots of a command, parts of speech.

    Args:
        format: conll (a word and its tag a line), jsonl (lists of tokens and tags), or snips; unless given, jsonl for a
            file that ends so and conll for others.
        scheme: how the tags mark entities, BIO, IOB1 (the older one, which is converted), or any for tags of another kind.
        token_column: of a CoNLL file, counted from 0.
        tag_column: of a CoNLL file; -1 is the last.
        tokens: the name of the list of tokens in JSON lines.
        tags: the name of the list of tags in JSON lines.
    """

    format: Literal["conll", "jsonl", "snips"] | None = None
    scheme: Literal["BIO", "IOB1", "any"] = "BIO"
    token_column: int = 0
    tag_column: int = -1
    tokens: str = "tokens"
    tags: str = "tags"
    task: ClassVar[str] = "tagging"

    def check(self) -> None:
        super().check()
        self.check_choice("format", (None, "conll", "jsonl", "snips"))
        self.check_choice("scheme", ("BIO", "IOB1", "any"))


@dataclass
class QuestionAnsweringOptions(FinetuningOptions):
    """The piece of a text that answers a question about it; files in SQuAD's format.

    Args:
        stride: tokens that a window of a long text shares with the next one.
        max_answer_length: the longest answer, in tokens.
        n_best: how many answers the predictions list for each question.
        null_threshold: say "no answer" where that scores more than the best answer by more than this (SQuAD 2.0).
        language: how answers are compared, en or zh; auto looks at them.
    """

    stride: int = 64
    max_answer_length: int = 30
    n_best: int = 5
    null_threshold: float = 0.0
    language: Language = "auto"
    task: ClassVar[str] = "qa"
    default_length: ClassVar[int] = 256

    def check(self) -> None:
        super().check()
        self.check_number("stride", 0)
        if self.label_smoothing:
            raise InputError("label_smoothing is for tasks with labels, and qa has places in a text; leave it out")
        for name in ("max_answer_length", "n_best"):
            self.check_number(name, 1)
        self.check_choice("language", ("auto", "en", "zh"))


@dataclass
class WritingOptions(TableOptions):
    """What translation and summarization have in common.

    Args:
        format: tsv, csv or jsonl; unless given, as the file's name ends.
        model_type: of a new model: t5; transformer, as in "Attention Is All You Need", which transformers opens as a Marian; or
            transformer_pre_norm, the same with each norm before its sub-layer, which transformers opens as a Pegasus.
        prefix: put before every text, as in "summarize: "; pretrained T5 models know some of these.
        max_target_length: the longest text written, in tokens.
        beams: how many texts beam search follows at once; 1 takes the most probable token each time.
        length_penalty: above 0 prefers longer texts in beam search.
        no_repeat_ngram_size: no so many tokens in a row are written twice; 0 allows it.
        language: what is written, en or zh, for the metrics; auto looks at the references.
    """

    format: Literal["tsv", "csv", "jsonl"] | None = None
    model_type: ModelType = "t5"
    prefix: str = ""
    max_target_length: int = 64
    beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    language: Language = "auto"
    group_by_length: bool = True

    def check(self) -> None:
        super().check()
        self.check_choice("format", (None, "tsv", "csv", "jsonl"))
        self.check_choice("model_type", get_args(ModelType))
        if self.model and self.model_type != "t5":
            raise InputError(f"model_type is for a new model, and {self.model} is what it is; leave one of the two out")
        self.check_choice("language", ("auto", "en", "zh"))
        self.check_number("max_target_length", 2)
        self.check_number("beams", 1)
        self.check_number("no_repeat_ngram_size", 0)

    def columns_of_pairs(self) -> tuple[str, str]:
        """The columns of the text and of what is to be written."""
        raise NotImplementedError


@dataclass
class TranslationOptions(WritingOptions):
    """A text in another language.

    Args:
        source: the column with the text.
        target: the column with its translation.
    """

    source: str = "source"
    target: str = "target"
    task: ClassVar[str] = "translation"

    def columns_of_pairs(self) -> tuple[str, str]:
        return self.source, self.target


@dataclass
class SummarizationOptions(WritingOptions):
    """A short text that says what a long one does.

    Args:
        text: the column with the long text.
        summary: the column with its summary.
        stemmer: compare stems in ROUGE, so that "models" and "modelled" are one word.
    """

    text: str = "text"
    summary: str = "summary"
    stemmer: bool = True
    no_repeat_ngram_size: int = 3
    task: ClassVar[str] = "summarization"
    default_length: ClassVar[int] = 256

    def columns_of_pairs(self) -> tuple[str, str]:
        return self.text, self.summary


TASKS: dict[str, type[FinetuningOptions]] = {
    kind.task: kind
    for kind in (
        ClassificationOptions,
        TaggingOptions,
        QuestionAnsweringOptions,
        TranslationOptions,
        SummarizationOptions,
    )
}
