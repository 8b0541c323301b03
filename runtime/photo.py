"""The way of a photo: its faces are found and cut out, and put back when the network had them.

Between the two steps, which are functions here, `Restorer` runs the network.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.dictionary import SpecificDictionary
from runtime.errors import InvalidLandmarksError, NoFaceError, UsageError
from runtime.faces.alignment import (
    IDENTITY,
    TEMPLATE,
    Points,
    five_points,
    of_enlarged,
    transform,
)
from runtime.faces.compositing import enlarge, extract, extract_enlarged, put_back, replace
from runtime.faces.finder import Crop, Face, FaceFinder, cut
from runtime.faces.landmarks import check_landmarks, component_boxes
from runtime.images.arrays import Color, Image, fit, rgb_view, to_rgb
from runtime.options import Only, RestoreOptions, strength_of
from runtime.people.naming import NOBODY, Describe, Known, doubt, likeness_of, loss, name_faces

_NEAR = 30.0  # pixels: mean distance of an FFHQ crop's five points from the template's


@dataclass(frozen=True)
class Restored:
    """A photo, or an aligned face, that was restored.

    Attributes:
        image: the picture; of a photo in its dtype, channels and channel order, of an aligned face
            uint8 (512, 512, 3).
        faces: all faces that were found, the most certain first, in pixels of the photo as given.
        restored: the indices of the faces that were restored.
        timings: seconds of each stage, by name: "detect", "align", "boxes", "network" and "paste",
            and where people are known "recognize" (before) and "likeness" (after the network).
            Photos that share engine calls share the network's seconds by their number of faces.
        warnings: what was left as it was and why, who a face may be, and where one looks less like
            its person than before; a sentence each.
    """

    image: NDArray[Any]
    faces: tuple[Face, ...]
    restored: tuple[int, ...]
    timings: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CutFace:
    """A face on its way through the network: `matrix` (2, 3), enlarged photo -> crop."""

    index: int  # in the photo's faces
    crop: Crop
    matrix: Points
    known: Known
    strength: float


@dataclass(frozen=True, eq=False)
class Found:
    """A photo whose faces are found and cut out.

    `photo`: as it was given; only `paste` may write into it. `upscale`: how many times it will be
    enlarged. `aligned`: it is itself the crop. `cuts`: the faces to restore. `seconds`: of the
    stages so far.
    """

    photo: NDArray[Any]
    upscale: int
    color: Color
    aligned: bool
    faces: tuple[Face, ...]
    cuts: tuple[CutFace, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


def find_and_crop(
    photo: NDArray[np.generic],
    finder: FaceFinder,
    identity: SpecificDictionary | None,
    identities: Mapping[int, SpecificDictionary],
    options: RestoreOptions,
    describe: Describe,
) -> Found:
    """Find the faces of a photo, and cut out those that are meant; see `Restorer.restore`.

    Where there are people to compare with, all faces are, as each may be whom another seems to be.
    """
    clock = _Clock()
    color = options.color
    rgb = rgb_view(photo, color, say_scaled=False)
    faces = finder.find(rgb)
    clock.stop("detect")
    if not faces and options.require_face:
        raise NoFaceError("no face was found in the photo")
    notes = [] if faces else ["no face was found, and nothing restored"]

    upscale = options.upscale
    aligned = upscale == 1 and _is_aligned(faces, photo.shape)
    clock.stop("align")
    clock.stop("boxes")
    chosen = _choose(faces, options.only, photo.shape)
    matrices: dict[int, Points] = {}
    crops: dict[int, Image] = {}
    for index in range(len(faces)) if options.people else chosen:
        matrices[index] = of_enlarged(IDENTITY if aligned else faces[index].transform, upscale)
        if upscale == 1:
            crops[index] = extract(rgb, matrices[index])
        else:
            crops[index] = extract_enlarged(photo, matrices[index], upscale, color)
    clock.stop("align")
    given = {index: one for index in crops if (one := identities.get(index, identity)) is not None}
    known = _name(crops, given, options, describe, clock)
    cuts = []
    for index in chosen:
        to_crop = IDENTITY if aligned else faces[index].transform
        try:
            boxes = component_boxes(transform(to_crop, faces[index].landmarks))
        except InvalidLandmarksError as error:
            notes.append(f"face {index} was not restored: {error}")
            continue
        crop, who = Crop(crops[index], boxes), known.get(index, NOBODY)
        cuts.append(CutFace(index, crop, matrices[index], who, strength_of(options, index)))
    clock.stop("boxes")
    named = tuple(known.get(index, NOBODY).named(face) for index, face in enumerate(faces))
    present = {face.name for face in named if face.name is not None}
    notes += [note for index in chosen if (note := doubt(index, known.get(index, NOBODY), present))]
    strengths = options.strength if isinstance(options.strength, Mapping) else {}
    for what, indices in (("identities", identities), ("strengths", strengths)):
        if wrong := [index for index in indices if index not in range(len(faces))]:
            notes.append(f"{what} for faces that were not found: {wrong}")
    return Found(photo, upscale, color, aligned, named, tuple(cuts), tuple(notes), clock.seconds)


def take_aligned(
    picture: NDArray[np.generic],
    landmarks: ArrayLike | None,
    finder: FaceFinder,
    identity: SpecificDictionary | None,
    options: RestoreOptions,
    describe: Describe | None,
) -> Found:
    """A picture that is an aligned crop, resized to 512 x 512; see `Restorer.restore_aligned`.

    The face's box is that of its landmarks, and its score is 1, as nobody had to find it.
    `describe` None: nobody asks how like the face is to the person of `identity`.
    """
    clock = _Clock()
    crop, face = _take(picture, landmarks, finder, options.color, clock)
    if describe is None:
        known = Known(identity, None, None, None)
    else:
        given = {} if identity is None else {0: identity}
        known = _name({0: crop.image}, given, options, describe, clock).get(0, NOBODY)
    note = doubt(0, known, ())
    image, color = crop.image, options.color
    out = np.ascontiguousarray(image[:, :, ::-1]) if color == "bgr" else image
    cut_face = CutFace(0, crop, IDENTITY, known, strength_of(options, 0))
    notes = (note,) if note else ()
    faces = (known.named(face),)
    return Found(out, 1, color, True, faces, (cut_face,), notes, clock.seconds)


def _take(
    picture: NDArray[np.generic],
    landmarks: ArrayLike | None,
    finder: FaceFinder,
    color: Color,
    clock: "_Clock",
) -> tuple[Crop, Face]:
    """The crop that a picture is, and its face."""
    rgb = to_rgb(picture, color)
    scale = np.array([IMAGE_SIZE / rgb.shape[1], IMAGE_SIZE / rgb.shape[0]])
    image = fit(rgb)
    clock.stop("align")
    if landmarks is None:
        points = finder.landmarks(image)
        clock.stop("detect")
    else:
        points = check_landmarks(landmarks) * scale
    crop = Crop(image, component_boxes(points))
    clock.stop("boxes")
    given = points / scale
    box = np.concatenate([given.min(axis=0), given.max(axis=0)])
    return crop, Face(box, 1.0, given, np.column_stack([np.diag(scale), np.zeros(2)]))


def liken(found: Found, restored: Sequence[Image], describe: Describe, remark: str | None) -> Found:
    """The same, whose faces say how near they are to their people as the network `restored` them.

    `remark`: what is to be known of the weights.
    """
    clock, faces, notes = _Clock(), list(found.faces), list(found.notes)
    for face, of_face in zip(restored, found.cuts, strict=True):
        if of_face.known.person is None:
            continue
        index, part, seen = of_face.index, of_face.strength, face
        if part < 1:
            mixed = cv2.addWeighted(face, part, of_face.crop.image, 1 - part, 0)
            seen = np.asarray(mixed, np.uint8)
        likeness = likeness_of(of_face.known, seen, describe, remark)
        faces[index] = dataclasses.replace(faces[index], likeness=likeness)
        notes += [note] if (note := loss(index, faces[index])) else []
        clock.stop("likeness")
    seconds = {**found.seconds, **clock.seconds}
    return dataclasses.replace(found, faces=tuple(faces), notes=tuple(notes), seconds=seconds)


def paste(
    found: Found, restored: Sequence[Image], network_s: float, in_place: bool = False
) -> Restored:
    """Put the faces that the network `restored`, RGB (512, 512, 3), back into the photo.

    `network_s`: the seconds that the network took for them. `in_place`: a photo that is not
    enlarged becomes the result itself; otherwise its pixels are copied once, here.
    """
    clock = _Clock()
    keeps = in_place and found.upscale == 1
    image = found.photo if keeps else enlarge(found.photo, found.upscale)
    # the best face is pasted last, and so lies over its neighbours
    for face, of_face in reversed(list(zip(restored, found.cuts, strict=True))):
        if found.aligned:
            replace(image, face, found.color, of_face.strength)
        else:
            put_back(image, face, of_face.matrix, found.color, of_face.strength)
    clock.stop("paste")
    indices = tuple(each.index for each in found.cuts)
    seconds = {**found.seconds, "network": network_s, **clock.seconds}
    return Restored(image, found.faces, indices, seconds, found.notes)


def crop_reference(
    picture: NDArray[np.generic], landmarks: ArrayLike | None, finder: FaceFinder, color: Color
) -> Crop:
    """A face to memorise: the largest of a photo, or an aligned face whose `landmarks` are given.

    Raises `NoFaceError`, `InvalidImageError` or `InvalidLandmarksError`.
    """
    if landmarks is not None:
        return _take(picture, landmarks, finder, color, _Clock())[0]
    image = rgb_view(picture, color)
    face = largest_face(image, finder)
    return cut(image, face.landmarks, face.transform)


def largest_face(image: Image, finder: FaceFinder) -> Face:
    """The largest face of an RGB picture; of an aligned crop, its transform is the identity.

    Raises `NoFaceError`.
    """
    faces = finder.find(image)
    if not faces:
        raise NoFaceError("no face was found")
    face = faces[_largest(faces)]
    aligned = _is_aligned(faces, image.shape)
    return dataclasses.replace(face, transform=IDENTITY) if aligned else face


def _largest(faces: Sequence[Face]) -> int:
    """Index of the face with the largest box."""
    return int(np.argmax([np.prod(face.box[2:] - face.box[:2]) for face in faces]))


def _is_aligned(faces: Sequence[Face], shape: tuple[int, ...]) -> bool:
    """Is this 512 x 512 picture of one face an aligned crop already?"""
    if shape[:2] != (IMAGE_SIZE, IMAGE_SIZE) or len(faces) != 1:
        return False
    distances = np.linalg.norm(five_points(faces[0].landmarks) - TEMPLATE, axis=1)
    return bool(distances.mean() < _NEAR)


def _choose(faces: list[Face], only: Only | None, shape: tuple[int, ...]) -> list[int]:
    """Indices of the faces that `only` means: all, the largest, the most central, or the index."""
    if only is None or not faces:
        return list(range(len(faces)))
    if only == "largest":
        return [_largest(faces)]
    if only == "center":
        middle = np.array([shape[1], shape[0]]) / 2
        distances = [np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - middle) for f in faces]
        return [int(np.argmin(distances))]
    if isinstance(only, int) and 0 <= only < len(faces):
        return [only]
    raise UsageError(
        f'only must be "largest", "center" or a face\'s index under {len(faces)}, not {only!r}'
    )


def _name(
    crops: Mapping[int, Image],
    given: Mapping[int, SpecificDictionary],
    options: RestoreOptions,
    describe: Describe,
    clock: "_Clock",
) -> dict[int, Known]:
    """Who is in the crops, as far as the options say whom to look for."""
    known = name_faces(crops, given, options.people, options.people_threshold, describe)
    if any(who.distance is not None for who in known.values()):
        clock.stop("recognize")
    return known


@dataclass
class _Clock:
    """Seconds of each stage, summed where it comes again."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.start
        self.start = now
