"""What `dmd-people` writes: a contact sheet and references of each person, and groups.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.archive.failures import ends_the_run, failure_of
from runtime.faces.alignment import transform
from runtime.faces.finder import cut
from runtime.groups.grouping import Group, Grouping
from runtime.groups.reading import TILE, FoundFace
from runtime.images.arrays import Image
from runtime.images.files import write_image
from runtime.people.matching import THRESHOLD
from runtime.people.recognition import SHARP
from runtime.redaction import public_name
from runtime.storage.local import write_atomically

GROUPS = "groups.json"
"""Which face is in which group, for programs."""


def write_groups(
    folder: Path,
    faces: Sequence[FoundFace],
    grouping: Grouping,
    failures: Mapping[str, str],
    photo: Callable[[str], Image],
) -> list[str]:
    """Write all files into a folder that is there and empty.

    `failures`: by photo, what kept it from being read. `photo` reads one again, as RGB, for its
    references. Returns a line for each reference that could not be written.
    """
    lines: list[str] = []
    written: dict[int, str] = {}
    for person in grouping.people:
        write_image(folder / f"{person.name}.jpg", sheet(person, faces))
        (folder / person.name).mkdir()
        for number, index in enumerate(person.references, 1):
            name = f"{person.name}/{number:02d}.png"
            try:
                write_reference(folder / name, faces[index], photo(faces[index].photo))
                written[index] = name
            except Exception as error:  # of this photo, which is not what it was
                if ends_the_run(error):
                    raise
                lines.append(failure_of(faces[index].photo, error))
    content = {
        "threshold": THRESHOLD,
        "people": [_person(person, faces, written) for person in grouping.people],
        "alone": [_face(faces[index], None) for index in grouping.alone],
        "blurred": [_face(faces[index], None) for index in grouping.blurred],
        "failures": {public_name(name): line for name, line in failures.items()},
    }
    write_atomically(folder / GROUPS, f"{json.dumps(content, indent=1)}\n".encode())
    return lines


def sheet(person: Group, faces: Sequence[FoundFace]) -> Image:
    """The faces of a person as one picture, BGR, row by row.

    Each has its number from 1, and a reference that of its file in brackets.
    """
    columns = max(8, ceil(sqrt(len(person.faces))))
    rows = ceil(len(person.faces) / columns)
    canvas = np.full((rows * TILE, columns * TILE, 3), 255, np.uint8)
    for place, index in enumerate(person.faces):
        tile = cv2.imdecode(np.frombuffer(faces[index].tile, np.uint8), cv2.IMREAD_COLOR)
        assert tile is not None
        label = str(place + 1)
        if index in person.references:
            label += f" ({person.references.index(index) + 1:02d})"
        for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):  # readable on any face
            cv2.putText(tile, label, (4, TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, width)
        y, x = (TILE * each for each in divmod(place, columns))
        canvas[y : y + TILE, x : x + TILE] = tile
    return canvas


def write_reference(path: Path, face: FoundFace, photo: Image) -> None:
    """The aligned face of an RGB photo, and beside it its landmarks, as `dmd-enroll` reads them."""
    matrix, landmarks = face.face.transform, face.face.landmarks
    crop = cut(photo, landmarks, matrix).image
    write_image(path, np.ascontiguousarray(crop[:, :, ::-1]))
    points = "".join(f"{x:.2f} {y:.2f}\n" for x, y in transform(matrix, landmarks))
    write_atomically(path.with_name(f"{path.name}.txt"), points.encode())


def _person(
    person: Group, faces: Sequence[FoundFace], written: Mapping[int, str]
) -> dict[str, Any]:
    return {
        "name": person.name,
        "sheet": f"{person.name}.jpg",
        "maybe": list(person.maybe),
        "faces": [_face(faces[index], written.get(index)) for index in person.faces],
    }


def _face(face: FoundFace, reference: str | None) -> dict[str, Any]:
    """A face for programs: no vector, which is biometric data."""
    return {
        "photo": public_name(face.photo),
        "face": face.index,
        "box": face.face.box.round(1).tolist(),
        "sharp": face.blur <= SHARP,
        "reference": reference,
    }
