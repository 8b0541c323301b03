"""The commands as a user runs them, with right and with wrong input."""

import json
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from runtime import SpecificDictionary
from runtime.bundle.layout import dictionary_layout, layout_text
from runtime.bundle.weights import PUBLISHED_SHA256
from runtime.samples.faces import PHOTOS
from tests.conftest import SAMPLES, Command, one_line, picture


def test_restore_pictures(command: Command, bundle: Path, tmp_path: Path) -> None:
    done = command(
        "dmd-restore", SAMPLES, "--bundle", bundle, "--out", tmp_path / "out", "--compare"
    )
    assert done.returncode == 0, done.stderr
    assert "restored 2 of 2" in done.stdout
    assert done.stdout.endswith("; compact weights, not the published ones)\n")
    names = {"astronaut.png", "grace_hopper.png"}
    names |= {f"{name}.compare.png" for name in names}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    out = picture(tmp_path / "out/astronaut.png")
    assert cv2.PSNR(out, picture(SAMPLES / "astronaut.png")) > 20
    both = picture(tmp_path / "out/astronaut.png.compare.png")
    assert both.shape == (540, 1024, 3)
    assert (both[28:, 512:] == out).all()


def test_enroll_and_restore(command: Command, bundle: Path, tmp_path: Path) -> None:
    pictures = [SAMPLES / "astronaut.png", SAMPLES / "grace_hopper.png"]
    file = tmp_path / "alice.safetensors"
    done = command(
        "dmd-enroll", *pictures, "--landmarks", SAMPLES, "--bundle", bundle, "--out", file
    )
    assert done.returncode == 0, done.stderr
    assert len(SpecificDictionary.load(file)) == 2
    outputs = []
    for identity in ([], ["--identity", file]):
        out = tmp_path / f"out{len(identity)}"
        done = command(
            "dmd-restore", pictures[0], "--bundle", bundle, "--out", out, *identity, "--threads", 1
        )
        assert done.returncode == 0, done.stderr
        outputs.append(picture(out / "astronaut.png").astype(int))
    assert np.abs(outputs[0] - outputs[1]).max() > 10


def test_photographs(command: Command, bundle: Path, tmp_path: Path) -> None:
    """A folder with good and broken photos: report, drawings, and a second run that resumes."""
    inputs, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.jsonl"
    shutil.copytree(SAMPLES / "photos", inputs)
    (inputs / "broken.png").write_bytes((inputs / "astronaut.png").read_bytes()[:5000])
    cv2.imwrite(str(inputs / "empty.png"), np.full((100, 100, 3), 7, np.uint8))
    shutil.copy(SAMPLES / "grace_hopper.png", inputs / "crop.png")
    shutil.copy(SAMPLES / "grace_hopper.png.txt", inputs / "crop.png.txt")
    words = ["dmd-restore", inputs, "--bundle", bundle, "--out", out, "--report", report, "--draw"]
    done = command(*words)
    assert done.returncode == 1
    assert "restored 4 of 5" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"dmd-restore: {inputs}/broken.png: damaged")
    restored = {"astronaut.png", "crop.png", "empty.png", "grace_hopper.jpg"}
    assert {file.name for file in out.iterdir()} == restored | {f"{n}.draw.png" for n in restored}
    lines = {Path(line["input"]).name: line for line in map(json.loads, report.open())}
    assert len(lines) == 5
    assert "damaged" in lines["broken.png"]["error"]
    assert lines["broken.png"]["output"] is None
    assert lines["empty.png"]["faces"] == []
    assert lines["astronaut.png"]["faces"][0]["restored"] is True
    stages = {"detect", "align", "boxes", "network", "paste"}
    assert set(lines["astronaut.png"]["seconds"]) == stages
    (crop,) = lines["crop.png"]["faces"]  # an aligned face, by the landmarks that came with it
    points = np.loadtxt(inputs / "crop.png.txt")
    np.testing.assert_allclose(crop["box"], [*points.min(axis=0), *points.max(axis=0)], atol=0.1)
    assert (crop["score"], crop["restored"]) == (1.0, True)

    (out / "astronaut.png").unlink()
    before = (out / "grace_hopper.jpg").stat().st_mtime_ns
    done = command(*words, "--resume")
    assert "restored 1 of 2" in done.stdout
    assert "3 more existed already" in done.stdout
    assert (out / "grace_hopper.jpg").stat().st_mtime_ns == before
    assert (out / "astronaut.png").exists()


