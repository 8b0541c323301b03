"""The commands as a user runs them, with right and with wrong input."""

import json
import shutil
import struct
import subprocess
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from runtime import SpecificDictionary
from tests.conftest import SAMPLES, Command, one_line, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures with their landmarks; the second is broken."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(SAMPLES / "astronaut.png", inputs / name)
        shutil.copy(SAMPLES / "astronaut.png.txt", inputs / f"{name}.txt")
    whole = (inputs / "b.png").read_bytes()
    (inputs / "b.png").write_bytes(whole[: len(whole) // 2])
    return inputs


def test_restore_pictures(command: Command, bundle: Path, tmp_path: Path) -> None:
    done = command(
        "dmd-restore", SAMPLES, "--bundle", bundle, "--out", tmp_path / "out", "--compare"
    )
    assert done.returncode == 0, done.stderr
    assert "restored 2 of 2" in done.stdout
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [
        "astronaut.png",
        "astronaut.png.compare.png",
        "grace_hopper.png",
        "grace_hopper.png.compare.png",
    ]
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


def test_one_bad_picture_does_not_stop_the_others(
    command: Command, bundle: Path, folder: Path, tmp_path: Path
) -> None:
    done = command("dmd-restore", folder, "--bundle", bundle, "--out", tmp_path / "out")
    one_line(done, str(folder / "b.png"), "damaged")
    assert done.returncode == 1
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_enrolling_is_all_or_nothing(
    command: Command, bundle: Path, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "alice.safetensors"
    done = command("dmd-enroll", f"{folder}/*.png", "--bundle", bundle, "--out", file)
    one_line(done, str(folder / "b.png"), "damaged")
    assert not file.exists()


def test_the_formats_follow_the_input(
    command: Command, bundle: Path, folder: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(folder / "d.jpg"), picture(folder / "a.png"))
    shutil.copy(folder / "a.png.txt", folder / "d.jpg.txt")
    done = command("dmd-restore", folder / "d.jpg", "--bundle", bundle, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "out/d.jpg").read_bytes()[:2] == b"\xff\xd8"


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
    assert "3 were there already" in done.stdout
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
        assert restored.size == (512, 600)
        assert dict(restored.getexif()) == {271: "Camera", 274: 1}
        assert restored.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "name",
    ["dmd-restore", "dmd-enroll", "dmd-export", "dmd-build-engine", "dmd-doctor", "dmd-bench"],
)
def test_help_is_quick(command: Command, name: str) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert command(name, "--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


class TestWrongInput:
    """One clear line each, and nothing half written."""

    @pytest.fixture(autouse=True)
    def _setting(self, command: Command, bundle: Path, tmp_path: Path) -> None:
        self.command, self.bundle, self.out = command, bundle, tmp_path / "out"
        self.work = tmp_path

    def restore(
        self, *arguments: object, bundle: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = self.command(
            "dmd-restore", *arguments, "--bundle", bundle or self.bundle, "--out", self.out
        )
        assert not self.out.exists() or not any(self.out.iterdir())
        return done

    def picture(self, name: str, data: bytes | None = None, points: str | None = None) -> Path:
        file = self.work / name
        file.write_bytes((SAMPLES / "astronaut.png").read_bytes() if data is None else data)
        landmarks = (SAMPLES / "astronaut.png.txt").read_text() if points is None else points
        file.with_name(f"{name}.txt").write_text(landmarks)
        return file

    def test_no_such_file(self) -> None:
        one_line(self.restore(self.work / "none.png"), "none.png: no such file")

    def test_nothing_matches(self) -> None:
        one_line(self.restore(self.work / "*.gif"), "nothing matches")
        one_line(self.restore(self.work), "no pictures in this folder")

    def test_text_named_png(self) -> None:
        one_line(self.restore(self.picture("x.png", b"hello")), "x.png: not a picture")

    def test_truncated_png(self) -> None:
        half = (SAMPLES / "astronaut.png").read_bytes()[:100_000]
        one_line(self.restore(self.picture("x.png", half)), "x.png: damaged")

    def test_one_pixel(self) -> None:
        data = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
        one_line(self.restore(self.picture("x.png", data)), "x.png", "1 x 1")

    def test_67_landmarks(self) -> None:
        one_line(self.restore(self.picture("x.png", points="1 2\n" * 67)), "x.png.txt", "67 points")

    def test_letters_as_landmarks(self) -> None:
        wrong = self.picture("x.png", points="x y\n" * 68)
        one_line(self.restore(wrong), "x.png.txt", "line 1")

    def test_no_landmarks(self) -> None:
        file = self.picture("x.png")
        (self.work / "x.png.txt").unlink()
        one_line(self.restore(file, "--landmarks", self.work / "none"), "none: no such landmark")
        one_line(self.restore(file, "--landmarks", self.out.parent), "x.png.txt: no such landmark")

    def test_no_face(self) -> None:
        data = cv2.imencode(".png", np.full((200, 200, 3), 99, np.uint8))[1].tobytes()
        file = self.picture("x.png", data)
        (self.work / "x.png.txt").unlink()
        one_line(self.restore(file, "--require-face"), "x.png: no face")
        one_line(self.restore(file, "--aligned"), "x.png: no face where")
        done = self.command("dmd-restore", file, "--bundle", self.bundle, "--out", self.out)
        assert done.returncode == 0
        assert "x.png: no face was found" in done.stderr
        assert (picture(self.out / "x.png") == 99).all()

    def test_decompression_bomb(self) -> None:
        header = struct.pack(">II5B", 20_000, 20_000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
        data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
        one_line(self.restore(self.picture("x.png", data)), "x.png: 20000 x 20000 px", "limit")
        small = self.picture("y.png")
        one_line(self.restore(small, "--max-pixels", 1000), "y.png: 512 x 512 px", "limit")

    def test_one_landmark_file_for_two_pictures(self) -> None:
        files = [self.picture("x.png"), self.picture("y.png")]
        done = self.restore(*files, "--landmarks", self.work / "x.png.txt")
        assert done.returncode == 1
        assert "2 pictures" in done.stderr

    def test_no_such_bundle(self) -> None:
        done = self.restore(self.picture("x.png"), bundle=self.work / "nothing")
        one_line(done, "nothing: no such bundle")

    def test_flipped_byte(self) -> None:
        copy = Path(shutil.copytree(self.bundle, self.work / "copy"))
        data = bytearray((copy / "restorer.onnx.data").read_bytes())
        data[1000] ^= 1
        (copy / "restorer.onnx.data").write_bytes(data)
        one_line(self.restore(self.picture("x.png"), bundle=copy), "restorer.onnx.data: altered")

    def test_dictionary_of_another_network(self) -> None:
        rows = np.zeros((1, 18), np.float32)
        layout = "256.le.key:2x3x3"
        SpecificDictionary(rows, layout, "0" * 64).save(self.work / "bob.safetensors")
        done = self.restore(self.picture("x.png"), "--identity", self.work / "bob.safetensors")
        one_line(done, "0" * 64, "enrol the person again")

    def test_damaged_dictionary(self) -> None:
        (self.work / "bob.safetensors").write_bytes(b"hello")
        done = self.restore(self.picture("x.png"), "--identity", self.work / "bob.safetensors")
        one_line(done, "bob.safetensors: not a dictionary file")

    def test_two_inputs_of_one_name(self) -> None:
        (self.work / "other").mkdir()
        shutil.copy(self.picture("x.png"), self.work / "other/x.png")
        one_line(self.restore(self.work / "x.png", self.work / "other/x.png"), "both be written")

    def test_output_over_input(self) -> None:
        file = self.picture("x.png")
        before = file.read_bytes()
        done = self.command("dmd-restore", file, "--bundle", self.bundle, "--out", self.work)
        one_line(done, "would be overwritten")
        assert file.read_bytes() == before

    def test_out_is_a_file(self) -> None:
        file = self.picture("x.png")
        done = self.command("dmd-restore", file, "--bundle", self.bundle, "--out", file)
        one_line(done, "--out must be a folder")

    def test_usage(self) -> None:
        one_line(self.command("dmd-restore"), "INPUT")
        one_line(self.restore(self.picture("x.png"), "--threads", 0), "--threads")
        one_line(self.restore(self.picture("x.png"), "--device", "cuda"), "CUDAExecutionProvider")

    def test_aligned_faces_are_not_enlarged(self) -> None:
        one_line(self.restore(self.picture("x.png"), "--upscale", 2), "x.png", "no --upscale")

    def test_unwritable_folder(self) -> None:
        words = ["--bundle", self.bundle, "--out", "/proc/restored"]
        one_line(self.command("dmd-restore", self.picture("x.png"), *words), "/proc/restored")

    def test_enroll_into_nowhere(self) -> None:
        file = self.picture("x.png")
        out = self.work / "none" / "alice.safetensors"
        one_line(self.command("dmd-enroll", file, "--bundle", self.bundle, "--out", out), "--out")


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
    done = command("dmd-export", "--checkpoint", "synthetic", "--out", small_disk / "bundle")
    assert done.returncode == 1
    assert "no space" in done.stderr.splitlines()[-1]
    assert [f.name for f in small_disk.iterdir()] == ["out"]
