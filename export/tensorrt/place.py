"""The place where engines are built: a bundle's `engines` folder, locked, with room on its disk."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.bundle.engine_record import FOLDER
from runtime.bundle.opening import Bundle
from runtime.errors import BundleError, EngineError


@contextmanager
def locked(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Lock `folder` while engines are built in it; the lock ends with the process that holds it.

    `report` gets a line if another process holds the lock. Raises `BundleError` for a folder that
    cannot be written, or that is a link.
    """
    import filelock

    try:
        folder.mkdir(exist_ok=True)
        _refuse_links(folder)
        lock = filelock.FileLock(folder / ".lock")
        try:
            held = lock.acquire(blocking=False)
        except filelock.Timeout:
            report(f"{folder}: another process builds here; waiting for it")
            held = lock.acquire()
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    with held:
        yield


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder inside the locked `folder`, laid out like a bundle."""
    staging = folder / ".building"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        (staging / FOLDER).mkdir(parents=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_links(folder: Path) -> None:
    """Refuse links: a stranger's bundle must not make the build write or remove files elsewhere."""
    for path in (folder, folder / ".lock", folder / ".building"):
        if path.is_symlink():
            raise BundleError(f"{path}: a link; remove it, engines are built inside the bundle")


def refuse_full_disk(bundle: Bundle) -> None:
    """Raise `EngineError` if engines, which are as large as their graphs' weights, do not fit."""
    need = (64 << 20) + sum(record.size for record in bundle.manifest.files.values())
    free = shutil.disk_usage(bundle.path).free
    if free < need:
        raise EngineError(
            f"{bundle.path}: no space: the engines need about {need >> 20} MiB, {free >> 20} are "
            "free"
        )
