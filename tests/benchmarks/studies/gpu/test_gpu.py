"""The study of a GPU on the CPU, with the compact weights: every step, from end to end."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.measure.timing import Times
from benchmarks.studies.gpu import __main__ as study
from benchmarks.studies.gpu import providers
from benchmarks.studies.gpu import steps as all_steps
from benchmarks.studies.gpu.__main__ import measure, run_step
from benchmarks.studies.gpu.goldens import Found, compare
from benchmarks.studies.gpu.steps import PRECISIONS, STEPS, Plan
from runtime import Restorer
from runtime.backends import onnxruntime as backend
from runtime.bundle.engine_record import EngineParity
from runtime.bundle.opening import open_bundle
from runtime.errors import BenchmarkError
from runtime.machine import onnx_session
from runtime.samples.faces import SAMPLES
from tests.conftest import Face
from tests.fakes.onnxruntime import FakeOnnxRuntime


@pytest.fixture
def arguments(tmp_path: Path) -> Namespace:
    return Namespace(
        checkpoint="compact",
        shared=None,
        work=tmp_path / "work",
        json=tmp_path / "gpu.json",
        minutes=None,
        steps=STEPS,
        rehearse=True,
    )


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Replaces the steps: the named ones fail, each gives so many rows. Gives those that ran."""

    def replace(*failing: str, rows: int = 1, weights: str = "w") -> list[str]:
        names: list[str] = []

        def step(name: str, plan: Plan, limit_s: float) -> dict[str, Any]:
            names.append(name)
            error = "broken" if name in failing else None
            found = [{"weights": weights} for _ in range(rows)]
            return {"date": len(names), "seconds": 1, "error": error, "rows": found}

        monkeypatch.setattr(study, "run_step", step)
        return names

    return replace


