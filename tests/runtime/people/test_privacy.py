"""No vector of a person is in what a run prints or writes, but in the dictionary itself."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from runtime import SpecificDictionary
from tests.conftest import SAMPLES, Command, picture

ASTRONAUT = SAMPLES / "astronaut.png"


def found_in(text: str, vectors: NDArray[np.float32]) -> int:
    """How many numbers of vectors stand in a text, to six decimals, or as 1.234567e-02.

    Two may by chance, as there are seconds and pixels, too.
    """
    numbers = np.abs(vectors.astype(np.float64)).flat
    ways = {(f"{number:.9f}"[:8], f"{number:.9e}"[:8]) for number in numbers}
    return sum(any(way in text for way in each) for each in ways)


@pytest.fixture
def alice(command: Command, bundle: Path, tmp_path: Path) -> Path:
    """The file; one reference is broken, one blurred, one of somebody else: all that is said."""
    small = cv2.resize(picture(ASTRONAUT), (32, 32), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.png"), blurred)
    shutil.copy(f"{ASTRONAUT}.txt", tmp_path / "a.png.txt")
    (tmp_path / "b.png").write_bytes(b"no picture")
    references = [ASTRONAUT, SAMPLES / "grace_hopper.png", tmp_path / "a.png", tmp_path / "b.png"]
    file = tmp_path / "alice.safetensors"
    words = ["--bundle", bundle, "--out", file, "--skip-bad", "--debug"]
    done = command("dmd-enroll", *references, *words)
    assert done.returncode == 0, done.stderr
    assert "Traceback" in done.stderr
    assert "do not look alike" in done.stderr
    vectors = SpecificDictionary.load(file).vectors
    assert vectors.shape == (2, 128)
    for text in (str(vectors), repr(vectors.tolist()), repr(vectors[0])):
        assert found_in(text, vectors) > 100  # it would be noticed
    assert found_in(done.stdout + done.stderr, vectors) <= 2
    return file


@pytest.mark.parametrize("option", ["--identity", "--people"])
def test_a_run_tells_nothing(
    option: str, command: Command, bundle: Path, alice: Path, tmp_path: Path
) -> None:
    vectors = SpecificDictionary.load(alice).vectors
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    pictures = [ASTRONAUT, tmp_path / "b.png"]
    words = ["--bundle", bundle, "--out", out, option, alice, "--report", report]
    done = command("dmd-restore", *pictures, *words, "--draw", "--debug")
    assert done.returncode == 1  # of the broken one
    assert "Traceback" in done.stderr
    assert found_in(done.stdout + done.stderr + report.read_text(), vectors) <= 2
    written = [file for file in [*out.iterdir(), report] if file.is_file()]
    assert len(written) == 3
    for file in written:
        assert vectors[0].tobytes()[:64] not in file.read_bytes()
    for file in {*written} - {report}:
        with Image.open(file) as made:
            assert not made.info, "what is beside the pixels"


@pytest.mark.parametrize("wrong", [np.nan, 3e38])
def test_an_error_tells_nothing(
    wrong: float, command: Command, bundle: Path, alice: Path, tmp_path: Path
) -> None:
    """Of a file that is damaged, one number of which is not what it was."""
    tensors = safetensors.numpy.load_file(alice)
    with safetensors.safe_open(alice, "numpy") as file:
        metadata = file.metadata()
    vectors = tensors["vectors"].copy()
    tensors["vectors"][1, 7] = wrong
    alice.write_bytes(safetensors.numpy.save(tensors, metadata))
    words = ["--bundle", bundle, "--out", tmp_path / "out", "--identity", alice, "--debug"]
    done = command("dmd-restore", ASTRONAUT, *words)
    assert done.returncode == 1
    assert "vectors of a face hold numbers that are not finite or too large" in done.stderr
    assert found_in(done.stdout + done.stderr, vectors) <= 2
