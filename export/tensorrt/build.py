"""Engines of a bundle: built through Polygraphy, checked, and put beside its graphs.

Needs neither torch nor ONNX Runtime. TensorRT for RTX builds without a GPU; full TensorRT needs the
GPU that the engine is for.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.checks import reference
from export.tensorrt.progress import Progress
from export.tensorrt.receipt import finished_convolutions, receipt
from runtime.backends.tensorrt.backend import TensorRtBackend
from runtime.backends.tensorrt.engine_files import Wanted, read_record
from runtime.bundle.engine_record import FOLDER, EngineParity, EngineRecord, Profile, Receipt
from runtime.bundle.manifest import MANIFEST, GraphSpec, Manifest
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import BundleError, DeviceError, EngineError, ExportError, UsageError
from runtime.machine.gpu import Gpu, first_gpu
from runtime.machine.tensorrt_editions import EDITIONS, EXTRAS, TITLES, Edition, load_edition
from runtime.storage.local import fault, sha256_of, write_atomically

Report = Callable[[str], None]
GRAPHS = ("restorer", "memorizer")
_NEEDS = ("polygraphy", "filelock")


@dataclass(frozen=True)
class BuildOptions:
    """`engine`: "auto", "none", or an edition's extra.

    `workspace`: GiB that the builder may use; None: all there is.
    `timing_cache`: a file that makes later builds of full TensorRT faster.
    """

    engine: str = "auto"
    profile: Profile = field(default_factory=Profile)
    timing_cache: Path | None = None
    workspace: float | None = None

    def __post_init__(self) -> None:
        profile = self.profile
        for name in ("batch", "references"):
            best, most = getattr(profile, f"opt_{name}"), getattr(profile, f"max_{name}")
            if not 1 <= best <= most:
                raise UsageError(
                    f"--opt-{name} is {best} and --max-{name} {most}: 1 <= opt <= max is needed"
                )


def choose_edition(engine: str, int8_target: str | None) -> tuple[Edition | None, str]:
    """The edition to build with, and why it; None where nothing is to be built.

    `int8_target`: what an int8 bundle is made for. Raises `DeviceError` for an edition that was
    named and cannot build here, or that may not run the bundle.
    """
    if engine == "none":
        return None, "none was asked for"
    if int8_target == "cpu":
        if engine == "auto":
            return None, "an INT8 bundle for CPUs has no use for one"
        raise DeviceError("an INT8 bundle for CPUs has no engine; export with --target tensorrt")
    if engine != "auto":
        edition = next(name for name, extra in EXTRAS.items() if extra == engine)
        return _able(edition), "it was asked for"
    reasons: list[str] = []
    for edition in EDITIONS:
        try:
            return _able(edition), "; ".join(reasons) or "it is the first choice"
        except DeviceError as error:
            reasons.append(f"not {EXTRAS[edition]}: {error}")
    return None, "; ".join(reasons)


def build_engines(
    bundle: Bundle,
    options: BuildOptions,
    *,
    rebuild: bool = False,
    report: Report = print,
) -> Bundle:
    """Build the engines of both graphs, and write them and the manifest; the bundle as it is then.

    An engine that is there and fits stays, unless `rebuild`. Of two processes, one builds, and the
    other waits. Where a GPU is, the engines are run against the bundle's reference.
    Raises `DeviceError` if the edition cannot build here, `EngineError` for a failed build or an
    engine that is there and does not fit, `ExportError` for a wrong precision or parity.
    """
    quantization = bundle.manifest.quantization
    target = quantization.target if quantization is not None else None
    edition, why = choose_edition(options.engine, target)
    if edition is None:
        report(f"no engine: {why}")
        return bundle
    report(f"engine: {edition}: {why}")
    gpu = _gpu()
    wanted = [_wanted(bundle, graph, edition, gpu) for graph in GRAPHS]
    folder = bundle.path / FOLDER
    with _locked(folder, report):
        bundle = Bundle(bundle.path, open_bundle(bundle.path, verify=False).manifest)
        if not rebuild and all(_is_there(folder, each, options.profile) for each in wanted):
            report(f"{folder}: the engines are there already; --rebuild builds them again")
            return bundle
        _refuse_full_disk(bundle)
        with _staging(folder) as staging:
            records = [_build(bundle, each, options, staging / FOLDER, report) for each in wanted]
            records = _judge(bundle, staging, records, edition, report)
            manifest = _with_engines(bundle.manifest, records)
            for record in records:  # an engine without its record is never loaded
                (folder / f"{record.file}.json").unlink(missing_ok=True)
                (staging / FOLDER / record.file).replace(folder / record.file)
                write_atomically(folder / f"{record.file}.json", record.to_json().encode())
        write_atomically(bundle.path / MANIFEST, manifest.to_json().encode())
    return Bundle(bundle.path, manifest)


def compile_engine(
    source: Path, spec: GraphSpec, edition: Edition, options: BuildOptions, report: Report = print
) -> tuple[bytes, Receipt]:
    """An engine of the ONNX file `source`, with inputs as `spec` says, and its receipt.

    Raises `EngineError` if it cannot be read or built, `ExportError` for a wrong precision.
    """
    trt, polygraphy = edition.module, _polygraphy(edition)
    sizes = _sizes(spec, options.profile)
    with _as_ours(f"{source}: {edition} cannot read it"):
        builder, network, parser = polygraphy.network_from_onnx_path(
            str(source), strongly_typed=True
        )
    checked = receipt(source, trt, network, {name: best for name, (_, best, _) in sizes.items()})
    profile = polygraphy.Profile()
    for name, (least, best, most) in sizes.items():
        profile.add(name, least, best, most)
    limits = None
    if options.workspace is not None:
        limits = {trt.MemoryPoolType.WORKSPACE: int(options.workspace * 2**30)}
    cache = options.timing_cache
    if cache is not None and edition.name == "tensorrt_rtx":
        report(f"{edition} keeps no timing cache: {cache} is not used")
        cache = None

    with Progress(trt, f"{source.stem} engine", report) as progress:

        def build() -> Any:
            config = polygraphy.create_config(
                builder,
                network,
                profiles=[profile],
                memory_pool_limits=limits,
                load_timing_cache=str(cache) if cache is not None and cache.exists() else None,
                progress_monitor=progress.monitor,
            )
            return polygraphy.engine_bytes_from_network(
                (builder, network, parser),
                config,
                save_timing_cache=None if cache is None else str(cache),
            )

        with _as_ours(f"{source}: {edition} cannot build an engine"):
            return progress.run(build), checked


def _able(name: str) -> Edition:
    """The edition, if it can build here. Raises `DeviceError`."""
    missing = [need for need in _NEEDS if find_spec(need) is None]
    if missing:
        raise DeviceError(
            f"{', '.join(missing)} not installed; install dmdnet-runtime[{EXTRAS[name]}]"
        )
    if name == "tensorrt":
        first_gpu()
    return load_edition(name)


def _gpu() -> Gpu | None:
    try:
        return first_gpu()
    except DeviceError:
        return None


def _wanted(bundle: Bundle, graph: str, edition: Edition, gpu: Gpu | None) -> Wanted:
    manifest = bundle.manifest
    return Wanted(graph, manifest.graph_sha256(graph), manifest.precision, edition, gpu)


def _is_there(folder: Path, wanted: Wanted, profile: Profile) -> bool:
    """Whether the file is there and fits. Raises `EngineError` if it is and does not."""
    path = folder / wanted.file
    sidecar = folder / f"{wanted.file}.json"
    if not path.exists() and not sidecar.exists():
        return False
    again = "give another --engine, or --rebuild to replace it"
    if not sidecar.exists():
        raise EngineError(f"{path} has no record ({sidecar.name}); --rebuild replaces it")
    record = read_record(sidecar)
    differences = wanted.differences(record)
    if record.profile != profile:
        differences.append(f"{record.profile}, asked for {profile}")
    if differences:
        raise EngineError(f"{path} was built for {', '.join(differences)}; {again}")
    wrong = fault(path, record.size, record.sha256)
    if wrong:
        raise EngineError(f"{path}: {wrong}; --rebuild replaces it")
    return True


def _build(
    bundle: Bundle, wanted: Wanted, options: BuildOptions, staging: Path, report: Report
) -> EngineRecord:
    """Compile one graph and write its engine."""
    spec: GraphSpec = getattr(bundle.manifest, wanted.graph)
    start = time.monotonic()
    engine, checked = compile_engine(bundle.path / spec.file, spec, wanted.edition, options, report)
    path, gpu = staging / wanted.file, wanted.gpu
    write_atomically(path, engine)
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
    """Run the new engines, where a GPU can: their convolutions' precisions, and their parity."""
    for record in records:
        (staging / FOLDER / f"{record.file}.json").write_text(record.to_json())
    try:
        backend = TensorRtBackend(Bundle(staging, bundle.manifest), edition.name)
    except EngineError:
        raise
    except DeviceError as error:
        report(f"engine: not run here, so its parity is not measured: {error}")
        return records
    try:
        restored, memorized = reference.measure(backend, bundle)
        parity: dict[str, tuple[EngineParity, ...]] = {"restorer": restored, "memorizer": memorized}
        reasons = reference.failures(restored + memorized, reference.tolerance_of(bundle))
        for row in restored + memorized:
            report(f"{row.case:10} {row.region:10} {row.max_levels:8.3f} {row.psnr_db:8.1f} dB")
        if reasons:
            raise ExportError(
                f"the engine's parity is missed, it is not kept: {'; '.join(reasons)}"
            )
        return [
            replace(
                record,
                parity=parity[record.graph],
                receipt=replace(
                    record.receipt,
                    engine=finished_convolutions(
                        backend.information(record.graph), record.receipt.asked
                    ),
                ),
            )
            for record in records
        ]
    finally:
        backend.close()


