"""`dmd-enroll`: whose dictionary it is, and which references it warns of."""

from pathlib import Path

import cv2
import pytest
import safetensors.numpy

from runtime import SpecificDictionary
from tests.conftest import SAMPLES, Command, one_line, picture

ASTRONAUT, ADMIRAL = SAMPLES / "astronaut.png", SAMPLES / "grace_hopper.png"


@pytest.fixture
def blurred(tmp_path: Path) -> Path:
    small = cv2.resize(picture(ASTRONAUT), (32, 32), interpolation=cv2.INTER_AREA)
    file = tmp_path / "blurred.png"
    cv2.imwrite(str(file), cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC))
    Path(f"{file}.txt").write_bytes(Path(f"{ASTRONAUT}.txt").read_bytes())
    return file


def test_who_is_enrolled(command: Command, bundle: Path, blurred: Path, tmp_path: Path) -> None:
    """A blurred reference and one of somebody else are named by their files, and kept."""
    darker = tmp_path / "darker.png"
    cv2.imwrite(str(darker), cv2.convertScaleAbs(picture(ASTRONAUT), alpha=0.8))
    out = tmp_path / "ms alice.safetensors"
    words = [ASTRONAUT, blurred, ADMIRAL, darker, "--bundle", bundle, "--out", out]
    done = command("dmd-enroll", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"enrolled 4 of 4 in {out} (")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"dmd-enroll: warning: {blurred}: too blurred to recognise")
    assert lines[1].startswith(f"dmd-enroll: warning: {ADMIRAL}: does not look like the others (")
    alice = SpecificDictionary.load(out)
    assert (alice.name, len(alice), alice.vector_rows) == ("ms alice", 4, (0, 2, 3))

    tensors = safetensors.numpy.load_file(out)  # as a version before this one wrote it
    with safetensors.safe_open(out, "numpy") as file:
        metadata = file.metadata() | {"format_version": "1"}
    out.write_bytes(safetensors.numpy.save({"rows": tensors["rows"]}, metadata))
    done = command("dmd-enroll", ASTRONAUT, "--bundle", bundle, "--out", out, "--name", "Alice Ä.")
    assert (done.returncode, done.stderr) == (0, "")  # nothing is said of the file it replaces
    alice = SpecificDictionary.load(out)
    assert (alice.name, alice.vector_rows) == ("Alice Ä.", (0,))


def test_without_recognition(command: Command, bundle: Path, blurred: Path, tmp_path: Path) -> None:
    out = tmp_path / "alice.safetensors"
    words = ["dmd-enroll", blurred, "--bundle", bundle, "--out", out]
    done = command(*words)
    assert done.returncode == 0
    assert [line.removeprefix("dmd-enroll: warning: ") for line in done.stderr.splitlines()] == [
        f"{blurred}: too blurred to recognise the person by; all else is kept",
        "no reference is sharp: nobody can be recognised by this dictionary",
    ]
    done = command(*words, "--no-recognition")
    assert (done.returncode, done.stderr) == (0, "")
    alice = SpecificDictionary.load(out)
    assert (alice.name, len(alice), alice.vectors.shape) == ("alice", 1, (0, 128))


def test_names_that_no_person_has(command: Command, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "alice.safetensors"
    words = ["dmd-enroll", ASTRONAUT, "--bundle", bundle, "--out", out, "--name"]
    for name in ("two\nlines", "x" * 256):
        one_line(command(*words, name), "a person's name must be one line")
    assert not out.exists()
