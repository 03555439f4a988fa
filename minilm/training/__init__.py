"""The training loop, its checkpoints, its logs, and the run folder that holds them."""

from minilm.training.adapters import LoraConfig, get_peft_model, load_adapter, save_adapter
from minilm.training.arguments import TrainingArguments
from minilm.training.callbacks import Callback, EarlyStopping, LogMetrics, ProgressBar, StopOnSignal
from minilm.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from minilm.training.config import RunConfig, TrainingConfig
from minilm.training.corpus_trainer import CorpusTrainer
from minilm.training.loop import TrainingLoop
from minilm.training.metrics_log import MetricsLog, read_metrics
from minilm.training.plots import plot_runs
from minilm.training.predictions import EvalPrediction, PredictionOutput, TrainOutput
from minilm.training.run import Report, resume_run, start_run
from minilm.training.seq2seq_trainer import Seq2SeqTrainer, Seq2SeqTrainingArguments
from minilm.training.trained import TrainedModel, evaluate_on, open_run
from minilm.training.trainer import Trainer
from minilm.training.trainer_callbacks import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

# what `from minilm import ...` finds here, too
MODULES = dict.fromkeys(
    (
        "EarlyStoppingCallback", "EvalPrediction", "LoraConfig", "Seq2SeqTrainer", "Seq2SeqTrainingArguments", "Trainer",
        "TrainerCallback", "TrainerControl", "TrainerState", "TrainingArguments", "get_peft_model",
    ),
    __name__,
)  # fmt: skip

__all__ = [
    "MODULES",
    "Callback",
    "Checkpoint",
    "CorpusTrainer",
    "EarlyStopping",
    "EarlyStoppingCallback",
    "EvalPrediction",
    "LogMetrics",
    "LoraConfig",
    "MetricsLog",
    "PredictionOutput",
    "PrinterCallback",
    "ProgressBar",
    "ProgressCallback",
    "Report",
    "RunConfig",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "StopOnSignal",
    "TrainOutput",
    "TrainedModel",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "TrainingConfig",
    "TrainingLoop",
    "evaluate_on",
    "get_peft_model",
    "list_checkpoints",
    "load_adapter",
    "load_checkpoint",
    "open_run",
    "plot_runs",
    "read_metrics",
    "resume_run",
    "save_adapter",
    "save_checkpoint",
    "start_run",
]
