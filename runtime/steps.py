"""The three steps of a photo, for whoever has them done by different threads."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.dictionary import SpecificDictionary
from runtime.engine_calls import EngineCalls
from runtime.faces.finder import Face, FaceFinder, LandmarkDetector
from runtime.images.arrays import Image
from runtime.options import RestoreOptions
from runtime.people.recognition import Recognizer
from runtime.photo import (
    CutFace,
    Found,
    Restored,
    find_and_crop,
    liken,
    paste,
    take_aligned,
)

RestoredFace = tuple[Image, float]
"""A face as the network gave it, RGB (512, 512, 3), and the seconds that it took."""


class LateFinder:
    """A finder that is opened when it is first needed; safe to call from many threads.

    Calling it gives the finder, or raises `ClosedError` when the engine is closed.

    `min_face`: what was asked for; None: the finder's own choice. `own_landmarks`: whether the
    caller gave a landmark detector.
    """

    def __init__(
        self,
        calls: EngineCalls,
        threads: int | None,
        detector: LandmarkDetector | None,
        min_face: int | None,
    ) -> None:
        self._calls, self._options = calls, (detector, min_face)
        self._threads, self.min_face = threads, min_face
        self.own_landmarks = detector is not None
        self._lock = threading.Lock()
        self._opened: FaceFinder | None = None

    def __call__(self) -> FaceFinder:
        self._calls.refuse_closed()
        with self._lock:
            if self._opened is None:
                self._opened = FaceFinder(self._threads, *self._options)
            return self._opened

    def with_threads(self, threads: int) -> "LateFinder":
        """Another one, which takes so many threads for a photo."""
        return LateFinder(self._calls, threads, *self._options)


class Steps:
    """Finds faces, runs the network on them and pastes them; safe to call from many threads."""

    def __init__(self, calls: EngineCalls, finder: LateFinder, recognizer: Recognizer) -> None:
        self._calls, self._finder, self._recognizer = calls, finder, recognizer

    def with_threads(self, threads: int) -> Self:
        """The same steps with networks of their own, which take so many threads for a photo."""
        return type(self)(self._calls, self._finder.with_threads(threads), Recognizer(threads))

    @property
    def min_face(self) -> int | None:
        """How small a face is looked for, if that was asked for."""
        return self._finder.min_face

    @property
    def own_landmarks(self) -> bool:
        """Whether a detector of the caller's own places the landmarks."""
        return self._finder.own_landmarks

    def find(
        self,
        photo: NDArray[np.generic],
        identity: SpecificDictionary | None,
        identities: Mapping[int, SpecificDictionary],
        options: RestoreOptions,
    ) -> Found:
        """The first step of a photo: see `find_and_crop`."""
        finder, describe = self._finder(), self._recognizer.describe
        return find_and_crop(photo, finder, identity, identities, options, describe)

    def take(
        self,
        face: NDArray[np.generic],
        landmarks: ArrayLike | None,
        identity: SpecificDictionary | None,
        options: RestoreOptions,
        compare: bool = True,
    ) -> Found:
        """The first step of an aligned face: see `take_aligned`.

        `compare`: recognise it, and say afterwards how like it is to its person.
        """
        finder, describe = self._finder(), self._recognizer.describe if compare else None
        return take_aligned(face, landmarks, finder, identity, options, describe)

    def faces(self, rgb: Image) -> list[Face]:
        """The faces of an RGB picture, for whoever cuts them out later: those of a clip's frame."""
        return self._finder().find(rgb)

    def describe(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Who is in aligned RGB crops: see `Recognizer.describe`."""
        return self._recognizer.describe(crops)

    def run(self, cuts: Sequence[CutFace]) -> list[RestoredFace]:
        """The second step, of faces of any photos: they share the seconds evenly."""
        start = time.perf_counter()
        images = self._calls.restore(
            [cut.crop for cut in cuts], [cut.known.dictionary for cut in cuts]
        )
        seconds = (time.perf_counter() - start) / max(1, len(images))
        return [(image, seconds) for image in images]

    def paste(
        self, found: Found, faces: Sequence[RestoredFace], in_place: bool = False
    ) -> Restored:
        """The third step: put all faces that were cut out of a photo back into it; see `paste`.

        Before, those whose people are known are compared with them; see `liken`.
        """
        network_s, images = sum(seconds for _, seconds in faces), [image for image, _ in faces]
        remark = self._calls.likeness_remark
        found = liken(found, images, self._recognizer.describe, remark)
        return paste(found, images, float(network_s), in_place)
