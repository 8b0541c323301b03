"""The figures of the pages, from the newest run of record of each kind."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.tables import machine_line
from benchmarks.studies.figures.kinds import KINDS, Figure, people_rates
from benchmarks.studies.figures.video import VIDEO, measured
from runtime.errors import BenchmarkError
from runtime.storage.local import write_atomically

START, END = "<!-- figures -->", "<!-- /figures -->"
README, ALL = "README.md", "docs/figures.md"
PEOPLE, CLIPS = "docs/people.md", "docs/video.md"
ROOT = Path(__file__).parents[3]
RESULTS = "benchmarks/results"
PROG = "python -m benchmarks.studies.figures"


@dataclass(frozen=True)
class Run:
    """A run of record: its file's name, machine, day and command, and the figures it gives."""

    name: str
    machine: str
    day: str
    command: str
    figures: tuple[Figure, ...]

    def link(self, to_root: str) -> str:
        """A link to the file from a page that reaches the repository's root by `to_root`."""
        return f"[run of {self.day}]({to_root}{RESULTS}/{self.name})"


def update(pages: Path, results: Path, check: bool) -> int:
    """Write the figures of the four pages, which lie under `pages`.

    With `check` nothing is written: `BenchmarkError` is raised if a page has other figures.
    """
    runs = read(results)
    rates = people_rates(_record(results, "people"))
    clips = measured(_record(results, "video-listing"), _record(results, "video-speed-cpu"))
    blocks = {README: decisive(runs), ALL: table(runs), PEOPLE: rates, CLIPS: clips}
    for name, block in blocks.items():
        page = pages / name
        old = page.read_text(encoding="utf-8")
        new = replace(old, block, name)
        if new != old and check:
            raise BenchmarkError(f"{name}: figures are not those of the runs: run {PROG}")
        if new != old:
            write_atomically(page, new.encode())
    return 0


def replace(page: str, block: str, name: str) -> str:
    """The text of the page called `name` with `block` between its markers."""
    if page.count(START) != 1 or page.count(END) != 1:
        raise BenchmarkError(f"{name} needs one {START} and one {END}")
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise BenchmarkError(f"{name} has {END} before {START}")
    return f"{before}{START}\n{block}\n{END}{after}"


def table(runs: Iterable[Run]) -> str:
    """The block of docs/figures.md: machines and days, an empty line, and all figures."""
    lines = [_machines(runs), "", "| what | figure | command |", "| --- | --- | --- |"]
    for run in runs:
        command = f"{run.command} ({run.link('../')})"
        for one in run.figures:
            lines.append(f"| {one.what} | {one.figure} | {command}{one.more} |")
            command = "the same command"
    return "\n".join(lines)


def decisive(runs: Iterable[Run]) -> str:
    """The block of README.md: the figures that decide, and the runs they come from."""
    chosen = [run for run in runs if any(one.decides for one in run.figures)]
    lines = [_machines(chosen), "", "| what | figure | measured in |", "| --- | --- | --- |"]
    for run in chosen:
        for one in run.figures:
            if one.decides:
                lines.append(f"| {one.what} | {one.figure} | {run.link('')} |")
    return "\n".join(lines)


def read(results: Path) -> list[Run]:
    """The newest run of each kind; of two that give the same figure, the first gives it."""
    runs: list[Run] = []
    known: set[str] = set()
    for kind, (command, figures_of) in {**KINDS, **VIDEO}.items():
        path = _newest(results, kind)
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            found = tuple(one for one in figures_of(run) if one.what not in known)
            machine, day = machine_line(run["machine"]), run["date"][:10]
        except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
            raise BenchmarkError(f"{path}: not a result of {command}: {error}") from None
        known |= {one.what for one in found}
        if found:
            runs.append(Run(path.name, machine, day, command, found))
    return runs


def _machines(runs: Iterable[Run]) -> str:
    """Each machine and the days on which it was measured."""
    days: dict[str, set[str]] = {}
    for run in runs:
        days.setdefault(run.machine, set()).add(run.day)
    return "; ".join(f"{name}: {', '.join(sorted(those))}" for name, those in days.items()) + "."


def _record(results: Path, kind: str) -> dict[str, Any]:
    """The newest run of a kind."""
    run: dict[str, Any] = json.loads(_newest(results, kind).read_text(encoding="utf-8"))
    return run


def _newest(results: Path, kind: str) -> Path:
    found = sorted(results.glob(f"????-??-??-{kind}.json"))
    if not found:
        raise BenchmarkError(f"{results}: no DATE-{kind}.json")
    return found[-1]
