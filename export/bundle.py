"""Export weights to a checked bundle, which is written whole or not at all."""

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnx
import platformdirs

from calibration.calibrate import Floats, calibrate, choose_faces
from calibration.options import Options
from export.checks import parity, verdict
from export.checks.reference import write_reference
from export.model.checkpoint import load_weights
from export.model.graphs import MemorizerGraph, RestorerGraph
from export.model.network import DMDNet
from export.model.onnx_files import export_onnx
from export.tensorrt.build import build_engines
from export.tensorrt.options import BuildOptions, choose_edition
from runtime.bundle.layout import layout_text
from runtime.bundle.manifest import (
    MANIFEST,
    MANIFEST_VERSION,
    FileRecord,
    GraphSpec,
    Manifest,
    TensorSpec,
)
from runtime.bundle.opening import Bundle
from runtime.errors import ExportError
from runtime.machine.onnx_session import load_onnxruntime
from runtime.storage.local import folder_beside, sha256_of, write_atomically

Report = Callable[[str], None]

_SPARE = 64 << 20  # bytes beyond the weights: graphs, manifest, rounding
_SOURCES = "sources"
_TOOLS = ("dmdnet-runtime", "torch", "onnx", "onnxscript", "numpy")


def export_bundle(
    out: Path,
    precision: str = "fp32",
    checkpoint: str | None = None,
    *,
    int8: Options | None = None,
    engine: BuildOptions | None = None,
    force: bool = False,
    report: Report = print,
) -> Bundle:
    """Export both graphs, check them against PyTorch, and write a bundle to the folder `out`.

    Args:
        out: the bundle's folder; it must not exist, unless `force` replaces the bundle in it.
        precision: "fp32", "fp16" or "int8".
        checkpoint: as in `export.model.checkpoint.load_weights`.
        int8: how to calibrate, if the precision is "int8".
        engine: which TensorRT engines to build as well; None builds none.
        force: replace an existing bundle.
        report: gets a line when a stage starts and ends, and the tables of parity and quality.

    Raises:
        ExportError: `out` exists, the disk is too full, or the parity check fails.
        CalibrationError: no calibration faces are found, or the quality gate is missed.
        CheckpointError: the weights cannot be used.
        DeviceError: the engines cannot be built here, or their build fails.

    Whatever is raised, nothing is left behind.
    """
    _refuse_existing(out, force)
    options = int8 or Options()
    half = precision == "fp16" or (precision == "int8" and options.target == "tensorrt")
    edition, why = None, "none was asked for"
    if engine is not None:
        edition, why = choose_edition(
            engine.engine, options.target if precision == "int8" else None
        )
    for_engines = precision != "int8" or half
    stages = {"fp32": 5, "fp16": 5, "int8": 7 if half else 6}[precision] + for_engines
    stage = _Stages(report, stages + (edition is not None))
    faces = choose_faces(options) if precision == "int8" else None
    for warning in faces.warnings if faces is not None else ():
        report(f"warning: calibration: {warning}")
    with folder_beside(out) as building:
        with stage("weights"):
            weights = load_weights(checkpoint)
        _refuse_full_disk(building, weights.network, precision)
        network = copy.deepcopy(weights.network).half() if half else weights.network
        restorer, memorizer = building / "restorer.onnx", building / "memorizer.onnx"
        checked = restorer
        half_restorer = None
        if precision == "int8":
            checked = _source(building, "fp32")
            with stage("float32 restorer graph"):
                export_onnx(RestorerGraph(weights.network), checked)
            if half:
                half_restorer = _source(building, "fp16")
                with stage("float16 restorer graph"):
                    export_onnx(RestorerGraph(network), half_restorer)
        else:
            with stage("restorer graph"):
                export_onnx(RestorerGraph(network), restorer)
        with stage("memorizer graph"):
            export_onnx(MemorizerGraph(network), memorizer)
        with stage("parity with PyTorch float32"):
            rows = parity.measure(weights.network, checked, memorizer)
        for line in verdict.table(rows).splitlines():
            report(line)
        reasons = verdict.failures(rows, verdict.TOLERANCES["fp16" if half else "fp32"])
        if reasons:
            raise ExportError(
                "the exported graphs differ too much from PyTorch, so nothing was written: "
                f"{'; '.join(reasons)}"
            )
        quantization = None
        if faces is not None:
            cache = Path(platformdirs.user_cache_dir("dmdnet-runtime")) / "calibration"
            start = Floats(checked, memorizer, half_restorer)
            with stage("calibration and quality gate"):
                quantization = calibrate(
                    start, restorer, faces, options, cache, weights.record.sha256, report
                )
            shutil.rmtree(building / _SOURCES)
        if for_engines:
            with stage("reference outputs for engines"):
                write_reference(building)
        with stage("hashes and manifest"):
            manifest = Manifest(
                manifest_version=MANIFEST_VERSION,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                precision=precision,
                restorer=_graph_spec(restorer),
                memorizer=_graph_spec(memorizer),
                dictionary_layout=layout_text(network.layout),
                weights=weights.record,
                files={
                    file.name: FileRecord(file.stat().st_size, sha256_of(file))
                    for file in sorted(building.iterdir())
                },
                parity=rows,
                # of two distributions, onnxruntime and onnxruntime-gpu, whichever is there
                tools={tool: version(tool) for tool in _TOOLS}
                | {"onnxruntime": load_onnxruntime().__version__},
                quantization=quantization,
                isolates_people=True,  # see export.model.components.specific_read
            )
            write_atomically(building / MANIFEST, manifest.to_json().encode())
        if engine is not None and edition is not None:
            with stage("engines"):
                build_engines(Bundle(building, manifest), engine, report=report)
        elif engine is not None:
            report(f"no engine: {why}")
        _put_in_place(building, out, force)
    return Bundle(out, manifest)


