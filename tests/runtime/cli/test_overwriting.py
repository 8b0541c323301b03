"""Files that the commands are given are not written over; reports go on; inputs have a limit."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import SAMPLES, Command, one_line


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two aligned faces with landmarks."""
    found = []
    for name in ("astronaut.png", "grace_hopper.png"):
        shutil.copy(SAMPLES / f"{name}.txt", tmp_path)
        found.append(Path(shutil.copy(SAMPLES / name, tmp_path)))
    return found


def test_a_report_or_dictionary_never_replaces_something_else(
    command: Command, bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    restore = ["dmd-restore", *photos, "--bundle", bundle, "--out", tmp_path / "out", "--report"]
    enroll = ["dmd-enroll", photos[0], "--bundle", bundle, "--out"]
    (tmp_path / "link.jsonl").symlink_to(photos[1])
    (tmp_path / "hard.jsonl").hardlink_to(photos[1])
    (tmp_path / "notes").write_text("of the user\n")
    files = [*photos, Path(f"{photos[0]}.txt"), bundle / "manifest.json"]
    before = [file.read_bytes() for file in files]
    for name in ("link.jsonl", "astronaut.png.txt", "notes"):
        one_line(command(*restore, tmp_path / name), "--report", name)
    for name in ("hard.jsonl", "astronaut.png"):
        one_line(command(*enroll, tmp_path / name), "--out", name, "not overwritten")
    new, there = bundle / "new", bundle / "manifest.json"
    one_line(command(*restore, new), f"--report {new} lies in the bundle")
    one_line(command(*enroll, there), f"--out {there} lies in the bundle")
    one_line(command(*restore, tmp_path / "out" / "astronaut.png"), "the report", "would both be")
    assert [file.read_bytes() for file in files] == before
    assert (tmp_path / "notes").read_text() == "of the user\n"
    assert not new.exists()
    assert not (tmp_path / "out").exists()

    identity = tmp_path / "a.safetensors"
    identity.touch()
    for _ in range(2):
        assert command(*enroll, identity).returncode == 0
    enrolled = identity.read_bytes()
    done = command(*restore, identity, "--identity", identity)
    one_line(done, "--report", "would be written over the input")
    assert identity.read_bytes() == enrolled


def test_previews_do_not_replace_outputs_or_inputs(
    command: Command, bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    preview = tmp_path / "astronaut.png.compare.png"
    shutil.copy(photos[1], preview)
    words = ["dmd-restore", photos[0], preview, "--compare", "--bundle", bundle, "--out"]
    one_line(command(*words, tmp_path / "out"), "would both be written")
    words.remove(preview)
    (tmp_path / "out").mkdir()
    shutil.copy(photos[0], tmp_path / "out" / preview.name)
    linked = tmp_path / "linked.png"
    linked.symlink_to(tmp_path / "out" / preview.name)
    words.insert(2, linked)
    one_line(command(*words, tmp_path / "out"), "linked.png would be overwritten")
    assert [file.name for file in (tmp_path / "out").iterdir()] == [preview.name]


def test_a_report_goes_on(
    command: Command, bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    report, out = tmp_path / "report.jsonl", tmp_path / "out"
    words = ["dmd-restore", *photos, "--bundle", bundle, "--out", out, "--report", report]
    assert command(*words[:2], *words[3:]).returncode == 0
    with report.open("a") as file:
        file.write('{"input": "cut sh')
    done = command(*words, "--resume")
    assert done.returncode == 0
    assert f"{report}: this run is appended to the earlier report; its last line" in done.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["input"] for line in lines] == [str(photo) for photo in photos]


def test_too_many_bytes(command: Command, bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    smaller, larger = sorted(photos, key=lambda file: file.stat().st_size)
    most = smaller.stat().st_size
    words = [*photos, "--bundle", bundle, "--max-bytes", most, "--out"]
    done = command("dmd-restore", *words, tmp_path / "out")
    assert "restored 1 of 2" in done.stdout
    one_line(done, f"{larger}: larger than the limit of {most} bytes")
    done = command("dmd-enroll", *words, tmp_path / "a.safetensors")
    one_line(done, f"{larger}: larger than the limit of {most} bytes")


def test_secrets_of_urls_are_not_printed(
    command: Command, bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    """A picture behind a URL that cannot be is an error of its own."""
    report = tmp_path / "report.jsonl"
    urls = [
        "http://u:hunter2@[x/a.png?sig=hunter2",
        "http://u:hunter2@127.0.0.1:1/b.png?sig=hunter2",
    ]
    words = ["dmd-restore", *urls, photos[0], "--bundle", bundle, "--out", tmp_path / "out"]
    done = command(*words, "--report", report)
    assert "restored 1 of 3" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr + report.read_text()
    assert "http://***@[x/a.png?***: cannot be read" in done.stderr
    assert "http://***@127.0.0.1:1/b.png?***: cannot be read" in done.stderr
    one_line(command(*words[:1], "zip://a::" + urls[1], *words[3:]), "zip://", "not opened")
