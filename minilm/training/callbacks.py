"""What happens beside training: progress bar, metrics log, early stopping, Ctrl-C."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Any

from minilm.metrics import perplexity
from minilm.optional import require
from minilm.training.metrics_log import MetricsLog

if TYPE_CHECKING:
    from minilm.training.corpus_trainer import CorpusTrainer


class Callback:
    """Override what you need; `trainer` gives step, loss, validation_loss, … and its `stop_reason` stops training."""

    def on_train_begin(self, trainer: CorpusTrainer) -> None: ...

    def on_step_end(self, trainer: CorpusTrainer) -> None: ...

    def on_evaluate(self, trainer: CorpusTrainer) -> None: ...

    def on_save(self, trainer: CorpusTrainer) -> None: ...

    def on_save_failed(self, trainer: CorpusTrainer) -> None: ...

    def on_train_end(self, trainer: CorpusTrainer) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold so that the callback continues after a resume; JSON."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ProgressBar(Callback):
    """A tqdm bar with loss, tokens per second and the time left, and one line per evaluation.

    disable: None shows the bar only where somebody can watch it (in a terminal), True leaves out the lines too. That a
    checkpoint could not be saved is said in any case.
    """

    def __init__(self, disable: bool | None = None):
        self.disable = disable
        self.bar: Any = None

    def on_train_begin(self, trainer: CorpusTrainer) -> None:
        tqdm = require("tqdm.auto", "the progress bar").tqdm
        self.bar = tqdm(
            total=trainer.config.max_steps, initial=trainer.step, desc="training", unit="step", disable=self.disable,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed} < {remaining}{postfix}]",
        )  # fmt: skip
        self.recent: deque[tuple[float, int]] = deque(maxlen=50)  # time and tokens of the last steps
        self.smooth_loss = math.nan

    def on_step_end(self, trainer: CorpusTrainer) -> None:
        # on a GPU only where it is logged too: whoever reads it waits for the device
        if trainer.loss_is_here or trainer.step == 1 or trainer.step % trainer.config.logging_steps == 0:
            if trainer.step == 1 or math.isnan(self.smooth_loss):
                self.smooth_loss = trainer.loss
            self.smooth_loss += 0.05 * (trainer.loss - self.smooth_loss)
        self.recent.append((trainer.seconds, trainer.tokens_seen))
        (t0, n0), (t1, n1) = self.recent[0], self.recent[-1]
        speed = f", {(n1 - n0) / (t1 - t0):,.0f} tokens/s" if t1 > t0 else ""
        self.bar.set_postfix_str(f"loss {self.smooth_loss:.3f}{speed}", refresh=False)
        self.bar.update()

    def on_evaluate(self, trainer: CorpusTrainer) -> None:
        mark = "  (best so far)" if trainer.best_step == trainer.step else ""
        self.write(
            f"step {trainer.step:>6}   training loss {self.smooth_loss:.3f}   validation loss {trainer.validation_loss:.3f}"
            f"   perplexity {perplexity(trainer.validation_loss):.2f}{mark}"
        )

    def on_save_failed(self, trainer: CorpusTrainer) -> None:
        warning = f"minilm: warning: {trainer.save_error}; training goes on and will try again"
        self.bar.write(warning, file=sys.stderr)

    def on_train_end(self, trainer: CorpusTrainer) -> None:
        self.bar.close()

    def write(self, line: str) -> None:
        if self.disable is not True:
            self.bar.write(line)


class LogMetrics(Callback):
    """Appends to metrics.jsonl every `logging_steps` steps and at every evaluation."""

    def __init__(self, log: MetricsLog):
        self.log = log
        self.before = (0.0, 0)

    def on_train_begin(self, trainer: CorpusTrainer) -> None:
        self.before = (trainer.seconds, trainer.tokens_seen)

    def on_step_end(self, trainer: CorpusTrainer) -> None:
        if trainer.step % trainer.config.logging_steps and trainer.step != 1:
            return
        seconds, tokens = trainer.seconds - self.before[0], trainer.tokens_seen - self.before[1]
        self.before = (trainer.seconds, trainer.tokens_seen)
        self.log.append(
            event="train",
            step=trainer.step,
            loss=trainer.loss,
            grad_norm=trainer.grad_norm,
            learning_rate=trainer.scheduler.get_last_lr()[0],
            tokens=trainer.tokens_seen,
            tokens_per_second=round(tokens / seconds, 1) if seconds else None,
            seconds=round(trainer.seconds, 3),
        )

    def on_evaluate(self, trainer: CorpusTrainer) -> None:
        self.log.append(
            event="evaluation",
            step=trainer.step,
            validation_loss=trainer.validation_loss,
            perplexity=perplexity(trainer.validation_loss),
            seconds=round(trainer.seconds, 3),
        )


class EarlyStopping(Callback):
    """Stops after `patience` evaluations in a row without a lower validation loss."""

    def __init__(self, patience: int):
        self.patience, self.best, self.waited = patience, math.inf, 0

    def on_evaluate(self, trainer: CorpusTrainer) -> None:
        if trainer.validation_loss < self.best:
            self.best, self.waited = trainer.validation_loss, 0
        else:
            self.waited += 1
            if self.waited >= self.patience:
                trainer.stop_reason = (
                    f"the validation loss has not improved in {self.patience} evaluations (best {self.best:.3f})"
                )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state.get("best", math.inf), state.get("waited", 0)


class StopOnSignal(Callback):
    """Ctrl-C (and SIGTERM, as clusters send) lets the current step finish, then stops; a second one stops at once."""

    def __init__(self) -> None:
        self.previous: dict[int, Any] = {}
        self.received: int | None = None

    def on_train_begin(self, trainer: CorpusTrainer) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may listen to signals

        def handler(number: int, frame: FrameType | None) -> None:
            trainer.stop_reason, trainer.interrupted = f"stopped by {signal.Signals(number).name}", True
            self.received = number
            self.restore()

        self.previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_end(self, trainer: CorpusTrainer) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back to those who had them."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
