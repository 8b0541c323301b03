"""The archive in this process: pictures are read ahead, restored together and written behind."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from runtime.archive.background import Background
from runtime.archive.failures import ends_the_run, failure_of, trace_of, unwritable
from runtime.archive.job import COMPARE, DRAW, Job, Outcome, Picture, refuse_overwriting
from runtime.archive.previews import before_and_after, draw_faces
from runtime.dictionary import SpecificDictionary
from runtime.errors import InvalidImageError, OutputError, UsageError
from runtime.faces.landmark_files import landmark_file, read_landmarks
from runtime.images.files import Photo, decode_photo, read_photo, write_image
from runtime.one_by_one import ItemError, together
from runtime.photo import Restored
from runtime.storage import locations as storage

_Read = tuple[Photo, NDArray[np.float64] | None]
_Writing = deque[tuple[Picture, Restored, Future[tuple[str, ...]]]]


class ArchiveRestorer:
    """Does a job in this process; decoding and encoding run beside the network."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._identity = SpecificDictionary.load(job.identity) if job.identity else None
        self._restorer = job.open()
        if self._identity is not None:
            self._restorer.check(self._identity)
        self.backend = self._restorer.backend

    def restore(self, pictures: Iterable[Picture]) -> Iterator[Outcome]:
        """Restore pictures. Yields what became of each, failed ones too, in about their order.

        `max_batch` pictures are restored together and share engine calls. As many are decoded
        ahead and at most twice as many wait to be encoded; a picture is taken from `pictures` when
        it is about to be read.

        An error of one picture is in its outcome. Raises `DeviceError` or `ClosedError` when the
        engine cannot run or be reached any more, and `OutputError` when nothing can be written to
        `--out`; before that it yields the outcomes of all that was done.
        """
        size = self._restorer.max_batch
        source = iter(pictures)
        reading: deque[tuple[Picture, Future[_Read | None]]] = deque()
        writing: _Writing = deque()
        end: Exception | None = None
        with Background("reader") as reader, Background("writer") as writer:
            while end is None:
                while len(reading) < 2 * size and (picture := next(source, None)) is not None:
                    reading.append((picture, reader.submit(self._read, picture)))
                if not reading:
                    break
                group: list[tuple[Picture, _Read]] = []
                while reading and len(group) < size:
                    picture, read = reading.popleft()
                    try:
                        found = read.result()
                    except Exception as error:  # whatever it is, it is of this picture alone
                        yield self._failed(picture, error)
                        continue
                    if found is None:
                        yield Outcome(picture.name, self._output(picture), self.backend, there=True)
                    else:
                        group.append((picture, found))
                results = together(self._restore, [read for _, read in group])
                for (picture, (photo, _)), result in zip(group, results, strict=True):
                    if isinstance(result, Restored):
                        write = writer.submit(self._write, picture, photo, result)
                        writing.append((picture, result, write))
                    elif ends_the_run(result):
                        end = result
                    else:
                        yield self._failed(picture, result)
                end = (yield from self._outcomes(writing, 2 * size)) or end
            end = (yield from self._outcomes(writing, 0)) or end
        if end is not None:
            raise end

    def close(self) -> None:
        """Free the engine."""
        self._restorer.close()

    def _output(self, picture: Picture) -> str:
        return self._job.output_of(picture.name)

    def _read(self, picture: Picture) -> _Read | None:
        """The photo and its landmarks, if it has any; None where its output is there already."""
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
        if picture.data is None:
            return read_photo(picture.name, job.max_pixels, job.max_bytes), landmarks
        return decode_photo(picture.data, picture.name, job.max_pixels), landmarks

    def _restore(self, group: Sequence[_Read]) -> list[Restored | ItemError]:
        """Whole photos together, and aligned faces together; each result or error in its place."""
        faces = iter(self._restore_faces([read for read in group if self._is_face(read)]))
        images = [read[0].image for read in group if not self._is_face(read)]
        options = self._job.options
        photos = iter(self._restorer.restore_photos(images, self._identity, options=options))
        return [next(faces if self._is_face(read) else photos) for read in group]

    def _is_face(self, read: _Read) -> bool:
        """Whether it is an aligned crop: all are with `--aligned`, and what has landmarks is."""
        return self._job.aligned or read[1] is not None

    def _restore_faces(self, group: Sequence[_Read]) -> list[Restored | ItemError]:
        options = self._job.options
        if options.upscale != 1 or options.only is not None:
            refused = "--upscale and --only do not apply to an aligned face"
            return [UsageError(refused) for _ in group]
        return self._restorer.restore_faces(
            [photo.image for photo, _ in group],
            [landmarks for _, landmarks in group],
            [self._identity] * len(group),
        )

    def _write(self, picture: Picture, photo: Photo, result: Restored) -> tuple[str, ...]:
        job, output = self._job, self._output(picture)
        if job.compare:
            remark = self._restorer.manifest.weights.remark
            comparison = before_and_after(photo.image, result, remark)
            write_image(output + COMPARE, comparison)
        if job.draw:
            write_image(output + DRAW, draw_faces(photo.image, result))
        # last: where `resume` finds it, the others are there too
        lost = write_image(output, result.image, photo.exif, photo.icc_profile)
        return photo.notes + result.warnings + lost

    def _outcomes(
        self, writing: _Writing, most: int
    ) -> Generator[Outcome, None, OutputError | None]:
        """The outcomes of writing, until `most` are left, or none once nothing can be written."""
        end: OutputError | None = None
        while len(writing) > (most if end is None else 0):
            try:
                yield self._written(*writing.popleft())
            except OutputError as error:
                end = error
        return end

    def _written(
        self, picture: Picture, result: Restored, write: Future[tuple[str, ...]]
    ) -> Outcome:
        """What became of a restored picture. Raises `OutputError` if none can be written."""
        message = trace = None
        notes = result.warnings
        try:
            notes = write.result()
        except Exception as error:
            if end := unwritable(self._job.out, error):
                raise end from error
            message, trace = failure_of(self._output(picture), error), trace_of(error)
        faces = [
            {
                "box": face.box.round(1).tolist(),
                "score": round(face.score, 3),
                "restored": index in result.restored,
            }
            for index, face in enumerate(result.faces)
        ]
        seconds = {stage: round(value, 4) for stage, value in result.timings.items()}
        output = self._output(picture)
        return Outcome(
            picture.name, output, self.backend, message, notes, faces, seconds, trace=trace
        )

    def _failed(self, picture: Picture, error: Exception) -> Outcome:
        message = failure_of(picture.name, error)
        return Outcome(picture.name, "", self.backend, message, trace=trace_of(error))


def restore_archive(job: Job, pictures: Iterable[Picture]) -> Generator[Outcome, None, None]:
    """Do a job in this process; see `ArchiveRestorer.restore`."""
    with closing(ArchiveRestorer(job)) as restorer:
        storage.make_folder(job.out)
        yield from restorer.restore(pictures)
