"""Checks of a bundle's file: it lies in the folder, is as recorded, and has not changed since."""

import stat
import sys
import time
from pathlib import Path

from runtime.storage.local import fault

_SETTLED_NS = 2_000_000_000  # clocks of file systems tick every two seconds at least

State = tuple[int, ...]
"""Numbers that change whenever somebody writes to a file or puts another in its place."""


def wrong_with(folder: Path, name: str, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a file of the bundle `folder`, or None.

    `size`, `sha256`: what the file must have; None where that is not checked.
    """
    path = folder / name
    try:
        outside = not path.resolve().is_relative_to(folder.resolve())
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except RuntimeError:
        return "cannot be read: its links go in a circle"
    if outside:
        return "a link that leads out of the bundle, where a copy of the file must be"
    if not regular:
        return "not a regular file"
    return None if size is None else fault(path, size, sha256)


def state_of(path: Path) -> State | None:
    """The file's state now; None if it is missing or cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    # the system alone sets ctime: an older time of writing cannot hide that a file was written
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_size, *times


def is_settled(state: State) -> bool:
    """Whether every later write would change this state.

    Two writes within a tick of the file system's clock may leave the same state, and Windows never
    changes ctime.
    """
    return sys.platform != "win32" and max(state[-2:]) < time.time_ns() - _SETTLED_NS
