"""Which failures are one picture's own, and which end the whole run."""

import traceback
from pathlib import Path

from runtime.errors import (
    ClosedError,
    DeviceError,
    DmdnetError,
    EngineCallError,
    OutputError,
    error_line,
)
from runtime.redaction import public_name
from runtime.storage import locations as storage
from runtime.storage.local import is_for_nobody
from runtime.text import shown


def ends_the_run(error: Exception) -> bool:
    """Whether every other picture would fail, too.

    The engine cannot run or be reached any more, or nothing can be written to `--out`.
    """
    gone = isinstance(error, (DeviceError, ClosedError, OutputError))
    return gone and not isinstance(error, EngineCallError)


def unwritable(out: str, error: Exception) -> OutputError | None:
    """The error that ends the run if nothing can be written to `out`; None if one output failed."""
    if not isinstance(error, OSError):
        return None
    if storage.is_url(out):
        refused = isinstance(error.__cause__, PermissionError) or not _answers(out)
    else:
        refused = is_for_nobody(Path(out), error)
    if not refused:
        return None
    return OutputError(f"{out}: cannot be written: {error.strerror or error_line(error)}")


def failure_of(name: str, error: Exception) -> str:
    """A picture's error as one line, with the picture's name in front unless it is there."""
    if isinstance(error, OSError) and not isinstance(error, DmdnetError) and error.strerror:
        line = shown(error.strerror)  # it may name a temporary file
    else:
        line = error_line(error)
    name = shown(public_name(name))
    return line if name in line else f"{name}: {line}"


def trace_of(error: BaseException) -> str:
    """The traceback of an error, with those of its causes, as Python prints it."""
    return "".join(traceback.format_exception(error))


def _answers(url: str) -> bool:
    try:
        storage.exists(url)
    except OSError:
        return False
    return True
