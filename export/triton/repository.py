"""Write a model repository for Triton Inference Server from a bundle.

It has three models: `dmdnet_restorer` and `dmdnet_memorizer` are the bundle's graphs or engines;
`dmdnet`, which apps call, joins requests into calls of the restorer (`export/triton/model.py`).
"""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.triton.config import (
    APP,
    MEMORIZER,
    RESTORER,
    Plan,
    app_config,
    memorizer_config,
    restorer_config,
    warm_ups,
)
from runtime.backends.tensorrt.engine_files import check_engine, read_records
from runtime.bundle.engine_record import FOLDER, EngineRecord
from runtime.bundle.opening import Bundle
from runtime.errors import BundleError, DmdnetWarning, ExportError, UsageError
from runtime.storage.local import fault, folder_beside

TRITON_MODEL = Path(__file__).with_name("model.py")
_MAX_REFERENCES = 32
# boxes of a face looking straight ahead, for the warm-up
_BOXES = ((100, 200, 212, 280), (300, 200, 412, 280), (192, 240, 320, 360), (176, 360, 336, 456))


@dataclass(frozen=True)
class Serving:
    """How a bundle is served.

    Attributes:
        device: "cpu" or "gpu".
        engine: "tensorrt" or the file name of a TensorRT engine; None: ONNX Runtime.
        max_batch: most faces in one engine call. None: the TensorRT engine's limit; without one 8
            on a GPU, 4 for int8 on a CPU, and 1 for float32 on a CPU, where batches save no time.
            A bundle whose graph does not isolate people always gets 1.
        max_references: most dictionary rows in one engine call; None: the engine's limit, or 32.
        queue_delay_us: microseconds that a request may wait for others to share its engine call;
            None: 2,000 on a GPU, 20,000 on a CPU.
        instances: copies of each engine that run at once.
        version: version number of the three models.
    """

    device: str = "gpu"
    engine: str | None = None
    max_batch: int | None = None
    max_references: int | None = None
    queue_delay_us: int | None = None
    instances: int = 1
    version: int = 1


def write_repository(bundle: Bundle, out: Path, serving: Serving) -> tuple[str, ...]:
    """Write the repository to `out`, whole or not at all; returns the models' names.

    Raises `ExportError` if `out` exists or the bundle cannot be served in this way, `UsageError`
    for sizes that the engine does not take, `EngineError` for an engine that is missing or
    altered, `BundleError` for a file that was altered since the bundle was opened.
    """
    if out.exists():
        raise ExportError(f"{out} exists already; a repository is written to a new folder")
    plan = _plan(bundle, serving)
    with folder_beside(out) as temporary:
        _write_engine(bundle, plan, RESTORER, temporary / RESTORER)
        _write_engine(bundle, plan, MEMORIZER, temporary / MEMORIZER)
        version = temporary / APP / str(serving.version)
        version.mkdir(parents=True)
        shutil.copyfile(TRITON_MODEL, version / "model.py")
        (temporary / APP / "config.pbtxt").write_text(app_config(bundle.manifest, plan))
        temporary.rename(out)
    return APP, RESTORER, MEMORIZER


def _plan(bundle: Bundle, serving: Serving) -> Plan:
    manifest, cpu = bundle.manifest, serving.device == "cpu"
    engines = _engines(bundle, serving.engine) if serving.engine else {}
    if engines and cpu:
        raise UsageError("a TensorRT engine needs --device gpu")
    target = manifest.quantization.target if manifest.quantization else None
    if target == "cpu" and not cpu:
        raise ExportError(
            "this INT8 bundle is made for CPUs: serve it with --device cpu; for a GPU export with "
            "--fp16, or with --int8 --target tensorrt"
        )
    if target == "tensorrt" and not engines:
        raise ExportError("this INT8 bundle is made for TensorRT: serve its engine with --engine")
    if cpu and manifest.precision == "fp16":
        warnings.warn(
            "a float16 bundle is slower on a CPU than a float32 one: it is made for GPUs",
            DmdnetWarning,
            stacklevel=3,
        )
    if not manifest.isolates_people:
        _allow_only_one_face(serving)
        serving = replace(serving, max_batch=1)
    most = [engine.profile for engine in engines.values()]
    max_batch = min((p.max_batch for p in most), default=(4 if target else 1) if cpu else 8)
    max_references = min((p.max_references for p in most), default=_MAX_REFERENCES)
    for name, asked, limit in (
        ("--max-batch", serving.max_batch, max_batch),
        ("--max-references", serving.max_references, max_references),
    ):
        if engines and asked is not None and asked > limit:
            raise UsageError(
                f"{name} {asked}: the engine takes {limit}; build another with dmd-build-engine"
            )
    delay = serving.queue_delay_us
    return Plan(
        serving.device,
        engines,
        serving.max_batch or max_batch,
        serving.max_references or max_references,
        (20_000 if cpu else 2_000) if delay is None else delay,
        serving.instances,
        serving.version,
    )


