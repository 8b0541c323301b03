"""Faces to calibrate and to judge with: from a folder, or the built-in ones.

They are loaded one at a time, so that a thousand need no more memory than one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.degradation import degrade, is_clean
from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import CalibrationError, DeviceError, InvalidLandmarksError, error_line
from runtime.faces.alignment import IDENTITY
from runtime.faces.finder import FaceFinder, cut
from runtime.faces.landmark_files import landmark_file, read_landmarks
from runtime.images.arrays import Image, to_rgb
from runtime.images.files import SUFFIXES, read_image
from runtime.photo import largest_face
from runtime.samples.faces import Sample, mirrored, samples
from runtime.storage.local import sha256_of
from runtime.text import shown

BUILT_IN = "built-in samples"
_FEWEST = 8  # faces, under which the ranges are a guess: a warning
_HELD_OUT = (4, 8)  # one in four is held out for the gate, eight at most


@dataclass(frozen=True)
class FacePair:
    """A face as the network gets it, and the picture that serves as its reference.

    `image`, `reference`: uint8 (512, 512, 3) RGB; `boxes`: int32 (4, 4).
    """

    name: str
    image: Image
    reference: Image
    boxes: NDArray[np.int32]


Load = Callable[[], FacePair]


@dataclass(frozen=True)
class FaceSet:
    """Faces to calibrate with, and others to judge by.

    `source`: the folder's name, or `BUILT_IN`; `digest`: SHA-256 of its files, "" for the built-in
    ones; `warnings`: what was left out and why, and what makes the calibration worse.
    """

    source: str
    digest: str
    calibration: tuple[Load, ...]
    held_out: tuple[Load, ...]
    warnings: tuple[str, ...]


def face_set(source: Path | None, size: int, seed: int) -> FaceSet:
    """Choose `size` faces to calibrate with, and hold out others for the gate.

    `source`: a folder of photographs (the largest face of each; clean ones are degraded), or None
    for the built-in samples. Raises `CalibrationError` if no face is found.
    """
    warnings: list[str] = []
    if source is None:
        loads, digest, name = _built_in(size, seed), "", BUILT_IN
        warnings.append(
            "calibrated and judged with built-in photographs of two people only: "
            "name a folder of faces like yours with --calibration"
        )
    elif source.is_dir():
        loads, digest, warnings = _of_folder(source, seed)
        name = source.name
    else:
        raise CalibrationError(f"{source}: no such folder")
    if not loads:
        raise CalibrationError(f"{source}: no face to calibrate with ({'; '.join(warnings)})")
    order = np.random.default_rng(seed).permutation(len(loads))
    shuffled = [loads[index] for index in order]
    if len(shuffled) == 1:
        warnings.append("only one face: it serves both to calibrate and to judge")
        return FaceSet(name, digest, tuple(shuffled), tuple(shuffled), tuple(warnings))
    every, most = _HELD_OUT
    held_out = min(most, max(1, len(shuffled) // every))
    chosen = shuffled[held_out:][:size]
    if len(chosen) < _FEWEST:
        warnings.append(f"only {len(chosen)} faces to calibrate with: {_FEWEST} or more are better")
    return FaceSet(name, digest, tuple(chosen), tuple(shuffled[:held_out]), tuple(warnings))


def faces_of_folder(folder: Path) -> tuple[list[Load], list[str]]:
    """The largest face of each picture, not degraded; and which pictures are left out, and why.

    Raises `CalibrationError` for an empty folder.
    """
    files = files_of_folder(folder)
    if not files:
        raise CalibrationError(f"{folder}: this folder is empty")
    return faces_of_files(files, FaceFinder())


def files_of_folder(folder: Path) -> list[Path]:
    """The files of a folder that should be pictures, in order: no hidden ones, no landmarks."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".txt"]
    return [p for p in files if not p.name.startswith(".")]


def faces_of_files(files: Sequence[Path], finder: FaceFinder) -> tuple[list[Load], list[str]]:
    """The largest face of each file, not degraded; and which files are left out, and why."""
    loads: list[Load] = []
    left_out = []
    for file in tqdm(files, desc="finding faces", unit="file", leave=False, disable=None):
        if file.suffix.lower() not in SUFFIXES:
            left_out.append(f"{file.name} is no picture")
            continue
        try:
            place = _place(file, finder)
        except Exception as error:  # whatever it is, it is of this picture alone
            if isinstance(error, DeviceError):
                raise
            line = error_line(error).removeprefix(shown(f"{file}: "))
            left_out.append(f"{file.name}: {line}")
            continue
        loads.append(partial(_load, file, *place))
    return loads, left_out


def _of_folder(folder: Path, seed: int) -> tuple[list[Load], str, list[str]]:
    """The faces of a folder, clean ones degraded; its SHA-256; what was left out and why."""
    loads, left_out = faces_of_folder(folder)
    hashes = "".join(sha256_of(p) for p in sorted(folder.iterdir()) if p.is_file())
    digest = hashlib.sha256(hashes.encode()).hexdigest()
    return [partial(_as_met, load, [seed, i]) for i, load in enumerate(loads)], digest, left_out


def _as_met(load: Load, seed: list[int]) -> FacePair:
    """A face as users bring it: a clean one is degraded."""
    face = load()
    if not is_clean(face.image):
        return face
    return replace(face, image=degrade(face.image, np.random.default_rng(seed)))


def _built_in(size: int, seed: int) -> list[Load]:
    """`size` variants of the two samples, and as many more as will be held out."""
    people = samples()
    every, most = _HELD_OUT
    count = size + min(most, max(1, size // (every - 1)))
    return [partial(_variant, people[i % 2], i // 2 % 2 > 0, i, seed) for i in range(count)]


def _variant(person: Sample, mirror: bool, index: int, seed: int) -> FacePair:
    """A sample darker or lighter, mirrored if `mirror`, and degraded."""
    rng = np.random.default_rng([seed, index])
    levels = (np.arange(256) * rng.uniform(0.5, 1.5)).clip(0, 255).astype(np.uint8)
    reference, boxes = levels[person.rgb], person.boxes
    if mirror:
        reference, boxes = mirrored(reference, boxes)
    return FacePair(f"{person.name} {index}", degrade(reference, rng), reference, boxes)


def _place(file: Path, finder: FaceFinder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks of the largest face, given or found, and the transform photo -> crop."""
    image = to_rgb(read_image(file), "bgr", say_scaled=False)
    given = landmark_file(file, None)
    if given is not None:
        if image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise InvalidLandmarksError("landmarks are for aligned 512 x 512 crops only")
        return read_landmarks(given), IDENTITY
    face = largest_face(image, finder)
    return face.landmarks, face.transform


def _load(file: Path, landmarks: NDArray[np.float64], matrix: NDArray[np.float64]) -> FacePair:
    crop = cut(to_rgb(read_image(file), "bgr", say_scaled=False), landmarks, matrix)
    return FacePair(file.name, crop.image, crop.image, crop.boxes)
