"""The Restorer: an opened bundle that memorises people and restores photos and aligned faces."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.backends.base import DeviceSeconds, Engine, check_engine
from runtime.backends.selection import Choice, open_backend, open_remote
from runtime.backends.triton.address import Remote, is_server_address
from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import open_bundle
from runtime.dictionary import SpecificDictionary, check_name
from runtime.engine_calls import EngineCalls
from runtime.errors import DictionaryError, UsageError
from runtime.faces.finder import Face, LandmarkDetector
from runtime.images.arrays import Color, Image, rgb_view
from runtime.one_by_one import ItemError, about, all_or_good, one_by_one, put_name, together
from runtime.options import Only, RestoreOptions
from runtime.people.enrolment import recognisable
from runtime.people.matching import THRESHOLD
from runtime.people.recognition import Recognizer
from runtime.photo import Found, Restored, crop_reference
from runtime.steps import LateFinder, RestoredFace, Steps

_Done = tuple[Found, list[RestoredFace]]  # what is pasted


class Restorer:
    """Restores faces with a bundle that `dmd-export` wrote; several threads may share one.

    Every method may also raise what the engine does: `EngineCallError` or `RemoteError`; and
    `ClosedError` after `close`. What your own engine or landmark detector raises comes back as it
    is: `restore_photos` and `restore_faces` put it in the place of its photo or face.

    Args:
        bundle: its folder, or a server's address, "grpc[s]://HOST:PORT/MODEL" (docs/triton.md).
        device: "tensorrt", "tensorrt-rtx", "cuda" or "cpu"; opening fails where that device is not
            available. "auto" (the default) takes the first of these that is available. An int8
            bundle runs on one kind of device only; a server has a device of its own.
        allow_fallback: False makes "auto" fail where the first that suits the bundle is missing.
        threads: CPU threads of one engine call and of the search for faces; default: all cores.
        max_batch: the most faces in one engine call; default: the engine's own choice.
        verify: False checks the sizes of the bundle's files, and not their hashes.
        dictionary_cache: MiB of GPU memory or of shared memory (a server) for dictionaries.
        landmark_detector: your own, in place of the built-in network (docs/landmarks.md).
        min_face: pixels between the ears of the smallest face to look for (docs/landmarks.md).
        remote: how to talk to the server.
        engine: your own, in place of a backend: any object that follows `Engine`. The Restorer
            closes it. `device`, `allow_fallback` and `remote` do not go with it.

    Attributes:
        backend: the engine, its version and device, and why no faster device is used; for people.
        manifest: what the bundle's `manifest.json` says.

    Raises:
        BundleError: the bundle is missing, incomplete or altered.
        DeviceError: the device is not available, or (`EngineError`) has no engine for it.
        RemoteError: the server cannot be reached or used.
        UsageError: arguments that do not go together.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str | None = None,
        allow_fallback: bool | None = None,
        threads: int | None = None,
        max_batch: int | None = None,
        verify: bool = True,
        dictionary_cache: int = 512,
        landmark_detector: LandmarkDetector | None = None,
        min_face: int | None = None,
        remote: Remote | None = None,
        engine: Engine | None = None,
    ) -> None:
        for name, value in (("threads", threads), ("max_batch", max_batch), ("min_face", min_face)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if dictionary_cache < 0:
            raise UsageError(f"dictionary_cache must be 0 MiB or more, not {dictionary_cache}")
        if remote is not None and not is_server_address(bundle):
            raise UsageError(f"{bundle}: remote needs a server's address (grpc://...) as bundle")
        choice = Choice(
            device or "auto", allow_fallback is not False, threads, verify, dictionary_cache
        )
        self.manifest: Manifest
        self._engine: Engine
        if engine is not None:
            if device is not None or allow_fallback is not None or is_server_address(bundle):
                raise UsageError("engine excludes device, allow_fallback and a server's address")
            check_engine(engine)
            self.manifest, self._engine = open_bundle(bundle, verify).manifest, engine
        elif is_server_address(bundle):
            self.manifest, self._engine = open_remote(str(bundle), remote or Remote(), choice)
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
        self._finder = LateFinder(self._calls, threads, landmark_detector, min_face)
        self._recognizer = Recognizer(threads)
        self._steps = Steps(self._calls, self._finder, self._recognizer)

    def restore_aligned(
        self,
        face: NDArray[np.generic],
        landmarks: ArrayLike | None = None,
        identity: SpecificDictionary | None = None,
        color: Color = "bgr",
    ) -> Image:
        """Restore one aligned face.

        `face`: uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4) in the channel order `color`, aligned
        as FFHQ is; resized to 512 x 512. `landmarks`: (68, 2) x, y in its pixels, iBUG order; None
        finds them. `identity`: the person's dictionary; None restores from the generic one alone.
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
        people: Sequence[SpecificDictionary] = (),
        people_threshold: float = THRESHOLD,
        only: Only | None = None,
        upscale: Literal[1, 2, 4] = 1,
        require_face: bool = False,
        strength: float | Mapping[int, float] = 1.0,
        color: Color = "bgr",
    ) -> Restored:
        """Find every face of a photo, restore it and put it back.

        `photo`: uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4) in the channel order `color`; the
        result keeps its dtype and alpha. `identity` is for every face, save those of which
        `identities` has the index (as `detect` orders them). The rest as in `RestoreOptions`. A
        512 x 512 picture that is an aligned face already is not resampled.

        Raises `InvalidImageError`, `DictionaryError`, `UsageError`, `NoFaceError` (`require_face`).
        """
        options = RestoreOptions(
            only, upscale, require_face, color, people, people_threshold, strength
        )
        (result,) = self.restore_photos(
            [photo], identity, identities=[identities or {}], options=options
        )
        if isinstance(result, Restored):
            return result
        raise result

    def restore_photos(
        self,
        photos: Sequence[NDArray[np.generic]],
        identity: SpecificDictionary | None = None,
        *,
        identities: Sequence[Mapping[int, SpecificDictionary]] | None = None,
        options: RestoreOptions | None = None,
    ) -> list[Restored | ItemError]:
        """Restore several photos, whose faces share engine calls of up to `max_batch` faces.

        Arguments as in `restore`; `identities` has a mapping for each photo. Returns for each photo
        its result or the exception that `restore` would have raised.

        Raises `DictionaryError` and `UsageError`, which concern all photos.
        """
        wanted = options or RestoreOptions()
        named = [{} for _ in photos] if identities is None else identities
        if len(named) != len(photos):
            raise UsageError(f"{len(photos)} photos and {len(named)} mappings of identities")
        given = [person for those in named for person in those.values()]
        self._check_all([identity, *given, *wanted.people])

        def find(pair: tuple[NDArray[np.generic], Mapping[int, SpecificDictionary]]) -> Found:
            return self._steps.find(pair[0], identity, pair[1], wanted)

        found = one_by_one(find, list(zip(photos, named, strict=True)))
        return one_by_one(self._paste, together(self._run, found))

    def restore_faces(
        self,
        faces: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None = None,
        identities: Sequence[SpecificDictionary | None] | None = None,
        color: Color = "bgr",
    ) -> list[Restored | ItemError]:
        """Restore several aligned faces, which may be of different people.

        Arguments as in `restore_aligned`, one of each a face. Returns for each face its result or
        the exception that `restore_aligned` would have raised.

        Raises `DictionaryError` and `UsageError`, which concern all faces.
        """
        taken = self._take(faces, landmarks, identities, color)
        return one_by_one(self._paste, together(self._run, taken))

    def restore_batch(
        self,
        faces: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None = None,
        identities: Sequence[SpecificDictionary | None] | None = None,
        color: Color = "bgr",
    ) -> list[Image]:
        """The images of `restore_faces`, or the first error, whose message names the face's index.

        Raises `InvalidImageError`, `InvalidLandmarksError`, `DictionaryError` or `UsageError`.
        """
        good: list[Found] = []
        everything = self._take(faces, landmarks, identities, color, compare=False)
        for index, taken in enumerate(everything):
            if not isinstance(taken, Found):
                if len(faces) > 1:
                    put_name(taken, f"face {index}")
                raise taken
            good.append(taken)
        return [self._paste(done).image for done in self._run(good)]

    def memorize(
        self,
        references: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None = None,
        *,
        skip_bad: bool = False,
        color: Color = "bgr",
        name: str = "",
        recognition: bool = True,
    ) -> SpecificDictionary:
        """Make a person's dictionary from good photographs, one row each.

        `references`: photos, of which the largest face is taken; or aligned faces, where
        `landmarks` has their points; both as in `restore_aligned`. `skip_bad`: leave a bad
        reference out with a `DmdnetWarning`, unless all are bad. A message names its index.
        `name`: the person's. `recognition`: store a vector of each sharp reference, by which the
        person is recognised; a `DmdnetWarning` names what is blurred, or unlike the others.

        Raises `NoFaceError`, `InvalidImageError`, `InvalidLandmarksError`, `UsageError`, or
        `DictionaryError` for the name.
        """
        check_name(name)
        landmarks = [None] * len(references) if landmarks is None else landmarks
        if not references or len(references) != len(landmarks):
            raise UsageError(
                f"{len(references)} references and {len(landmarks)} landmarks: at least one "
                "reference is needed, and landmarks for each or for none"
            )
        finder = self._finder()
        crops = all_or_good(
            lambda pair: crop_reference(*pair, finder, color),
            list(zip(references, landmarks, strict=True)),
            "reference",
            skip_bad,
        )
        person = SpecificDictionary(
            self._calls.memorize(list(crops.values())),
            self.manifest.dictionary_layout,
            self.manifest.weights.sha256,
            name,
        )
        return recognisable(person, crops, self._recognizer) if recognition else person

    def detect(self, photo: NDArray[np.generic], color: Color = "bgr") -> list[Face]:
        """Find the faces of a photo, given as in `restore`; the most certain one comes first.

        Raises `InvalidImageError`.
        """
        return self._finder().find(rgb_view(photo, color))

    def check(self, identity: SpecificDictionary) -> None:
        """Raises `DictionaryError` if this bundle cannot read `identity`."""
        self._calls.rows(identity)

    @property
    def device_seconds(self) -> DeviceSeconds | None:
        """GPU seconds of the last engine call that restored; None where no GPU clock is read."""
        seconds: DeviceSeconds | None = getattr(self._engine, "last_restore", None)
        return seconds

    def close(self) -> None:
        """Free the engine; later work raises `ClosedError`, in other threads, too."""
        self._calls.close()

    def __enter__(self) -> "Restorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_all(self, people: Iterable[SpecificDictionary | None]) -> None:
        for person in people:
            if person is not None:
                with about(person.name, DictionaryError):
                    self.check(person)

    def _take(
        self,
        faces: Sequence[NDArray[np.generic]],
        landmarks: Sequence[ArrayLike | None] | None,
        identities: Sequence[SpecificDictionary | None] | None,
        color: Color,
        compare: bool = True,
    ) -> list[Found | ItemError]:
        """Aligned faces on their way to the network; `compare` as in `Steps.take`."""
        landmarks = [None] * len(faces) if landmarks is None else landmarks
        identities = [None] * len(faces) if identities is None else identities
        if not len(faces) == len(landmarks) == len(identities):
            raise UsageError(
                f"{len(faces)} faces, {len(landmarks)} landmarks and {len(identities)} identities: "
                "one of each a face is needed"
            )
        self._check_all(identities)
        options = RestoreOptions(color=color)

        def take(index: int) -> Found:
            face, points, person = faces[index], landmarks[index], identities[index]
            return self._steps.take(face, points, person, options, compare)

        return one_by_one(take, range(len(faces)))

    def _run(self, found: Sequence[Found]) -> list[_Done]:
        """The network on the faces of all photos."""
        faces = iter(self._steps.run([cut for each in found for cut in each.cuts]))
        return [(each, list(islice(faces, len(each.cuts)))) for each in found]

    def _paste(self, done: _Done) -> Restored:
        return self._steps.paste(*done)


def steps_of(restorer: Restorer) -> Steps:
    """The steps of a Restorer, for `runtime.archive`, whose threads do them side by side."""
    return restorer._steps.with_threads(1)
