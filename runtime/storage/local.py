"""Files and folders written whole or not at all, and hashes of files."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.storage.temporary import temporary_file, temporary_folder

_FOR_NOBODY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def is_for_nobody(folder: Path, error: OSError) -> bool:
    """Whether an error at one file means that none at all can be written to its folder."""
    takes_files = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return error.errno in _FOR_NOBODY or not takes_files


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: `data` goes to a file beside `path`, which is then renamed.

    Raises OSError, also where `path` is a device or FIFO, and then leaves nothing.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with temporary_file(path) as (temporary, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder to be filled and renamed to `path`; deleted afterwards if it was not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path) as temporary:
        yield temporary


def are_one_file(folder: Path, name: str, other: str) -> bool:
    """Whether two names mean one file in a folder, which need not exist yet.

    On some disks they do if they differ only in capital letters, or in how an accent is encoded.
    """
    while not folder.exists():
        folder = folder.parent
    with temporary_folder(folder / "trial") as trial, suppress(OSError):  # too long for any file
        (trial / name).touch()
        return (trial / other).exists()
    return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault(path: Path, size: int, sha256: str | None) -> str | None:
    """What is wrong with a file of known size and hash, or None; `sha256` None is not checked."""
    try:
        found = path.stat().st_size
        if found != size:
            return f"{found} bytes in place of {size}"
        if sha256 is not None and sha256_of(path) != sha256:
            return "altered (its SHA-256 differs)"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