def _refuse_existing(out: Path, force: bool) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    if not force:
        raise ExportError(f"{out} exists already; choose another --out, or replace it with --force")
    if not (out / MANIFEST).is_file():
        raise ExportError(f"{out} is not a bundle; --force replaces bundles only")


def _refuse_full_disk(folder: Path, network: DMDNet, precision: str) -> None:
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    # int8 is made from float32, and for TensorRT from float16 too
    need = numbers * {"fp16": 2, "fp32": 4, "int8": 8}[precision] + _SPARE
    free = shutil.disk_usage(folder).free
    if free < need:
        raise ExportError(
            f"{folder.parent}: no space: the export needs {need >> 20} MiB, {free >> 20} are free"
        )


def _source(building: Path, precision: str) -> Path:
    """Path of a float graph that the int8 one is made from; it is not part of the bundle."""
    folder = building / _SOURCES / precision
    folder.mkdir(parents=True)
    return folder / "restorer.onnx"


def _put_in_place(building: Path, out: Path, force: bool) -> None:
    """Rename; an older bundle steps aside first, and comes back if the rename fails."""
    _refuse_existing(out, force)  # somebody may have made one meanwhile
    old = building.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        building.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


class _Stages:
    """Reports the start of each stage, with its number, and the seconds that it took."""

    def __init__(self, report: Report, count: int) -> None:
        self._report, self._count, self._number = report, count, 0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        self._number += 1
        label = f"[{self._number}/{self._count}] {name}"
        self._report(f"{label} ...")
        yield
        self._report(f"{label}: {time.monotonic() - start:.1f} s")


def _graph_spec(path: Path) -> GraphSpec:
    graph = onnx.load(path, load_external_data=False).graph
    return GraphSpec(
        path.name, tuple(map(_tensor_spec, graph.input)), tuple(map(_tensor_spec, graph.output))
    )


def _tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
    return TensorSpec(value.name, str(dtype), shape)
