"""A model repository for Triton Inference Server, from a bundle's manifest.

Three models: `dmdnet_restorer` and `dmdnet_memorizer` are the bundle's graphs or engines;
`dmdnet`, which apps call, joins requests into calls of the restorer (`export/triton/model.py`).
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.backends.tensorrt.engine_files import check_engine, read_records
from runtime.backends.triton import address as remote
from runtime.bundle.engine_record import FOLDER, EngineRecord
from runtime.bundle.manifest import GraphSpec, Manifest, TensorSpec
from runtime.bundle.opening import Bundle
from runtime.errors import DmdnetWarning, ExportError, UsageError

APP = "dmdnet"
RESTORER = f"{APP}_restorer"
MEMORIZER = f"{APP}_memorizer"

TRITON_MODEL = Path(__file__).with_name("model.py")
_TYPES = {
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}
_MAX_REFERENCES = 32
# boxes of a face looking straight ahead, for the warm-up
_BOXES = ((100, 200, 212, 280), (300, 200, 412, 280), (192, 240, 320, 360), (176, 360, 336, 456))


@dataclass(frozen=True)
class Serving:
    """How a bundle is served.

    `device`: "cpu" or "gpu". `engine`: "tensorrt" or an engine's file name, in place of ONNX
    Runtime. `max_batch`: faces in one engine call; None: what the engine takes, 8 on a GPU; on a
    CPU 1, for a batch of float32 saves no time there, and 4 for int8. `max_references`: dictionary
    rows in one engine call; None: what the engine takes, or 32. `queue_delay_us`: how long a
    request may wait for others; None: 2 ms on a GPU, 20 ms on a CPU. `instances` of each engine.
    `version` of the three models.
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

    Raises `ExportError` where `out` exists or the bundle cannot be served so, `UsageError` for
    sizes that an engine does not take, `EngineError` for an engine that is missing or altered.
    """
    if out.exists():
        raise ExportError(f"{out}: exists; a repository is written to a new folder")
    plan = _plan(bundle, serving)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_engine(bundle, plan, RESTORER, temporary / RESTORER)
        _write_engine(bundle, plan, MEMORIZER, temporary / MEMORIZER)
        version = temporary / APP / str(serving.version)
        version.mkdir(parents=True)
        shutil.copyfile(TRITON_MODEL, version / "model.py")
        (temporary / APP / "config.pbtxt").write_text(_app_config(bundle.manifest, plan))
        temporary.chmod(0o755)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return APP, RESTORER, MEMORIZER


@dataclass(frozen=True)
class _Plan:
    """A `Serving` with nothing left open."""

    device: str
    engines: Mapping[str, EngineRecord]  # by model; empty: ONNX Runtime
    max_batch: int
    max_references: int
    queue_delay_us: int
    instances: int
    version: int

    @property
    def group(self) -> str:
        return f"instance_group [ {{ kind: KIND_{self.device.upper()} count: {self.instances} }} ]"


def _plan(bundle: Bundle, serving: Serving) -> _Plan:
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
    return _Plan(
        serving.device,
        engines,
        serving.max_batch or max_batch,
        serving.max_references or max_references,
        (20_000 if cpu else 2_000) if delay is None else delay,
        serving.instances,
        serving.version,
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


def _write_engine(bundle: Bundle, plan: _Plan, model: str, folder: Path) -> None:
    manifest = bundle.manifest
    spec = manifest.restorer if model == RESTORER else manifest.memorizer
    version = folder / str(plan.version)
    version.mkdir(parents=True)
    if model in plan.engines:
        source = bundle.path / FOLDER / plan.engines[model].file
        shutil.copyfile(source, version / "model.plan")
    else:
        shutil.copyfile(bundle.path / spec.file, version / "model.onnx")
        for name in manifest.files:  # weights, under the name that the graph has for them
            if name.startswith(f"{spec.file}."):
                shutil.copyfile(bundle.path / name, version / name)
    warm_up = folder / "warmup"
    warm_up.mkdir()
    for faces in _warm_ups(plan):
        (warm_up / f"boxes-{faces}").write_bytes(np.array(_BOXES * faces, np.int32).tobytes())
    config = _restorer_config(spec, plan) if model == RESTORER else _memorizer_config(spec, plan)
    (folder / "config.pbtxt").write_text(config)


def _restorer_config(spec: GraphSpec, plan: _Plan) -> str:
    inputs, outputs = _tensors(spec.inputs, 0), _tensors(spec.outputs, 0)
    return f"""\
# The restorer as it is in the bundle; apps call {APP}, which calls this.
#
# Triton must not batch it by itself: max_batch_size is 0, because the inputs have no batch
# dimension in common. image, boxes and membership have one row a face (F), dictionary one row a
# reference photograph (K), of all people in the call. membership[f, k] is 1 where row k belongs to
# face f and 0 elsewhere; a face whose row is all 0 is restored from the generic dictionary alone.
# So faces of any people can share a call: faces stacked, dictionaries below each other, membership
# block-diagonal. {APP} does that.
name: "{RESTORER}"
{_platform(RESTORER, plan)}
max_batch_size: 0
{_common(plan)}
input [
{inputs}
]
output [
{outputs}
]
{_warm_up(spec, plan, batched=False)}
"""


def _memorizer_config(spec: GraphSpec, plan: _Plan) -> str:
    inputs, outputs = _tensors(spec.inputs, 1), _tensors(spec.outputs, 1)
    return f"""\
