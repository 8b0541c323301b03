"""`dmd-restore --people`: who is who in the report, one line for bad input, nothing personal."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from runtime import Restorer, SpecificDictionary
from tests.conftest import SAMPLES, Command, Face, one_line

PHOTOS = SAMPLES / "photos"


@pytest.fixture(scope="module")
def alice_file(
    restorer: Restorer, faces: list[Face], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("alice") / "a.safetensors"
    restorer.memorize([faces[0][0]], [faces[0][1]], name="Alice").save(file)
    return file


def test_who_is_who(command: Command, bundle: Path, alice_file: Path, tmp_path: Path) -> None:
    """Names and distances are in the report; vectors are nowhere, with --debug neither."""
    report = tmp_path / "report.jsonl"
    words = ["dmd-restore", PHOTOS, tmp_path / "none.png", "--bundle", bundle, "--debug"]
    words += ["--out", tmp_path / "out", "--report", report, "--people", alice_file.parent]
    done = command(*words, "--people", alice_file, "--people-threshold", 0.5, "--strength", 0.7)
    assert "restored 2 of 3" in done.stdout, done.stderr
    lines = {Path(line["input"]).name: line for line in map(json.loads, report.open())}
    (face, *_) = lines["astronaut.png"]["faces"]
    assert (face["name"], face["threshold"]) == ("Alice", 0.5)
    assert face["distance"] == face["likeness"]["before"] < 0.5
    assert {each["name"] for each in lines["grace_hopper.jpg"]["faces"]} == {None}

    vectors = SpecificDictionary.load(alice_file).vectors
    said = done.stdout + done.stderr + report.read_text()
    numbers = {f"{abs(float(value)):.6f}" for value in vectors.flat}
    printed = {f"{float(number):.6f}" for number in re.findall(r"\d*\.\d{6,}", said)}
    assert not numbers & printed
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert vectors.tobytes()[:16] not in written


def test_bad_people_are_one_line(
    command: Command, bundle: Path, alice_file: Path, tmp_path: Path
) -> None:
    alice = SpecificDictionary.load(alice_file)
    folder = tmp_path / "people"
    folder.mkdir()
    words = ["dmd-restore", PHOTOS, "--bundle", bundle, "--out", tmp_path / "out"]
    one_line(command(*words, "--people", folder), str(folder), "no dictionaries", "dmd-enroll")
    one_line(command(*words, "--people-threshold", 0.5), "needs --people")

    alice.save(folder / "b.safetensors")
    twice = command(*words, "--people", alice_file, "--people", folder)
    one_line(twice, "a.safetensors and ", "b.safetensors both have the name Alice")
    other = SpecificDictionary(alice.rows, alice.layout, "1" * 64, "Carol", alice.vectors)
    other.save(folder / "b.safetensors")
    one_line(command(*words, "--people", folder), "b.safetensors: ", "weights 1111")
    silent = SpecificDictionary(alice.rows, alice.layout, alice.weights_sha256, "Carol")
    silent.save(folder / "b.safetensors")
    one_line(command(*words, "--people", folder), "b.safetensors: ", "Carol has no vectors")
    (folder / "b.safetensors").write_bytes(b"no dictionary")
    one_line(command(*words, "--people", folder), "b.safetensors: not a dictionary")
    one_line(command(*words, "--people", tmp_path / "none"), "none: no such dictionary file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--people-threshold", "--strength"])
@pytest.mark.parametrize("value", ["1.01", "-0.1", "nan", "much"])
def test_numbers_out_of_range(command: Command, option: str, value: str, tmp_path: Path) -> None:
    words = ["x.png", "--bundle", tmp_path, "--out", tmp_path / "out", "--people", tmp_path]
    done = command("dmd-restore", *words, f"{option}={value}")
    assert done.returncode == 2
    assert f"{option}: '{value}' is not a number from 0 to 1" in done.stderr


def test_an_old_file_is_told_to_be_enrolled_again(
    command: Command, bundle: Path, alice_file: Path, tmp_path: Path
) -> None:
    """One that an earlier release wrote: it has rows only."""
    import safetensors.numpy

    alice = SpecificDictionary.load(alice_file)
    metadata = {
        "format": "dmdnet-specific-dictionary",
        "format_version": "1",
        "layout": alice.layout,
        "weights_sha256": alice.weights_sha256,
        "references": "1",
        "dtype": "float32",
    }
    rows = {"rows": np.ascontiguousarray(alice.rows)}
    (tmp_path / "old.safetensors").write_bytes(safetensors.numpy.save(rows, metadata))
    words = ["dmd-restore", PHOTOS, "--bundle", bundle, "--out", tmp_path / "out"]
    done = command(*words, "--people", tmp_path / "old.safetensors")
    one_line(done, "old.safetensors: this dictionary has no vectors", "enrol again")