def _with_engines(manifest: Manifest, records: list[EngineRecord]) -> Manifest:
    files = {record.file for record in records}
    kept = tuple(engine for engine in manifest.engines if engine.file not in files)
    return replace(manifest, engines=kept + tuple(records))


def _sizes(spec: GraphSpec, profile: Profile) -> dict[str, Any]:
    """Each input's smallest, best and largest shape."""
    faces = (1, profile.opt_batch, profile.max_batch)
    references = (1, profile.opt_references, profile.max_references)
    if not any("faces" in tensor.shape for tensor in spec.inputs):
        references = faces  # the memorizer's batch
    free = {"faces": faces, "references": references}
    return {
        tensor.name: tuple(
            tuple(free[n][which] if isinstance(n, str) else n for n in tensor.shape)
            for which in range(3)
        )
        for tensor in spec.inputs
    }


def _polygraphy(edition: Edition) -> Any:
    """Polygraphy's loaders, bound to the edition. A process can use one edition only."""
    try:
        import polygraphy.config
    except ModuleNotFoundError:
        raise ExportError(
            f"polygraphy is not installed; install dmdnet-runtime[{EXTRAS[edition.name]}]"
        ) from None
    polygraphy.config.USE_TENSORRT_RTX = edition.name == "tensorrt_rtx"
    from polygraphy.backend import trt
    from polygraphy.logger import G_LOGGER

    bound = trt.loader.trt.__name__.replace("_bindings", "")
    if bound != edition.name:
        raise EngineError(
            f"this process has used Polygraphy with {TITLES[bound]}; build for {edition} in another"
        )
    G_LOGGER.module_severity = G_LOGGER.CRITICAL  # what fails is raised, in our words
    return trt


@contextmanager
def _as_ours(what: str) -> Iterator[None]:
    """Polygraphy's exceptions as `EngineError`."""
    from polygraphy.exception import PolygraphyException

    try:
        yield
    except PolygraphyException as error:
        raise EngineError(f"{what}: {' '.join(str(error).split())}") from None


@contextmanager
def _locked(folder: Path, report: Report) -> Iterator[None]:
    """One process at a time builds in a bundle; the lock goes with the process that holds it."""
    import filelock

    try:
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            report(f"{folder}: another process builds here; waiting for it")
            lock.acquire()
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder inside `engines/` that looks like a bundle's; gone afterwards."""
    staging = Path(tempfile.mkdtemp(prefix=".building.", dir=folder))
    try:
        (staging / FOLDER).mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_full_disk(bundle: Bundle) -> None:
    """An engine is about as large as its graph's weights."""
    need = (64 << 20) + sum(record.size for record in bundle.manifest.files.values())
    free = shutil.disk_usage(bundle.path).free
    if free < need:
        raise EngineError(
            f"{bundle.path}: no space: the engines need about {need >> 20} MiB, {free >> 20} are "
            "free"
        )
