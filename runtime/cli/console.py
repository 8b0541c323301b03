"""What all commands share: one line for each error or warning, exit codes, and Ctrl-C."""

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

from runtime.errors import CheckpointUnavailableError, DmdnetError, DmdnetWarning, error_line
from runtime.redaction import without_secrets
from runtime.scheduling.background import background_work, settle
from runtime.storage.unfinished import abandon
from runtime.text import shown, squeezed

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
"""Exit code when a checkpoint cannot be downloaded, so that a script can try another one."""
INTERRUPTED = 130

_INTERRUPTED = "interrupted; no half-written file is left"
_CLEANING_S = 2.0  # a second Ctrl-C is ignored this long, so that the message is true
_interrupted = 0.0  # when, by the monotonic clock
_debug = False
_without_clean_up = False


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors, and with `--version` and `--debug`."""

    def __init__(self, prog: str, description: str) -> None:
        from importlib.metadata import version  # slow, and Ctrl-C is heard from `run` on

        super().__init__(prog=prog, description=description)
        self.add_argument("--version", action="version", version=version("dmdnet-runtime"))
        about = "also print the Python traceback of each error"
        self.add_argument("--debug", action=_Debug, nargs=0, help=about)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {shown(message)} (see {self.prog} --help)\n")


class _Debug(argparse.Action):
    """Turns on tracebacks for the whole process, so that commands need not pass `--debug` on."""

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
    """Do the command's work and end the process with the exit code that it returns.

    An error becomes one line on stderr and exit code 1, 3 or 130; warnings become one line each.
    """

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
            code = work()
        finally:
            _on_interruption(_end_now)  # Python itself would print traces
            gc.freeze()  # else Python walks through all of torch on its way out, for two seconds
        if _without_clean_up:
            _end(code)
        sys.exit(code)
    except (Exception, KeyboardInterrupt) as error:
        if _interrupted:  # libraries turn the KeyboardInterrupt into errors of their own
            code, message = INTERRUPTED, _INTERRUPTED
        else:
            code = UNAVAILABLE if isinstance(error, CheckpointUnavailableError) else FAILED
            message = error_line(error)
            if not isinstance(error, (DmdnetError, OSError, MemoryError)):
                message += " (this is a bug: run again with --debug and report it)"
            say_trace("".join(traceback.format_exception(error)))
        if _interrupted or background_work():
            abandon()  # before the message says that nothing is left
        say(f"{prog}: {message}")
        _leave(code)


def end_without_clean_up() -> None:
    """Have the command leave when Python has cleaned up, and before C++ libraries do.

    For Ray, whose threads outlive its end, and then sometimes crash.
    """
    global _without_clean_up
    _without_clean_up = True


class _LibrariesLog(logging.Handler):
    """What libraries log is for their developers: shown with `--debug`, else not."""

    def emit(self, record: logging.LogRecord) -> None:
        if _debug:
            say(f"{record.name}: {squeezed(record.getMessage())}")


def _leave(code: int) -> NoReturn:
    """End the process, also where a thread waits for a server or a disk that never answers."""
    if not _interrupted and not background_work() and not _without_clean_up:
        sys.exit(code)
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process as Python does, but wait for no thread, and let C++ clean up nothing."""
    atexit.unregister(settle)
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
    """Within the block Ctrl-C ends the process at once: for imports, before anything is written.

    A KeyboardInterrupt crashes some C++ libraries while they initialise, and others swallow it.
    """

    def leave(*_: object) -> NoReturn:
        os.write(2, f"{prog}: {_INTERRUPTED}\n".encode())
        os._exit(INTERRUPTED)

    _on_interruption(leave)
    yield
    _on_interruption(_interrupt)


def tell(line: str) -> None:
    """Print a line of the command's result on stdout."""
    print(shown(line), flush=True)


def say(line: str) -> None:
    """Print a line on stderr, where progress bars and errors go."""
    print(shown(line), file=sys.stderr, flush=True)


def say_above_bar(line: str) -> None:
    """`say` above a progress bar of tqdm, which stays the last line."""
    from tqdm import tqdm

    tqdm.write(shown(line), file=sys.stderr)


def say_trace(trace: str | None) -> None:
    """Print the lines of a traceback on stderr, if the command was given `--debug`."""
    for line in (trace or "").splitlines() if _debug else ():
        say(without_secrets(line))


def report(line: str) -> None:
    """`say` that a stage begins or ends, unless Ctrl-C was pressed: see `check_interrupted`."""
    check_interrupted()
    say(line)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed: a library may have swallowed the first one."""
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
