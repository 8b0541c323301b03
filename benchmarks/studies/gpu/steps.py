"""The steps of the study, in their order; each yields rows, which are written at once."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.measure.peaks import peaks
from benchmarks.measure.timing import seconds_of
from benchmarks.studies.endurance import JOBS, endurance
from benchmarks.studies.gpu.goldens import compare, make_checkpoint
from benchmarks.studies.gpu.providers import searches
from benchmarks.suites import ceiling, engine, processes
from benchmarks.suites.runners import Cases, open_runners
from benchmarks.suites.setting import Setting, seconds
from export.bundle import export_bundle
from export.checks.reference import measure as compare_with_reference
from export.checks.verdict import failures, tolerance_of
from export.model.checkpoint import load_weights
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.engine_record import EngineParity
from runtime.bundle.manifest import MANIFEST
from runtime.bundle.opening import open_bundle
from runtime.errors import BenchmarkError

PRECISIONS = ("fp32", "fp16")
EAGER = {"fp32": "eager fp32", "fp16": "eager"}
"""For the bundle of each precision, the mode of PyTorch that it is compared with."""
REFERENCES = 10
_DURATION_S = 3  # of each subject in each case
_TURN_S = 0.15  # of calls of some ms
_WARM_UP = 5  # calls: cuDNN's search, and clocks that rise


@dataclass(frozen=True)
class Plan:
    """What all steps share: the folder of the bundles, and where their weights are from."""

    work: str
    checkpoint: str | None
    shared: str | None
    rehearse: bool

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    @property
    def weights(self) -> str:
        """The weights as for dmd-export: those of the goldens, if `shared` is given."""
        return self.checkpoint or str(Path(self.work) / "goldens.pth")

    @property
    def bundles(self) -> list[Path]:
        return [Path(self.work) / precision for precision in PRECISIONS]

    @property
    def peaks(self) -> Path:
        """A file with the machine's peak rates."""
        return Path(self.work) / "peaks.json"

    @property
    def measured(self) -> tuple[object, ...]:
        """What must be the same for figures that belong together."""
        return self.checkpoint, self.shared is None, self.rehearse


Row = object
Step = Callable[[Plan], Iterator[Row]]


def prepare(plan: Plan) -> Iterator[Row]:
    """Export both bundles, unless they are there, and measure the machine's peak rates.

    Raises `BenchmarkError` for a bundle of other weights than the plan's.
    """
    if plan.shared and not Path(plan.weights).exists():
        make_checkpoint(Path(plan.shared), Path(plan.weights))
    for precision, path in zip(PRECISIONS, plan.bundles, strict=True):
        if not (path / MANIFEST).exists():
            took = seconds_of(partial(export_bundle, path, precision, plan.weights, report=_say))
            yield {"bundle": precision, "seconds": took}
        yield {"bundle": precision, "graph": open_bundle(path).manifest.graph_sha256("restorer")}
    wanted = load_weights(plan.weights).record.sha256
    yield {"weights": wanted}
    for path in plan.bundles:
        if open_bundle(path, verify=False).manifest.weights.sha256 != wanted:
            raise BenchmarkError(
                f"{path} has other weights than {plan.weights}: name another folder for --work"
            )
    found = {} if plan.rehearse else peaks(None, on_gpu=True)
    plan.peaks.write_text(json.dumps(found))
    yield {"peaks": found}


def parity(plan: Plan) -> Iterator[Row]:
    """Compare each bundle on the device with ONNX Runtime on the CPU, and with the goldens.

    Raises `BenchmarkError` after all of it for what misses the tolerances of engines.
    """
    missed: list[str] = []
    for path in plan.bundles:
        bundle = open_bundle(path)
        with closing(open_backend(bundle, Choice(plan.device))) as backend:
            rows = list(sum(compare_with_reference(backend, bundle), ()))
        for row in rows:
            yield {"bundle": path.name, **asdict(row)}
        for found in compare(Path(plan.shared), path, plan.device) if plan.shared else ():
            yield {"bundle": path.name, **asdict(found)}
            case = f"golden {found.golden}, {found.kind}"
            rows.append(EngineParity(case, "whole", found.max_levels, found.psnr_db))
        reasons = failures(rows, tolerance_of(bundle.manifest))
        missed += [f"{path.name}: {reason}" for reason in reasons]
    if missed:
        raise BenchmarkError("; ".join(missed))


def latency(plan: Plan) -> Iterator[Row]:
    """Race one face, with references and with none, against PyTorch eager."""
    with _setting(plan, EAGER) as setting:
        for references in (REFERENCES, 0):
            yield from _race(setting, EAGER, "latency", 1, references)


def compiled(plan: Plan) -> Iterator[Row]:
    """Race one face in half precision against PyTorch compiled, which takes a minute."""
    yield from _against_compiled(plan, {"fp16": "compile"})


def compiled_fp32(plan: Plan) -> Iterator[Row]:
    """Race one face in float32 against PyTorch compiled."""
    yield from _against_compiled(plan, {"fp32": "compile fp32"})


