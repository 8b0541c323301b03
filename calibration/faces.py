"""Faces to calibrate and to judge with: from a folder, from a saved `.npz`, or the built-in ones.

They are loaded one at a time, so that a thousand take no more memory than one.
"""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import runtime
from calibration.degradation import degrade, is_clean
from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import CalibrationError, DmdnetError, InvalidLandmarksError, NoFaceError
from runtime.faces.alignment import IDENTITY
from runtime.faces.finder import FaceFinder, cut
from runtime.faces.landmark_files import landmark_file, read_landmarks
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Image, to_rgb
from runtime.images.files import SUFFIXES, read_image
from runtime.photo import is_aligned, largest
from runtime.storage.local import sha256_of

BUILT_IN = "built-in samples"
_SMALLEST = 9  # side of a component, in pixels of the crop
_FEWEST = 8  # faces, under which the ranges are a guess: a warning
_HELD_OUT = (4, 8)  # one in four is held out for the gate, eight at most


@dataclass(frozen=True)
class Face:
    """A face as the network meets it, and as its own reference photograph.

    `image`, `reference`: uint8 (512, 512, 3) RGB; `boxes`: int32 (4, 4).
    """

    name: str
    image: Image
    reference: Image
    boxes: NDArray[np.int32]


Load = Callable[[], Face]


@dataclass(frozen=True)
class FaceSet:
    """Faces to calibrate with and, apart from them, faces to judge by."""

    source: str
    digest: str
    calibration: tuple[Load, ...]
    held_out: tuple[Load, ...]
    warnings: tuple[str, ...]


def face_set(source: Path | None, size: int, seed: int) -> FaceSet:
    """Choose `size` faces to calibrate with, and hold out others for the gate.

    `source`: a folder of photographs (the largest face of each; clean ones are degraded), an
    `.npz` as `save_faces` writes it, or None for the built-in samples.
    Raises `CalibrationError` where that gives no face.
    """
    warnings: list[str] = []
    if source is None:
        loads, digest, name = _built_in(size, seed), "", BUILT_IN
        warnings.append(
            "calibrated and judged with two people's built-in photographs: "
            "give faces like yours with --calibration"
        )
    elif source.is_dir():
        loads, digest, warnings = _of_folder(source, seed)
        name = source.name
    elif source.suffix == ".npz":
        loads, digest, warnings = _of_npz(source)
        name = source.name
    else:
        raise CalibrationError(f"{source}: neither a folder nor an .npz file")
    if not loads:
        raise CalibrationError(f"{source}: no face to calibrate with ({'; '.join(warnings)})")
    order = np.random.default_rng(seed).permutation(len(loads))
    shuffled = [loads[index] for index in order]
    if len(shuffled) == 1:
        warnings.append("one face only: it is judged by itself")
        return FaceSet(name, digest, tuple(shuffled), tuple(shuffled), tuple(warnings))
    every, most = _HELD_OUT
    held_out = min(most, max(1, len(shuffled) // every))
    chosen = shuffled[held_out:][:size]
    if len(chosen) < _FEWEST:
        warnings.append(f"{len(chosen)} faces to calibrate with: {_FEWEST} or more are better")
    return FaceSet(name, digest, tuple(chosen), tuple(shuffled[:held_out]), tuple(warnings))


def faces_of_folder(folder: Path) -> tuple[list[Load], list[str]]:
    """The largest face of each picture, as it is, and what was left out and why."""
    finder = FaceFinder()
    loads: list[Load] = []
    left_out = []
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".txt"]
    files = [p for p in files if not p.name.startswith(".")]
    if not files:
        raise CalibrationError(f"{folder}: this folder is empty")
    for file in tqdm(files, desc="finding faces", unit="file", leave=False, disable=None):
        if file.suffix.lower() not in SUFFIXES:
            left_out.append(f"{file.name} is no picture")
            continue
        try:
            place = _place(file, finder)
        except DmdnetError as error:
            left_out.append(f"{file.name}: {str(error).removeprefix(f'{file}: ')}")
            continue
        loads.append(lambda file=file, place=place: _load(file, *place))  # type: ignore[misc]
    return loads, left_out


def save_faces(path: Path, faces: Sequence[Face]) -> None:
    """Write crops and boxes to an `.npz`: `images` (N, 512, 512, 3) RGB, `boxes` (N, 4, 4)."""
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            images=np.stack([face.image for face in faces]),
            boxes=np.stack([face.boxes for face in faces]),
        )