@pytest.mark.long
def test_a_rehearsal(arguments: Namespace, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.compile up to the code that a C++ compiler would take minutes for
    monkeypatch.setenv("TORCH_COMPILE_OVERRIDE_BACKENDS", ">=0:aot_eager")
    arguments.work.mkdir()
    (arguments.work / "fp32").symlink_to(bundle)  # the other is made, as on a new machine
    assert measure(arguments)["failures"] == []
    steps = json.loads(arguments.json.read_text())["steps"]
    assert list(steps) == list(STEPS)
    rows = {name: step["rows"] for name, step in steps.items()}
    of_bundles, others = rows["prepare"][:3], rows["prepare"][3:]
    assert [(row["bundle"], list(row)[1]) for row in of_bundles] == [
        ("fp32", "graph"),
        ("fp16", "seconds"),
        ("fp16", "graph"),
    ]
    assert others == [{"weights": open_bundle(bundle).manifest.weights.sha256}, {"peaks": {}}]
    full = [row["max_levels"] for row in rows["parity"] if row["bundle"] == "fp32"]
    assert len(full) > 10
    assert max(full) <= 1
    eager = [("fp32", "torch eager fp32"), ("fp16", "torch eager")]
    for name, cases in (("latency", 2), ("faces", 1), ("references", 1)):
        assert _against(rows[name]) == cases * eager
    assert _against(rows["compiled"]) == [("fp16", "torch compile")]
    assert _against(rows["compiled_fp32"]) == [("fp32", "torch compile fp32")]
    assert len(rows["search"]) == 2 * 2
    assert {row["levels"] for row in rows["search"]} == {0}
    assert [(row["bundle"], row["mismatches"]) for row in rows["threads"]] == [("fp16", 0)]
    assert "photos/s" in {row["unit"] for row in rows["null_engine"]}
    assert {row["unit"] for row in rows["memory"]} == {"bytes"}


def _against(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The bundles, and what each is compared with."""
    return [(row["subject"], row["ratio"]["baseline"]) for row in rows if row["ratio"]]


def test_it_goes_on_where_it_ended(
    arguments: Namespace, monkeypatch: pytest.MonkeyPatch, ran: Callable[..., list[str]]
) -> None:
    """What failed, or had no time, runs again; what is there stays; the file has all of it.

    Bundles may be gone, as those of another machine are: that step runs each time.
    """
    run: list[str] = []
    arguments.rehearse = False

    def step(name: str, plan: Plan, limit_s: float) -> dict[str, object]:
        assert limit_s <= 540
        written = json.loads(arguments.json.read_text())["steps"] if run else {}
        assert list(written) == run
        run.append(name)
        return {"seconds": 1, "error": "broken" if name == "parity" else None, "rows": []}

    monkeypatch.setattr(study, "run_step", step)
    assert measure(arguments)["failures"] == ["parity: broken"]
    assert run == list(STEPS)
    again = ran()
    assert measure(arguments)["failures"] == []
    assert again == ["prepare", "parity"]
    arguments.json.unlink()
    arguments.minutes = 0.9  # less than a step gets anywhere in
    assert measure(arguments)["failures"] == [f"{name}: did not run" for name in STEPS]
    assert again == ["prepare", "parity"]


def test_missing_steps_come_before_failed_ones(
    arguments: Namespace, ran: Callable[..., list[str]]
) -> None:
    arguments.steps = ["parity", "latency"]
    ran("parity", rows=3)
    measure(arguments)
    arguments.steps = ["parity", "latency", "threads"]
    names = ran("parity", rows=2)
    assert measure(arguments)["failures"] == ["parity: broken"]
    assert names == ["prepare", "threads", "parity"]
    steps = json.loads(arguments.json.read_text())["steps"]
    assert {name: len(step["rows"]) for name, step in steps.items()} == {
        "prepare": 2,
        "parity": 3,  # of the attempt that came further
        "latency": 3,
        "threads": 2,
    }
    ran(rows=1)
    assert measure(arguments)["failures"] == []
    assert len(json.loads(arguments.json.read_text())["steps"]["parity"]["rows"]) == 1


def test_without_bundles_no_step_runs(arguments: Namespace, ran: Callable[..., list[str]]) -> None:
    names = ran("prepare")
    others = [f"{name}: did not run" for name in STEPS if name != "prepare"]
    assert measure(arguments)["failures"] == ["prepare: broken", *others]
    assert names == ["prepare"]


@pytest.mark.parametrize(
    "other", [{"rehearse": False}, {"checkpoint": "synthetic"}, {"checkpoint": None, "shared": "x"}]
)
def test_a_file_of_another_plan(
    arguments: Namespace, ran: Callable[..., list[str]], other: dict[str, Any]
) -> None:
    ran()
    measure(arguments)
    names = ran()
    arguments.work = arguments.work / "elsewhere"  # as on another machine
    measure(arguments)
    assert names == ["prepare"]
    written = arguments.json.read_bytes()
    ran(weights="trained again")
    with pytest.raises(BenchmarkError, match="has figures of other weights"):
        measure(arguments)
    names = ran()
    vars(arguments).update(other)
    with pytest.raises(BenchmarkError, match="another plan"):
        measure(arguments)
    assert names == []
    assert arguments.json.read_bytes() == written


def test_bundles_of_other_weights(
    tmp_path: Path, bundle: Path, half_bundle: Path, narrow_checkpoint: Path
) -> None:
    for name, path in (("fp32", bundle), ("fp16", half_bundle)):
        (tmp_path / name).symlink_to(path)
    with pytest.raises(BenchmarkError, match=r"fp32 has other weights than .*narrow\.pth"):
        list(all_steps.prepare(Plan(str(tmp_path), str(narrow_checkpoint), None, rehearse=True)))
    *_, found = all_steps.prepare(Plan(str(tmp_path), "compact", None, rehearse=True))
    assert found == {"peaks": {}}


def test_a_step_that_fails_or_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(str(tmp_path), "compact", None, rehearse=True)
    failed = run_step("parity", plan, 60)  # no bundle is there
    assert failed["error"].startswith("exit code 1: ")
    assert "fp32" in failed["error"]
    assert failed["stderr"][0].startswith("Traceback")
    assert failed["error"].endswith(failed["stderr"][-1])
    assert failed["rows"] == []
    assert {"date", "machine", "versions", "revision"} <= set(failed)
    work = "import sys, time\nopen(sys.argv[3], 'w').write('1\\n{')\n"
    work += "for n in range(40): print('line', n, file=sys.stderr, flush=True)\n"
    # what it started would use the GPU beside the next step
    work += "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
    work += f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\ntime.sleep(60)"
    monkeypatch.setattr(study, "_STEP", work)
    cut_off = run_step("parity", plan, 3)
    assert cut_off["error"] == "cut off after 3 s"
    assert cut_off["stderr"] == [f"line {n}" for n in range(10, 40)]
    assert cut_off["rows"] == [1]
    status = Path(f"/proc/{(tmp_path / 'child').read_text()}/status")
    assert not status.exists() or "Z (zombie)" in status.read_text()


@pytest.mark.parametrize(
    ("levels", "decibels", "golden", "said"),
    [
        (1, 60, 1, None),
        (2, 60, 1, "fp32: generic, whole: up to 2 levels off, over 1"),
        (1, 60, 3, "fp32: golden one, generic, whole: up to 3 levels off, over 1"),
        (1, 49, 1, "; ".join(f"{p}: generic, whole: 49.0 dB, under 50" for p in PRECISIONS)),
    ],
)
def test_parity_has_a_verdict(
    bundle: Path,
    half_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    levels: float,
    decibels: float,
    golden: float,
    said: str | None,
) -> None:
    """All rows come first."""
    for name, path in (("fp32", bundle), ("fp16", half_bundle)):
        (tmp_path / name).symlink_to(path)
    row = EngineParity("generic", "whole", levels, decibels)
    found = Found("one", "generic", golden, 60, 0.1)
    monkeypatch.setattr(all_steps, "open_backend", lambda *_: BytesIO())
    monkeypatch.setattr(all_steps, "compare_with_reference", lambda *_: ((row,), ()))
    monkeypatch.setattr(all_steps, "compare", lambda *_: iter([found]))
    rows = all_steps.parity(Plan(str(tmp_path), None, "shared", rehearse=True))
    assert len([next(rows) for _ in range(4)]) == 4
    if said is None:
        assert list(rows) == []
    else:
        with pytest.raises(BenchmarkError) as raised:
            next(rows)
        assert str(raised.value) == said


@pytest.mark.parametrize(
    ("answers", "mismatches", "errors", "said"),
    [
        (9, 0, 0, None),
        (0, 0, 0, "0 answers, 0 of"),
        (9, 2, 0, "9 answers, 2 of them unlike those of a single thread, and 0"),
        (9, 0, 3, "and 3 errors"),
    ],
)
def test_threads_have_a_verdict(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: int,
    mismatches: int,
    errors: int,
    said: str | None,
) -> None:
    found = {"answers": answers, "mismatches": mismatches, "errors of ours": errors}
    monkeypatch.setattr(all_steps, "endurance", lambda *_: found)
    rows = all_steps.threads(Plan(str(tmp_path), "compact", None, rehearse=True))
    assert next(rows) == {"bundle": "fp16", **found}
    if said is None:
        assert list(rows) == []
    else:
        with pytest.raises(BenchmarkError, match=said):
            next(rows)


def test_no_goldens(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no goldens"):
        list(compare(tmp_path, tmp_path, "cpu"))


def test_goldens(tmp_path: Path, bundle: Path, faces: list[Face]) -> None:
    """A golden that the bundle made itself, and one with a value that is 9 levels off."""
    shared = tmp_path / "shared"
    for folder in ("reference/golden", "faces/degraded", "faces/references/1", "faces/landmarks/1"):
        (shared / folder).mkdir(parents=True)
    picture, points = faces[0]
    cv2.imwrite(str(shared / "faces/degraded/1_2.png"), picture)
    cv2.imwrite(str(shared / "faces/references/1/3.png"), faces[1][0])
    for name in ("2", "3"):
        text = (SAMPLES / "astronaut.png.txt").read_text()
        (shared / f"faces/landmarks/1/{name}.png.txt").write_text(text)
    with Restorer(bundle, device="cpu") as restorer:
        generic = restorer.restore_aligned(picture, points)
        identity = restorer.memorize([faces[1][0]], [points])
        specific = restorer.restore_aligned(picture, points, identity)
    off = specific.copy()
    off[0, 0, 0] = off[0, 0, 0] + 9 if off[0, 0, 0] < 200 else off[0, 0, 0] - 9

    def golden(image: NDArray[np.uint8]) -> NDArray[np.int16]:
        planes = image[:, :, ::-1].transpose(2, 0, 1).astype(float)
        return np.rint((planes / 127.5 - 1) * 32767).astype(np.int16)

    np.savez(
        shared / "reference/golden/one.npz",
        lq="1_2.png",
        references=["1/3.png"],
        generic=golden(generic),
        specific=golden(off),
    )
    first, second = compare(shared, bundle, "cpu")
    assert (first.golden, first.kind, first.max_levels, first.share_off) == ("one", "generic", 0, 0)
    assert (second.kind, second.max_levels) == ("specific", 9)
    assert first.psnr_db == 100
    assert second.psnr_db == pytest.approx(10 * np.log10(255**2 * 512**2 * 3 / 81))
    assert second.share_off == pytest.approx(1 / 512**2 / 3)


def test_the_providers_options_are_raced(
    bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six sessions with options of their own, a dictionary that is on the device, turns for all."""
    fake = FakeOnnxRuntime()
    for module in (onnx_session, backend):
        monkeypatch.setattr(module, "load_onnxruntime", lambda: fake)
    raced: list[int] = []

    def race(works: dict[Any, Callable[[], Any]], *limits: float) -> dict[Any, Times]:
        raced.append(len(works))
        return {name: Times(((0.1,),)) for name in works}

    monkeypatch.setattr(providers, "race", race)
    rows = list(providers.searches(bundle, "cuda", (1,), 2))
    options = [given for provider, given in fake.sessions if "prefer_nhwc" in given]
    assert [{**row.options, "use_tf32": "0"} for row in rows] == options
    assert len({tuple(given.items()) for given in options}) == len(options) == 6
    assert raced == [6]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--checkpoint"),
        (["--checkpoint", "compact", "--steps", "parity,pace"], "there is no step 'pace'"),
    ],
)
def test_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--json", "x.json", "--work", "w", *more])
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
