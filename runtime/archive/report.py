"""The report of a run: a file with a line of JSON for each picture."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from runtime.archive.job import Outcome
from runtime.errors import UsageError

_BEGINNING = b'{"input": '
_CHUNK = 1 << 16


class Report:
    """A report, written line by line in one piece each: a run that is killed leaves whole lines.

    An earlier report is replaced when the first outcome comes or, with `append`, continued, and
    `say` is told so. Raises `UsageError` for any other file, which stays as it is, and OSError
    where the report cannot be written.
    """

    def __init__(self, path: Path, append: bool, say: Callable[[str], None]) -> None:
        self._path = path
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            regular = True
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if regular else os.O_WRONLY  # a FIFO
        self._file = os.open(path, flags | os.O_CLOEXEC, 0o666)
        self._regular, self._replace = regular, regular and not append
        try:
            if regular and not _BEGINNING.startswith(os.pread(self._file, len(_BEGINNING), 0)):
                raise UsageError(
                    f"--report {path}: this file exists and is no report, so it is not "
                    "overwritten; choose another name"
                )
            if regular and append and os.fstat(self._file).st_size:
                cut = "; its last line was not finished, and is removed" if self._mend() else ""
                say(f"{path}: this run is appended to the earlier report{cut}")
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def add(self, outcome: Outcome) -> None:
        """Add a line, whole or not at all. Raises OSError that names the report."""
        line = json.dumps(outcome.record()).encode() + b"\n"
        try:
            if self._replace:
                os.ftruncate(self._file, 0)
                self._replace = False
            self._write(line)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:  # the disk is full
            if self._regular:
                os.ftruncate(self._file, size)
            raise

    def _mend(self) -> bool:
        """Close the last line, or remove it where it was cut short. Returns whether it was."""
        size = end = os.fstat(self._file).st_size
        tail = b""
        while end and b"\n" not in tail:
            start = max(0, end - _CHUNK)
            tail = os.pread(self._file, end - start, start) + tail
            end = start
        last = tail.rpartition(b"\n")[2]
        if not last:
            return False
        try:
            json.loads(last)
        except ValueError:
            os.ftruncate(self._file, size - len(last))
            return True
        os.write(self._file, b"\n")
        return False