def _of_folder(folder: Path, seed: int) -> tuple[list[Load], str, list[str]]:
    loads, left_out = faces_of_folder(folder)

    def as_met(index: int, load: Load) -> Load:
        def degraded() -> Face:
            face = load()
            if not is_clean(face.image):
                return face
            rng = np.random.default_rng([seed, index])
            return Face(face.name, degrade(face.image, rng), face.image, face.boxes)

        return degraded

    hashes = "".join(sha256_of(p) for p in sorted(folder.iterdir()) if p.is_file())
    digest = hashlib.sha256(hashes.encode()).hexdigest()
    return [as_met(*pair) for pair in enumerate(loads)], digest, left_out


def _of_npz(path: Path) -> tuple[list[Load], str, list[str]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, boxes = arrays["images"], arrays["boxes"]
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such file") from None
    except KeyError as error:
        raise CalibrationError(f"{path}: {error.args[0]}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"{path}: not an .npz of crops and boxes: {error}") from None
    side = IMAGE_SIZE
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
        raise CalibrationError(
            f"{path}: `images` must be uint8 (N, {side}, {side}, 3), not {images.dtype} "
            f"{images.shape}"
        )
    if not np.issubdtype(boxes.dtype, np.integer) or boxes.shape != (len(images), 4, 4):
        raise CalibrationError(
            f"{path}: `boxes` must be int32 ({len(images)}, 4, 4), not {boxes.dtype} {boxes.shape}"
        )
    loads: list[Load] = []
    left_out = []
    for index, (image, box) in enumerate(zip(images, boxes.astype(np.int32), strict=True)):
        name = f"{path.stem}[{index}]"
        if image.min() == image.max():
            left_out.append(f"{name} is of one colour")
        elif box.min() < 0 or box.max() > side or (box[:, 2:] - box[:, :2]).min() < _SMALLEST:
            left_out.append(
                f"{name} has a box outside the crop, or smaller than {_SMALLEST} pixels"
            )
        else:
            face = Face(name, image, image, box)
            loads.append(lambda face=face: face)  # type: ignore[misc]
    return loads, sha256_of(path), left_out


def _built_in(size: int, seed: int) -> list[Load]:
    """The two samples, mirrored every other time, darker or lighter, each degraded anew."""
    samples = Path(runtime.__file__).with_name("samples")

    def variant(index: int) -> Load:
        def load() -> Face:
            rng = np.random.default_rng([seed, index])
            file = samples / ("astronaut.png", "grace_hopper.png")[index % 2]
            image = to_rgb(read_image(file), "bgr")
            boxes = component_boxes(read_landmarks(file.with_name(f"{file.name}.txt")))
            exposed = cv2.LUT(image, _exposure(rng.uniform(0.5, 1.5)))
            if index // 2 % 2:
                exposed = np.ascontiguousarray(exposed[:, ::-1])
                x1, y1, x2, y2 = boxes[[1, 0, 2, 3]].T
                boxes = np.stack([IMAGE_SIZE - x2, y1, IMAGE_SIZE - x1, y2], axis=1)
            reference = exposed.astype(np.uint8)
            return Face(
                f"{file.stem} {index}", degrade(reference, rng), reference, boxes.astype(np.int32)
            )

        return load

    every, most = _HELD_OUT
    return [variant(index) for index in range(size + min(most, max(1, size // (every - 1))))]


def _exposure(gain: float) -> NDArray[np.uint8]:
    return (np.arange(256) * gain).clip(0, 255).astype(np.uint8)


def _place(file: Path, finder: FaceFinder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks of the largest face, given or found, and the transform photo -> crop."""
    image = to_rgb(read_image(file), "bgr", say_scaled=False)
    given = landmark_file(file, None)
    if given is not None:
        if image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise InvalidLandmarksError("landmarks are for aligned 512 x 512 crops only")
        return read_landmarks(given), IDENTITY
    faces = finder.find(image)
    if not faces:
        raise NoFaceError("no face was found")
    face = faces[largest(faces)]
    return face.landmarks, IDENTITY if is_aligned(faces, image.shape) else face.transform


def _load(file: Path, landmarks: NDArray[np.float64], matrix: NDArray[np.float64]) -> Face:
    crop = cut(to_rgb(read_image(file), "bgr", say_scaled=False), landmarks, matrix)
    return Face(file.name, crop.image, crop.image, crop.boxes)
