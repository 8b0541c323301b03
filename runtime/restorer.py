"""The Restorer: an opened bundle that memorises people and restores aligned faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.backends import Backend, Boxes, open_backend
from runtime.bundle import Manifest, open_bundle
from runtime.dictionary import SpecificDictionary
from runtime.errors import DmdnetError, UsageError
from runtime.images import Color, Image, fit, to_rgb
from runtime.landmarks import check_landmarks, component_boxes
from runtime.layout import IMAGE_SIZE


class Restorer:
    """Restores faces with a bundle that `dmd-export` wrote; safe to share between threads.

    `bundle`: its folder. `device`: "cpu", "cuda", or "auto" for the best that is there (a
    fall-back warns; name the device to forbid it). `threads`: CPU threads of an engine call.
    `max_batch`: faces in one engine call. `verify`: check the files' hashes, not only their sizes.

    Raises `BundleError` for a bundle that is missing, incomplete or altered, `DeviceError` when
    the device cannot be had.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        max_batch: int | None = None,
        verify: bool = True,
    ) -> None:
        for name, value in (("threads", threads), ("max_batch", max_batch)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        opened = open_bundle(bundle, verify)
        self.manifest: Manifest = opened.manifest
        self._columns = int(opened.manifest.memorizer.outputs[0].shape[1])
        self._engine: Backend = open_backend(opened, device, threads)
        self.backend = self._engine.description
        self.max_batch = max_batch or self._engine.max_batch

    def restore_aligned(
        self,
        face: NDArray[np.generic],
        landmarks: ArrayLike,
        identity: SpecificDictionary | None = None,
        color: Color = "bgr",
    ) -> Image:
        """Restore one aligned face crop.

        `face`: uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4) in the channel order `color`, FFHQ
        alignment; resized to 512 x 512 where it is not. `landmarks`: (68, 2) x, y in its pixels.
        `identity`: the person's dictionary, or None for a generic restoration.
        Returns uint8 (512, 512, 3) in the channel order `color`.

        Raises `InvalidImageError`, `InvalidLandmarksError` or `DictionaryError`.
        """
        return self.restore_batch([face], [landmarks], [identity], color)[0]

    def restore_batch(
        self,
        faces: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike],
        identities: Sequence[SpecificDictionary | None] | None = None,
        color: Color = "bgr",
    ) -> list[Image]:
        """Restore many faces, of several people or of nobody known, `max_batch` an engine call.

        Arguments as in `restore_aligned`, one of each a face; an error names the face's index.
        """
        identities = [None] * len(faces) if identities is None else identities
        if not len(faces) == len(landmarks) == len(identities):
            raise UsageError(
                f"{len(faces)} faces, {len(landmarks)} landmarks and {len(identities)} identities: "
                "one of each a face is needed"
            )
        crops = _prepare_all("face", faces, landmarks, color)
        people = {id(person): self._rows(person) for person in identities if person is not None}
        owners = [id(person) if person is not None else None for person in identities]
        restored: list[Image] = []
        for start in range(0, len(crops), self.max_batch):
            chunk = slice(start, start + self.max_batch)
            restored += self._restore_chunk(crops[chunk], owners[chunk], people)
        return [
            np.ascontiguousarray(out[:, :, ::-1]) if color == "bgr" else out for out in restored
        ]

    def memorize(
        self,
        references: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike],
        color: Color = "bgr",
    ) -> SpecificDictionary:
        """Make a person's dictionary from aligned reference faces, one row each.

        Arguments as in `restore_batch`; an error names the reference's index.
        """
        if not references or len(references) != len(landmarks):
            raise UsageError(
                f"{len(references)} references and {len(landmarks)} landmarks: at least one "
                "reference is needed, and landmarks for each"
            )
        crops = _prepare_all("reference", references, landmarks, color)
        chunks = [
            crops[start : start + self.max_batch] for start in range(0, len(crops), self.max_batch)
        ]
        rows = [self._engine.memorize(*_stack(chunk)) for chunk in chunks]
        return SpecificDictionary(
            np.concatenate(rows), self.manifest.dictionary_layout, self.manifest.weights.sha256
        )

    def check(self, identity: SpecificDictionary) -> None:
        """Raise `DictionaryError` if this bundle cannot read `identity`."""
        self._rows(identity)

    def close(self) -> None:
        """Free the engine; the Restorer cannot be used afterwards."""
        self._engine.close()

    def __enter__(self) -> "Restorer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _restore_chunk(
        self,
        crops: Sequence["_Crop"],
        owners: Sequence[int | None],
        people: Mapping[int, NDArray[np.floating]],
    ) -> list[Image]:
        """One engine call: everyone's rows below each other, and who may read which."""
        present = [owner for owner in people if owner in owners]
        if present:
            dictionary = np.concatenate([people[owner] for owner in present])
            of_row = np.repeat(present, [len(people[owner]) for owner in present])
            membership = np.array([[row == owner for row in of_row] for owner in owners])
        else:  # the graph wants a row, even where nobody reads it
            dictionary = np.zeros((1, self._columns), self.manifest.dictionary_dtype)
            membership = np.zeros((len(crops), 1))
        images, boxes = _stack(crops)
        return list(self._engine.restore(images, boxes, dictionary, membership.astype(np.float32)))

    def _rows(self, person: SpecificDictionary) -> NDArray[np.floating]:
        manifest = self.manifest
        return person.rows_for(
            manifest.dictionary_layout, manifest.weights.sha256, manifest.dictionary_dtype
        )


@dataclass(frozen=True)
class _Crop:
    """A face as the network takes it: uint8 (512, 512, 3) RGB and its int32 (4, 4) boxes."""

    image: Image
    boxes: Boxes


def _prepare(face: NDArray[np.generic], landmarks: ArrayLike, color: Color) -> _Crop:
    image = to_rgb(face, color)
    height, width = image.shape[:2]
    scale = (IMAGE_SIZE / width, IMAGE_SIZE / height)
    return _Crop(fit(image), component_boxes(check_landmarks(landmarks) * scale))


def _prepare_all(
    what: str, faces: Sequence[NDArray[np.generic]], landmarks: Sequence[ArrayLike], color: Color
) -> list[_Crop]:
    crops = []
    for index, (face, points) in enumerate(zip(faces, landmarks, strict=True)):
        try:
            crops.append(_prepare(face, points, color))
        except DmdnetError as error:
            if len(faces) == 1:
                raise
            raise type(error)(f"{what} {index}: {error}") from None
    return crops


def _stack(crops: Sequence[_Crop]) -> tuple[Image, Boxes]:
    return np.stack([c.image for c in crops]), np.stack([c.boxes for c in crops])
