"""How all our commands talk: one line on stderr for an error or a warning, and exit codes."""

import argparse
import signal
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import NoReturn, TextIO

from runtime.errors import CheckpointUnavailableError, DmdnetError

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
"""Exit code when a checkpoint cannot be downloaded, so that a script can choose another."""
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def __init__(self, prog: str, description: str) -> None:
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
    interrupted = False

    def interrupt(*_: object) -> NoReturn:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)  # clean up as for Ctrl-C
    try:
        sys.exit(work())
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


def say(line: str) -> None:
    """A line on stderr, where progress bars and errors go."""
    print(line, file=sys.stderr, flush=True)
