"""Engine files of a bundle: reading their records, and finding the one that fits this machine."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle.engine_record import ANY, FOLDER, EngineRecord
from runtime.bundle.files import wrong_with
from runtime.bundle.typed_json import read_text
from runtime.errors import EngineError
from runtime.machine.gpu import Gpu
from runtime.machine.tensorrt_editions import EXTRAS, TITLES, Edition, numbers


@dataclass(frozen=True)
class Wanted:
    """What an engine must be built for to run here: graph, edition, and the GPU if there is one."""

    graph: str
    graph_sha256: str
    precision: str
    edition: Edition
    gpu: Gpu | None

    @property
    def capability(self) -> str:
        """Compute capability that the engine is built for, such as "9.0", or `ANY`."""
        if self.edition.name == "tensorrt_rtx":
            return ANY
        return self.gpu.capability if self.gpu else ANY

    @property
    def file(self) -> str:
        """The engine file's name: EDITION-VERSION-CAPABILITY-PRECISION[-memorizer].engine."""
        short = ".".join(self.edition.version.split(".")[:3])
        name = f"{self.edition.name}-{short}-{self.capability}-{self.precision}"
        return f"{name}.engine" if self.graph == "restorer" else f"{name}-{self.graph}.engine"

    def differences(self, record: EngineRecord) -> list[str]:
        """Why the engine of `record` does not fit, one reason each; empty if it may be loaded."""
        pairs = [
            ("graph", record.graph_sha256[:12], self.graph_sha256[:12]),
            ("precision", record.precision, self.precision),
            (TITLES[self.edition.name], record.version, self.edition.version),
        ]
        if record.capability != ANY:
            pairs.append(("compute capability", record.capability, self.capability))
            if self.gpu is not None:
                pairs.append(("GPU", record.gpu or "none", self.gpu.name))
        found = [f"{what} {theirs}, here {ours}" for what, theirs, ours in pairs if theirs != ours]
        if self.gpu and record.driver and numbers(self.gpu.driver) < numbers(record.driver):
            found.append(f"a driver for CUDA {record.driver}, here {self.gpu.driver}")
        return found


def find_engine(folder: Path, wanted: Wanted, verify: bool = True) -> tuple[EngineRecord, bytes]:
    """Find the engine in the bundle `folder` that fits. Returns its record, and its content.

    `verify`: check the SHA-256 of the content. Raises `EngineError` that says what is missing,
    altered, or differs, and what to do.
    """
    title = TITLES[wanted.edition.name]
    build = f"dmd-build-engine {folder} --engine {EXTRAS[wanted.edition.name]}"
    refusals = []
    for record in read_records(folder, wanted.edition.name):
        if record.graph != wanted.graph:
            continue
        differences = wanted.differences(record)
        if not differences:
            check_engine(folder, record, False, build)
            return record, _read_engine(folder, record, verify, build)
        refusals.append(f"{record.file} was built for {', '.join(differences)}")
    if refusals:
        raise EngineError(f"{folder}: {'; '.join(refusals)}; rebuild with `{build} --rebuild`")
    raise EngineError(f"{folder} holds no {title} engine of the {wanted.graph}; run `{build}`")


def read_records(folder: Path, edition: str = "*") -> list[EngineRecord]:
    """The records of the engines in the bundle `folder`, of one edition or of all.

    A memorizer comes after its restorer. Raises `EngineError`.
    """
    paths = (folder / FOLDER).glob(f"{edition}-*.engine.json")
    return [
        read_record(path) for path in sorted(paths, key=lambda path: path.name.split(".engine"))
    ]


def read_record(path: Path) -> EngineRecord:
    """Read an engine's record. Raises `EngineError`."""
    try:
        if wrong := wrong_with(path.parent.parent, f"{FOLDER}/{path.name}", None, None):
            raise EngineError(f"{path}: {wrong}; build again with --rebuild")
        record = EngineRecord.from_json(read_text(path))
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise EngineError(
            f"{path}: not an engine's record: {error}; build again with --rebuild"
        ) from None
    if f"{record.file}.json" != path.name:
        raise EngineError(f"{path}: it is the record of {record.file}; build again with --rebuild")
    return record


def check_engine(folder: Path, record: EngineRecord, verify: bool, build: str) -> None:
    """Raise `EngineError` unless the file is as recorded; `build`: the command that builds it."""
    name, sha256 = f"{FOLDER}/{record.file}", record.sha256 if verify else None
    if wrong := wrong_with(folder, name, record.size, sha256):
        raise EngineError(f"{folder / name}: {wrong}; build it again with `{build} --rebuild`")


def _read_engine(folder: Path, record: EngineRecord, verify: bool, build: str) -> bytes:
    """What TensorRT is given: these bytes are hashed, not those of another reading."""
    path = folder / FOLDER / record.file
    try:
        with path.open("rb") as file:
            content = file.read(record.size + 1)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) != record.size or (
        verify and hashlib.sha256(content).hexdigest() != record.sha256
    ):
        raise EngineError(
            f"{path}: altered (its SHA-256 differs); build it again with `{build} --rebuild`"
        )
    return content
