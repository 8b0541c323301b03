"""Temporary files and folders, and the removal of those that killed processes left.

The name of one says only on which boot of which machine it was made. The process that fills it
holds a lock on it, which the kernel releases when the process ends, however it ends: one that
nobody has locked is left over.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO

from runtime.storage.unfinished import unfinished

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "0" * 12  # for a machine that does not tell, and a disk without locks
NAME = re.compile(r"\.dmdnet-([0-9a-f]{12})-[0-9a-f]{8}\.tmp")
"""Names of temporary files and folders."""

_lock = threading.Lock()
_looked_at: set[Path] = set()


@contextmanager
def temporary_file(beside: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file in the folder of `beside`, to be filled and renamed; deleted if it was not.

    Its permissions are those of any new file. First, what killed processes left in the folder is
    removed, once in this process.
    """
    _look_once(beside.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        path = _new_name(beside)
        descriptor = os.open(path, flags, 0o666)
        if (held := _held(path, descriptor)) is not None:
            break
    try:
        with unfinished(held), os.fdopen(descriptor, "wb") as file:
            yield held, file
    finally:
        held.unlink(missing_ok=True)


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """The same as `temporary_file`, for a folder."""
    _look_once(beside.parent)
    while True:
        path = _new_name(beside)
        try:
            path.mkdir()
        except OSError as error:  # of a name that nobody gave
            raise OSError(error.errno, error.strerror, str(beside)) from None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if (held := _held(path, descriptor)) is not None:
            break
    try:
        with unfinished(held):
            yield held
    finally:
        shutil.rmtree(held, ignore_errors=True)
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder.

    Those that a living process fills stay, and so do those of another machine and those from before
    the last boot of this one.
    """
    with _lock:
        _looked_at.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            made = NAME.fullmatch(entry.name)
            if made and made[1] == _machine() != _UNKNOWN:
                _remove_if_left(Path(entry.path))


def _look_once(folder: Path) -> None:
    with _lock:
        seen = folder in _looked_at
    if not seen:
        remove_unfinished(folder)


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):  # it is gone, somebody else's, or held
        kind = path.lstat().st_mode
        access = os.O_RDONLY if stat.S_ISDIR(kind) else os.O_RDWR  # network disks lock no less
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(kind):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


def _held(path: Path, descriptor: int) -> Path | None:
    """Where the new file or folder is now that it is locked; None where it was removed before."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # no locks on this disk: under this name nobody takes it for left over
        unlocked = path.with_name(path.name.replace(_machine(), _UNKNOWN))
        return path.rename(unlocked)
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            return path
    os.close(descriptor)
    return None


def _new_name(beside: Path) -> Path:
    return beside.with_name(f".dmdnet-{_machine()}-{secrets.token_hex(4)}.tmp")


@cache
def _machine() -> str:
    """Names this start of this machine, in all its containers."""
    try:
        return sha256(_BOOT.read_bytes()).hexdigest()[: len(_UNKNOWN)]
    except OSError:
        return _UNKNOWN