# Reference photographs -> rows of dictionaries. Every tensor has one row a photograph, and rows do
# not depend on each other: K is the batch dimension here, and Triton batches as it does any model.
# Its answers are personal data.
name: "{MEMORIZER}"
{_platform(MEMORIZER, plan)}
max_batch_size: {plan.max_batch}
{_common(plan)}
{_batching(plan)}
input [
{inputs}
]
output [
{outputs}
]
{_warm_up(spec, plan, batched=True)}
"""


def _app_config(manifest: Manifest, plan: _Plan) -> str:
    inputs = _tensors(manifest.restorer.inputs, 0, " allow_ragged_batch: true")
    outputs = _tensors(manifest.restorer.outputs, 0)
    parameters = {
        remote.MANIFEST_PARAMETER: json.dumps(
            json.loads(manifest.to_json()), separators=(",", ":")
        ),
        remote.RESTORER: RESTORER,
        remote.MEMORIZER: MEMORIZER,
        remote.MAX_BATCH: str(plan.max_batch),
        remote.MAX_REFERENCES: str(plan.max_references),
    }
    lines = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: {_quoted(value)} }} }}'
        for key, value in parameters.items()
    )
    return f"""\
# What apps call, through runtime.Restorer("grpc://HOST:8001/{APP}") or by themselves.
#
# Triton's batch dimension is a request here: image [1, F, 512, 512, 3], boxes [1, F, 4, 4],
# dictionary [1, K, D] with K = 0 for people unknown, membership [1, F, K]. Requests of other F
# and K may share a batch (allow_ragged_batch): model.py stacks their faces, puts the dictionaries
# of different people below each other, equal ones once, and fills membership block by block, so
# that one call of {RESTORER} serves all.
# At most {plan.max_batch} faces and {plan.max_references} rows a request, and a call.
name: "{APP}"
backend: "python"
max_batch_size: {plan.max_batch}
version_policy {{ latest {{ num_versions: 1 }} }}
# one instance joins requests while another waits for the restorer
instance_group [ {{ kind: KIND_CPU count: {plan.instances + 1} }} ]
{_batching(plan)}
input [
{inputs}
]
output [
{outputs}
]
# the bundle's manifest: precision, layout and type of dictionaries, hashes of weights and files
{lines}
"""


def _platform(model: str, plan: _Plan) -> str:
    if model not in plan.engines:
        return 'platform: "onnxruntime_onnx"'
    record = plan.engines[model]
    return (
        f"# an engine of TensorRT {record.version} for compute capability {record.capability}: no "
        f'other version reads it\nplatform: "tensorrt_plan"'
    )


def _common(plan: _Plan) -> str:
    return f"version_policy {{ latest {{ num_versions: 1 }} }}\n{plan.group}"


def _batching(plan: _Plan) -> str:
    return f"""\
dynamic_batching {{
  max_queue_delay_microseconds: {plan.queue_delay_us}
  # a request leaves the queue when its client has given it up
  default_queue_policy {{ timeout_action: REJECT allow_timeout_override: true }}
}}"""


def _tensors(tensors: Sequence[TensorSpec], first: int, more: str = "") -> str:
    """Named, typed, and with the dimensions from `first` on; -1 for those that vary."""
    return ",\n".join(
        f'  {{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: [ '
        + ", ".join(str(n) if isinstance(n, int) else "-1" for n in tensor.shape[first:])
        + f" ]{more} }}"
        for tensor in tensors
    )


def _warm_up(spec: GraphSpec, plan: _Plan, batched: bool) -> str:
    """The smallest and the largest call, so that no request pays for what is allocated once."""
    return "\n".join(_sample(spec, faces, batched) for faces in _warm_ups(plan))


def _sample(spec: GraphSpec, faces: int, batched: bool) -> str:
    free = dict.fromkeys(("faces", "references"), faces)
    if not batched:
        free["references"] = 1
    first = 1 if batched else 0
    lines = "\n".join(
        f'  inputs {{ key: "{tensor.name}" value {{ data_type: {_TYPES[tensor.dtype]} dims: [ '
        + ", ".join(str(free.get(str(size), size)) for size in tensor.shape[first:])
        + " ] "
        + (
            f'input_data_file: "boxes-{1 if batched else faces}"'
            if tensor.name == "boxes"
            else "zero_data: true"
        )
        + " } }"
        for tensor in spec.inputs
    )
    size = faces if batched else 1
    return f'model_warmup {{\n  name: "{faces} faces"\n  batch_size: {size}\n{lines}\n}}'


def _warm_ups(plan: _Plan) -> tuple[int, ...]:
    return tuple(sorted({1, plan.max_batch}))


def _quoted(text: str) -> str:
    """A string of protobuf's text format; `text` is ASCII."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
