"""Files and folders written whole or not at all, and hashes of files."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from runtime.storage.unfinished import unfinished


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename. Raises OSError, and then leaves nothing."""
    temporary = _beside(path)
    with unfinished(temporary):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder to be filled and renamed to `path`; gone afterwards if it was not renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    with unfinished(temporary):
        try:
            temporary.mkdir()
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(path: Path) -> None:
    """Remove what writers that were killed left of `path`, and of files named after it."""
    for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault(path: Path, size: int, sha256: str | None) -> str | None:
    """What is wrong with a file of known size and hash; None: nothing. `sha256` None: unchecked."""
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


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
