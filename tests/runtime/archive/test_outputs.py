"""What would be written over is refused before the work starts."""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.archive import outputs
from runtime.archive.job import Job, refuse_overwriting
from runtime.archive.outputs import check_inputs, check_outputs
from runtime.errors import UsageError


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.png").write_bytes(b"x")
    return Job(tmp_path / "bundle", str(tmp_path / "out"))


def refused(job: Job, *names: str) -> str:
    with pytest.raises(UsageError) as raised:
        check_outputs(job, lambda: names)
    return str(raised.value)


def test_two_files_of_one_name(job: Job) -> None:
    out = job.out
    assert check_outputs(job, lambda: ("a/x.png", "b/y.png", "", "\0.png")) == 4
    says = f"a/x.png and https://***@h/x.png?*** would both be written to {out}/x.png"
    assert refused(job, "a/x.png", "b/y.png", "https://u:secret@h/x.png?t=secret") == says
    previews = ("a.png", "b/a.png.compare.png")
    assert check_outputs(job, lambda: previews) == 2
    says = f"a.png and b/a.png.compare.png would both be written to {out}/a.png.compare.png"
    assert refused(replace(job, compare=True), *previews) == says
    assert "would both" in refused(replace(job, draw=True), "b.png.draw.png", "b.png")
    assert check_outputs(replace(job, draw=True), lambda: previews) == 2


def test_the_report_is_no_output(job: Job) -> None:
    job = replace(job, report=Path(job.out) / "a.png", compare=True)
    says = f"the report and b/a.png would both be written to {job.out}/a.png"
    assert refused(job, "b/a.png") == says
    assert "the report" in refused(replace(job, report=Path(job.out, "../out/a.png")), "b/a.png")
    assert check_outputs(job, lambda: ("b.png",)) == 1
    Path(f"{job.out}.link").symlink_to(job.out)
    assert "the report" in refused(replace(job, report=Path(f"{job.out}.link/a.png")), "a.png")


def test_capital_letters(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files on this disk; one on others, which a changed question stands for here."""
    for names in (("a/X.png", "b/x.png"), ("caf\u00e9.png", "cafe\u0301.png")):
        assert check_outputs(job, lambda names=names: names) == 2  # type: ignore[misc]
        remote = replace(job, out="s3://bucket")
        assert check_outputs(remote, lambda names=names: names) == 2  # type: ignore[misc]
        with monkeypatch.context() as patch:
            patch.setattr(outputs, "are_one_file", lambda *_: True)
            assert "this disk takes" in refused(job, *names)
    assert {path.name for path in Path(job.out).iterdir()} == {"out.png"}


LINKS: dict[str, Callable[[Path, Path], object]] = {
    "symbolic": lambda link, file: link.symlink_to(file),
    "hard": lambda link, file: link.hardlink_to(file),
}


@pytest.mark.parametrize("kind", LINKS)
def test_links_to_an_output(job: Job, tmp_path: Path, kind: str) -> None:
    """Another picture's output would be written over what the link leads to."""
    out, link = tmp_path / "out" / "out.png", tmp_path / "in" / "link.png"
    LINKS[kind](link, out)
    names = [str(link), "elsewhere/out.png"]
    assert check_outputs(job, lambda: names) == 2
    with pytest.raises(UsageError, match=r"link\.png would be overwritten, as elsewhere/out\.png"):
        check_inputs(job, names)
    check_inputs(job, [str(link), "elsewhere/other.png"])
    with pytest.raises(UsageError, match=r"would be written over the input .*link\.png"):
        check_inputs(replace(job, report=out), [str(link)])


def test_inputs_in_the_output_folder(job: Job, tmp_path: Path) -> None:
    own = str(tmp_path / "out" / "out.png")
    for names in ([own], [f"{tmp_path}/in/../out/out.png"]):
        with pytest.raises(UsageError, match=r"out\.png would be overwritten"):
            check_inputs(job, names)
        with pytest.raises(UsageError, match="would be overwritten: choose another"):
            refuse_overwriting(names[0], own)
    preview = tmp_path / "out" / "x.png.draw.png"
    preview.write_bytes(b"x")
    names = ["x.png", str(preview.rename(tmp_path / "in" / "y.png"))]
    preview.symlink_to(names[1])
    check_inputs(job, names)
    with pytest.raises(UsageError, match=r"y\.png would be overwritten, as x\.png"):
        check_inputs(replace(job, draw=True), names)
    identity = replace(job, identity=Path(own))
    with pytest.raises(UsageError, match=r"out\.png would be overwritten, as a/out\.png"):
        check_inputs(identity, ["a/out.png"])
    remote = replace(job, out="s3://bucket/folder/")
    with pytest.raises(UsageError, match=r"s3://bucket/folder/a\.png would be overwritten"):
        check_inputs(remote, ["s3a://bucket/folder/a.png"])
    check_inputs(remote, ["s3://bucket/a.png", "\0.png", "http://[x/a.png", ""])


def test_any_name_is_an_output_in_the_folder_or_an_error(job: Job) -> None:
    parts = ["http://", "s3://", "file://", "::", "/", "..", "%00", "%2F", "%2e%2e", "\0", "\ud800"]
    parts += ["\udce9", "[", "]", "?", "#", "@", ":", "x.png", ".gif", "\\", " ", "\n", "x" * 260]
    job, choose = replace(job, compare=True), random.Random(0)
    for _ in range(2000):
        name = "".join(choose.choices(parts, k=choose.randint(1, 6)))
        assert check_outputs(job, lambda name=name: [name]) == 1  # type: ignore[misc]
        check_inputs(job, [name])
        for output in job.outputs_of(name):
            assert os.path.dirname(output) == job.out  # noqa: PTH120
            assert os.path.basename(output) not in ("", ".", "..")  # noqa: PTH119
            refuse_overwriting(name, output)
