"""The archive in this process: readers find faces ahead of the engine, writers paste behind it."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import cv2

from runtime.archive.clips import ClipProgress, restore_item
from runtime.archive.failures import ends_the_run, failure_of, trace_of, unwritable
from runtime.archive.job import COMPARE, DRAW, Job, Outcome, Picture, refuse_overwriting
from runtime.archive.previews import before_and_after, draw_faces
from runtime.dictionary import SpecificDictionary
from runtime.errors import DictionaryError, InvalidImageError, UsageError
from runtime.faces.finder import Face
from runtime.faces.landmark_files import landmark_file, read_landmarks
from runtime.images.files import Photo, decode_photo, write_image
from runtime.images.formats import declared_pixels
from runtime.one_by_one import about
from runtime.people.known import load_people
from runtime.photo import CutFace, Found, Restored
from runtime.redaction import public_name
from runtime.restorer import steps_of
from runtime.scheduling.stages import Limits, Work, stream
from runtime.steps import RestoredFace
from runtime.storage import locations as storage
from runtime.video.restoring import Wanted

_PIXELS = 12_000_000  # of a photo, for so many of which there is room


@dataclass(frozen=True, eq=False)
class _Ready:
    """A picture that is read, and whose faces are cut out."""

    photo: Photo
    found: Found


class ArchiveRestorer:
    """Does a job in this process, on as many threads as it says, or as there are cores."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._identity = SpecificDictionary.load(job.identity) if job.identity else None
        self._options = replace(job.options, people=load_people(job.people))
        cv2.setNumThreads(1)  # else OpenCV takes all cores for each photo
        self._restorer = job.open()
        people = zip(self._options.people, job.people, strict=True)
        for person, file in ((self._identity, job.identity), *people):
            if person is not None:
                with about(str(file), DictionaryError):
                    self._restorer.check(person)
        self.backend = self._restorer.backend
        self._steps = steps_of(self._restorer)

    def restore(
        self,
        pictures: Iterable[Picture],
        again: bool = False,
        progress: ClipProgress | None = None,
    ) -> Generator[Outcome, None, None]:
        """Restore pictures. Yields what became of each, failed ones too, in their order.

        Each of the threads of the job reads a picture and finds its faces, as many others paste and
        write, and beside them the engine is called with `max_batch` faces at a time; where that
        is more than one, a second call is prepared while the first runs. A picture is taken
        from `pictures` when it is about to be read. `_limits` says how many are on their way.

        A clip goes alone, frame by frame; `progress` is told of it. `again`: a worker died on it,
        so that its finished segments are taken on.

        An error of one picture is in its outcome. Raises `DeviceError` or `ClosedError` when the
        engine cannot run or be reached any more, and `OutputError` when nothing can be written to
        `--out`; before that it yields the outcomes of all that was done.
        """
        work = Work(
            self._prepare, _faces, self._steps.run, self._finish, self._failed, ends_the_run
        )
        wanted = Wanted(self._identity, self._options)
        for are_clips, alike in groupby(pictures, lambda picture: picture.is_clip):
            if not are_clips:
                yield from stream(work, self._limits(), alike)
                continue
            for clip in alike:
                yield restore_item(self._job, self._restorer, wanted, clip, again, progress)

    def close(self) -> None:
        """Free the engine."""
        self._restorer.close()

    def _limits(self) -> Limits:
        """Room for a photo of 12 megapixels in each thread, in each call, and for one call more."""
        threads = self._job.threads or len(os.sched_getaffinity(0))
        batch = self._restorer.max_batch
        calls = 2 if batch > 1 else 1
        return Limits(threads, batch, calls, _PIXELS * (2 * threads + (calls + 1) * batch))

    def _output(self, picture: Picture) -> str:
        return self._job.output_of(picture.name, picture.in_table)

    def _prepare(self, picture: Picture, take_room: Callable[[int], None]) -> _Ready | None:
        """The picture with its faces; None where its output is there already."""
        job = self._job
        if picture.error is not None:
            raise picture.error
        if wrong := storage.flaw(picture.name):
            raise InvalidImageError(wrong)
        if picture.data is None:
            for output in job.outputs_of(picture.name):
                refuse_overwriting(picture.name, output)
        elif len(picture.data) > job.max_bytes:
            raise InvalidImageError(f"{picture.name}: {storage.too_large(job.max_bytes)}")
        if job.resume and storage.exists(self._output(picture)):
            return None
        points = landmark_file(picture.name, job.landmarks)
        landmarks = read_landmarks(points) if points else None
        name, data = picture.name, picture.data
        if data is None:
            name, data = public_name(name), storage.read(name, job.max_bytes)
        take_room(declared_pixels(data, job.max_pixels) * job.options.upscale**2)
        photo = decode_photo(data, name, job.max_pixels)
        if not job.aligned and landmarks is None:
            return _Ready(photo, self._steps.find(photo.image, self._identity, {}, self._options))
        if job.options.upscale != 1 or job.options.only is not None:
            raise UsageError("--upscale and --only do not apply to an aligned face")
        found = self._steps.take(photo.image, landmarks, self._identity, self._options)
        return _Ready(photo, found)

    def _finish(
        self, picture: Picture, ready: _Ready | None, faces: Sequence[RestoredFace]
    ) -> Outcome:
        """Paste and write. Raises `OutputError` if nothing can be written any more."""
        output = self._output(picture)
        if ready is None:
            return Outcome(picture.name, output, self.backend, there=True)
        # previews show the photo as it was
        in_place = not (self._job.compare or self._job.draw)
        result = self._steps.paste(ready.found, faces, in_place)
        notes, message, trace = result.warnings, None, None
        try:
            notes = self._write(output, ready.photo, result)
        except Exception as error:
            if end := unwritable(self._job.out, error):
                raise end from error
            message, trace = failure_of(output, error), trace_of(error)
        found = [_record(face, index in result.restored) for index, face in enumerate(result.faces)]
        seconds = {stage: round(value, 4) for stage, value in result.timings.items()}
        return Outcome(
            picture.name, output, self.backend, message, notes, found, seconds, trace=trace
        )

    def _write(self, output: str, photo: Photo, result: Restored) -> tuple[str, ...]:
        job = self._job
        if job.compare:
            remark = self._restorer.manifest.weights.remark
            comparison = before_and_after(photo.image, result, remark)
            write_image(output + COMPARE, comparison)
        if job.draw:
            write_image(output + DRAW, draw_faces(photo.image, result))
        # last: where `resume` finds it, the others are there too
        lost = write_image(output, result.image, photo.exif, photo.icc_profile)
        return photo.notes + result.warnings + lost

    def _failed(self, picture: Picture, error: Exception) -> Outcome:
        message = failure_of(picture.name, error)
        return Outcome(picture.name, "", self.backend, message, trace=trace_of(error))