def test_enrolling_photographs(command: Command, bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "none.png"), np.full((100, 100, 3), 7, np.uint8))
    photos = [SAMPLES / "photos/astronaut.png", tmp_path / "none.png"]
    words = ["dmd-enroll", *photos, "--bundle", bundle, "--out", tmp_path / "a.safetensors"]
    one_line(command(*words), "none.png: no face")
    assert not (tmp_path / "a.safetensors").exists()
    done = command(*words, "--skip-bad")
    assert done.returncode == 0
    assert f"left out: {tmp_path}/none.png" in done.stderr
    assert len(SpecificDictionary.load(tmp_path / "a.safetensors")) == 1


def test_names_that_would_forge_a_line(command: Command, bundle: Path, tmp_path: Path) -> None:
    """Nor do bytes that are no text: they are shown as escapes, and the pictures are done."""
    inputs, out, report = tmp_path / "in", tmp_path / "ou\u202et", tmp_path / "r.jsonl"
    inputs.mkdir()
    good = os.fsdecode(b"a\x1b[2J\xff.png")
    cv2.imwrite(str(tmp_path / "x.png"), np.full((64, 64, 3), 7, np.uint8))
    (tmp_path / "x.png").rename(inputs / good)
    (inputs / "b\nrestored 9 of 9.png").write_bytes(b"no picture")
    words = [inputs, tmp_path / "c\x07.png", "--bundle", bundle]
    done = command("dmd-restore", *words, "--out", out, "--report", report, "--debug")
    assert done.returncode == 1
    assert done.stdout.startswith(f"restored 1 of 3 in {tmp_path}/ou\\u202et (")
    lines = [line for line in done.stderr.splitlines() if line.startswith("dmd-restore: ")]
    assert lines[0].startswith(rf"dmd-restore: {inputs}/a\x1b[2J\udcff.png: no face")
    assert lines[1].startswith(rf"dmd-restore: {inputs}/b\nrestored 9 of 9.png: ")
    assert lines[2] == rf"dmd-restore: {tmp_path}/c\x07.png: no such file"
    assert len(lines) == 3
    assert done.stderr.count("Traceback (most recent call last):") >= 2  # of --debug
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
    assert [file.name for file in out.iterdir()] == [good]
    names = [Path(json.loads(line)["input"]).name for line in report.open()]
    assert set(names) == {good, "b\nrestored 9 of 9.png", "c\x07.png"}

    words = [
        inputs,
        tmp_path / "c\x07.png",
        "--bundle",
        bundle,
        "--out",
        tmp_path / "x.safetensors",
    ]
    done = command("dmd-enroll", *words)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert done.stderr.replace("\n", "").isprintable()


def test_arguments_that_no_file_can_have(command: Command, bundle: Path, tmp_path: Path) -> None:
    """One bad argument is reported at the end, and the others are done."""
    long = tmp_path / ("n" * 300)
    cv2.imwrite(str(tmp_path / "x.png"), np.full((64, 64, 3), 7, np.uint8))
    out = tmp_path / "out"
    words = [long, tmp_path / "x.png", "http://127.0.0.1:9/y.png", "--bundle", bundle, "--out", out]
    done = command("dmd-restore", *words)
    assert done.stdout.startswith("restored 1 of 3")
    assert [file.name for file in out.iterdir()] == ["x.png"]
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 3
    (line,) = (line for line in done.stderr.splitlines() if "File name too long" in line)
    assert line.startswith(f"dmd-restore: {long}: ")


def test_metadata_is_kept(command: Command, bundle: Path, tmp_path: Path) -> None:
    """Orientation 6 lies on its side in the file; the result stands, and says so."""
    tags = PIL.Image.Exif()
    tags[271], tags[274] = "Camera", 6
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    with PIL.Image.open(SAMPLES / "photos/grace_hopper.jpg") as photo:
        lying = photo.transpose(PIL.Image.Transpose.ROTATE_90)
        lying.save(tmp_path / "x.jpg", exif=tags, icc_profile=profile, quality=95)
    out = tmp_path / "out"
    done = command("dmd-restore", tmp_path / "x.jpg", "--bundle", bundle, "--out", out)
    assert done.stderr == ""
    with PIL.Image.open(out / "x.jpg") as restored:
        assert (restored.format, restored.size) == ("JPEG", (512, 600))
        assert dict(restored.getexif()) == {271: "Camera", 274: 1}
        assert restored.info["icc_profile"] == profile


Restore = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def restore(command: Command, bundle: Path, tmp_path: Path) -> Restore:
    """`dmd-restore` into a folder where it may leave nothing, as it is to fail."""

    def run(*arguments: object, bundle: Path = bundle) -> subprocess.CompletedProcess[str]:
        out = tmp_path / "out"
        done = command("dmd-restore", *arguments, "--bundle", bundle, "--out", out)
        assert not out.exists() or not any(out.iterdir())
        return done

    return run


