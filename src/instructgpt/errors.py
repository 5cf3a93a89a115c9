"""Every error a user can cause, and what each one means.

    InstructGPTError
    |-- ConfigError       a setting: names the key, where it was written, and the nearest valid one
    |-- DataError         a file or a row: names path:line and what was expected
    |-- CheckpointError   a model or checkpoint directory: missing, mismatched or half-written
    |-- RunDirError       a run directory: locked by another process, or made from other settings
    |-- NonFiniteError    a loss or gradient that is not a number; raised before the optimizer moves
    |-- EngineError       generation: a prompt longer than the context, an impossible setting
    |-- LabelError        a ranking or label that cannot be recorded
    `-- RemoteError       another machine answered with an error: status and body

The command line prints one line and exits with 2 for these; anything else is our bug and keeps
its traceback.
"""

from __future__ import annotations


class InstructGPTError(Exception):
    """Base of all errors whose remedy lies with the user; the message is one readable line."""


class ConfigError(InstructGPTError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""


class DataError(InstructGPTError):
    """A data file is missing, broken, empty, or a row does not have the expected shape."""


class CheckpointError(InstructGPTError):
    """A model or checkpoint directory cannot be used."""


class RunDirError(InstructGPTError):
    """A run directory cannot be used: locked, or not what the caller says it is."""


class NonFiniteError(InstructGPTError):
    """A loss or gradient is NaN or infinite; no parameter has been changed by it."""


class EngineError(InstructGPTError):
    """A generation request cannot be served."""


class LabelError(InstructGPTError):
    """A label is invalid: wrong number of ranks, unknown task, or a double submission."""


class RemoteError(InstructGPTError):
    """A remote judge or server failed; the message carries status and body."""
