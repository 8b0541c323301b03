"""Where engines are built: a bundle's `engines` folder, locked, with room on its disk."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.bundle.engine_record import FOLDER
from runtime.bundle.opening import Bundle
from runtime.errors import BundleError, EngineError


@contextmanager
def locked(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """One process at a time builds in a bundle; the lock goes with the process that holds it."""
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
    """A folder inside the locked `folder` that looks like a bundle's; gone afterwards."""
    staging = folder / ".building"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        (staging / FOLDER).mkdir(parents=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_links(folder: Path) -> None:
    """A bundle of a stranger's must not make the build write, or remove, elsewhere."""
    for path in (folder, folder / ".lock", folder / ".building"):
        if path.is_symlink():
            raise BundleError(f"{path}: a link; remove it, engines are built inside the bundle")


def refuse_full_disk(bundle: Bundle) -> None:
    """An engine is about as large as its graph's weights."""
    need = (64 << 20) + sum(record.size for record in bundle.manifest.files.values())
    free = shutil.disk_usage(bundle.path).free
    if free < need:
        raise EngineError(
            f"{bundle.path}: no space: the engines need about {need >> 20} MiB, {free >> 20} are "
            "free"
        )
