"""Quality against clean faces: as measurements of `dmd-bench`, and back as rows of a table."""

import re
from collections.abc import Iterable, Iterator

from benchmarks.report.results import Measurement
from calibration.quality import REGIONS
from calibration.truth import Row

_CASE = re.compile(r"truth (x[0-9.]+), (.+), ([a-z]+)")


def measurements(rows: Iterable[Row]) -> Iterator[Measurement]:
    """A measurement for each region of each row: the mean, with the faces' values as samples."""
    for row in rows:
        for region in REGIONS:
            case = f"truth {row.degradation}, {row.kind}, {region}"
            for unit, mean, values in (
                ("dB", row.mean_psnr_db(region), row.psnr_db[region]),
                ("SSIM", row.mean_ssim(region), row.ssim[region]),
            ):
                yield Measurement(
                    "quality", row.subject, case, unit, mean, row.faces, samples=values
                )


def rows_of(suite: Iterable[Measurement]) -> list[Row]:
    """The rows from which `measurements` made these; other measurements are left out."""
    found: dict[tuple[str, str, str], dict[str, dict[str, tuple[float, ...]]]] = {}
    for one in suite:
        if match := _CASE.fullmatch(one.case):
            degradation, kind, region = match.groups()
            units = found.setdefault((degradation, one.subject, kind), {"dB": {}, "SSIM": {}})
            units.setdefault(one.unit, {})[region] = one.samples
    return [Row(*key, units["dB"], units["SSIM"]) for key, units in found.items()]


def others(suite: Iterable[Measurement]) -> list[Measurement]:
    """The measurements that `rows_of` leaves out."""
    return [one for one in suite if not _CASE.fullmatch(one.case)]