def _allow_only_one_face(serving: Serving) -> None:
    """For a bundle whose graph does not isolate people who share a call."""
    why = "this bundle's graph does not isolate people who share an engine call"
    if serving.max_batch not in (None, 1):
        raise UsageError(
            f"--max-batch {serving.max_batch}: {why}; export the bundle again, or serve 1 face a "
            "call"
        )
    warnings.warn(
        f"{why}, so each call has 1 face (--max-batch 1); export the bundle again to batch",
        DmdnetWarning,
        stacklevel=4,
    )


def _engines(bundle: Bundle, name: str) -> Mapping[str, EngineRecord]:
    """The restorer's engine of full TensorRT, and the memorizer's that was built beside it."""
    records = read_records(bundle.path, "tensorrt")
    restorers = [r for r in records if r.graph == "restorer"]
    chosen = [r for r in restorers if name in ("tensorrt", r.file)]
    if len(chosen) != 1:
        there = ", ".join(r.file for r in restorers) or "none"
        raise ExportError(
            f"{bundle.path}: --engine {name} must name one engine of full TensorRT; there: {there}"
        )
    twin = chosen[0].file.removesuffix(".engine") + "-memorizer.engine"
    memorizers = [r for r in records if r.graph == "memorizer" and r.file == twin]
    if not memorizers:
        raise ExportError(f"{bundle.path}: {chosen[0].file} has no {twin} beside it; build both")
    found = {RESTORER: chosen[0], MEMORIZER: memorizers[0]}
    for record in found.values():
        if record.graph_sha256 != bundle.manifest.graph_sha256(record.graph):
            raise ExportError(f"{bundle.path}: {record.file} was built for another graph")
        check_engine(bundle.path, record, True, f"dmd-build-engine {bundle.path}")
    return found


def _write_engine(bundle: Bundle, plan: Plan, model: str, folder: Path) -> None:
    manifest = bundle.manifest
    spec = manifest.restorer if model == RESTORER else manifest.memorizer
    version = folder / str(plan.version)
    version.mkdir(parents=True)
    if model in plan.engines:
        engine = plan.engines[model]
        source = bundle.path / FOLDER / engine.file
        _copy(source, version / "model.plan", engine.size, engine.sha256)
    else:
        graph = "restorer" if model == RESTORER else "memorizer"
        for name, record in manifest.files_of(graph).items():
            # weights keep the name that the graph has for them
            target = version / ("model.onnx" if name == spec.file else name)
            _copy(bundle.path / name, target, record.size, record.sha256)
    warm_up = folder / "warmup"
    warm_up.mkdir()
    for faces in warm_ups(plan):
        (warm_up / f"boxes-{faces}").write_bytes(np.array(_BOXES * faces, np.int32).tobytes())
    config = restorer_config(spec, plan) if model == RESTORER else memorizer_config(spec, plan)
    (folder / "config.pbtxt").write_text(config)


def _copy(source: Path, target: Path, size: int, sha256: str) -> None:
    """Copy a file that was checked before, and check the copy. Raises `BundleError`."""
    shutil.copyfile(source, target)
    if wrong := fault(target, size, sha256):
        raise BundleError(f"{source}: {wrong} since the bundle was opened; export again")
