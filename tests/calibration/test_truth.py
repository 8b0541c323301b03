"""Clean faces as the truth, and that the compact weights come nearer to it than the input is."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.faces import BUILT_IN
from calibration.likeness import Distances
from calibration.quality import REGIONS
from calibration.truth import (
    GENERIC,
    INPUT,
    MOST_REFERENCES,
    RECIPES,
    SPECIFIC,
    Candidate,
    Row,
    Truth,
    cells,
    input_of,
    judge,
    table,
    truth_set,
)
from runtime.backends.base import Boxes, Rows
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.engine_calls import EngineCalls
from runtime.errors import CalibrationError
from runtime.images.arrays import Image
from tests.conftest import SAMPLES, picture

COMPONENTS = ("le", "re", "mo")
LEAST_WHOLE_DB, LEAST_COMPONENTS_DB = 0.3, 0.2
"""By how much a result must be nearer to the truth than its input."""


class Echo:
    """An engine that gives back what it gets, and remembers whose references it was given.

    A row of its dictionaries says how bright the reference is.
    """

    description, max_batch = "echo", 8
    max_references: int | None = None

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.seen: list[tuple[float, list[float]]] = []

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        (rows,) = people
        read = rows[membership[0] > 0, 0]
        self.seen.append((float(image.mean()), read.tolist()))
        return image

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        means = image.mean(axis=(1, 2, 3)).astype(np.float32)
        return np.repeat(means[:, None], self.columns, axis=1)

    def close(self) -> None:
        pass


def echo(bundle: Path) -> tuple[Echo, Candidate]:
    manifest = open_bundle(bundle).manifest
    engine = Echo(int(manifest.memorizer.outputs[0].shape[1]))
    return engine, Candidate("echo", EngineCalls(engine, manifest, 8), manifest)


def put(place: Path, brightness: int, name: str = "astronaut") -> None:
    """A built-in aligned face, darker or brighter, with its landmarks."""
    place.parent.mkdir(exist_ok=True, parents=True)
    image = np.clip(picture(SAMPLES / f"{name}.png").astype(int) + brightness, 0, 255)
    cv2.imwrite(str(place), image.astype(np.uint8))
    shutil.copy(SAMPLES / f"{name}.png.txt", place.with_name(f"{place.name}.txt"))


def names(truth: Truth) -> list[list[str]]:
    return [[load().name for load in person] for person in truth.people]


def test_built_in_truth() -> None:
    truth = truth_set(None)
    assert (truth.source, truth.digest, truth.warnings) == (BUILT_IN, "", ())
    assert names(truth) == [["astronaut"], ["grace_hopper"]]


def test_a_folder_of_people(tmp_path: Path) -> None:
    for index in range(3):
        put(tmp_path / "eileen" / f"{index}.png", 10 * index)
    put(tmp_path / "grace.png", 0, "grace_hopper")
    shutil.copy(SAMPLES / "photos" / "astronaut.png", tmp_path / "whole.png")
    shutil.copy(tmp_path / "eileen" / "0.png", tmp_path / "zoe.png")  # before it in the folder
    blurred = cv2.GaussianBlur(picture(SAMPLES / "grace_hopper.png"), (0, 0), 6)
    cv2.imwrite(str(tmp_path / "soft.png"), blurred)
    (tmp_path / "eileen" / "list.csv").write_text("no picture")
    (tmp_path / "nobody").mkdir()
    cv2.imwrite(str(tmp_path / "nobody" / "black.png"), np.zeros((600, 600, 3), np.uint8))
    truth = truth_set(tmp_path)
    assert names(truth) == [
        ["grace.png"],
        ["whole.png"],
        ["zoe.png"],
        ["eileen/1.png", "eileen/2.png"],
    ]
    assert truth.warnings == (
        "soft.png is not clean: its face has too little detail",
        "eileen/0.png is the same file as zoe.png",
        "eileen/list.csv is no picture",
        "nobody/black.png: no face was found",
    )
    assert len(truth.digest) == 64
    put(tmp_path / "grace.png", 1, "grace_hopper")
    assert truth_set(tmp_path).digest != truth.digest


def test_a_face_is_no_reference_of_itself(bundle: Path, tmp_path: Path) -> None:
    """The brightness of a row tells which photograph it is from."""
    count = MOST_REFERENCES + 2
    for index in range(count):
        put(tmp_path / "eileen" / f"{index}.png", 12 * (index - 3))
    put(tmp_path / "grace.png", 0, "grace_hopper")
    truth = truth_set(tmp_path)
    engine, candidate = echo(bundle)
    rows = judge(truth, [candidate], RECIPES[:1])
    bright = {load().name: float(load().image.mean()) for load in truth.people[1]}
    specific = [(own, read) for own, read in engine.seen if read]
    assert len(specific) == count
    assert len(engine.seen) == 2 * count + 1  # and each without any; grace has none at all
    for own, read in specific:
        nearest = min(bright.values(), key=lambda mean: abs(mean - own))
        assert abs(nearest - own) < 2
        assert len(set(read)) == len(read) == MOST_REFERENCES
        assert min(abs(mean - nearest) for mean in read) > 5
    kinds = {(row.subject, row.kind): row.faces for row in rows}
    assert kinds == {
        (INPUT, "input"): count + 1,
        ("echo", "generic"): count + 1,
        (INPUT, "input, of faces with references"): count,
        ("echo", "generic, of faces with references"): count,
        ("echo", "specific"): count,
    }
    assert list(kinds)[-1] == ("echo", "specific")
    every, with_references, of_specific = rows[0], rows[2], rows[-1]
    assert with_references.psnr_db["whole"] == every.psnr_db["whole"][1:]  # grace came first
    assert of_specific.psnr_db == with_references.psnr_db  # an echo is the input
    assert of_specific.likeness == with_references.likeness == every.likeness[1:]
    assert len(every.likeness) == count + 1
    assert input_of(of_specific, rows) is with_references
    assert input_of(rows[1], rows) is every


def test_other_faces_do_not_change_a_face(bundle: Path, tmp_path: Path) -> None:
    put(tmp_path / "some" / "b.png", 0)
    _, candidate = echo(bundle)
    (alone, _) = judge(truth_set(tmp_path / "some"), [candidate], RECIPES[1:2])
    put(tmp_path / "some" / "a.png", 0, "grace_hopper")
    (two, _) = judge(truth_set(tmp_path / "some"), [candidate], RECIPES[1:2])
    assert two.psnr_db["mo"][1:] == alone.psnr_db["mo"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ((), "no picture in this folder, nor in its sub-folders"),
        (("a.csv",), r"no clean face to judge by \(a.csv is no picture\)"),
        (("a.csv", "b.csv", "c/d.csv"), r"\(a.csv is no picture, and 2 more\)"),
        (("soft.png",), r"no clean face to judge by \(soft.png is not clean: .* detail\)"),
    ],
)
def test_nothing_to_judge_by(tmp_path: Path, files: tuple[str, ...], reason: str) -> None:
    for index, name in enumerate(files):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith(".png"):
            soft = cv2.GaussianBlur(picture(SAMPLES / "astronaut.png"), (0, 0), 6)
            cv2.imwrite(str(tmp_path / name), soft)
        else:
            (tmp_path / name).write_text(f"no picture {index}")
    with pytest.raises(CalibrationError, match=reason):
        truth_set(tmp_path)


def test_a_row_as_text() -> None:
    values = {region: (20.0 + index, 22.0) for index, region in enumerate(REGIONS)}
    ssim = dict.fromkeys(REGIONS, (0.5, 0.75))
    row = Row("x4", "compact", SPECIFIC, values, ssim, (Distances(0.25, 2.0), Distances(0.5, 4.5)))
    given = Row("x4", INPUT, INPUT, values, ssim)
    numbers = ("21.00 dB, 0.625", "21.50 dB, 0.625", "22.00 dB, 0.625", "22.50 dB, 0.625")
    assert cells(row) == ("x4", "compact, specific", "2", *numbers, "0.375", "3.25 px")
    assert cells(given) == ("x4", "input", "2", *numbers, "", "")
    header, first, second = table([given, row]).splitlines()
    assert header.split()[:3] == ["degradation", "picture", "faces"]
    assert first.startswith("x4           input              2      21.00 dB, 0.625")
    assert second.startswith("x4           compact, specific  2      21.00 dB, 0.625")
    assert second.endswith("22.50 dB, 0.625  0.375     3.25 px")


def restored(bundle: Path, truth: Truth) -> dict[tuple[str, str], Row]:
    opened = open_bundle(bundle)
    backend = open_backend(opened, Choice("cpu"))
    calls = EngineCalls(backend, opened.manifest, backend.max_batch)
    rows = judge(truth, [Candidate("compact", calls, opened.manifest)])
    return {(row.degradation, row.kind): row for row in rows}


def gains(row: Row, given: Row) -> tuple[dict[str, float], dict[str, float]]:
    """By how much the mean of each region is nearer to the truth: PSNR in dB, and SSIM."""
    psnr = {r: row.mean_psnr_db(r) - given.mean_psnr_db(r) for r in REGIONS}
    ssim = {r: row.mean_ssim(r) - given.mean_ssim(r) for r in REGIONS}
    for of_regions in (psnr, ssim):
        of_regions["components"] = sum(of_regions[part] for part in COMPONENTS) / len(COMPONENTS)
    return psnr, ssim


def test_compact_weights_restore_the_samples(bundle: Path) -> None:
    rows = restored(bundle, truth_set(None))
    assert {kind for _, kind in rows} == {INPUT, GENERIC}
    for degradation in ("x4", "x6"):
        psnr, ssim = gains(rows[degradation, GENERIC], rows[degradation, INPUT])
        assert psnr["whole"] > LEAST_WHOLE_DB
        assert psnr["components"] > LEAST_COMPONENTS_DB
        assert min(ssim.values()) > 0
    psnr, ssim = gains(rows["x2.5", GENERIC], rows["x2.5", INPUT])
    assert ssim["whole"] > 0
    assert psnr["components"] < 0  # as docs/compact.md says
    assert rows["x6", GENERIC].mean_psnr_db("whole") == pytest.approx(24.53, abs=0.05)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("kind", [GENERIC, SPECIFIC])
def test_compact_weights_restore(kind: str, restored_people: dict[tuple[str, str], Row]) -> None:
    for degradation in ("x4", "x6"):
        row, given = (restored_people[degradation, each] for each in (kind, INPUT))
        assert row.faces == 26
        psnr, ssim = gains(row, given)
        assert psnr["whole"] > LEAST_WHOLE_DB
        assert psnr["components"] > LEAST_COMPONENTS_DB
        assert min(psnr["le"], psnr["re"]) > LEAST_COMPONENTS_DB
        assert min(ssim.values()) > 0
    assert psnr["mo"] > LEAST_COMPONENTS_DB  # at x6; at x4 the mouth misses it, as the docs say
    psnr, ssim = gains(restored_people["x2.5", kind], restored_people["x2.5", INPUT])
    assert ssim["whole"] > 0


@pytest.mark.long
@pytest.mark.shared
def test_references_help_at_6_times(restored_people: dict[tuple[str, str], Row]) -> None:
    psnr, ssim = gains(restored_people["x6", SPECIFIC], restored_people["x6", GENERIC])
    assert psnr["components"] > 0.1
    assert ssim["components"] > 0


@pytest.fixture(scope="module")
def restored_people(shared: Path, bundle: Path) -> dict[tuple[str, str], Row]:
    """What the compact weights make of two people, and what it was made of."""
    return restored(bundle, truth_set(shared / "faces" / "references"))
