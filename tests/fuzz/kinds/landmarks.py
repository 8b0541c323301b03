"""Landmark files, landmarks given as arrays, and the answers of a caller's own detector."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime import Restored, Restorer
from runtime.faces.landmark_files import read_landmarks
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Image
from runtime.images.files import read_image
from runtime.samples.faces import PHOTOS, samples
from tests.fakes.bundle import write_bundle
from tests.fuzz.mutations import FLOATS, TEXTS, Draw, mutated
from tests.fuzz.rule import Kind

# fmt: off
_WORDS = (
    "nan", "inf", "-inf", "1e400", "-1e308", "9" * 400, "1_0", "0x10", "\u0661\u0662",
    "+3", "1,5", "1e", "--1", "1e-400", ".5", "5.", "\u00bd", "1\x00", "1\u00a02",
    *TEXTS,
)
# fmt: on
_SEPARATORS = (" ", "\t", "  ", ",", ";", "\u2003", "\x0b", "\x1c", "", "\x85")
_ENDS = ("\n", "\r\n", "\r", "\u2028", "\x0c", "\n\n")
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")


@contextmanager
def landmark_files(folder: Path) -> Iterator[Kind]:
    """Text with other numbers, separators and encodings, and bytes that are no text."""
    path = folder / "picture.png.txt"
    points = samples()[0].landmarks
    plain = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points).encode()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        found = read_landmarks(path)
        assert found.shape == (68, 2), "another number of points"
        assert np.isfinite(found).all(), "points that are not finite"
        _check_boxes(found)

    yield Kind(_texts(points) | mutated([plain]), attempt)


@contextmanager
def landmarks(folder: Path) -> Iterator[Kind]:
    """Points with an aligned face, as a caller hands them over."""
    write_bundle(folder / "bundle")
    sample = samples()[0]
    with Restorer(folder / "bundle", device="cpu") as restorer:

        def attempt(given: object) -> None:
            (result,) = restorer.restore_faces([sample.image], [given])  # type: ignore[list-item]
            if not isinstance(result, Restored):
                raise result
            assert result.image.shape == (512, 512, 3), "a result of another size"
            restorer.memorize([sample.image], [given])  # type: ignore[list-item]

        yield Kind(_answers(sample.landmarks), attempt)


@contextmanager
def detectors(folder: Path) -> Iterator[Kind]:
    """What a detector of the caller's own says of the faces of a small and of a large photo."""
    write_bundle(folder / "bundle")
    photo = np.asarray(read_image(PHOTOS / "astronaut.png"), np.uint8)
    small = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
    answer: list[Any] = [None]
    detector: Callable[[Image], Any] = lambda face: answer[0]  # noqa: E731
    with Restorer(folder / "bundle", device="cpu", landmark_detector=detector) as restorer:

        def attempt(given: tuple[bool, object]) -> None:
            large, answer[0] = given
            picture = photo if large else small
            (result,) = restorer.restore_photos([picture])
            if not isinstance(result, Restored):
                raise result
            assert result.image.shape == picture.shape, "a result of another size"
            assert result.image.dtype == np.uint8, "a result of another type"
            for face in result.faces:
                assert np.isfinite(face.landmarks).all(), "points that are not finite"

        yield Kind(st.tuples(st.booleans(), _answers(samples()[0].landmarks)), attempt)


def _check_boxes(points: NDArray[np.float64]) -> None:
    boxes = component_boxes(points)
    assert boxes.shape == (4, 4)
    assert boxes.min() >= 0, "a box outside of the face"
    assert boxes.max() <= 512, "a box outside of the face"
    assert (boxes[:, :2] < boxes[:, 2:]).all(), "an empty box"


@st.composite
def _texts(draw: Draw, points: NDArray[np.float64]) -> bytes:
    rows = [[f"{x:.2f}", f"{y:.2f}"] for x, y in points]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(rows) - 1))
        match draw(st.sampled_from(("word", "number", "drop", "double", "third"))):
            case "word":
                rows[at][draw(st.integers(0, len(rows[at]) - 1))] = draw(st.sampled_from(_WORDS))
            case "number":
                rows[at][0] = repr(draw(st.floats() | st.sampled_from(FLOATS)))
            case "drop":
                del rows[at]
            case "double":
                rows.insert(at, list(rows[at]))
            case "third":
                rows[at].append("1")
    separator = draw(st.just(" ") | st.sampled_from(_SEPARATORS))
    end = draw(st.just("\n") | st.sampled_from(_ENDS))
    text = end.join(separator.join(row) for row in rows) + draw(st.sampled_from(("", end)))
    encoding = draw(st.just("utf-8") | st.sampled_from(_ENCODINGS))
    lost = "replace" if encoding == "latin-1" else "surrogatepass"
    return bytes(text.encode(encoding, errors=lost))


@st.composite
def _answers(draw: Draw, points: NDArray[np.float64]) -> Any:
    """Points with some wrong, all on one place, far or tiny; or of other shapes and types."""
    found = points.copy()
    match draw(st.sampled_from(("some", "all", "scale", "shift", "line", "type", "shape", "none"))):
        case "some":
            for _ in range(draw(st.integers(1, 4))):
                at = draw(st.integers(0, 67)), draw(st.integers(0, 1))
                found[at] = draw(st.sampled_from(FLOATS) | st.floats())
        case "all":
            found[:] = draw(st.sampled_from(FLOATS)), draw(st.sampled_from(FLOATS))
        case "scale":
            with np.errstate(over="ignore", invalid="ignore"):
                found = (found - 256) * draw(st.sampled_from(FLOATS)) + 256
        case "shift":
            found += draw(st.sampled_from(FLOATS)), draw(st.sampled_from(FLOATS))
        case "line":
            found[:, draw(st.integers(0, 1))] = draw(st.sampled_from(FLOATS))
        case "type":
            return _typed(draw, found)
        case "shape":
            return draw(st.sampled_from(_shapes(found)))
        case "none":
            return draw(st.sampled_from(_NOTHING))
    return found


# fmt: off
_NOTHING: Sequence[Any] = (
    "", "68", b"68", 0, 1.5, [], {}, [[]], [[1, 2]] * 67, [[1, 2]] * 69, [[1]] * 68,
    [[1, 2, 3]] * 68, [[1, 2]] * 67 + [[1]], [["a", "b"]] * 68, [[None, None]] * 68,
    {"x": 1}, object, [[10**400, 1]] * 68, [[1 + 2j, 3]] * 68, [[True, False]] * 68,
    set(), range(136), np.zeros(0), np.zeros((68, 2, 1)),
)
# fmt: on


def _typed(draw: Draw, points: NDArray[np.float64]) -> Any:
    kinds = [
        "f2",
        "f4",
        "i1",
        "u1",
        "i8",
        "u8",
        "c16",
        "O",
        "S9",
        "U9",
        "M8[s]",
        "m8[s]",
        "?",
        "f8",
        ">f8",
        ">i4",
    ]
    with np.errstate(all="ignore"):
        return points.astype(np.int64).astype(draw(st.sampled_from(kinds)))


def _shapes(points: NDArray[np.float64]) -> list[Any]:
    return [
        points.T,
        points.ravel(),
        points[None],
        points[:67],
        points[:5],
        points[::-1],
        points.tolist(),
        list(points),
        np.ma.masked_array(points, points > 300),
        np.asfortranarray(points),
        np.matrix(points),
        np.broadcast_to(points[:1], (68, 2)),
        np.repeat(points, 2, axis=0)[::2],
    ]
