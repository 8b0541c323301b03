"""How all our commands talk and end: one line for an error or a warning, and exit codes."""

import argparse
import atexit
import gc
import io
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from runtime.archive.background import background_work
from runtime.errors import CheckpointUnavailableError, DmdnetError, DmdnetWarning, error_line
from runtime.redaction import without_secrets
from runtime.storage.unfinished import abandon
from runtime.text import shown, squeezed

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
"""Exit code when a checkpoint cannot be downloaded, so that a script can choose another."""
INTERRUPTED = 130

_INTERRUPTED = "interrupted; nothing half written is left"
_CLEANING_S = 2.0  # for which a second Ctrl-C is not heard, so that this is true
_interrupted = 0.0  # when, by the monotonic clock
_debug = False


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line; every command has `--version` and `--debug`."""

    def __init__(self, prog: str, description: str) -> None:
        from importlib.metadata import version  # slow, and Ctrl-C is heard from `run` on

        super().__init__(prog=prog, description=description)
        self.add_argument("--version", action="version", version=version("dmdnet-runtime"))
        about = "also print the Python traceback of each error"
        self.add_argument("--debug", action=_Debug, nargs=0, help=about)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {shown(message)} (see {self.prog} --help)\n")


class _Debug(argparse.Action):
    """Heard by `run`, whatever the command does with its arguments."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        global _debug
        _debug = True


def run(prog: str, work: Callable[[], int]) -> NoReturn:
    """Do the command's work and leave with its exit code; an error becomes one line."""

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        ours = isinstance(message, DmdnetWarning)
        say(f"{prog}: warning: {message if ours else squeezed(str(message))}")

    warnings.showwarning = show_warning
    logging.getLogger().addHandler(_LibrariesLog())
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    _on_interruption(_interrupt)
    try:
        try:
            sys.exit(work())
        finally:
            _on_interruption(_end_now)  # Python itself would print traces
            gc.freeze()  # else Python walks through all of torch on its way out, for two seconds
    except (Exception, KeyboardInterrupt) as error:
        if _interrupted:  # libraries turn the KeyboardInterrupt into errors of their own
            code, message = INTERRUPTED, _INTERRUPTED
        else:
            code = UNAVAILABLE if isinstance(error, CheckpointUnavailableError) else FAILED
            message = error_line(error)
            if not isinstance(error, (DmdnetError, OSError, MemoryError)):
                message += " (a fault of the program: run again with --debug and report it)"
            say_trace("".join(traceback.format_exception(error)))
        if _interrupted or background_work():
            abandon()  # before it is said that nothing is left
        say(f"{prog}: {message}")
        _leave(code)


class _LibrariesLog(logging.Handler):
    """What libraries log is for their developers: shown with `--debug`, else not."""

    def emit(self, record: logging.LogRecord) -> None:
        if _debug:
            say(f"{record.name}: {squeezed(record.getMessage())}")


def _leave(code: int) -> NoReturn:
    """End the process, also where a thread waits for a server or a disk that never answers."""
    if not _interrupted and not background_work():
        sys.exit(code)
    with suppress(OSError):  # nobody reads it any more
        sys.stdout.flush()
    atexit._run_exitfuncs()  # what libraries clean up at the end
    abandon()
    os._exit(code)


def _end_now(*_: object) -> NoReturn:
    abandon()
    os._exit(INTERRUPTED)


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


def tell(line: str) -> None:
    """A line of the command's result on stdout."""
    print(shown(line), flush=True)


def say(line: str) -> None:
    """A line on stderr, where progress bars and errors go."""
    print(shown(line), file=sys.stderr, flush=True)


def say_above_bar(line: str) -> None:
    """`say` while a progress bar of tqdm is shown, which stays the last line."""
    from tqdm import tqdm

    tqdm.write(shown(line), file=sys.stderr)


def say_trace(trace: str | None) -> None:
    """The lines of a traceback on stderr, if the command was given `--debug`."""
    for line in (trace or "").splitlines() if _debug else ():
        say(without_secrets(line))


def report(line: str) -> None:
    """`say` that a stage begins or ends; raises a KeyboardInterrupt that a library has lost."""
    check_interrupted()
    say(line)


def check_interrupted() -> None:
    """Raise the KeyboardInterrupt again that a library has turned into an error of its own."""
    if _interrupted:
        raise KeyboardInterrupt


def _on_interruption(handler: Callable[..., None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    global _interrupted
    if time.monotonic() - _interrupted > _CLEANING_S:
        _interrupted = time.monotonic()
        raise KeyboardInterrupt
