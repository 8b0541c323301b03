"""The archive in this process: pictures are read ahead, restored together and written behind."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.archive.job import COMPARE, DRAW, Job, Outcome, Picture, refuse_overwriting
from runtime.archive.previews import before_and_after, draw_faces
from runtime.dictionary import SpecificDictionary
from runtime.errors import DmdnetError, InvalidImageError, UsageError
from runtime.faces.landmark_files import landmark_file, read_landmarks
from runtime.images.files import KEEPS_METADATA, Photo, decode_photo, read_photo, write_image
from runtime.one_by_one import ItemError
from runtime.photo import Restored
from runtime.redaction import public_name
from runtime.storage import locations as storage

_Error = DmdnetError | OSError | MemoryError
_ERRORS = (DmdnetError, OSError, MemoryError)  # of one picture; anything else is a bug
_Read = tuple[Photo, NDArray[np.float64] | None]


class ArchiveRestorer:
    """Does a job, picture after picture: decodes ahead, restores, encodes behind."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._identity = SpecificDictionary.load(job.identity) if job.identity else None
        self._restorer = job.open()
        if self._identity is not None:
            self._restorer.check(self._identity)
        self.backend = self._restorer.backend

    def restore(self, pictures: Iterable[Picture]) -> Iterator[Outcome]:
        """What became of each picture, the failed ones too, in about their order.

        `max_batch` pictures are restored together and share engine calls. As many are decoded
        ahead and at most twice as many wait to be encoded; a picture is taken from `pictures` when
        it is about to be read.
        """
        together = self._restorer.max_batch
        source = iter(pictures)
        reading: deque[tuple[Picture, Future[_Read | None]]] = deque()
        writing: deque[tuple[Picture, Restored, Future[tuple[str, ...]]]] = deque()
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            while True:
                while len(reading) < 2 * together and (picture := next(source, None)) is not None:
                    reading.append((picture, reader.submit(self._read, picture)))
                if not reading:
                    break
                group: list[tuple[Picture, _Read]] = []
                while reading and len(group) < together:
                    picture, read = reading.popleft()
                    try:
                        found = read.result()
                    except _ERRORS as error:
                        yield self._failed(picture, error)
                        continue
                    if found is None:
                        yield Outcome(picture.name, self._output(picture), self.backend, there=True)
                    else:
                        group.append((picture, found))
                results = self._restore([read for _, read in group])
                for (picture, (photo, _)), result in zip(group, results, strict=True):
                    if isinstance(result, Restored):
                        write = writer.submit(self._write, picture, photo, result)
                        writing.append((picture, result, write))
                    else:
                        yield self._failed(picture, result)
                while len(writing) > 2 * together:
                    yield self._written(*writing.popleft())
            while writing:
                yield self._written(*writing.popleft())

    def close(self) -> None:
        """Free the engine."""
        self._restorer.close()

    def _output(self, picture: Picture) -> str:
        return self._job.output_of(picture.name)

    def _read(self, picture: Picture) -> _Read | None:
        """The photo and its landmarks, if it has any; None where its output is there already."""
        job = self._job
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
            refused = "an aligned face stays 512 x 512 and alone: no --upscale, no --only"
            return [UsageError(refused) for _ in group]
        return self._restorer.restore_faces(
            [photo.image for photo, _ in group],
            [landmarks for _, landmarks in group],
            [self._identity] * len(group),
        )

    def _write(self, picture: Picture, photo: Photo, result: Restored) -> tuple[str, ...]:
        job, output = self._job, self._output(picture)
        if job.compare:
            synthetic = self._restorer.manifest.weights.synthetic
            comparison = before_and_after(photo.image, result, synthetic)
            write_image(output + COMPARE, comparison)
        if job.draw:
            write_image(output + DRAW, draw_faces(photo.image, result))
        # last: where `resume` finds it, the others are there too
        write_image(output, result.image, photo.exif, photo.icc_profile)
        suffix, notes = Path(output).suffix, photo.notes + result.warnings
        lost = (photo.exif or photo.icc_profile) and suffix.lower() not in KEEPS_METADATA
        return (*notes, f"EXIF and ICC profile are not kept in {suffix} files") if lost else notes

    def _written(
        self, picture: Picture, result: Restored, write: Future[tuple[str, ...]]
    ) -> Outcome:
        error, notes = None, result.warnings
        try:
            notes = write.result()
        except _ERRORS as raised:
            error = _say(self._output(picture), raised)
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
        return Outcome(picture.name, output, self.backend, error, notes, faces, seconds)

    def _failed(self, picture: Picture, error: _Error) -> Outcome:
        output = self._output(picture)
        return Outcome(picture.name, output, self.backend, _say(picture.name, error))


def restore_archive(job: Job, pictures: Iterable[Picture]) -> Generator[Outcome, None, None]:
    """Do the job in this process."""
    with closing(ArchiveRestorer(job)) as restorer:
        storage.make_folder(job.out)
        yield from restorer.restore(pictures)


def _say(file: str, error: _Error) -> str:
    """The error's line, with the file's name in front unless it is there."""
    if isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, OSError):
        text = error.strerror or str(error)
    else:
        text = str(error)
    text, file = " ".join(text.split()), public_name(file)
    return text if file in text else f"{file}: {text}"
