"""How all our commands talk: one line on stderr for an error or a warning, and exit codes."""

import argparse
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from runtime.errors import CheckpointUnavailableError, DmdnetError

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
"""Exit code when a checkpoint cannot be downloaded, so that a script can choose another."""
INTERRUPTED = 130

_INTERRUPTED = "interrupted; nothing half written is left"
_CLEANING_S = 2.0  # for which a second Ctrl-C is not heard, so that this is true
_interrupted = 0.0  # when, by the monotonic clock


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def __init__(self, prog: str, description: str) -> None:
        from importlib.metadata import version  # slow, and Ctrl-C is heard from `run` on

        super().__init__(prog=prog, description=description)
        self.add_argument("--version", action="version", version=version("dmdnet-runtime"))

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run(prog: str, work: Callable[[], int]) -> NoReturn:
    """Do the command's work and leave with its exit code; our errors become one line."""

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        say(f"{prog}: warning: {message}")

    warnings.showwarning = show_warning
    _on_interruption(_interrupt)
    try:
        try:
            sys.exit(work())
        finally:
            _on_interruption(lambda *_: os._exit(INTERRUPTED))  # Python itself would print traces
            gc.freeze()  # else Python walks through all of torch on its way out, for two seconds
    except (Exception, KeyboardInterrupt) as error:
        if _interrupted:  # libraries turn the KeyboardInterrupt into errors of their own
            code, message = INTERRUPTED, _INTERRUPTED
        elif isinstance(error, DmdnetError):
            unavailable = isinstance(error, CheckpointUnavailableError)
            code, message = UNAVAILABLE if unavailable else FAILED, str(error)
        elif isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            code, message = FAILED, f"{where}{error.strerror or error}"
        elif isinstance(error, MemoryError):
            code, message = FAILED, "out of memory"
        else:
            raise  # a bug: its trace is what helps
    say(f"{prog}: {' '.join(message.split())}")
    sys.exit(code)


@contextmanager
def loading(prog: str) -> Iterator[None]:
    """For imports before anything is written: Ctrl-C ends the process at once.

    Raised inside the initialisation of a library in C++, it crashes some and is lost in others.
    """

    def leave(*_: object) -> NoReturn:
        os.write(2, f"{prog}: {_INTERRUPTED}\n".encode())
        os._exit(INTERRUPTED)

    _on_interruption(leave)
    yield
    _on_interruption(_interrupt)


def say(line: str) -> None:
    """A line on stderr, where progress bars and errors go."""
    print(line, file=sys.stderr, flush=True)


def report(line: str) -> None:
    """`say` that a stage begins or ends; raises a KeyboardInterrupt that a library has lost."""
    if _interrupted:
        raise KeyboardInterrupt
    say(line)


def _on_interruption(handler: Callable[..., None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    global _interrupted
    if time.monotonic() - _interrupted > _CLEANING_S:
        _interrupted = time.monotonic()
        raise KeyboardInterrupt
