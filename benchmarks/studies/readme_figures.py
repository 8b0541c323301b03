"""The figures of README.md, from the runs of record in `benchmarks/results/`.

    python -m benchmarks.studies.readme_figures [--check]

Rewrites what stands between the markers in README.md, from the newest file of each kind.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.report.tables import machine_line
from runtime.cli import console
from runtime.errors import BenchmarkError
from runtime.storage.local import write_atomically

START, END = "<!-- figures -->", "<!-- /figures -->"
ROOT = Path(__file__).parents[2]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results"
PROG = "python -m benchmarks.studies.readme_figures"

_Row = tuple[str, str, str]  # what, figure, and what to add to the command
_OLD = "photographs-cpu"  # of 2026-11-23; dmd-bench measures it since
_TWELVE = "12 faces on 4000 x 3000"


def main() -> NoReturn:
    parser = console.Parser(PROG, "Write the figures of README.md from the runs of record.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if README.md would change"
    )
    args = parser.parse_args()
    console.run(PROG, lambda: update(README, RESULTS, args.check))


def update(readme: Path, results: Path, check: bool) -> int:
    """Write the figures; with `check`, raise `BenchmarkError` if the README has others."""
    old = readme.read_text(encoding="utf-8")
    new = replace(old, table(results))
    if new != old and check:
        raise BenchmarkError(f"{readme.name}: figures are not those of the runs: run {PROG}")
    if new != old:
        write_atomically(readme, new.encode())
    return 0


def replace(readme: str, table: str) -> str:
    """The README with `table` between its markers."""
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise BenchmarkError(f"README.md needs one {START} and one {END}")
    before, _, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise BenchmarkError(f"README.md has {END} before {START}")
    return f"{before}{START}\n{table}\n{END}{after}"


def table(results: Path) -> str:
    """The block as text: machines and dates, an empty line, and the rows."""
    days: dict[str, list[str]] = {}
    lines = ["| what | figure | command |", "| --- | --- | --- |"]
    for kind, (command, rows) in _KINDS.items():
        path = _newest(results, kind)
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            found = rows(run)
            if kind == _OLD and any(_TWELVE in line for line in lines):
                continue  # a newer run of dmd-bench has them
            days.setdefault(machine_line(run["machine"]), []).append(run["date"][:10])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BenchmarkError(f"{path}: not a result of {command}: {error}") from None
        link = f"{command} ([run](benchmarks/results/{path.name}))"
        for what, figure, more in found:
            lines.append(f"| {what} | {figure} | {link}{more} |")
            link = "the same command"
    ran = "; ".join(f"{name}: {', '.join(sorted(set(dates)))}" for name, dates in days.items())
    return "\n".join([f"{ran}.", "", *lines])


def _newest(results: Path, kind: str) -> Path:
    found = sorted(results.glob(f"????-??-??-{kind}.json"))
    if not found:
        raise BenchmarkError(f"{results}: no DATE-{kind}.json")
    return found[-1]


def _int8(run: dict[str, Any]) -> list[_Row]:
    size = run["bytes"]
    curve = {row["variant"]: row["quality"] for row in run["curve"]}
    psnr = {one["region"]: one["mean_psnr_db"] for one in curve["percentile, the default"]}
    decibels = ", ".join(f"{psnr[region]:.1f}" for region in ("whole", "le", "re", "mo"))
    corrected = any("bias correction" in variant for variant in curve)
    return [
        (
            "INT8 against float32, 8 held-out faces: mean PSNR whole, left eye, right eye, mouth",
            f"{decibels} dB" + ("" if corrected else " (before bias correction)"),
            "; [the curve](docs/int8.md#how-fast-how-near)",
        ),
        (
            "INT8 bundle on disk",
            f"{size['int8'] / 1e6:.0f} MB against {size['fp32'] / 1e6:.0f} MB, "
            f"{size['int8'] / size['fp32']:.2f}",
            "",
        ),
    ]


def _bench(run: dict[str, Any]) -> list[_Row]:
    """One face with the usual references, what memory it takes, and a photo of twelve faces."""
    rows = {(one["suite"], one["case"], one["subject"]): one for one in run["measurements"]}
    case = next(case for suite, case, _ in rows if suite == "latency")
    face = {name: one for (*where, name), one in rows.items() if where == ["latency", case]}
    both = face["torch both"]["value"]
    fp32, int8 = (rows["scaling", case, name] for name in ("fp32", "int8"))

    def each(number: Callable[[str], str]) -> str:
        return ", ".join(f"{name} {number(name)}" for name in ("fp32", "int8"))

    def peak(name: str) -> str:
        return f"{rows['memory', 'dmd-restore, host', name]['value'] / 1e9:.2f} GB"

    found = [
        (
            f"{case}, in turns: ratio to our PyTorch module",
            each(lambda name: f"{face[name]['ratio']['median']:.2f}"),
            "; [method](docs/benchmarks.md)",
        ),
        (
            "the same: ratio to PyTorch decoding twice, as the authors' code does",
            each(lambda name: f"{face[name]['value'] / both:.2f}"),
            "",
        ),
        (
            "the same: INT8 bundle against the float32 one",
            f"{int8['value']:.2f} s against {fp32['value']:.2f} s, "
            f"ratio {int8['ratio']['median']:.2f}",
            "",
        ),
        (
            "peak memory of one `dmd-restore`",
            each(peak),
            "; `pytest tests/test_footprint.py` holds a limit",
        ),
    ]
    stages = {
        case.removeprefix("12 faces: "): one["value"]
        for (_, case, name), one in rows.items()
        if case.startswith("12 faces: ") and name == "fp32"
    }
    if stages:
        others = sum(stages[stage] for stage in ("detect", "align", "boxes", "paste"))
        found.append(_twelve(others / stages["network"], stages["network"]))
    return found


def _photographs(run: dict[str, Any]) -> list[_Row]:
    return [_twelve(run["beyond_network_share"]["median"], run["median_s"]["network"])]


def _twelve(share: float, network: float) -> _Row:
    what = f"{_TWELVE}: all that is not the network (find, align, paste)"
    return what, f"{100 * share:.0f} % of the network's {network:.0f} s", ""


def _archive(run: dict[str, Any]) -> list[_Row]:
    ratio, seconds = run["ray_over_local"]["median"], run["median_s"]
    return [
        (
            f"{run['what']}: `--ray` against the local run, without anybody's start",
            f"{seconds['ray']:.0f} s against {seconds['local']:.0f} s, ratio {ratio:.2f}",
            "; [method](docs/archive.md)",
        )
    ]


def _service(run: dict[str, Any]) -> list[_Row]:
    race = run["throughput"]
    ratio, faces = race["ratio to local"], race["faces_per_s"]
    ways = ", ".join(f"{name} {ratio[name]:.2f}" for name in ratio if name != "batching")
    many, alone = (run[name] for name in ("64 clients", "one client"))
    return [
        (
            f"{race['clients']} clients of Triton against as many threads of a local Restorer, "
            f"{run['what'].split('; ')[-1]}: faces a second",
            f"{faces['batching']:.2f} against {faces['local']:.2f}, ratio "
            f"{ratio['batching']:.2f}; {ways}",
            "; [method](docs/triton.md)",
        ),
        (
            "64 clients for two minutes: answers, errors, p50 and p99 (one client's)",
            f"{many['answers']}, {many['errors of ours']}, {many['p50_s']:.0f} s and "
            f"{many['p99_s']:.0f} s ({alone['p50_s']:.1f} s and {alone['p99_s']:.1f} s)",
            "",
        ),
    ]


_KINDS: dict[str, tuple[str, Callable[[dict[str, Any]], list[_Row]]]] = {
    "bench-cpu": (
        "`dmd-bench all --bundle fp32 --bundle int8 --baseline torch --json FILE`",
        _bench,
    ),
    _OLD: ("a script whose place `dmd-bench pipeline` has taken", _photographs),
    "int8-cpu": (
        "`python -m benchmarks.studies.int8 --fp32 BUNDLE --int8 BUNDLE --json FILE`",
        _int8,
    ),
    "archive-cpu": ("`python -m benchmarks.studies.archive --bundle BUNDLE --json FILE`", _archive),
    "service-cpu": ("`python -m benchmarks.studies.service --bundle BUNDLE --json FILE`", _service),
}


if __name__ == "__main__":
    main()
