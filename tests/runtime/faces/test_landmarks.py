import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from runtime import InvalidLandmarksError, component_boxes, read_landmarks
from runtime.faces.landmark_files import landmark_file
from tests.conftest import SAMPLES


def template() -> NDArray[np.float64]:
    """A plain face: everything that no formula looks at is in the middle."""
    points = np.full((68, 2), 256.0)
    points[17:22], points[36:42] = (190, 210), (190, 240)  # left brow, left eye
    points[22:27], points[42:48] = (320, 210), (320, 240)
    points[29:36] = (256, 310)
    points[31], points[35], points[33] = (236, 310), (276, 310), (256, 324)
    points[48:68] = (256, 380)
    points[48], points[54] = (206, 380), (306, 380)
    return points


def test_boxes_follow_the_formulas() -> None:
    # eye: a = 1.3 * 30 = 39, d = 39 / 1.9, h = (a + d) / 2 = 29.76; nose: centre y 312, r = 25,
    # d = 1.1 * 12 = 13.2; mouth: r = 1.1 * 50
    expected = [[161, 202, 219, 260], [291, 202, 349, 260], [232, 276, 281, 325]]
    expected.append([202, 326, 311, 435])
    assert component_boxes(template()).tolist() == expected


@pytest.mark.shared
def test_boxes_equal_the_authors(shared: Path) -> None:
    cases = json.loads((shared / "reference/golden/component_boxes.json").read_text())
    assert len(cases) == 52
    for case in cases:
        assert component_boxes(case["landmarks"]).tolist() == case["boxes"], case["file"]


def test_boxes_beyond_the_image_are_clipped() -> None:
    points = template()
    points[36:42] = (20, 240)
    points[17:22] = (20, 190)
    boxes = component_boxes(points)
    assert boxes[0, 0] == 0  # 20 - 49.6 + 1
    assert boxes.min() >= 0
    assert boxes.max() <= 512


def test_small_components_are_named() -> None:
    points = template()
    points[42:48] = points[22:27] = (320, 240)
    with pytest.raises(InvalidLandmarksError, match="right eye"):
        component_boxes(points)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((67, 2)), "67, 2"),
        (np.zeros((68, 3)), "68, 3"),
        ("no", "numbers"),
        (np.vstack([template()[:67], [[np.nan, 1]]]), "landmark 67 is not finite"),
        (np.vstack([template()[:67], [[-2e6, 1]]]), "landmark 67 lies 2e\\+06 px away"),
        ([[10**400, 1]] * 68, "numbers"),
        ([["1", "2"]] * 68, "numbers"),
        (template() * 1j, "numbers"),
        (np.broadcast_to(1.0, (10**10, 2)), "10000000000, 2"),
        (torch.zeros((68, 2), requires_grad=True), "68 x 2 numbers: RuntimeError: Can't call"),
    ],
)
def test_wrong_landmarks(points: object, says: str) -> None:
    with pytest.raises(InvalidLandmarksError, match=says):
        component_boxes(points)  # type: ignore[arg-type]


def test_read_landmarks() -> None:
    points = read_landmarks(SAMPLES / "astronaut.png.txt")
    assert points.shape == (68, 2)
    assert points[0].tolist() == [
        float(x) for x in (SAMPLES / "astronaut.png.txt").read_text().split()[:2]
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2\n" * 67, "67 points where 68"),
        ("1 2\n" * 67 + "a b\n", "line 68"),
        ("1 2 3\n" * 68, "line 1"),
        ("1 2\n" * 67 + "inf 2\n", "line 68 is not finite: 'inf 2'"),
        ("\n1 2\n\nnan 2\n" + "1 2\n" * 66, "line 4 is not finite: 'nan 2'"),
        ("1 2\n" + f"1 {10**400}\n" + "1 2\n" * 66, "line 2 is not finite: '1 10000"),
        ("1 2\n" * 67 + "1 1e999\n", "line 68 is not finite"),
        ("1 2\n" * 67 + "1 \0\n", "line 68 must be two numbers"),
        ("", "0 points where 68"),
        ("1 2\n" * 100_000, "more than 64 KiB"),
        ("1 2\n" * 67 + "1e300 2\n", r"landmark 67 lies 1e\+300 px away"),
    ],
    ids=range(11),
)
def test_wrong_landmark_files(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "x.png.txt"
    file.write_text(text)
    with pytest.raises(InvalidLandmarksError, match=says) as error:
        read_landmarks(file)
    assert str(file) in str(error.value)


def test_missing_landmark_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidLandmarksError, match="no such"):
        read_landmarks(tmp_path / "x.txt")
    (tmp_path / "y.txt").write_bytes(b"1 2\n1 \xff\xfe\x00")
    with pytest.raises(InvalidLandmarksError, match=r"y\.txt: .* line 2 is not UTF-8 text"):
        read_landmarks(tmp_path / "y.txt")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(InvalidLandmarksError, match="not a regular file"):
            read_landmarks(tmp_path / name)
    with pytest.raises(InvalidLandmarksError, match="cannot be read"):
        read_landmarks(tmp_path / "nul\0")


def test_a_picture_of_the_longest_name_has_no_landmark_file(tmp_path: Path) -> None:
    picture = tmp_path / f"{'x' * 250}.png"
    assert landmark_file(picture, None) is None
    with pytest.raises(InvalidLandmarksError, match="no such landmark file or folder"):
        landmark_file(picture, tmp_path / ("x" * 300))
