"""Which faces this checkout's finder finds, and another's: by width, by angle, and where none are.

    python -m benchmarks.studies.faces.finding --before CHECKOUT --json FILE

Each checkout has a process of its own. All see the same canvases of 4000 x 3000 pixels with faces
in a grid, upright and turned. `--faces DIR` adds aligned faces of 512 x 512 to the two sample
faces, `--without DIR` pictures in which there is no face. Only numbers get into the result.
"""

import json
import tempfile
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np

from benchmarks.measure.checkouts import HERE, Ask, asked
from benchmarks.studies import record
from benchmarks.suites.example_faces import background
from runtime.faces.alignment import TEMPLATE, Points, transform
from runtime.images.arrays import Image, to_rgb
from runtime.images.files import read_image
from runtime.samples.faces import samples

_SIZE, _COLUMNS, _ROWS = (4000, 3000), 6, 4
_FACE = 300  # width of the face in an aligned crop, in pixels
WIDTHS = (20, 24, 28, 32, 40, 48, 64, 96, 128, 180, 256, 400, 800, 1600)
ANGLES, TURNED = (30, 45, 60, 75, 90, 100, 135, 180), (180, 256, 800)

# only what every version has; a line in is a file's name, a line out has the faces' middles
_WORKER = """
import json, sys, time
import numpy as np
from runtime.faces.alignment import five_points
from runtime.faces.finder import FaceFinder
finder = FaceFinder(1, **json.loads(sys.argv[1]))
for line in sys.stdin:
    picture = np.load(line.strip())
    start = time.process_time()
    faces = finder.find(picture)
    seconds = time.process_time() - start
    middles = [five_points(face.landmarks).mean(axis=0).tolist() for face in faces]
    print(json.dumps([seconds, middles]), flush=True)
"""

_Ask = Callable[[Image], tuple[float, list[list[float]]]]


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.faces.finding", __doc__)
    parser.add_argument("--before", required=True, type=Path, help="the other checkout")
    parser.add_argument("--faces", type=Path, help="folder of aligned faces, 512 x 512")
    parser.add_argument("--without", type=Path, help="folder of pictures without a face")
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(measure, args))


def measure(
    args: Namespace, widths: tuple[int, ...] = WIDTHS, angles: tuple[int, ...] = ANGLES
) -> dict[str, Any]:
    """What each finder finds of the faces of each canvas, and what else it takes for a face."""
    crops = [to_rgb(sample.image, "bgr") for sample in samples()]
    crops += [_read(file) for file in _files(args.faces)]
    kinds = [(width, 0) for width in widths]
    kinds += [(width, angle) for angle in angles for width in TURNED]
    finders: dict[str, tuple[Path, dict[str, int]]] = {
        "before": (args.before.resolve(), {}),
        "now": (HERE, {}),
        "now, min_face=28": (HERE, {"min_face": 28}),
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "picture.npy"
        ask: dict[str, _Ask] = {}
        for name, (checkout, options) in finders.items():
            worker = stack.enter_context(asked(checkout, _WORKER, json.dumps(options)))
            ask[name] = partial(_seen, worker, file)
        found = [_of_kind(crops, width, angle, ask) for width, angle in kinds]
        pictures = [_read(path) for path in _files(args.without)]
        alarms = {
            name: sum(len(each(picture)[1]) for picture in pictures) for name, each in ask.items()
        }
    return {
        "different_faces": len(crops),
        "canvas": _SIZE,
        "canvases": found,
        "pictures_without_a_face": {"pictures": len(pictures), "faces_found": alarms},
    }


def _of_kind(crops: list[Image], width: int, angle: int, ask: dict[str, _Ask]) -> dict[str, object]:
    """Faces of one width and angle: how many there are, and what each finder finds."""
    grid = (_COLUMNS, _ROWS) if width < min(_SIZE) / 6 else (2, 1) if width < 1000 else (1, 1)
    rounds = -(-6 // (grid[0] * grid[1]))  # of a canvas with few faces
    result: dict[str, Any] = {"width": width, "angle": angle, "faces": 0, "finders": {}}
    for turn in range(rounds):
        canvas, middles = canvas_of(crops, grid, width, angle, turn * grid[0] * grid[1])
        result["faces"] += len(middles)
        for name, each in ask.items():
            seconds, found = each(canvas)
            near = sum(
                any(np.abs(np.subtract(middle, one)).max() < width / 5 for one in found)
                for middle in middles
            )
            total = result["finders"].setdefault(name, {"found": 0, "others": 0, "cpu_s": 0.0})
            total["found"] += near
            total["others"] += len(found) - near
            total["cpu_s"] = round(total["cpu_s"] + seconds, 3)
    return result


def canvas_of(
    crops: list[Image], grid: tuple[int, int], width: int, angle: int, first: int
) -> tuple[Image, list[Points]]:
    """An RGB canvas with a face in the middle of each cell of a grid, and the faces' middles.

    `width`: of a face between its ears, in pixels; `angle`: by which all are turned, in degrees.
    """
    canvas = background(np.random.default_rng(1), (40, 30), _SIZE)
    middles, scale = [], width / _FACE
    for index in range(grid[0] * grid[1]):
        crop = crops[(first + index) % len(crops)]
        centre = (np.array([index % grid[0], index // grid[0]]) + 0.5) * _SIZE / np.array(grid)
        small = min(1.0, scale)  # by area first, so that nothing aliases
        source = cv2.resize(crop, None, fx=small, fy=small, interpolation=cv2.INTER_AREA)
        middle = (source.shape[1] - 1) / 2, (source.shape[0] - 1) / 2
        matrix = np.asarray(cv2.getRotationMatrix2D(middle, angle, scale / small), np.float64)
        matrix[:, 2] += centre - middle
        inside = cv2.warpAffine(np.ones(source.shape[:2], np.uint8), matrix, _SIZE) > 0
        turned = cv2.warpAffine(source, matrix, _SIZE, flags=cv2.INTER_CUBIC)
        canvas[inside] = turned[inside]
        middles.append(transform(matrix, TEMPLATE * small).mean(axis=0))
    return canvas, middles


def _seen(ask: Ask, file: Path, picture: Image) -> tuple[float, list[list[float]]]:
    """The CPU seconds in which a checkout finds the faces of an RGB picture, and their middles."""
    np.save(file, picture)
    seconds, middles = ask(str(file))
    return float(seconds), middles


def _files(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted(file for file in folder.rglob("*") if file.is_file())


def _read(file: Path) -> Image:
    return to_rgb(read_image(file), "bgr", say_scaled=False)


if __name__ == "__main__":
    main()
