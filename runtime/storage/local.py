"""Files written whole or not at all, and their hashes."""

import hashlib
import os
import tempfile
from glob import escape
from pathlib import Path

_CHUNK = 1 << 20


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename. Raises OSError, and then leaves nothing."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what writers that were killed left of `path`, and of files named after it."""
    for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
