"""The errors that a user can mend. The command line prints them as one sentence and exits with code 2."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave does not work: the message says what was wrong, what was expected and what to do."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, of another model or of a newer version."""


class MissingDependencyError(ImportError):
    """An optional library is needed and absent: the message names what to install."""


class TrainingDivergedError(RuntimeError):
    """The loss or a gradient is no number any more: the message names the step and the first layer that broke."""
