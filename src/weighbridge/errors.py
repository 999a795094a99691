"""Errors that people see, and the exit codes of the command line.

An error says what was tried, the bad value, what is allowed and the next step. Built-in exceptions are used wherever no
caller has to tell them apart; the classes here exist because the command line and the gateway treat them differently.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    UNDECIDED = 2
    USAGE = 64


class WeighbridgeError(Exception):
    """Something a person can mend. `str(error)` is the whole message; no traceback is shown for it."""

    exit_code = ExitCode.FAILED


class UsageError(WeighbridgeError):
    exit_code = ExitCode.USAGE


class ConfigError(WeighbridgeError):
    """A configuration that cannot be used.

    `file` and `key` say where, `value` what stands there, `allowed` what may stand there.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, file: str, key: str, problem: str, *, value: object = None, allowed: str = "") -> None:
        self.file, self.key, self.problem, self.value, self.allowed = file, key, problem, value, allowed
        shown = "" if value is None else f" (found {value!r})"
        tail = f" Allowed: {allowed}." if allowed else ""
        super().__init__(f"{file}: {key}: {problem}{shown}.{tail}")


class StoreError(WeighbridgeError):
    """The store cannot be read, written or locked."""


class ControlError(WeighbridgeError):
    """The keeper refused a control call, or did not answer."""


class NotAllowedError(ControlError):
    """Whoever asked is known and may not do this."""


class NotThereError(ControlError):
    """What was asked for does not exist, or whoever asked may not know that it does."""
