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
    """While a temporary file or folder is made and filled, `abandon` knows it.

    Raises OSError after `abandon`: then nothing new may be begun.
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
    """Remove what is unfinished; only for a process that ends now, whatever its threads do."""
    global _abandoned
    with _lock:
        _abandoned = True
        for temporary in _unfinished:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
