"""`dmd-demo` as a newcomer runs it, once with the compact weights; and with wrong input."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.cli import export
from export.cli.demo import demo as demo_command
from export.demo.pictures import RECIPES
from runtime.bundle.weights import COMPACT_SHA256
from runtime.errors import ExportError
from runtime.images.arrays import Image
from runtime.samples.faces import PHOTOS
from tests.conftest import ROOT, Command, one_line, picture

FACES = {"astronaut.png": (162, 64, 287, 189), "grace_hopper.jpg": (136, 108, 395, 367)}
"""x1 y1 x2 y2 of each face in the photograph as it came."""

BUNDLE = f"bundle-compact-{COMPACT_SHA256[:8]}"
REMARK = "compact weights, not the published ones"
DOCUMENTED = ROOT / "docs" / "demo.jpg"


@pytest.fixture(scope="module")
def demo(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder, stdout and stderr of a run that found nothing in its way."""
    out = tmp_path_factory.mktemp("demo") / "new" / "demo"
    done = command("dmd-demo", "--checkpoint", "compact", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, done.stderr


def _face(image: Image, file: str) -> Image:
    """The face in a picture of any size, as large as in the original."""
    original = picture(PHOTOS / file)
    height, width = original.shape[:2]
    method = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
    x1, y1, x2, y2 = FACES[file]
    sized = cv2.resize(image, (width, height), interpolation=method)
    return np.ascontiguousarray(sized[y1:y2, x1:x2], np.uint8)


@pytest.mark.long
@pytest.mark.parametrize("file", FACES)
def test_restored_faces_are_nearer_to_the_original(demo: tuple[Path, str, str], file: str) -> None:
    out, _, _ = demo
    original = picture(PHOTOS / file)
    before, after = (picture(out / f"{Path(file).stem}.{m}.png") for m in ("before", "after"))
    height, width = (round(side / RECIPES[file].shrink) for side in original.shape[:2])
    assert before.shape == (height, width, 3)
    assert after.shape == (4 * height, 4 * width, 3)
    wanted = _face(original, file)
    gain = cv2.PSNR(_face(after, file), wanted) - cv2.PSNR(_face(before, file), wanted)
    assert gain > 0.3  # measured: 0.48 and 0.65
    shift = _face(after, file).mean(axis=(0, 1)) - wanted.mean(axis=(0, 1))
    assert np.abs(shift).max() < 3, "its colours have changed"


@pytest.mark.long
def test_the_picture_in_the_readme_is_made_by_this_command(demo: tuple[Path, str, str]) -> None:
    out, _, _ = demo
    made, shown = picture(out / "faces.jpg"), picture(DOCUMENTED)
    assert made.shape == shown.shape
    assert cv2.PSNR(made, shown) > 40
    assert 900 <= shown.shape[1] <= 1200
    assert DOCUMENTED.stat().st_size <= 400_000
    assert f"]({DOCUMENTED.relative_to(ROOT)})" in (ROOT / "README.md").read_text()


@pytest.mark.long
def test_what_it_says(demo: tuple[Path, str, str]) -> None:
    out, said, warned = demo
    named = [line for line in said.splitlines() if line.startswith(str(out))]
    written = {str(path) for path in out.iterdir() if path.is_file()}
    assert set(named) == written
    assert str(out / "demo.html") in written
    for stem, recipe, gain in (
        ("astronaut", "2 times smaller, noise of sigma 5, JPEG quality 60", 0.3),
        ("grace_hopper", "3 times smaller, noise of sigma 5, JPEG quality 60", 0.3),
    ):
        (line,) = (line for line in said.splitlines() if line.startswith(f"{stem}: {recipe}"))
        before, after = map(float, re.findall(r"([0-9.]+) dB", line))
        assert 20 < before + gain < after < 35
    assert "Compact weights (Apache-2.0)" in warned
    assert "\\n" not in warned  # a table is lines
    assert f"dmd-enroll alice/*.jpg --bundle {out / BUNDLE}" in warned


@pytest.mark.long
def test_the_page_says_what_restored(demo: tuple[Path, str, str]) -> None:
    page = (demo[0] / "demo.html").read_text()
    assert page.count(f">after ({REMARK})</option>") == 4  # two photographs, and their faces
    assert "Compact weights (Apache-2.0)" in page
    assert len(page) < 1_500_000


@pytest.mark.long
def test_it_uses_its_bundle_again(demo: tuple[Path, str, str], command: Command) -> None:
    out, said, _ = demo
    manifest = (out / BUNDLE / "manifest.json").stat()
    first = picture(out / "astronaut.after.png")
    (out / "astronaut.after.png").unlink()
    done = command("dmd-demo", "--checkpoint", "compact", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == said
    assert f"using the bundle in {out / BUNDLE}" in done.stderr.splitlines()
    assert (out / BUNDLE / "manifest.json").stat() == manifest
    assert np.array_equal(picture(out / "astronaut.after.png"), first)


def test_wrong_input(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    one_line(command("dmd-demo", "--out", file), "dmd-demo: ", f"{file}: this is a file")
    monkeypatch.setenv("DMDNET_CHECKPOINT", str(tmp_path / "none.pth"))
    done = command("dmd-demo", "--out", tmp_path / "out")
    one_line(done, "dmd-demo: ", f"{tmp_path / 'none.pth'}: no such checkpoint")
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written(command: Command) -> None:
    done = command("dmd-demo", "--checkpoint", "compact", "--out", "/proc/none/demo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["dmd-demo: /proc/none: No such file or directory"]


def test_without_the_packages_of_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["dmd-demo"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=r"torch.* install dmdnet-runtime\[export,cpu\]"):
        demo_command()
    assert list(tmp_path.iterdir()) == []
