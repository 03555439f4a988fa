"""Fine-tuning: a file of examples in, a model and a report about it out.

    options = ClassificationOptions(data="reviews.tsv", model="minilm-l6", out="runs/reviews")
    result = finetune(options)                                  # trains, judges, saves, writes the report

In the order of a job: options.py and task_options.py (what can be asked for), preparing.py (files, tokenizer, model, rows),
running.py (training, predicting, saving), report.py, tables.py and pictures.py. A task's own part, from reading to judging,
is in classification.py, tagging.py, answering.py (with spans.py) or writing.py; task.py says what they have in common.
"""

from minilm.finetuning.options import FinetuningOptions
from minilm.finetuning.preparing import Prepared, prepare
from minilm.finetuning.running import Result, finetune
from minilm.finetuning.task import Encoded, Judgement, Parts, Table, Task
from minilm.finetuning.task_options import (
    TASKS,
    ClassificationOptions,
    QuestionAnsweringOptions,
    SummarizationOptions,
    TaggingOptions,
    TranslationOptions,
)

__all__ = [
    "TASKS",
    "ClassificationOptions",
    "Encoded",
    "FinetuningOptions",
    "Judgement",
    "Parts",
    "Prepared",
    "QuestionAnsweringOptions",
    "Result",
    "SummarizationOptions",
    "Table",
    "TaggingOptions",
    "Task",
    "TranslationOptions",
    "finetune",
    "prepare",
]
