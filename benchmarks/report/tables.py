"""A result of `dmd-bench` as tables, for the terminal and in Markdown."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.report import truth
from benchmarks.report.results import Measurement, Result
from calibration.truth import HEADER
from calibration.truth import cells as cells_of_truth
from runtime.cli import console
from runtime.text import shown

Rows = Sequence[Sequence[str]]

MARK = "unstable"
TRUTH = "quality against clean faces"
_HEADER = ("subject", "case", "value", "p90", "p99", "runs", "ratio", "of peak", "note")
_NUMBERS = {"value", "p90", "p99", "runs", "of peak", "old", "new"}  # to the right
_WHOLE = _NUMBERS | {"change", "note"}  # not broken where the terminal is narrow
_WIDTH = 160  # in a file or a log; rich would take 80


def show(result: Result) -> None:
    """Print the tables of all suites; it does not print the errors of those that failed."""
    console.tell(_circumstances(result))
    for line in map(_weights, result.remarks):
        console.tell(line)
    for title, header, rows in _tables(result):
        draw(title, header, rows)


def markdown(result: Result) -> str:
    """The tables in Markdown, under a line with machine, date and versions; failed suites too."""
    parts = [_circumstances(result), *map(_weights, result.remarks)]
    for title, names, cells in _tables(result):
        header, *rows = filled(names, cells)
        rule = ["---:" if name in _NUMBERS else "---" for name in header]
        parts += [f"### {title}", "\n".join(map(_line, (header, rule, *rows)))]
    if result.errors:
        failed = ((suite, " ".join(why.split())) for suite, why in result.errors.items())
        parts.append("\n".join(f"- {suite} failed: {why}" for suite, why in failed))
    return "\n\n".join(parts) + "\n"


def amount(value: float, unit: str) -> str:
    """A value as text for people: "1.50 s", "734 ms", "219 MB", "40.3 dB", "0.9843 SSIM"."""
    if unit == "dB":
        return f"{value:.1f} dB"
    if unit == "SSIM":
        return f"{value:.4f} SSIM"
    if unit == truth.DISTANCE:
        return f"{value:.3f} distance"
    rounded = float(f"{value:.3g}")  # before the unit is chosen: 0.9996 s are not 1000 ms
    if unit == "s":
        return f"{_digits(rounded)} s" if rounded >= 1 else f"{_digits(rounded * 1e3)} ms"
    if unit == "bytes":
        return f"{_digits(rounded / 1e9)} GB" if rounded >= 1e9 else f"{_digits(rounded / 1e6)} MB"
    return f"{_digits(rounded)} {unit}"


def cells(one: Measurement) -> dict[str, str]:
    """A measurement's cells by column; "" for what was not measured."""

    def written(value: float | None, unit: str = one.unit) -> str:
        return "" if value is None else amount(value, unit)

    ratio, share = one.ratio, one.share_of_peak
    return {
        "subject": one.subject,
        "case": one.case,
        "value": written(one.value),
        "p90": written(one.p90),
        "p99": written(one.p99),
        "runs": str(one.runs),
        "first run": written(one.warm_up_s, "s"),
        "ratio": f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f}) of {ratio.baseline}"
        if ratio
        else "",
        "GFLOP": "" if one.gflop is None else f"{one.gflop:.0f}",
        "of peak": "" if share is None else f"{100 * share:.0f} %",
        "note": MARK if one.unstable else "",
    }


def machine_line(machine: dict[str, Any]) -> str:
    """Processor, cores and GPU."""
    gpu = machine.get("gpu")
    name = gpu["name"] if gpu else "no GPU"
    return f"{machine.get('processor')}, {machine.get('cores')} cores, {name}"


def draw(title: str, header: Sequence[str], rows: Rows) -> None:
    """Print a table to the terminal; a row with something in the last column stands out."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    names, *cells = filled(header, rows)
    table = Table(title=shown(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        side: JustifyMethod = "right" if name in _NUMBERS else "left"
        table.add_column(name, justify=side, no_wrap=name in _WHOLE, overflow="fold")
    for row, kept in zip(rows, cells, strict=True):
        table.add_row(*map(shown, kept), style="bold yellow" if row[-1] else None)
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)


def filled(header: Sequence[str], rows: Rows) -> list[list[str]]:
    """Header and rows without the columns that are empty."""
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)]
    return [[row[index] for index in kept] for row in (header, *rows)]


def _digits(value: float) -> str:
    """Three significant digits, and never an exponent."""
    before_point = math.floor(math.log10(abs(value))) + 1 if value else 1
    return f"{value:.{max(0, 3 - before_point)}f}"


def _tables(result: Result) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """Title, header and rows of each table; quality against the truth has one of its own."""
    for suite in result.suites:
        measured = result.of(suite)
        if rows := _rows(truth.others(measured)):
            yield suite, _HEADER, rows
        if judged := truth.rows_of(measured):
            yield TRUTH, HEADER, [cells_of_truth(row) for row in judged]


def _weights(remark: str) -> str:
    return f"Weights: {remark}"


def _rows(measurements: Iterable[Measurement]) -> list[list[str]]:
    return [[cells(each)[name] for name in _HEADER] for each in measurements]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _circumstances(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return f"{machine_line(result.machine)}; {result.date}; {versions}"