def restore_archive(
    job: Job, pictures: Iterable[Picture], progress: ClipProgress | None = None
) -> Generator[Outcome, None, None]:
    """Do a job in this process; see `ArchiveRestorer.restore`."""
    with closing(ArchiveRestorer(job)) as restorer:
        storage.make_folder(job.out)
        yield from restorer.restore(pictures, progress=progress)


def _record(face: Face, restored: bool) -> dict[str, Any]:
    """A face as the report has it."""
    likeness: dict[str, Any] | None = None
    if (alike := face.likeness) is not None:
        likeness = {"before": round(alike.before, 3), "after": round(alike.after, 3)}
        likeness |= {"remark": alike.remark} if alike.remark else {}
    return {
        "box": face.box.round(1).tolist(),
        "score": round(face.score, 3),
        "restored": restored,
        "name": face.name,
        "distance": _rounded(face.distance),
        "runner_up": face.runner_up,
        "runner_up_distance": _rounded(face.runner_up_distance),
        "threshold": face.threshold,
        "guess": face.guess,
        "likeness": likeness,
    }


def _rounded(distance: float | None) -> float | None:
    return None if distance is None else round(distance, 3)


def _faces(ready: _Ready | None) -> Sequence[CutFace]:
    return () if ready is None else ready.found.cuts
