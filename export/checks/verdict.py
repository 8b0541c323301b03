"""The verdict on a comparison: which outputs miss their tolerance, and a table of all of them.

It serves both comparisons: the exported graphs against PyTorch, and an engine against its graph.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from calibration import quality
from runtime.bundle.engine_record import EngineParity
from runtime.bundle.manifest import Manifest, Parity

FLOAT16_MAX = 65504.0

_COLUMNS = {  # by field: heading, format
    "case": ("case", ""),
    "region": ("region", ""),
    "max_levels": ("max levels", ".3f"),
    "mean_levels": ("mean levels", ".5f"),
    "psnr_db": ("PSNR dB", ".1f"),
    "finite": ("finite", ""),
    "reference_peak": ("largest activation", ".1f"),
}


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be off: `max_levels` of 255, and PSNR of a whole face or dictionary.

    `max_peak`: the largest activation that the precision can hold.
    """

    max_levels: float | None
    min_psnr_db: float
    max_peak: float = math.inf


TOLERANCES = {"fp32": Tolerance(1.0, 50.0), "fp16": Tolerance(None, 50.0, FLOAT16_MAX)}
"""By precision: for the graphs against PyTorch float32, and for engines against their graphs."""


def tolerance_of(manifest: Manifest) -> Tolerance:
    """The tolerance of an engine: its graph's own; for int8 the gate of its quantisation."""
    quantization = manifest.quantization
    if quantization is not None:
        return Tolerance(None, quantization.min_psnr_db)
    return TOLERANCES[manifest.precision]


def failures(rows: Sequence[Parity | EngineParity], tolerance: Tolerance) -> list[str]:
    """Why `rows` miss the tolerance; empty if they pass. NaN misses it.

    On a component the PSNR may be 3 dB less than on the whole.
    """
    reasons = []
    for row in rows:
        name, least = row.case, tolerance.min_psnr_db
        if isinstance(row, EngineParity):
            name = f"{row.case}, {row.region}"
            if row.region in quality.NAMES and row.region != "whole":
                least -= quality.COMPONENT_ALLOWANCE_DB
        else:
            if not row.finite:
                reasons.append(f"{name}: numbers that are not finite")
            if row.reference_peak > tolerance.max_peak:
                reasons.append(f"{name}: activations up to {row.reference_peak:g} overflow float16")
        if row.psnr_db is not None and not row.psnr_db >= least:
            reasons.append(f"{name}: {row.psnr_db:.1f} dB, under {least:g}")
        if tolerance.max_levels is not None and not row.max_levels <= tolerance.max_levels:
            reasons.append(
                f"{name}: up to {row.max_levels:g} levels off, over {tolerance.max_levels:g}"
            )
    return reasons


def table(rows: Sequence[Parity | EngineParity]) -> str:
    """The rows, all of one kind, as lines of text under a heading."""
    names = list(asdict(rows[0]))
    cells = [[_COLUMNS[name][0] for name in names]]
    cells += [[_cell(name, value) for name, value in asdict(row).items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<" if name in ("case", "region") else ">" for name in names]
    return "\n".join("  ".join(map("{:{}{}}".format, line, sides, widths)) for line in cells)


def _cell(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return "equal" if value is None else format(value, _COLUMNS[name][1])
