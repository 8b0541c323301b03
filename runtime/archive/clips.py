"""A clip of an archive: one item, whose finished segments outlive a run that is interrupted."""

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from warnings import warn

from runtime.archive.failures import ends_the_run, failure_of, trace_of, unwritable
from runtime.archive.job import Job, Outcome, Picture, refuse_overwriting
from runtime.errors import DmdnetWarning, InvalidImageError, OutputError, UsageError, VideoError
from runtime.redaction import public_name
from runtime.restorer import Restorer
from runtime.storage import locations as storage
from runtime.video.clip import restore_clip
from runtime.video.files.records import KEY, LOCK, segments_of
from runtime.video.report import VideoReport
from runtime.video.restoring import Wanted

ClipProgress = Callable[[str, int, int | None, float], None]
"""Called with a clip's name, its frames that are done, how many there are, and frames a second."""

_LOCAL = Path("dmdnet-video")  # where clips are made whose results go to a URL
_LOCK_S = 100.0  # within which a disk of the network unlocks what a dead process had locked
_ASK_S = 0.2  # between two looks at the lock


def restore_item(
    job: Job,
    restorer: Restorer,
    wanted: Wanted,
    picture: Picture,
    again: bool,
    progress: ClipProgress | None,
) -> Outcome:
    """Restore a clip and write it. An error of its own is in the outcome.

    `again`: another worker died on it, so that what that one has finished is taken on. Raises what
    ends the whole run, as `ArchiveRestorer.restore` does.
    """
    try:
        return _restored(job, restorer, wanted, picture, again, progress)
    except Exception as error:
        if ends_the_run(error):
            raise
        if end := unwritable(job.out, error):
            raise end from error
        message = failure_of(picture.name, error)
        return Outcome(picture.name, "", restorer.backend, message, trace=trace_of(error))


def _restored(
    job: Job,
    restorer: Restorer,
    wanted: Wanted,
    picture: Picture,
    again: bool,
    progress: ClipProgress | None,
) -> Outcome:
    name = picture.name
    _check(job, picture)
    output = job.output_of(name)
    refuse_overwriting(name, output)
    if job.resume and storage.exists(output) and not _is_begun_anew(output):
        return Outcome(name, output, restorer.backend, there=True)
    if not storage.is_url(output):
        return _made(job, restorer, wanted, name, Path(output), output, again, progress)
    with _local_target(output) as target:
        if job.resume and _is_whole(target):
            _send(job, target, output)
            notes = ("an earlier run had made it, and it was sent now",)
            return Outcome(name, output, restorer.backend, notes=notes)
        outcome = _made(job, restorer, wanted, name, target, output, again, progress)
        _send(job, target, output)
        return outcome


def _made(
    job: Job,
    restorer: Restorer,
    wanted: Wanted,
    name: str,
    target: Path,
    output: str,
    again: bool,
    progress: ClipProgress | None,
) -> Outcome:
    """Restore a clip to a file of this machine, whose outcome is of `output`."""

    def tell(done: int, total: int | None, fps: float) -> None:
        if progress is not None:
            progress(name, done, total, fps)

    if again:
        _await_lock(segments_of(target))
    report = restore_clip(
        restorer,
        storage.local(name),
        str(target),
        wanted,
        job.clip,
        max_pixels=job.max_pixels,
        resume=job.resume or again,
        anew=again,
        progress=tell,
    )
    notes = report.warnings
    if again and not report.resumed:
        notes += ("its worker died, and no segment of it can be used here: it was begun anew",)
    seconds = {stage: round(value, 4) for stage, value in report.timings.items()}
    return Outcome(
        name, output, restorer.backend, notes=notes, seconds=seconds, clip=_record(report)
    )


def _check(job: Job, picture: Picture) -> None:
    """Raise what keeps the clip from being read, or `UsageError` for what is for photos only."""
    name = picture.name
    if picture.error is not None:
        raise picture.error
    if wrong := storage.flaw(name):
        raise InvalidImageError(wrong)
    if storage.is_url(name):
        raise UsageError(f"{public_name(name)}: a clip is read from a file: download it first")
    for_photos = {
        "--upscale": job.options.upscale != 1,
        "--aligned": job.aligned,
        "--landmarks": job.landmarks is not None,
        "--compare": job.compare,
        "--draw": job.draw,
    }
    if given := [option for option, is_given in for_photos.items() if is_given]:
        raise UsageError(f"{name} is a clip, and {given[0]} is for photos only")


@contextmanager
def _local_target(url: str) -> Iterator[Path]:
    """Where a clip is made, before it is sent to a URL: the same in each run, and said.

    Afterwards folders are removed in which nothing lies.
    """
    target = _made_at(url)
    folder = target.parent
    warn(
        f"{public_name(url)} is made in {folder.absolute()}, and sent when it is whole; --resume "
        "goes on from the segments there",
        DmdnetWarning,
        stacklevel=2,
    )
    try:
        yield target
    finally:
        for each in (folder, _LOCAL):
            with suppress(OSError):  # something is in it, or nothing was ever made
                each.rmdir()


def _made_at(url: str) -> Path:
    mark = hashlib.sha256(storage.canonical(url).encode()).hexdigest()[:12]
    return _LOCAL / mark / storage.base_name(url)


def _is_begun_anew(output: str) -> bool:
    """Whether a run after the one that made a result has left something to go on with."""
    if storage.is_url(output):
        target = _made_at(output)
        return target.exists() or _has_segments(target)
    return _has_segments(Path(output))


def _is_whole(target: Path) -> bool:
    """Whether an earlier run has made a result, and none after it has begun anew."""
    return target.exists() and not _has_segments(target)


def _has_segments(target: Path) -> bool:
    """Whether a run has begun a result; a folder may stay when others put a file into it."""
    return (segments_of(target) / KEY).exists()


def _send(job: Job, target: Path, url: str) -> None:
    """Send a result to its URL; where that fails, it stays here for a run with `resume`.

    Raises `OutputError` if nothing can be written to `--out`, and else `VideoError`.
    """
    try:
        storage.send(target, url)
    except OSError as error:
        stays = f"the restored clip is kept as {target.absolute()}, and --resume sends it"
        if end := unwritable(job.out, error):
            raise OutputError(f"{end}; {stays}") from error
        raise VideoError(f"{failure_of(url, error)}; {stays}") from error
    target.unlink()


def _await_lock(segments: Path) -> None:
    """Wait for a while until nobody works on the segments any more.

    A worker that has died holds their lock until the kernel, or the server of a disk of the
    network, has cleaned up behind it.
    """
    end = time.monotonic() + _LOCK_S
    while _is_locked(segments / LOCK) and time.monotonic() < end:
        time.sleep(_ASK_S)


def _is_locked(file: Path) -> bool:
    try:
        with file.open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody has begun, or there are no locks on this disk
        return False
    return False


def _record(report: VideoReport) -> dict[str, Any]:
    """A clip as the report has it."""
    fresh = report.frames - report.resumed
    return {
        "frames": report.frames,
        "resumed": report.resumed,
        "fps": round(fresh / report.seconds, 2) if report.seconds else 0.0,
        "tracks": [
            asdict(track) | {"begin": round(track.begin, 3), "end": round(track.end, 3)}
            for track in report.tracks
        ],
    }
