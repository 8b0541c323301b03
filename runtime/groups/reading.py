"""Reading an archive: the faces of each photo, with what grouping needs to know of them."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.archive.failures import ends_the_run, failure_of, trace_of
from runtime.errors import InvalidLandmarksError
from runtime.faces.alignment import TEMPLATE, five_points, transform
from runtime.faces.finder import Crop, Face, FaceFinder, cut
from runtime.images.arrays import Image, rgb_view
from runtime.images.files import decode_photo
from runtime.images.formats import declared_pixels
from runtime.people.recognition import Recognizer, blur
from runtime.redaction import public_name
from runtime.scheduling.stages import Limits, Work, stream
from runtime.storage import locations as storage

TILE = 112
"""Side of a face on a contact sheet, in pixels."""

_PIXELS = 12_000_000  # of a photo, for two of which there is room in each thread


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face of an archive.

    Attributes:
        photo: file name or URL of its photo.
        index: its place among the photo's faces, as `Restorer.detect` orders them.
        face: where it is in the photo.
        vector: float32 (128,), who it is.
        blur: dB; over `runtime.people.recognition.SHARP` it is no good as a reference.
        turned: how far its eyes, nose and mouth lie from those of a frontal face, as a mean in
            pixels of the aligned 512 x 512 face.
        tile: the aligned face as a JPEG of `TILE` pixels a side.
    """

    photo: str
    index: int
    face: Face
    vector: NDArray[np.float32] = field(repr=False)
    blur: float
    turned: float
    tile: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class ReadPhoto:
    """A photo that was read, or the `error` that kept it from being read, and its traceback.

    `notes`: faces that are left out, and why.
    """

    name: str
    faces: tuple[FoundFace, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    trace: str | None = None


@dataclass(frozen=True)
class Reading:
    """How photos are read: the arguments of the command, as in `Restorer` and `read_photo`."""

    max_pixels: int
    max_bytes: int
    threads: int | None = None
    min_face: int | None = None

    def photo(self, name: str, take_room: Callable[[int], None] = lambda _: None) -> Image:
        """A photo as RGB; `take_room` is told its pixels before they are decoded."""
        data = storage.read(name, self.max_bytes)
        take_room(declared_pixels(data, self.max_pixels))
        photo = decode_photo(data, public_name(name), self.max_pixels)
        return rgb_view(photo.image, "bgr", say_scaled=False)


def read_archive(names: Sequence[str], how: Reading) -> Generator[ReadPhoto, None, None]:
    """The faces of all photos, in their order; an error of one photo is in its place."""
    cv2.setNumThreads(1)  # else OpenCV takes all cores for each photo
    threads = how.threads or len(os.sched_getaffinity(0))
    finder, recognizer = FaceFinder(1, None, how.min_face), Recognizer(1)

    def read(name: str, take_room: Callable[[int], None]) -> ReadPhoto:
        return faces_of(name, how.photo(name, take_room), finder, recognizer)

    work: Work[str, ReadPhoto, None, None, ReadPhoto] = Work(
        prepare=read,
        parts=lambda _: (),  # there is no engine
        run=lambda _: (),
        finish=lambda _, photo, __: photo,
        fail=_failed,
        ends=ends_the_run,
    )
    return stream(work, Limits(threads, 1, 1, 2 * threads * _PIXELS), names)


def faces_of(name: str, photo: Image, finder: FaceFinder, recognizer: Recognizer) -> ReadPhoto:
    """The faces of one RGB photo."""
    good: list[tuple[int, Face, Crop]] = []
    notes = []
    for index, face in enumerate(finder.find(photo)):
        try:
            good.append((index, face, cut(photo, face.landmarks, face.transform)))
        except InvalidLandmarksError as error:
            notes.append(f"face {index} is left out: {error}")
    vectors = recognizer.describe([crop.image for _, _, crop in good])
    faces = (
        FoundFace(
            name, index, face, vector, blur(crop.image), turned(face.landmarks, face.transform),
            _tile(crop.image),
        )
        for (index, face, crop), vector in zip(good, vectors, strict=True)
    )  # fmt: skip
    return ReadPhoto(name, tuple(faces), tuple(notes))


def turned(landmarks: NDArray[np.float64], matrix: NDArray[np.float64]) -> float:
    """`FoundFace.turned` of landmarks (68, 2) in a photo and their transform (2, 3) to the crop."""
    points = five_points(transform(matrix, landmarks))
    return float(np.linalg.norm(points - TEMPLATE, axis=1).mean())


def _tile(crop: Image) -> bytes:
    small = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA)
    ok, data = cv2.imencode(".jpg", small[:, :, ::-1])
    assert ok
    return data.tobytes()


def _failed(name: str, error: Exception) -> ReadPhoto:
    return ReadPhoto(name, error=failure_of(name, error), trace=trace_of(error))
