"""The training loop, its checkpoints, its logs, and the run folder that holds them."""

from minilm.training.callbacks import Callback, EarlyStopping, LogMetrics, ProgressBar, StopOnSignal
from minilm.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from minilm.training.config import RunConfig, TrainingConfig
from minilm.training.metrics_log import MetricsLog, read_metrics
from minilm.training.plots import plot_runs
from minilm.training.run import Report, resume_run, start_run
from minilm.training.trained import TrainedModel, evaluate_on, open_run
from minilm.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LogMetrics",
    "MetricsLog",
    "ProgressBar",
    "Report",
    "RunConfig",
    "StopOnSignal",
    "TrainedModel",
    "Trainer",
    "TrainingConfig",
    "evaluate_on",
    "list_checkpoints",
    "load_checkpoint",
    "open_run",
    "plot_runs",
    "read_metrics",
    "resume_run",
    "save_checkpoint",
    "start_run",
]
