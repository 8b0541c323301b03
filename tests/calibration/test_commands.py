"""`dmd-export --int8` and `dmd-compare` as a user runs them."""

import re
import shutil
from pathlib import Path

import pytest

from runtime.bundle.weights import TRAINED_FOR
from runtime.images.files import read_image
from tests.conftest import SAMPLES, Command, one_line


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        shutil.copy(SAMPLES / "photos" / name, folder)
    (folder / "list.csv").write_text("no picture")
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--fp32", "--calibration-size", "8"), "need --int8"),
        (("--method", "minmax"), "need --int8"),
        (("--int8", "--min-psnr", "loud"), "not a number of dB"),
        (("--int8", "--method", "best"), "invalid choice"),
        (("--int8", "--calibration-size", "0"), "must be 1 or more"),
        (("--int8", "--calibration", "missing"), "missing: no such folder"),
    ],
)
def test_wrong_options(command: Command, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = command("dmd-export", *words, "--checkpoint", "none.pth", "--out", "out", cwd=tmp_path)
    one_line(done, says)
    assert list(tmp_path.iterdir()) == []


def test_compare(
    command: Command, bundle: Path, int8_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    worst = tmp_path / "worst.png"
    done = command("dmd-compare", bundle, int8_bundle, "--images", photos, "--worst", worst)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "dmd-compare: warning: list.csv is no picture\n"
    header, *rows = done.stdout.splitlines()[:5]
    first, second = done.stdout.splitlines()[5:]
    assert first.startswith(f"A: {bundle}: ONNX Runtime")
    assert second.startswith(f"B: {int8_bundle}: ONNX Runtime")
    assert "int8" in second
    assert "CPU" in second
    assert header.startswith("region")
    assert [row.split("  ")[0] for row in rows] == ["whole", "left eye", "right eye", "mouth"]
    for row in rows:
        psnr = float(row[11:].split()[0])
        assert 34 < psnr < 60
    assert read_image(worst).shape == (540, 3 * 512, 3)

    same = command("dmd-compare", bundle, bundle, "--images", photos)
    assert all("100.0" in row for row in same.stdout.splitlines()[1:5])


def test_compare_as_a_check(
    command: Command, bundle: Path, int8_bundle: Path, photos: Path
) -> None:
    (photos / "list.csv").unlink()
    done = command("dmd-compare", bundle, int8_bundle, "--images", photos, "--min-psnr", 60)
    one_line(done, str(int8_bundle), "whole", "under 60")


def test_compare_with_truth(
    command: Command, bundle: Path, int8_bundle: Path, photos: Path
) -> None:
    done = command("dmd-compare", bundle, int8_bundle, "--truth", photos)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "dmd-compare: warning: list.csv is no picture\n"
    header, *rows, first, second, remark = done.stdout.splitlines()
    assert header.split()[:4] == ["degradation", "picture", "faces", "whole"]
    assert header.split()[-2:] == ["identity", "landmarks"]
    assert remark == TRAINED_FOR
    found = {tuple(re.split("  +", row)[:2]): re.split("  +", row)[2:] for row in rows}
    pictures = ("input", "A, generic", "B, generic")
    assert list(found) == [(times, each) for times in ("x2.5", "x4", "x6") for each in pictures]
    assert {faces for faces, *_ in found.values()} == {"2"}
    psnr = {key: float(whole.split()[0]) for key, (_, whole, *_) in found.items()}
    assert all(0 < float(identity) < 1 for *_, identity, _ in found.values())
    assert all(0 < float(px.removesuffix(" px")) < 30 for *_, px in found.values())
    for times in ("x4", "x6"):
        given, of_a, of_b = (psnr[times, each] for each in pictures)
        assert of_a > given + 0.3
        assert of_b > given + 0.3
        assert of_a != of_b
    for name, path, line in (("A", bundle, first), ("B", int8_bundle, second)):
        assert line.startswith(f"{name}: {path}: ONNX Runtime")
        assert line.endswith("(compact weights, not the published ones)")


def test_compare_wrong_input(command: Command, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    one_line(command("dmd-compare", bundle, bundle, "--images", folder), "folder: no such folder")
    folder.mkdir()
    one_line(command("dmd-compare", bundle, bundle, "--images", folder), "this folder is empty")
    one_line(command("dmd-compare", bundle, tmp_path / "b", "--images", folder), "no such bundle")
    shutil.copy(SAMPLES / "photos" / "astronaut.png", folder)
    one_line(command("dmd-compare", bundle, bundle), "--images", "--truth", "is required")
    truth = ("dmd-compare", bundle, bundle, "--truth")
    one_line(command(*truth, folder, "--min-psnr", "30"), "--worst and --min-psnr need --images")
    one_line(command(*truth, folder / "astronaut.png"), "astronaut.png: not a folder")
    one_line(command(*truth, tmp_path / "none"), "none: no such folder")
    wrong = command(
        "dmd-compare", bundle, bundle, "--images", folder, "--worst", tmp_path / "worst.xyz"
    )
    assert wrong.returncode == 1
    assert "worst.xyz: cannot write" in wrong.stderr
