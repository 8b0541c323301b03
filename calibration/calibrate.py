"""Make an INT8 restorer from a float one so that it passes the quality gate, and report on it."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibration import mixed_precision, quality
from calibration.bias_correction import Shifts, shifts_of
from calibration.equalization import apply, equalize
from calibration.faces import FacePair, FaceSet, face_set
from calibration.graph import Graph
from calibration.options import Options
from calibration.quantization import shrink_dictionary, write_int8
from calibration.ranges import Ranges, ranges_of
from calibration.sessions import RestorerInputs, open_run, restore
from calibration.statistics import forget_old, observe
from runtime.bundle.manifest import Quality, Quantization
from runtime.errors import CalibrationError
from runtime.images.arrays import Image

Report = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Floats:
    """Paths of the float graphs: the float32 restorer, by which the result is also judged, its
    bundle's memorizer, and for the target "tensorrt" the float16 restorer (`half`)."""

    restorer: Path
    memorizer: Path
    half: Path | None = None


@dataclass(frozen=True)
class Trial:
    """A held-out face, the restorer's inputs for it, and the float32 graph's output."""

    face: FacePair
    case: Mapping[str, NDArray[Any]]
    wanted: Image


@dataclass(frozen=True)
class Quantizer:
    """An equalised, calibrated graph that can be written with any blocks in INT8, and scored."""

    graph: Graph
    ranges: Ranges
    shifts: Shifts
    target: str
    faces: FaceSet
    trials: tuple[Trial, ...]

    def write(self, blocks: Collection[str], path: Path) -> None:
        write_int8(self.graph, blocks, self.ranges, self.shifts, self.target, path)

    def restored(
        self, path: Path, trials: Iterable[Trial], threads: int | None = None
    ) -> Iterator[tuple[Trial, Image]]:
        """Restore the faces of `trials` with the graph at `path`; `threads` as in `open_run`."""
        run = open_run(path, threads=threads)
        dtype = np.dtype(np.float32 if self.target == "cpu" else np.float16)
        for trial in trials:
            yield trial, restore(run, trial.case, dtype)

    def quality(self, path: Path) -> tuple[Quality, ...]:
        """Score the graph at `path` against float32 on all held-out faces."""
        scores = [
            quality.score(trial.face.name, got, trial.wanted, trial.face.boxes)
            for trial, got in self.restored(path, self.trials)
        ]
        return quality.summary(scores)


def choose_faces(options: Options) -> FaceSet:
    """Find the faces that `options` name; raises `CalibrationError` if there are none."""
    return face_set(options.faces, options.size, options.seed)


def prepare(
    floats: Floats, faces: FaceSet, options: Options, cache: Path, weights: str
) -> Quantizer:
    """Observe the float32 graph on faces, equalise it, and choose all ranges.

    `cache`: a folder that keeps statistics; `weights`: SHA-256 of the weights, which names them.
    """
    forget_old(cache)
    graph = Graph(floats.restorer)
    names, kept = graph.activations(graph.blocks), cache / _key(weights, faces, options)
    statistics = observe(graph, names, faces.calibration, floats.memorizer, options.seed, kept)
    factors, statistics = equalize(graph, statistics)
    ranges = ranges_of(statistics, options.method)
    if floats.half is not None:
        float32, graph = graph, Graph(floats.half)
        ranges = _renamed(ranges, float32, graph)
        statistics = _renamed(statistics, float32, graph)
    apply(graph, factors)
    shifts = shifts_of(graph, ranges, statistics, options.target)
    shrink_dictionary(graph)
    trials = _trials(faces, floats)
    return Quantizer(graph, ranges, shifts, options.target, faces, trials)


def calibrate(
    floats: Floats,
    out: Path,
    faces: FaceSet,
    options: Options,
    cache: Path,
    weights: str,
    report: Report = print,
) -> Quantization:
    """Write the INT8 restorer to `out`, with as many blocks in float as the quality gate requires.

    `cache` and `weights` as in `prepare`; `report` gets lines of progress and tables. Raises
    `CalibrationError` if the gate is missed even with every block in float.
    """
    report(f"observing {len(faces.calibration)} faces of {faces.source} ...")
    work = prepare(floats, faces, options, cache, weights)
    report(f"quantising each of {len(work.graph.blocks)} blocks alone ...")

    one_at_a_time = Lock()  # writing redirects what the whole process prints

    def psnr(blocks: Collection[str]) -> Mapping[str, float]:
        with TemporaryDirectory(dir=out.parent, prefix="trial-") as folder:
            path = Path(folder) / out.name
            with one_at_a_time:
                work.write(blocks, path)
            threads = max(1, (os.cpu_count() or 1) // mixed_precision.AT_ONCE)
            ((trial, got),) = work.restored(path, work.trials[:1], threads)
        return quality.psnr(got, trial.wanted, trial.face.boxes)

    alone = mixed_precision.each_alone(work.graph, psnr)
    blocks = list(work.graph.blocks)
    while True:
        work.write(blocks, out)
        rows = work.quality(out)
        missed = quality.shortfalls(rows, options.min_psnr_db)
        if not missed:
            break
        for line in quality.table(rows).splitlines():
            report(line)
        if not blocks:
            raise CalibrationError(
                f"the quality gate is missed with every layer in float: {'; '.join(missed)}; "
                "lower --min-psnr"
            )
        back = mixed_precision.to_put_back(alone, blocks, rows, options.min_psnr_db)
        report(f"quality gate missed ({'; '.join(missed)}); back to float: {', '.join(back)}")
        blocks = [block for block in blocks if block not in back]
    kept = (*blocks, mixed_precision.DICTIONARY)
    final = tuple(replace(row, integer=row.name in kept) for row in alone)
    for line in mixed_precision.table(final).splitlines():
        report(line)
    for line in quality.table(rows).splitlines():
        report(line)
    return Quantization(
        target=options.target,
        method=options.method,
        seed=options.seed,
        source=faces.source,
        source_sha256=faces.digest,
        calibration_faces=len(faces.calibration),
        held_out_faces=len(faces.held_out),
        min_psnr_db=options.min_psnr_db,
        quality=rows,
        blocks=final,
        warnings=faces.warnings,
    )


def _trials(faces: FaceSet, floats: Floats) -> tuple[Trial, ...]:
    inputs, run = RestorerInputs(floats.memorizer), open_run(floats.restorer)
    trials = []
    for load in faces.held_out:
        face = load()
        case = inputs.next(face)
        trials.append(Trial(face, case, restore(run, case, np.dtype(np.float32))))
    return tuple(trials)


def _renamed(of: dict[str, T], graph: Graph, other: Graph) -> dict[str, T]:
    """`of` under the names that the same activations have in `other`."""
    names, others = graph.activations(graph.blocks), other.activations(other.blocks)
    if len(names) != len(others):
        raise CalibrationError("the float32 and the float16 graph differ; export them again")
    return {new: of[old] for old, new in zip(names, others, strict=True)}


def _key(weights: str, faces: FaceSet, options: Options) -> str:
    """Names the statistics by all that they depend on."""
    parts = [6, weights, faces.source, faces.digest, options.size, options.seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