def _against_compiled(plan: Plan, mode: Mapping[str, str]) -> Iterator[Row]:
    with _setting(plan, mode) as setting:
        yield from _race(setting, mode, "latency", 1, REFERENCES)


def faces(plan: Plan) -> Iterator[Row]:
    """Race calls of more and more faces; `latency` has those of one."""
    with _setting(plan, EAGER) as setting:
        for batch in setting.batches[1:]:
            yield from _race(setting, EAGER, "scaling", batch, REFERENCES)


def references(plan: Plan) -> Iterator[Row]:
    """Race calls of one face with more and more references; `latency` has those of 0 and 10."""
    with _setting(plan, EAGER) as setting:
        for count in setting.references:
            if count not in (0, REFERENCES):
                yield from _race(setting, EAGER, "scaling", 1, count)


def throughput(plan: Plan) -> Iterator[Row]:
    """The suite: batches, and two callers that share an engine."""
    with _setting(plan) as setting:
        yield from engine.throughput(setting)


def pipeline(plan: Plan) -> Iterator[Row]:
    """The suite: whole photographs, from file to file."""
    with _setting(plan) as setting:
        yield from processes.pipeline(setting)


def null_engine(plan: Plan) -> Iterator[Row]:
    """Photographs a second with a network that costs nothing: no GPU is needed."""
    with _setting(plan, device="cpu") as setting:
        yield from ceiling.null_engine(setting)


def memory(plan: Plan) -> Iterator[Row]:
    """The suite: peak memory of a whole dmd-restore, on the host and on the GPU."""
    with _setting(plan) as setting:
        yield from processes.memory(setting)


def threads(plan: Plan) -> Iterator[Row]:
    """Let eight threads share a Restorer.

    Raises `BenchmarkError` afterwards if a call failed, or a result was not that of a single
    thread.
    """
    path = plan.bundles[-1]  # of one precision: two minutes in all
    seconds, jobs = (1, 4) if plan.rehearse else (120, JOBS)
    found = endurance(path, plan.device, seconds, jobs)
    yield {"bundle": path.name, **found}
    if not found["answers"] or found["mismatches"] or found["errors of ours"]:
        raise BenchmarkError(
            f"{found['answers']} answers, {found['mismatches']} of them unlike those of a single "
            f"thread, and {found['errors of ours']} errors"
        )


def search(plan: Plan) -> Iterator[Row]:
    """Race the CUDA provider's searches for convolutions, with NHWC and without."""
    for path in plan.bundles:
        for row in searches(path, plan.device, (1,) if plan.rehearse else (1, 8), REFERENCES):
            yield {"bundle": path.name, **asdict(row)}


STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (  # what tells most first, as time may run out
        *(prepare, parity, latency, compiled, memory, pipeline, faces, references, throughput),
        *(threads, compiled_fp32, search, null_engine),
    )
}


@contextmanager
def _setting(
    plan: Plan, modes: Mapping[str, str] | None = None, device: str | None = None
) -> Iterator[Setting]:
    """Both bundles on the device, and the modes of PyTorch, which are by precision."""
    small = plan.rehearse
    device = device or plan.device
    torch_modes = list((modes or {}).values())
    with open_runners(plan.bundles, device, None, plan.weights, torch_modes) as runners:
        yield Setting(
            runners,
            Cases(runners[0].memorize, 20),
            json.loads(plan.peaks.read_text()),
            device=device,
            batches=(1, 2) if small else (1, 2, 4, 8, 16),
            references=(0, 1, REFERENCES) if small else (0, 1, 5, REFERENCES, 20),
            duration=0.1 if small else _DURATION_S,
            quick=small,
            turn_s=_TURN_S,
            warm_up=1 if small else _WARM_UP,
            baseline="fp32",
        )


def _race(
    setting: Setting, modes: Mapping[str, str], suite: str, batch: int, count: int
) -> Iterator[Row]:
    """Seconds of calls of the bundles of `modes` and PyTorch, all in turns, and their backends.

    Ratios are to PyTorch in the bundle's own precision.
    """
    runners = {runner.subject.name: runner for runner in setting.runners}
    pairs = [(precision, f"torch {mode}") for precision, mode in modes.items()]
    times = setting.race(
        {name: setting.restoring(runners[name], batch, count) for pair in pairs for name in pair}
    )
    case = f"faces: {batch}, references: {count}"
    for pair in pairs:
        two = {name: times[name] for name in pair}
        for row in seconds(replace(setting, baseline=pair[1]), suite, two, case, (batch, count)):
            yield {**asdict(row), "backend": runners[row.subject].subject.backend}


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def write_rows(name: str, plan: str, path: str) -> None:
    """Run the step that is named, and write its rows to a file as soon as they are there."""
    with Path(path).open("w") as file:
        for row in STEPS[name](msgspec.json.decode(plan, type=Plan)):
            print(json.dumps(row, default=asdict), file=file, flush=True)
