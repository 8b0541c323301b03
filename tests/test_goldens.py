"""The full-size network against what the authors' own code gives."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Restorer, SpecificDictionary, component_boxes, read_landmarks
from runtime.bundle.layout import dictionary_layout
from runtime.images.files import read_image

pytestmark = [pytest.mark.long, pytest.mark.shared]

GOLDENS = ("generic_00121_4", "specific_00005_9", "specific_00121_2_single_reference")


@pytest.fixture(scope="module")
def full(shared: Path, full_bundle: Path) -> Restorer:
    return Restorer(full_bundle, device="cpu", threads=2)


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(shared: Path, full: Restorer, name: str) -> None:
    golden = np.load(shared / "reference/golden" / f"{name}.npz")
    person, number = str(golden["lq"]).removesuffix(".png").split("_")
    face = read_image(shared / "faces/degraded" / str(golden["lq"]))
    points = read_landmarks(shared / "faces/landmarks" / person / f"{number}.png.txt")
    assert (component_boxes(points) == golden["lq_boxes"]).all()
    check(full.restore_aligned(face, points), golden["generic"])
    if "references" not in golden:
        return

    references = [read_image(shared / "faces/references" / str(f)) for f in golden["references"]]
    landmarks = [
        read_landmarks(shared / "faces/landmarks" / f"{f}.txt") for f in golden["references"]
    ]
    for landmark, boxes in zip(landmarks, golden["reference_boxes"], strict=True):
        assert (component_boxes(landmark) == boxes).all()
    identity = full.memorize(references, landmarks)
    for segment in dictionary_layout():
        key = f"dictionary_{segment.part.upper()}{segment.scale}{segment.kind.capitalize()}"
        first, last = golden[key]
        block = identity.rows[:, segment.start : segment.stop]
        tolerance = 1e-3 * np.abs(golden[key]).max()
        np.testing.assert_allclose(block[:, :64], first, rtol=1e-3, atol=tolerance)
        np.testing.assert_allclose(block[:, -64:], last, rtol=1e-3, atol=tolerance)
    check(full.restore_aligned(face, points, identity), golden["specific"])


def check(restored: NDArray[np.uint8], golden: NDArray[np.int16]) -> None:
    """At most 1 level off anywhere, at most 0.5 % of the values off at all."""
    expected = np.rint((golden.astype(np.float64) / 32767 + 1) * 127.5).transpose(1, 2, 0)
    off = np.abs(restored[:, :, ::-1] - expected)
    assert off.max() <= 1
    assert (off > 0).mean() <= 0.005


def test_mixed_batch(shared: Path, full_bundle: Path) -> None:
    """Generic, Alice with 5 references and Bob with 1 in one engine call: as each alone."""

    def load(
        folder: str, person: str, number: int
    ) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        name = f"{person}_{number}.png" if folder == "degraded" else f"{person}/{number}.png"
        points = read_landmarks(shared / f"faces/landmarks/{person}/{number}.png.txt")
        return read_image(shared / "faces" / folder / name), points

    def enrol(restorer: Restorer, person: str, numbers: list[int]) -> SpecificDictionary:
        pictures, points = zip(*(load("references", person, n) for n in numbers), strict=True)
        return restorer.memorize(pictures, points)

    with Restorer(full_bundle, device="cpu", threads=2, max_batch=3) as restorer:
        alice = enrol(restorer, "00005", [0, 1, 2, 3, 4])
        bob = enrol(restorer, "00121", [6])
        faces = [load("degraded", "00121", 4), load("degraded", "00005", 9)]
        faces.append(load("degraded", "00121", 2))
        pictures, points = zip(*faces, strict=True)
        together = restorer.restore_batch(pictures, points, [None, alice, bob])
        for out, face, point, person in zip(
            together, pictures, points, [None, alice, bob], strict=True
        ):
            alone = restorer.restore_aligned(face, point, person)
            assert np.abs(out.astype(int) - alone).max() <= 1
