"""Landmark files: where those of a picture are, and reading them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InvalidLandmarksError
from runtime.faces.landmarks import POINTS, check_landmarks
from runtime.storage.locations import base_name, is_url


def landmark_file(picture: str | Path, landmarks: Path | None) -> Path | None:
    """Where the landmarks of a picture are: in the folder, the file, or beside it, if anywhere.

    Raises `InvalidLandmarksError` where `landmarks` is missing.
    """
    if landmarks is None:
        # beside a URL there may be one too, but asking for each picture costs a request
        beside = Path(f"{picture}.txt")
        try:
            return beside if not is_url(str(picture)) and beside.exists() else None
        except OSError:  # too long for a name, so that no file can have it
            return None
    if landmarks.is_dir():
        return landmarks / f"{base_name(str(picture))}.txt"
    if not landmarks.exists():
        raise InvalidLandmarksError(f"{landmarks}: no such landmark file or folder")
    return landmarks


def read_landmarks(path: str | Path) -> NDArray[np.float64]:
    """Read a landmark file: 68 lines of `x y` in pixels of the image it belongs to."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InvalidLandmarksError(f"{path}: no such landmark file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidLandmarksError(f"{path}: cannot be read as landmarks: {error}") from None
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) != POINTS:
        raise InvalidLandmarksError(f"{path}: {len(rows)} points where {POINTS} are needed")
    points = []
    for number, row in enumerate(rows, start=1):
        try:
            x, y = map(float, row)
        except ValueError:
            raise InvalidLandmarksError(
                f"{path}: line {number} must be two numbers `x y`, not {' '.join(row)[:40]!r}"
            ) from None
        points.append((x, y))
    try:
        return check_landmarks(points)
    except InvalidLandmarksError as error:
        raise InvalidLandmarksError(f"{path}: {error}") from None