def face(folder: Path, name: str = "x.png") -> Path:
    """An aligned face and its landmarks."""
    shutil.copy(SAMPLES / "astronaut.png", folder / name)
    shutil.copy(SAMPLES / "astronaut.png.txt", folder / f"{name}.txt")
    return folder / name


def test_nothing_to_restore(restore: Restore, tmp_path: Path) -> None:
    one_line(restore(tmp_path / "none.png"), "none.png: no such file")
    one_line(restore(tmp_path / "*.gif"), "nothing matches")
    one_line(restore(tmp_path), "no pictures in this folder")


def test_wrong_landmarks(restore: Restore, tmp_path: Path) -> None:
    two = [face(tmp_path), face(tmp_path, "y.png")]
    done = restore(*two, "--landmarks", tmp_path / "x.png.txt")
    assert done.returncode == 1
    assert "2 pictures" in done.stderr
    (tmp_path / "x.png.txt").unlink()
    one_line(restore(two[0], "--landmarks", tmp_path / "none"), "none: no such landmark")
    one_line(restore(two[0], "--landmarks", tmp_path), "x.png.txt: no such landmark")


def test_no_face(command: Command, restore: Restore, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    cv2.imwrite(str(file), np.full((200, 200, 3), 99, np.uint8))
    one_line(restore(file, "--require-face"), "x.png: no face")
    one_line(restore(file, "--aligned"), "x.png: no face where")
    done = command("dmd-restore", file, "--bundle", bundle, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "x.png: no face was found" in done.stderr
    assert (picture(tmp_path / "out/x.png") == 99).all()


def test_decompression_bomb(restore: Restore, tmp_path: Path) -> None:
    header = struct.pack(">II5B", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    (tmp_path / "x.png").write_bytes(data)
    one_line(restore(tmp_path / "x.png"), "x.png: 20000 x 20000 px", "limit")
    one_line(restore(face(tmp_path), "--max-pixels", 1000), "x.png: 512 x 512 px", "limit")


def test_inputs_are_not_overwritten(
    command: Command, restore: Restore, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    file, other = face(tmp_path), face(tmp_path / "other")
    one_line(restore(file, other), "both be written")
    before = file.read_bytes()
    words = ["dmd-restore", file, "--bundle", bundle, "--out"]
    one_line(command(*words, tmp_path), "would be overwritten")
    one_line(command(*words, file), "--out must be a folder")
    assert file.read_bytes() == before


def test_wrong_options(command: Command, restore: Restore, bundle: Path, tmp_path: Path) -> None:
    file = face(tmp_path)
    one_line(command("dmd-restore"), "INPUT")
    one_line(restore(file, "--threads", 0), "--threads")
    one_line(restore(file, "--min-face", 0), "--min-face")
    one_line(restore(file, "--device", "cuda"), "CUDAExecutionProvider")
    one_line(restore(file, "--upscale", 2), "x.png", "--upscale and --only do not apply")
    one_line(restore(file, "--only", 5000 * "9"), "--only must be")
    one_line(restore(file, bundle=tmp_path / "none"), "none: no such bundle")
    words = [file, "--bundle", bundle, "--out"]
    one_line(command("dmd-restore", *words, "/proc/restored"), "/proc/restored")
    one_line(command("dmd-enroll", *words, tmp_path / "none" / "a.safetensors"), "--out")


@pytest.fixture
def small_disk(tmp_path: Path) -> "object":
    """A file system of 64 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_full_disk(command: Command, bundle: Path, small_disk: Path) -> None:
    picture = SAMPLES / "astronaut.png"
    done = command("dmd-restore", picture, "--bundle", bundle, "--out", small_disk / "out")
    one_line(done, "No space left")
    assert not list((small_disk / "out").iterdir())
    file = small_disk / "alice.safetensors"
    one_line(command("dmd-enroll", picture, "--bundle", bundle, "--out", file), "No space left")
    assert [f.name for f in small_disk.iterdir()] == ["out"]


def test_a_dictionary_of_the_published_network(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    """Given to a bundle of the compact weights, which is of another width, too."""
    layout = dictionary_layout(64)
    rows = np.zeros((1, layout[-1].stop), np.float32)
    file = tmp_path / "alice.safetensors"
    SpecificDictionary(rows, layout_text(layout), PUBLISHED_SHA256).save(file)
    out = tmp_path / "out"
    done = command("dmd-restore", PHOTOS, "--bundle", bundle, "--out", out, "--identity", file)
    one_line(
        done,
        "alice.safetensors: ",
        "made with the published weights, but the bundle has the compact weights; enrol",
    )
    assert not out.exists()
