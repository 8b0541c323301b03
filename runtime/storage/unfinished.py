"""The temporary files and folders that this process is writing, in whichever thread."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_lock = threading.RLock()  # a signal handler may come in between
_unfinished: set[Path] = set()
_abandoned = False


@contextmanager
def unfinished(temporary: Path) -> Iterator[None]:
    """Have `abandon` remove a temporary file or folder while the block makes and fills it.

    Raises OSError after `abandon`: nothing new may be begun then.
    """
    with _lock:
        if _abandoned:
            raise InterruptedError("the process is about to end")
        _unfinished.add(temporary)
    try:
        yield
    finally:
        with _lock:
            _unfinished.discard(temporary)


def abandon() -> None:
    """Remove all unfinished files and folders; only for a process that is about to end."""
    global _abandoned
    with _lock:
        _abandoned = True
        for temporary in _unfinished:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
