"""The Restorer: an opened bundle that memorises people and restores aligned faces."""

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.backends.base import Backend, DeviceSeconds
from runtime.backends.selection import Choice, open_backend, open_remote
from runtime.backends.triton.address import Remote, is_server_address
from runtime.bundle.layout import IMAGE_SIZE
from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import open_bundle
from runtime.dictionary import SpecificDictionary
from runtime.engine_calls import EngineCalls
from runtime.errors import (
    DmdnetError,
    DmdnetWarning,
    InvalidImageError,
    InvalidLandmarksError,
    NoFaceError,
    UsageError,
)
from runtime.faces.finder import Crop, Face, FaceFinder, LandmarkDetector, align
from runtime.faces.landmarks import check_landmarks, component_boxes
from runtime.images.arrays import Color, Image, fit, to_rgb
from runtime.photo import Only, Plan, Restored, is_aligned, largest, plan


class Restorer:
    """Restores faces with a bundle that `dmd-export` wrote; safe to share between threads.

    `bundle`: its folder. `device`: "tensorrt", "tensorrt-rtx", "cuda", "cpu", or "auto" for the
    first of these that can be had (`backend` says which, and why not an earlier one); without
    `allow_fallback`, "auto" is the first or an error. An int8 bundle is for one kind of device.
    `threads`: CPU threads of an engine call and of the search for faces. `max_batch`: faces in one
    engine call. `verify`: check the files' hashes, not only their sizes. `dictionary_cache`: MiB of
    GPU memory for specific dictionaries that stay there between calls (TensorRT).
    `landmark_detector`: your own, in place of the built-in network.

    `bundle` may be a server's address, "grpc://HOST:PORT/MODEL" or "grpcs://...": engine calls go
    there (docs/triton.md), all else is done here; `remote` says how. `device` is the server's
    matter then, `dictionary_cache` the MiB of shared memory.

    Raises `BundleError` for a bundle that is missing, incomplete or altered, `DeviceError` when
    the device cannot be had, `RemoteError` for a server; calls raise it, too.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str = "auto",
        allow_fallback: bool = True,
        threads: int | None = None,
        max_batch: int | None = None,
        verify: bool = True,
        dictionary_cache: int = 512,
        landmark_detector: LandmarkDetector | None = None,
        remote: Remote | None = None,
    ) -> None:
        for name, value in (("threads", threads), ("max_batch", max_batch)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if dictionary_cache < 0:
            raise UsageError(f"dictionary_cache must be 0 MiB or more, not {dictionary_cache}")
        self._threads, self._landmark_detector = threads, landmark_detector
        choice = Choice(device, allow_fallback, threads, verify, dictionary_cache)
        self.manifest: Manifest
        self._engine: Backend
        if is_server_address(bundle):
            self.manifest, self._engine = open_remote(str(bundle), remote or Remote(), choice)
        elif remote is not None:
            raise UsageError(f"{bundle}: remote goes with a server's address, grpc://...")
        else:
            opened = open_bundle(bundle, verify)
            self.manifest, self._engine = opened.manifest, open_backend(opened, choice)
        self.backend = self._engine.description
        self.max_batch = max_batch or self._engine.max_batch
        if self._engine.max_references is not None and self.max_batch > self._engine.max_batch:
            self._engine.close()
            raise UsageError(
                f"max_batch {max_batch}: this engine takes {self._engine.max_batch} faces at most; "
                "build another with dmd-build-engine --max-batch, or serve it so with dmd-triton"
            )
        self._calls = EngineCalls(self._engine, self.manifest, self.max_batch)

    def restore_aligned(
        self,
        face: NDArray[np.generic],
        landmarks: ArrayLike | None = None,
        identity: SpecificDictionary | None = None,
        color: Color = "bgr",
    ) -> Image:
        """Restore one aligned face crop.

        `face`: uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4) in the channel order `color`, FFHQ
        alignment; resized to 512 x 512 where it is not. `landmarks`: (68, 2) x, y in its pixels,
        or None to find them.
        `identity`: the person's dictionary, or None for a generic restoration.
        Returns uint8 (512, 512, 3) in the channel order `color`.

        Raises `InvalidImageError`, `InvalidLandmarksError` or `DictionaryError`.
        """
        return self.restore_batch([face], [landmarks], [identity], color)[0]

    def restore(
        self,
        photo: NDArray[np.generic],
        identity: SpecificDictionary | None = None,
        *,
        identities: Mapping[int, SpecificDictionary] | None = None,
        only: Only | None = None,
        upscale: Literal[1, 2, 4] = 1,
        require_face: bool = False,
        color: Color = "bgr",
    ) -> Restored:
        """Find every face of a photo, restore it and put it back.

        `photo`: uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4) in the channel order `color`; depth
        and alpha are kept. `identity` is applied to every face, `identities` to the faces of the
        given indices (as `detect` orders them). `only`: "largest", "center" or an index. `upscale`
        enlarges the photo first. A 512 x 512 picture that is an aligned crop is not resampled.

        Raises `InvalidImageError`, `DictionaryError`, and `NoFaceError` if `require_face`.
        """
        (result,) = self.restore_photos(
            [photo],
            identity,
            identities=[identities or {}],
            only=only,
            upscale=upscale,
            require_face=require_face,
            color=color,
        )
        if isinstance(result, DmdnetError):
            raise result
        return result

    def restore_photos(
        self,
        photos: Sequence[NDArray[np.generic]],
        identity: SpecificDictionary | None = None,
        *,
        identities: Sequence[Mapping[int, SpecificDictionary]] | None = None,
        only: Only | None = None,
        upscale: Literal[1, 2, 4] = 1,
        require_face: bool = False,
        color: Color = "bgr",
    ) -> list[Restored | DmdnetError]:
        """`restore` of several photos, whose faces share engine calls: `max_batch` in each.

        Arguments as in `restore`; `identities` has a mapping for each photo. Returns a result for
        each photo, or the error that `restore` would have raised for it; the network's seconds are
        shared out by the faces. Raises what is wrong with the arguments themselves.
        """
        if upscale not in (1, 2, 4):
            raise UsageError(f"upscale must be 1, 2 or 4, not {upscale!r}")
        named = [{} for _ in photos] if identities is None else identities
        if len(named) != len(photos):
            raise UsageError(f"{len(photos)} photos and {len(named)} mappings of identities")
        for person in (identity, *(person for those in named for person in those.values())):
            if person is not None:
                self.check(person)
        results: dict[int, Restored | DmdnetError] = {}
        plans: dict[int, Plan] = {}
        for number, photo in enumerate(photos):
            try:
                plans[number] = plan(photo, self._finder, only, upscale, require_face, color)
            except DmdnetError as error:
                results[number] = error
        people = {n: [named[n].get(i, identity) for i in p.indices] for n, p in plans.items()}
        for number, restored in self._restore_plans(plans, people).items():
            if isinstance(restored, DmdnetError):
                results[number] = restored
                continue
            faces, seconds = restored
            found = range(len(plans[number].faces))
            wrong = [index for index in named[number] if index not in found]
            notes = [f"identities for faces that were not found: {wrong}"] if wrong else []
            results[number] = plans[number].finish(faces, seconds, notes)
        return [results[number] for number in range(len(photos))]

    def restore_batch(
        self,
        faces: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None = None,
        identities: Sequence[SpecificDictionary | None] | None = None,
        color: Color = "bgr",
    ) -> list[Image]:
        """Restore many faces, of several people or of nobody known, `max_batch` an engine call.

        Arguments as in `restore_aligned`, one of each a face; an error names the face's index.
        """
        landmarks = [None] * len(faces) if landmarks is None else landmarks
        identities = [None] * len(faces) if identities is None else identities
        if not len(faces) == len(landmarks) == len(identities):
            raise UsageError(
                f"{len(faces)} faces, {len(landmarks)} landmarks and {len(identities)} identities: "
                "one of each a face is needed"
            )
        crops = []
        for index, (face, points) in enumerate(zip(faces, landmarks, strict=True)):
            try:
                crops.append(self._prepare(face, points, color))
            except DmdnetError as error:
                raise _named(error, "face", index, len(faces)) from None
        restored = self._calls.restore(crops, identities)
        return [
            np.ascontiguousarray(out[:, :, ::-1]) if color == "bgr" else out for out in restored
        ]

    def memorize(
        self,
        references: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None = None,
        *,
        skip_bad: bool = False,
        color: Color = "bgr",
    ) -> SpecificDictionary:
        """Make a person's dictionary from good photographs, one row each.

        `references`: photos, of which the largest face is taken; or aligned faces, where
        `landmarks` has their points. An error names the reference's index; with `skip_bad` a bad
        reference is left out with a `DmdnetWarning`, unless all are bad.

        Raises `NoFaceError`, `InvalidImageError` or `InvalidLandmarksError`.
        """
        landmarks = [None] * len(references) if landmarks is None else landmarks
        if not references or len(references) != len(landmarks):
            raise UsageError(
                f"{len(references)} references and {len(landmarks)} landmarks: at least one "
                "reference is needed, and landmarks for each or for none"
            )
        crops = []
        for index, (photo, points) in enumerate(zip(references, landmarks, strict=True)):
            try:
                if points is None:
                    crops.append(self._largest_face(photo, color))
                else:
                    crops.append(self._prepare(photo, points, color))
            except (NoFaceError, InvalidImageError, InvalidLandmarksError) as error:
                named = _named(error, "reference", index, len(references))
                if not skip_bad or (not crops and index == len(references) - 1):
                    raise named from None
                warnings.warn(f"left out: {named}", DmdnetWarning, stacklevel=2)
        return SpecificDictionary(
            self._calls.memorize(crops),
            self.manifest.dictionary_layout,
            self.manifest.weights.sha256,
        )

    def detect(self, photo: NDArray[np.generic], color: Color = "bgr") -> list[Face]:
        """The faces of a photo of any size, best first; boxes and landmarks in its pixels.

        Raises `InvalidImageError`.
        """
        return self._finder.find(to_rgb(photo, color))

    def check(self, identity: SpecificDictionary) -> None:
        """Raise `DictionaryError` if this bundle cannot read `identity`."""
        self._calls.rows(identity)

    @property
    def device_seconds(self) -> DeviceSeconds | None:
        """Of the last engine call that restored, by the GPU's own clock; None without one."""
        return self._engine.last_restore

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

    def _restore_plans(
        self,
        plans: Mapping[int, Plan],
        people: Mapping[int, Sequence[SpecificDictionary | None]],
    ) -> dict[int, tuple[list[Image], float] | DmdnetError]:
        """The crops of each photo and their seconds; where the engine fails, photo by photo."""
        start = time.perf_counter()
        try:
            restored = self._calls.restore(
                [crop for each in plans.values() for crop in each.crops],
                [person for number in plans for person in people[number]],
            )
        except DmdnetError as error:
            if len(plans) == 1:
                return dict.fromkeys(plans, error)
            alone = [self._restore_plans({n: each}, people) for n, each in plans.items()]
            return {number: result for each in alone for number, result in each.items()}
        a_face = (time.perf_counter() - start) / max(1, len(restored))
        crops = iter(restored)
        return {
            number: (list(islice(crops, len(each.crops))), a_face * len(each.crops))
            for number, each in plans.items()
        }

    def _largest_face(self, photo: NDArray[np.generic], color: Color) -> Crop:
        image = to_rgb(photo, color)
        faces = self._finder.find(image)
        if not faces:
            raise NoFaceError("no face was found")
        landmarks = faces[largest(faces)].landmarks
        crop, _ = align(image, landmarks, is_aligned(faces, image.shape))
        return crop

    def _prepare(
        self, face: NDArray[np.generic], landmarks: ArrayLike | None, color: Color
    ) -> Crop:
        image = to_rgb(face, color)
        height, width = image.shape[:2]
        fitted = fit(image)
        if landmarks is None:
            points = self._finder.landmarks(fitted)
        else:
            points = check_landmarks(landmarks) * (IMAGE_SIZE / width, IMAGE_SIZE / height)
        return Crop(fitted, component_boxes(points))

    @cached_property
    def _finder(self) -> FaceFinder:
        return FaceFinder(self._threads, self._landmark_detector)


def _named(error: DmdnetError, what: str, index: int, count: int) -> DmdnetError:
    """The error, saying which of several inputs it is about."""
    return type(error)(f"{what} {index}: {error}") if count > 1 else error
