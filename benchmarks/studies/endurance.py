"""Engines on an NVIDIA GPU: times of one face and of eight, against the card and PyTorch.

    python -m benchmarks.studies.endurance --checkpoint synthetic --bundles DIR --json FILE

DIR holds bundles of one checkpoint, named fp16 and, if wanted, int8 (`--target tensorrt`) and fp32.
Engines that are missing are built in them. A time is that of a backend's `restore`, from host image
to host image, copies included: a person with ten references, and random pictures, others at each
call. The result is written after each section, so that nothing measured is lost; a section that
fails is recorded with its error, and the exit code is then 1. A device that cannot be had is
recorded too, and is no failure.
"""

import json
import subprocess
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.measure import peaks as gpu
from benchmarks.measure.machine import revision
from benchmarks.measure.peaks import Case, line_of
from benchmarks.studies.record import circumstances
from runtime import Restorer, SpecificDictionary, read_landmarks
from runtime.backends.tensorrt.backend import TensorRtBackend
from runtime.backends.tensorrt.engine_files import read_records
from runtime.bundle.opening import Bundle, open_bundle
from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import BundleError, DeviceError, DmdnetError, EngineError, UsageError
from runtime.machine.gpu import first_gpu
from runtime.machine.tensorrt_editions import EDITIONS, EXTRAS, installed_version
from runtime.samples.faces import SAMPLES
from runtime.storage.local import write_atomically

PROG = "benchmarks.studies.endurance"
PRECISIONS = ("fp16", "int8", "fp32")  # what matters most comes first
DEVICES = ("tensorrt", "tensorrt-rtx", "cuda")  # the best first
JOBS = 16  # of the endurance run
GFLOP = 382.0  # a face with ten references, where no engine's receipt says
_PACKAGES = (
    *("torch", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "polygraphy", "pycuda"),
    *("tensorrt", "tensorrt-rtx-cu13-bindings", "onnxruntime-ep-nv-tensorrt-rtx-cu13"),
)


def main() -> NoReturn:
    parser = console.Parser(PROG, __doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="as for dmd-export")
    parser.add_argument("--bundles", required=True, type=Path, help="folder of fp16, int8, fp32")
    parser.add_argument("--json", required=True, type=Path, help="result to write")
    parser.add_argument("--seconds", type=positive, default=120, help="of the endurance run")
    parser.add_argument("--rounds", type=positive, default=200, help="calls of each size")
    args = parser.parse_args()
    console.run(PROG, lambda: measure(args))


def measure(args: Namespace) -> int:
    """Every section in turn; 1 if one failed."""
    first_gpu()
    bundles = _bundles(args.bundles)
    half = bundles["fp16"]
    log = Log(args.json)
    log.section(partial(_environment, bundles), "environment")
    log.section(gpu.half_rate, "half_rate")
    tflops = look(log.result, "half_rate", "tflops")
    for precision, path in bundles.items():
        for edition in EDITIONS:
            if installed_version(edition) is not None:
                extra = EXTRAS[edition]
                log.section(partial(build, path, extra), precision, "builds", extra)
        log.section(partial(_records, path), precision, "engines")
        for device in DEVICES:
            log.section(partial(_speed, path, device, args.rounds, tflops), precision, device)
        if precision == "fp16":
            best = best_device(log.result)
            against = partial(_against_torch, half, best, args.checkpoint, args.rounds)
            log.section(against, "pytorch")
            log.section(partial(_endurance, half, best, args.seconds), "endurance")
    log.section(partial(_plugin, half, args.rounds), "onnxruntime_plugin")
    log.section(gpu.nvidia_smi, "nvidia_smi_afterwards")
    print(json.dumps(log.result["targets"], indent=2))
    return console.FAILED if log.failed else 0


class Log:
    """The result so far, which is written after each section."""

    def __init__(self, path: Path) -> None:
        self.result: dict[str, Any] = {}
        self.failed = False
        self._path = path

    def section(self, work: Callable[[], object], *keys: str) -> None:
        """Put what `work` gives, or its error, under `keys`."""
        console.say(f"{PROG}: {', '.join(keys)}")
        value: object
        try:
            value = work()
        except Exception as error:  # a library's too: the next section may be all right
            self.failed = True
            value = {"error": line_of(error)}
            console.say(f"  {line_of(error)}")
            if not isinstance(error, DmdnetError):
                traceback.print_exc()
        place = self.result
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        self.result["targets"] = targets(self.result)
        write_atomically(self._path, (json.dumps(self.result, indent=2) + "\n").encode())


