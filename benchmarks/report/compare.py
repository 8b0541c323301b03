"""Compare two results of `dmd-bench`: what got worse, and whether by more than is allowed."""

import math
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report.results import Measurement, Result, read_result
from benchmarks.report.tables import MARK, amount, draw, machine_line
from runtime.cli import console
from runtime.errors import BenchmarkError

_WORSE = {
    "s": 1,
    "bytes": 1,
    "faces/s": -1,
    "photos/s": -1,
    "dB": -1,
    "SSIM": -1,
    "distance": 1,
    "px": 1,
}  # the direction, by unit
_HEADER = ("suite", "subject", "case", "old", "new", "change", "note")
_ROUNDING = 1e-9  # 1.05 s after 1.00 s are not worse by more than 5 %

_Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Change:
    """A measurement in both results; `change` is a share of `old`, positive if it got worse."""

    old: Measurement
    new: Measurement
    change: float
    failed: bool

    @property
    def unstable(self) -> bool:
        """Whether it was unstable in either result."""
        return self.old.unstable or self.new.unstable


def main_compare(old: Path, new: Path, fail_above: float) -> int:
    """Print the changes; returns the exit code, 1 if one of them, or a suite of `new`, failed."""
    before, after = read_result(old), read_result(new)
    machines = [machine_line(each.machine) for each in (before, after)]
    if machines[0] != machines[1]:
        console.say(f"warning: the machines differ: {machines[0]} / {machines[1]}")
    changes = compare(before, after, fail_above)
    if not changes:
        raise BenchmarkError(f"{old} and {new} have no measurement in common")
    draw(f"{old} -> {new}", _HEADER, [_cells(change) for change in changes])
    for path, result in ((old, before), (new, after)):
        for remark in result.remarks:
            console.tell(f"{path}: {remark}")
    gone, come = only_in(before, after), only_in(after, before)
    for path, lone in ((old, gone), (new, come)):
        for one in lone:
            value = amount(one.value, one.unit)
            console.tell(f"only in {path}: {one.suite}, {one.subject}, {one.case}: {value}")
    failed = sum(change.failed for change in changes)
    console.tell(
        f"{failed} of {len(changes)} worse by more than {100 * fail_above:g} %; "
        f"{len(gone)} only in {old}, {len(come)} only in {new}"
    )
    for suite, why in after.errors.items():
        console.tell(f"{new}: {suite} failed: {why}")
    return console.FAILED if failed or after.errors else 0


def compare(old: Result, new: Result, fail_above: float) -> list[Change]:
    """Compare the measurements that both results have, in the order of `new`.

    Raises `BenchmarkError` for a measurement that a result has twice, or an unknown unit.
    """
    before, after = _by_key(old), _by_key(new)
    return [_change(before[key], one, fail_above) for key, one in after.items() if key in before]


def only_in(one: Result, other: Result) -> list[Measurement]:
    """The measurements of `one` that `other` lacks."""
    others = _by_key(other)
    return [each for key, each in _by_key(one).items() if key not in others]


def fraction(text: str) -> float:
    """A share written as 5% or 0.05, for argparse."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # a bare 5 would let everything pass
        raise ArgumentTypeError(f"{text!r} is not a share: write it as 5% or 0.05")
    return value


def _by_key(result: Result) -> dict[_Key, Measurement]:
    found: dict[_Key, Measurement] = {}
    for one in result.measurements:
        key = (one.suite, one.subject, one.case, one.unit)
        if key in found:
            raise BenchmarkError(f"the result of {result.date} has twice: {', '.join(key)}")
        found[key] = one
    return found


def _change(old: Measurement, new: Measurement, fail_above: float) -> Change:
    if new.unit not in _WORSE:
        raise BenchmarkError(f"{new.suite}, {new.case}: unknown unit {new.unit}")
    loss = _WORSE[new.unit] * (new.value - old.value)
    change = loss / abs(old.value) if old.value else loss * math.inf if loss else 0.0
    return Change(old, new, change, failed=not change <= fail_above + _ROUNDING)  # NaN fails too


def _cells(one: Change) -> list[str]:
    old, new = one.old, one.new
    direction = "better" if one.change < 0 else "worse"
    notes = ["FAILED"] * one.failed + [MARK] * one.unstable
    return [
        *(new.suite, new.subject, new.case),
        *(amount(each.value, each.unit) for each in (old, new)),
        f"{abs(100 * one.change):.1f} % {direction}" if one.change else "same",
        ", ".join(notes),
    ]
