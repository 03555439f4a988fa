"""Pre-training from nothing: text files in, a tokenizer and a model that has read them out.

    options = BertOptions(data=["books.txt"], out="runs/books")
    result = pretrain(options)                   # trains tokenizer and model, measures, saves, writes the report
    result = resume("runs/books")                # after Ctrl-C, a crash or a power cut: the same bits as undisturbed

In the order of a job: options.py (what can be asked for), documents.py (files to documents and sentences), families.py with
bert.py, t5.py and gpt.py (what each family learns: its tokenizer, rows, masks and scores), preparing.py, running.py (training,
saving, resuming), report.py.
"""

from minilm.pretraining.options import FAMILIES, BertOptions, GptOptions, PretrainingOptions, T5Options
from minilm.pretraining.preparing import Prepared, prepare
from minilm.pretraining.running import Result, pretrain, resume

__all__ = [
    "FAMILIES",
    "BertOptions",
    "GptOptions",
    "Prepared",
    "PretrainingOptions",
    "Result",
    "T5Options",
    "prepare",
    "pretrain",
    "resume",
]
