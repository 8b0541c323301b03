"""Build the TensorRT engines of a bundle with Polygraphy, check them, and put them into it.

Needs neither torch nor ONNX Runtime. TensorRT for RTX builds without a GPU; full TensorRT needs the
GPU that the engine is for.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from export.checks import reference, verdict
from export.tensorrt.compile import compile_engine
from export.tensorrt.options import BuildOptions, choose_edition
from export.tensorrt.place import locked, refuse_full_disk, staging_folder
from export.tensorrt.receipt import finished_convolutions, unclear
from runtime.backends.tensorrt.backend import TensorRtBackend
from runtime.backends.tensorrt.engine_files import Wanted, read_record
from runtime.bundle.engine_record import FOLDER, EngineParity, EngineRecord, Profile
from runtime.bundle.files import wrong_with
from runtime.bundle.manifest import GraphSpec
from runtime.bundle.opening import Bundle
from runtime.errors import DeviceError, DeviceMemoryError, EngineError, ExportError
from runtime.machine.gpu import first_gpu
from runtime.machine.tensorrt_editions import Edition
from runtime.storage.local import sha256_of, write_atomically

Report = Callable[[str], None]
GRAPHS = ("restorer", "memorizer")


def build_engines(
    bundle: Bundle,
    options: BuildOptions,
    *,
    rebuild: bool = False,
    report: Report = print,
) -> tuple[EngineRecord, ...]:
    """Build the engines of both graphs into the bundle, and return their records.

    With a GPU, the engines are run and compared with the bundle's reference. Of two processes, one
    builds while the other waits.

    Args:
        bundle: the bundle to extend.
        options: what to build. If `engine` is "auto", and no edition can build here, memory runs
            out, or an engine fails when it is run, the result is empty.
        rebuild: replace existing engines; without it, those that fit `options` are kept.
        report: gets a line for each step.

    Raises:
        DeviceError: the edition cannot build here, memory ran out (`DeviceMemoryError`), or an
            engine failed when it was run.
        EngineError: a build failed, or an existing engine does not fit.
        ExportError: an engine does not compute in the bundle's precision, or misses its parity.
    """
    manifest = bundle.manifest
    target = manifest.quantization.target if manifest.quantization else None
    edition, why = choose_edition(options.engine, target)
    if edition is None:
        report(f"no engine: {why}")
        return ()
    report(f"engine: {edition}: {why}")
    try:
        gpu = first_gpu()
    except DeviceError:
        gpu = None  # TensorRT for RTX builds without one
    wanted = [
        Wanted(graph, manifest.graph_sha256(graph), manifest.precision, edition, gpu)
        for graph in GRAPHS
    ]
    folder = bundle.path / FOLDER
    with locked(folder, report):
        there = [] if rebuild else [_find(folder, each, options.profile) for each in wanted]
        found = tuple(record for record in there if record is not None)
        if len(found) == len(wanted):
            report(f"{folder}: the engines are there already; --rebuild builds them again")
            return found
        refuse_full_disk(bundle)
        with staging_folder(folder) as staging:
            try:
                records = [
                    _build(bundle, each, options, staging / FOLDER, report) for each in wanted
                ]
                records = _judge(bundle, staging, records, edition, report)
            except EngineError:
                raise
            except DeviceError as error:
                if options.engine != "auto":
                    raise
                report(f"no engine: {error}")
                return ()
            for record in records:  # an engine without its record is never loaded
                engine, sidecar = record.file, f"{record.file}.json"
                write_atomically(staging / FOLDER / sidecar, record.to_json().encode())
                (folder / sidecar).unlink(missing_ok=True)
                (staging / FOLDER / engine).replace(folder / engine)
                (staging / FOLDER / sidecar).replace(folder / sidecar)
    return tuple(records)


def _find(folder: Path, wanted: Wanted, profile: Profile) -> EngineRecord | None:
    """The record of an existing engine, or None. Raises `EngineError` if it does not fit."""
    path, sidecar = folder / wanted.file, folder / f"{wanted.file}.json"
    if not path.exists() and not sidecar.exists():
        return None
    if not sidecar.exists():
        raise EngineError(f"{path} has no record ({sidecar.name}); --rebuild replaces it")
    record = read_record(sidecar)
    differences = wanted.differences(record)
    if record.profile != profile:
        differences.append(f"{record.profile}, asked for {profile}")
    if differences:
        again = "give another --engine, or --rebuild to replace it"
        raise EngineError(f"{path} was built for {', '.join(differences)}; {again}")
    if wrong := wrong_with(folder.parent, f"{FOLDER}/{record.file}", record.size, record.sha256):
        raise EngineError(f"{path}: {wrong}; --rebuild replaces it")
    return record


def _build(
    bundle: Bundle, wanted: Wanted, options: BuildOptions, staging: Path, report: Report
) -> EngineRecord:
    """Compile one graph and write its engine."""
    spec: GraphSpec = getattr(bundle.manifest, wanted.graph)
    start = time.monotonic()
    path, gpu = staging / wanted.file, wanted.gpu
    with bundle.unaltered(wanted.graph) as source:
        checked = compile_engine(source, spec, wanted.edition, options, path, report)
    seconds = time.monotonic() - start
    report(f"{wanted.graph} engine: {path.stat().st_size >> 20} MiB in {seconds:.0f} s")
    return EngineRecord(
        graph=wanted.graph,
        graph_sha256=wanted.graph_sha256,
        precision=wanted.precision,
        edition=wanted.edition.name,
        version=wanted.edition.version,
        capability=wanted.capability,
        gpu=gpu.name if gpu else None,
        driver=gpu.driver if gpu else None,
        profile=options.profile,
        file=wanted.file,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        built=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        receipt=checked,
        parity=(),
    )


def _judge(
    bundle: Bundle, staging: Path, records: list[EngineRecord], edition: Edition, report: Report
) -> list[EngineRecord]:
    """Run the new engines if a GPU can, and record their convolutions' precision and parity.

    Raises `DeviceError` for an engine that opens, and then fails when it runs.
    """
    for record in records:
        (staging / FOLDER / f"{record.file}.json").write_text(record.to_json())
    opened = False
    try:
        with closing(TensorRtBackend(Bundle(staging, bundle.manifest), edition.name)) as backend:
            opened = True
            return _measured(bundle, backend, records, report)
    except EngineError:
        raise
    except DeviceError as error:
        if opened and not isinstance(error, DeviceMemoryError):
            raise
        report(f"engines cannot be run here, so their parity is not measured: {error}")
        return records


def _measured(
    bundle: Bundle, backend: TensorRtBackend, records: list[EngineRecord], report: Report
) -> list[EngineRecord]:
    restored, memorized = reference.measure(backend, bundle)
    parity: dict[str, tuple[EngineParity, ...]] = {"restorer": restored, "memorizer": memorized}
    rows = restored + memorized
    judged = {row.case for row in restored}
    if left := [name for name in reference.case_names() if name not in judged]:
        report(f"not judged, as they read more references than a call takes: {', '.join(left)}")
    for line in verdict.table(rows).splitlines():
        report(line)
    if reasons := verdict.failures(rows, verdict.tolerance_of(bundle.manifest)):
        missed = "the engines differ too much from the bundle's reference and are not kept"
        raise ExportError(f"{missed}: {'; '.join(reasons)}")
    measured = []
    for record in records:
        information, asked = backend.information(record.graph), record.receipt.asked
        found = finished_convolutions(information, asked)
        if doubt := unclear(found, asked):
            report(f"warning: {record.graph}: {doubt}")
        built = replace(record.receipt, engine=found)
        measured.append(replace(record, parity=parity[record.graph], receipt=built))
    return measured
