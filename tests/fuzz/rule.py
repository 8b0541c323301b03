"""The rule that every input must keep: a right result, or one clean line of ours; nothing else."""

import os
import re
import sys
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

from runtime.errors import DmdnetError, DmdnetWarning

MEMORY = 512
"""MiB that a small input may take beyond what the process had; all inputs are under 8 MB."""
LONGEST_LINE = 5000
"""Characters of an error; what an attacker sends must not fill the screen."""

_FORGING = {"Cc", "Cs", "Zl", "Zp"}  # control characters, lone surrogates, line separators
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OURS = ("runtime", "export", "calibration", "benchmarks")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
_CHANGES = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.link": 1, "os.symlink": 1}


@dataclass(frozen=True)
class Kind:
    """A kind of inputs, and what is done with each.

    `attempt` returns where the input was taken and the result was right; it raises a `DmdnetError`
    where the input was refused, an AssertionError where a result was wrong.
    """

    inputs: SearchStrategy[Any]
    attempt: Callable[[Any], None]


@dataclass
class Tally:
    """What became of the inputs of a kind; `faults` are counted by what and where they are."""

    tried: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by class
    faults: Counter[str] = field(default_factory=Counter)
    peak_mib: float = 0.0  # the most that an input took beyond what the process had

    def add(self, other: Mapping[str, Any]) -> None:
        """Count what another process tried; `other` are its fields."""
        self.tried += other["tried"]
        self.accepted += other["accepted"]
        self.refused.update(other["refused"])
        self.faults.update(other["faults"])
        self.peak_mib = max(self.peak_mib, other["peak_mib"])

    def record(self) -> dict[str, Any]:
        """For the summary: the counts, and each fault."""
        return {
            "tried": self.tried,
            "accepted": self.accepted,
            "clean_errors": sum(self.refused.values()),
            "anything_else": sum(self.faults.values()),
            "errors": dict(self.refused.most_common()),
            "faults": dict(self.faults.most_common()),
            "peak_mib": self.peak_mib,
        }


def unclean(text: str) -> str | None:
    """What is wrong with an error's text; None: it is one line for a person."""
    forging = {unicodedata.category(each) for each in text} & _FORGING
    if forging or set(text) & _TURNING:
        return f"control characters in the message ({', '.join(sorted(forging)) or 'turning'})"
    if not text.strip():
        return "an empty message"
    if len(text) > LONGEST_LINE:
        return "a message that fills the screen"
    return None


class Judge:
    """Watches attempts in this process, which works in a `folder` of its own and nowhere else.

    The folder holds `inside`, where files may come and go; its `cwd`, `home` and `tmp` stay as they
    are.
    """

    def __init__(self, folder: Path) -> None:
        self.tally = Tally()
        self.detail = ""
        """What the last exception said that was not ours."""
        self._folder, self._seen = folder, list[str]()
        self._there = self._elsewhere()  # ONNX Runtime leaves files of its own as it is imported
        sys.addaudithook(self._heed)

    def judge(self, kind: Kind, given: object) -> str | None:
        """Try an input and count it. Returns the fault, if it is one."""
        said = os.fstat(2).st_size
        base = _memory("VmRSS")
        # what a process has had at most begins anew
        Path("/proc/self/clear_refs").write_text("5")
        self._seen.clear()
        self.detail = ""
        with warnings.catch_warnings(record=True) as warned:
            fault = self._try(kind, given)
        taken = (_memory("VmHWM") - base) / 1024
        self.tally.peak_mib = max(self.tally.peak_mib, round(taken, 1))
        foreign = [each for each in warned if not issubclass(each.category, DmdnetWarning)]
        if fault is None and self._seen:
            fault = self._seen[0]
        if fault is None and foreign:
            where = Path(foreign[0].filename).name
            self.detail = str(foreign[0].message)
            fault = f"warning {foreign[0].category.__name__} in {where}"
        if fault is None and os.fstat(2).st_size > said:
            self.detail = _tail(os.fstat(2).st_size - said)
            fault = f"chatter on stderr: {re.sub('[^A-Za-z].*', '', self.detail.lstrip('[ '))} ..."
        if fault is None and taken > MEMORY:
            fault = f"memory: over {MEMORY} MiB"
        left = self._left()
        if fault is None and left:
            fault = f"left behind: {left}"
        if fault is not None:
            self.tally.faults[fault] += 1
        return fault

    def _try(self, kind: Kind, given: object) -> str | None:
        self.tally.tried += 1
        try:
            kind.attempt(given)
        except DmdnetError as error:
            wrong = unclean(str(error))
            if wrong:
                self.detail = f"{error}"[:LONGEST_LINE]
                return f"{type(error).__name__}: {wrong}"
            self.tally.refused[type(error).__name__] += 1
        except Exception as error:
            self.detail = f"{error}"[:LONGEST_LINE]
            said = f": {self.detail}" if isinstance(error, AssertionError) else ""
            return f"{type(error).__name__} at {_where(error)}{said}"
        else:
            self.tally.accepted += 1
        return None

    def _left(self) -> str | None:
        """A file where none may be, or a temporary file."""
        left = sorted(self._elsewhere() - self._there)
        if left:
            return left[0]
        tmp = next((self._folder / "inside").rglob("*.tmp"), None)
        return None if tmp is None else "a .tmp file"

    def _elsewhere(self) -> set[str]:
        empty = (self._folder / name for name in ("cwd", "home", "tmp"))
        return {f"{each.name}/{entry.name}" for each in empty for entry in each.iterdir()}

    def _heed(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python tells of what it opens, renames and starts."""
        if event.startswith(_STARTS):
            self._seen.append(f"started a program: {event}")
        elif event == "open" and isinstance(arguments[2], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._written(event, arguments[0])
        elif event in _CHANGES:
            self._written(event, arguments[_CHANGES[event]])

    def _written(self, event: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            with suppress(ValueError):  # a name with NUL opens nothing
                file = os.path.realpath(os.fsdecode(path))
                if not file.startswith((f"{self._folder}/", "/dev/")):
                    self._seen.append(f"{event} outside of the folder")


def _where(error: BaseException) -> str:
    """The last of our own lines on the way to an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    root = Path(__file__).parents[2]
    for wanted in (_OURS, ("tests",)):
        for frame in reversed(frames):
            with suppress(ValueError):
                file = Path(frame.filename).relative_to(root)
                if file.parts[0] in wanted:
                    return f"{file}:{frame.name}"
    return "nowhere of ours"


def _memory(field: str) -> int:
    """KiB, as the kernel counts this process's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _tail(size: int) -> str:
    with os.fdopen(os.open("/proc/self/fd/2", os.O_RDONLY), "rb") as file:
        file.seek(-size, os.SEEK_END)
        return file.read(500).decode(errors="replace").strip()
