"""How all our commands talk: one line on stderr for an error or a warning, and exit codes."""

import argparse
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import NoReturn, TextIO

from runtime.errors import CheckpointUnavailableError, DmdnetError

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
"""Exit code when a checkpoint cannot be downloaded, so that a script can choose another."""
INTERRUPTED = 130

_CLEANING_S = 2.0  # for which a second Ctrl-C is not heard, so that nothing half written is left


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

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        say(f"{prog}: warning: {message}")

    warnings.showwarning = show_warning
    interrupted = 0.0

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if time.monotonic() - interrupted > _CLEANING_S:
            interrupted = time.monotonic()
            raise KeyboardInterrupt

    def leave(*_: object) -> NoReturn:  # all is cleaned up; Python's own way out prints traces
        os._exit(INTERRUPTED)

    _on_interruption(interrupt)
    try:
        try:
            sys.exit(work())
        finally:
            _on_interruption(leave)
            gc.freeze()  # else Python walks through all of torch on its way out, for two seconds
    except (Exception, KeyboardInterrupt) as error:
        if interrupted:  # libraries turn the KeyboardInterrupt into errors of their own
            code, message = INTERRUPTED, "interrupted; nothing half written is left"
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


def _on_interruption(handler: Callable[..., None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def say(line: str) -> None:
    """A line on stderr, where progress bars and errors go."""
    print(line, file=sys.stderr, flush=True)
