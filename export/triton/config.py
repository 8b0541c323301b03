"""The `config.pbtxt` of the three models that `export.triton.repository` writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.backends.triton import address as remote
from runtime.bundle.engine_record import EngineRecord
from runtime.bundle.manifest import GraphSpec, Manifest, TensorSpec

APP = "dmdnet"
RESTORER = f"{APP}_restorer"
MEMORIZER = f"{APP}_memorizer"

_TYPES = {
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


@dataclass(frozen=True)
class Plan:
    """How a bundle is served, with all defaults filled in; `Serving` explains the fields."""

    device: str
    engines: Mapping[str, EngineRecord]  # by model; empty: ONNX Runtime
    max_batch: int
    max_references: int
    queue_delay_us: int
    instances: int
    version: int


def restorer_config(spec: GraphSpec, plan: Plan) -> str:
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
{_ends(spec, 0)}
{_warm_up(spec, plan, batched=False)}
"""


def memorizer_config(spec: GraphSpec, plan: Plan) -> str:
    return f"""\
# Reference photographs -> rows of dictionaries. Every tensor has one row a photograph, and rows do
# not depend on each other: K is the batch dimension here, and Triton batches as it does any model.
# Its answers are personal data.
name: "{MEMORIZER}"
{_platform(MEMORIZER, plan)}
max_batch_size: {plan.max_batch}
{_common(plan)}
{_batching(plan)}
{_ends(spec, 1)}
{_warm_up(spec, plan, batched=True)}
"""


def app_config(manifest: Manifest, plan: Plan) -> str:
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
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'
        for key, value in parameters.items()
    )
    return f"""\
# What apps call, through runtime.Restorer("grpc://HOST:8001/{APP}") or by themselves.
#
# Triton's batch dimension is a request here: image [1, F, 512, 512, 3], boxes [1, F, 4, 4],
# dictionary [1, K, D] with K = 0 without references, membership [1, F, K]. Requests of other F
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
{_ends(manifest.restorer, 0, " allow_ragged_batch: true")}
# the bundle's manifest: precision, layout and type of dictionaries, hashes of weights and files
{lines}
"""


def warm_ups(plan: Plan) -> tuple[int, ...]:
    """Numbers of faces in the calls that warm an engine up: the smallest and the largest."""
    return tuple(sorted({1, plan.max_batch}))


def _platform(model: str, plan: Plan) -> str:
    if model not in plan.engines:
        return 'platform: "onnxruntime_onnx"'
    record = plan.engines[model]
    return (
        f"# an engine of TensorRT {record.version} for compute capability {record.capability}: no "
        f'other version can read it\nplatform: "tensorrt_plan"'
    )


def _common(plan: Plan) -> str:
    return f"""\
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group [ {{ kind: KIND_{plan.device.upper()} count: {plan.instances} }} ]"""


def _batching(plan: Plan) -> str:
    return f"""\
dynamic_batching {{
  max_queue_delay_microseconds: {plan.queue_delay_us}
  # a request leaves the queue when its client no longer waits for it
  default_queue_policy {{ timeout_action: REJECT allow_timeout_override: true }}
}}"""


def _ends(spec: GraphSpec, first: int, more: str = "") -> str:
    """Inputs and outputs with the dimensions from `first` on; -1 for those that vary."""

    def tensors(those: Sequence[TensorSpec], more: str) -> str:
        return ",\n".join(
            f'  {{ name: "{tensor.name}" {_typed(tensor, first, {})}{more} }}' for tensor in those
        )

    return f"input [\n{tensors(spec.inputs, more)}\n]\noutput [\n{tensors(spec.outputs, '')}\n]"


def _warm_up(spec: GraphSpec, plan: Plan, batched: bool) -> str:
    """The smallest and the largest call, so that no request pays for what is allocated once."""
    samples = []
    for faces in warm_ups(plan):
        batch, rows = (faces, 1) if batched else (1, faces)
        sizes = {"faces": rows, "references": 1}
        lines = [f'model_warmup {{\n  name: "{faces} faces"\n  batch_size: {batch}']
        for tensor in spec.inputs:
            boxes = tensor.name == "boxes"
            data = f'input_data_file: "boxes-{rows}"' if boxes else "zero_data: true"
            typed = _typed(tensor, int(batched), sizes)
            lines.append(f'  inputs {{ key: "{tensor.name}" value {{ {typed} {data} }} }}')
        samples.append("\n".join([*lines, "}"]))
    return "\n".join(samples)


def _typed(tensor: TensorSpec, first: int, sizes: Mapping[str, int]) -> str:
    """A tensor's type, and its dimensions from `first` on; -1 for those not in `sizes`."""
    shape = tensor.shape[first:]
    dims = ", ".join(str(n if isinstance(n, int) else sizes.get(n, -1)) for n in shape)
    return f"data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ]"
