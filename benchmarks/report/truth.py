"""Quality against clean faces: as measurements of `dmd-bench`, and back as rows of a table."""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from benchmarks.report.results import Measurement
from calibration.likeness import Distances
from calibration.quality import REGIONS
from calibration.truth import Row

IDENTITY, LANDMARKS = "identity", "landmarks"
DISTANCE, PIXELS = "distance", "px"
"""Units of identity, and of landmarks."""

_CASE = re.compile(r"truth (x[0-9.]+), (.+), ([a-z]+)")


def measurements(rows: Iterable[Row]) -> Iterator[Measurement]:
    """A measurement for each column of each row: the mean, with the faces' values as samples."""
    for row in rows:
        columns = [
            measured
            for region in REGIONS
            for measured in (
                (region, "dB", row.psnr_db[region]),
                (region, "SSIM", row.ssim[region]),
            )
        ]
        if row.likeness:
            columns += [
                (IDENTITY, DISTANCE, tuple(each.identity for each in row.likeness)),
                (LANDMARKS, PIXELS, tuple(each.landmarks_px for each in row.likeness)),
            ]
        for name, unit, values in columns:
            case, mean = f"truth {row.degradation}, {row.kind}, {name}", float(np.mean(values))
            yield Measurement("quality", row.subject, case, unit, mean, row.faces, samples=values)


def rows_of(suite: Iterable[Measurement]) -> list[Row]:
    """The rows from which `measurements` made these; other measurements are left out."""
    found: dict[tuple[str, str, str], dict[str, dict[str, tuple[float, ...]]]] = {}
    for one in suite:
        if match := _CASE.fullmatch(one.case):
            degradation, kind, name = match.groups()
            units = found.setdefault((degradation, one.subject, kind), {"dB": {}, "SSIM": {}})
            units.setdefault(one.unit, {})[name] = one.samples
    return [Row(*key, units["dB"], units["SSIM"], _likeness(units)) for key, units in found.items()]


def others(suite: Iterable[Measurement]) -> list[Measurement]:
    """The measurements that `rows_of` leaves out."""
    return [one for one in suite if not _CASE.fullmatch(one.case)]


def _likeness(units: Mapping[str, Mapping[str, tuple[float, ...]]]) -> tuple[Distances, ...]:
    """Of each face; empty for a result of a version that did not measure it."""
    identity = units.get(DISTANCE, {}).get(IDENTITY, ())
    landmarks = units.get(PIXELS, {}).get(LANDMARKS, ())
    return tuple(map(Distances, identity, landmarks))
