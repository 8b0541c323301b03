"""Landmark files: where those of a picture are, and reading them."""

import errno
import math
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InvalidLandmarksError
from runtime.faces.landmarks import POINTS, check_landmarks
from runtime.storage.locations import base_name, is_url

_LONGEST = 1 << 16
"""Bytes of a landmark file at most; 68 points have some 2,000."""


def landmark_file(picture: str | Path, landmarks: Path | None) -> Path | None:
    """Where the landmarks of a picture are: in the folder, the file, or beside it, if anywhere.

    Raises `InvalidLandmarksError` where `landmarks` is missing.
    """
    if landmarks is None:
        # beside a URL there may be one too, but asking for each picture costs a request
        beside = Path(f"{picture}.txt")
        return beside if not is_url(str(picture)) and _exists(beside) else None
    if not _exists(landmarks):
        raise InvalidLandmarksError(f"{landmarks}: no such landmark file or folder")
    return landmarks / f"{base_name(str(picture))}.txt" if landmarks.is_dir() else landmarks


def read_landmarks(path: str | Path) -> NDArray[np.float64]:
    """Read a landmark file: 68 lines of `x y` in pixels of the picture that it belongs to.

    Returns float64 (68, 2).

    Raises `InvalidLandmarksError`, which names the file, and the line where one is wrong.
    """
    path = Path(path)
    points = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            x, y = map(float, words)
        except ValueError:
            raise InvalidLandmarksError(
                f"{path}: line {number} must be two numbers `x y`, not {line.strip()[:40]!r}"
            ) from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InvalidLandmarksError(
                f"{path}: line {number} is not finite: {line.strip()[:40]!r}"
            )
        points.append((x, y))
    if len(points) != POINTS:
        raise InvalidLandmarksError(f"{path}: {len(points)} points where {POINTS} are needed")
    try:
        return check_landmarks(points)
    except InvalidLandmarksError as error:
        raise InvalidLandmarksError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidLandmarksError(f"{path}: not a landmark file: not a regular file")
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise InvalidLandmarksError(f"{path}: no such landmark file") from None
    except OSError as error:
        raise InvalidLandmarksError(
            f"{path}: cannot be read as landmarks: {error.strerror}"
        ) from None
    except ValueError as error:  # a NUL in the name
        raise InvalidLandmarksError(f"{path}: cannot be read as landmarks: {error}") from None
    if len(data) > _LONGEST:
        raise InvalidLandmarksError(
            f"{path}: not a landmark file: more than {_LONGEST >> 10} KiB for {POINTS} points"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidLandmarksError(
            f"{path}: cannot be read as landmarks: line {number} is not UTF-8 text"
        ) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise InvalidLandmarksError(f"{path}: cannot be read: {error.strerror}") from None