def targets(result: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """What was promised of fp16 on the best device, and what came of it; None: not measured."""
    ours = partial(look, result, "fp16", best_device(result) or "none")
    speedups = [look(result, "pytorch", batch, "speedup") for batch in ("batch_1", "batch_8")]
    known = [value for value in speedups if value is not None]
    rows: dict[str, tuple[float, float | None, bool]] = {  # target, measured, more is better
        "p50_ms": (1.5, ours("batch_1", "p50_ms"), False),
        "batch8_faces_per_s": (1000, ours("batch_8", "faces_per_s"), True),
        "floor_ratio": (2.2, ours("floor", "batch_8_ratio"), False),
        "speedup_over_torch_half": (5, min(known, default=None), True),  # batch 1 or 8, the worse
        "endurance_errors": (0, look(result, "endurance", "errors"), False),
        "endurance_mismatches": (0, look(result, "endurance", "mismatches"), False),
    }
    return {
        name: {
            "target": target,
            "measured": found,
            "met": found is not None and (found >= target if more else found <= target),
        }
        for name, (target, found, more) in rows.items()
    }


def look(result: Mapping[str, Any], *keys: str) -> float | None:
    """A number of the result; None where that section failed or is yet to come."""
    found: Any = result
    for key in keys:
        found = found.get(key, {})
    return found if isinstance(found, (int, float)) else None


def best_device(result: Mapping[str, Any]) -> str | None:
    """The first of `DEVICES` that ran the fp16 bundle."""
    rows = result.get("fp16", {})
    return next((device for device in DEVICES if "batch_1" in rows.get(device, {})), None)


def build(bundle: Path, device: str) -> dict[str, object]:
    """Build what is missing, in a process of its own: one can use one edition with Polygraphy.

    Raises `EngineError` with the last line that it said.
    """
    program = "from export.cli.build_engine import main; main()"  # dmd-build-engine
    words = [sys.executable, "-c", program, str(bundle), "--engine", device]
    start, last = time.perf_counter(), ""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                console.say(f"  {line.rstrip()}")
                last = line.strip() or last
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise EngineError(f"{last} (exit code {process.returncode})")
    return {"seconds": time.perf_counter() - start}


def _bundles(folder: Path) -> dict[str, Path]:
    """The bundles that are there. Raises `BundleError` without fp16, or for a wrong one."""
    paths = {name: folder / name for name in PRECISIONS}
    found = {name: path for name, path in paths.items() if name == "fp16" or path.exists()}
    for name, path in found.items():
        precision = open_bundle(path, verify=False).manifest.precision
        if precision != name:
            raise BundleError(f"{path}: the bundle's precision is {precision}")
    return found


def _environment(bundles: Mapping[str, Path]) -> dict[str, object]:
    found: dict[str, Any] = circumstances("dmdnet-runtime")
    found["machine"]["gpu"] = asdict(first_gpu())
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found["versions"][name] = version(name)
    return {
        **found,
        "revision": revision(),
        "nvidia_smi": gpu.nvidia_smi(),
        "restorer_sha256": {
            name: open_bundle(path, verify=False).manifest.graph_sha256("restorer")
            for name, path in bundles.items()
        },
    }


def _records(path: Path) -> list[dict[str, object]]:
    """The engines' records, with their receipts and parity."""
    return [asdict(record) for record in read_records(path)]


def _speed(path: Path, device: str, rounds: int, tflops: float | None) -> dict[str, Any]:
    try:
        restorer = Restorer(path, device=device)
    except DeviceError as error:
        return {"error": str(error)}
    with restorer:
        case = Case.of(Bundle(path, restorer.manifest), rounds)
        row = gpu.speed(restorer._engine.restore, case, rounds)
        if isinstance(restorer._engine, TensorRtBackend):
            for batch, faces in (("batch_1", 1), ("batch_8", gpu.BATCH)):
                row[batch]["device"] = gpu.device_times(restorer._engine, case, faces)
    if tflops is not None:
        row["floor"] = gpu.floor(row, _gflop(path), tflops)
    return {"backend": restorer.backend, **row}


def _gflop(path: Path) -> float:
    found = (each.receipt.gflop for each in read_records(path) if each.graph == "restorer")
    return next(found, GFLOP)


def _against_torch(
    path: Path, device: str | None, checkpoint: str, rounds: int
) -> dict[str, object]:
    """PyTorch in half precision and the device, in turns."""
    from export.model.checkpoint import load_weights

    with _open(path, device) as restorer:
        weights = load_weights(checkpoint)
        if restorer.manifest.weights.sha256 != weights.record.sha256:
            raise UsageError(f"{path} was not made from {checkpoint}")
        case = Case.of(Bundle(path, restorer.manifest), rounds)
        rows = {}
        with gpu.TorchHalf(weights.network, case.rows) as eager:
            works = {"pytorch": eager.restore, "engine": restorer._engine.restore}
            for name, faces in (("batch_1", 1), ("batch_8", gpu.BATCH)):
                seconds = gpu.in_turns(works, case, faces, rounds)
                theirs, ours = (gpu.summary(seconds[work]) for work in works)
                speedup = theirs["p50_ms"] / ours["p50_ms"]
                rows[name] = {"speedup": speedup, "pytorch": theirs, "engine": ours}
    what = "PyTorch eager in half precision with cudnn.benchmark, and the engine, in turns"
    return {"what": what, "engine": restorer.backend, **rows}


def _endurance(path: Path, device: str | None, seconds: int) -> dict[str, object]:
    """Calls of one face and of eight, of a person and of nobody known, in eight threads."""
    points = read_landmarks(SAMPLES / "astronaut.png.txt")
    with _open(path, device) as restorer:
        manifest = restorer.manifest
        case = Case.of(Bundle(path, manifest), JOBS)
        alice = SpecificDictionary(case.rows, manifest.dictionary_layout, manifest.weights.sha256)
        jobs = []
        for number in range(JOBS):
            faces = list(case.pictures[number : number + (gpu.BATCH if number % 4 == 3 else 1)])
            people = [None if number % 3 == 2 else alice] * len(faces)
            jobs.append(
                partial(restorer.restore_batch, faces, [points] * len(faces), people, "rgb")
            )
        return {"backend": restorer.backend, **gpu.endure(jobs, seconds)}


def _open(path: Path, device: str | None) -> Restorer:
    if device is None:
        raise DeviceError("no device here runs the fp16 bundle")
    return Restorer(path, device=device)


def _plugin(path: Path, rounds: int) -> dict[str, Any]:
    """ONNX Runtime's provider for TensorRT for RTX, if it can start."""
    bundle = open_bundle(path)
    try:
        session = gpu.PluginSession(bundle)
    except Exception as error:  # the binding raises many classes, none public
        return {"error": line_of(error)}
    case = Case.of(bundle, rounds)
    return {"nodes": dict(session.nodes), **gpu.speed(session.restore, case, rounds)}


if __name__ == "__main__":
    main()
