"""What each kind of run of record gives: rows of docs/figures.md."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NETWORK = ("network", "copy in", "copy out")  # stages of a photograph


@dataclass(frozen=True)
class Figure:
    """One row of docs/figures.md.

    `more`: what the column of the command says after the run. `decides`: whether the README shows
    it, too.
    """

    what: str
    figure: str
    more: str = ""
    decides: bool = False


def _bench(run: dict[str, Any]) -> list[Figure]:
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

    return [
        Figure(
            f"{case}: time of the INT8 bundle against the float32 one",
            _against(int8, fp32),
            "; [method](benchmarks.md)",
            decides=True,
        ),
        Figure(
            f"{case}: ratio to the time of our PyTorch module",
            each(lambda name: f"{face[name]['ratio']['median']:.2f}"),
            decides=True,
        ),
        Figure(
            f"{case}: ratio to PyTorch decoding twice, as the authors' code does",
            each(lambda name: f"{face[name]['value'] / both:.2f}"),
        ),
        Figure(
            "peak memory of one `dmd-restore`",
            each(peak),
            "; `pytest tests/test_footprint.py` holds a limit",
            decides=True,
        ),
    ]


def _against(one: dict[str, Any], first: dict[str, Any]) -> str:
    """A measured time beside that of the race's first subject, and the ratio of the race."""
    ratio = one["ratio"]["median"]
    return f"{one['value']:.2f} s against {first['value']:.2f} s, ratio {ratio:.2f}"


def _pipeline(run: dict[str, Any]) -> list[Figure]:
    """What a photo of 12 megapixels takes beside the network."""
    seconds: dict[str, float] = {}
    for one in run["measurements"]:
        photo, _, stage = one["case"].rpartition(": ")
        if stage not in (*_NETWORK, "photograph"):
            seconds[photo] = seconds.get(photo, 0.0) + one["value"]
    return [
        Figure(
            "12 megapixels, one face and twelve: all that is not the network, decoding and "
            "encoding included",
            f"{seconds['1 face, 12 megapixels']:.2f} s and {seconds['12 faces']:.2f} s",
        )
    ]


def _int8(run: dict[str, Any]) -> list[Figure]:
    size = run["bytes"]
    curve = {row["variant"]: row["quality"] for row in run["curve"]}
    psnr = {one["region"]: one["mean_psnr_db"] for one in curve["percentile, the default"]}
    decibels = ", ".join(f"{psnr[region]:.1f}" for region in ("whole", "le", "re", "mo"))
    corrected = any("bias correction" in variant for variant in curve)
    return [
        Figure(
            "INT8 against float32, 8 held-out faces: mean PSNR whole, left eye, right eye, mouth",
            f"{decibels} dB"
            + ("" if corrected else " (measured before bias correction was added)"),
            "; [the curve](int8.md#how-fast-how-near)",
            decides=True,
        ),
        Figure(
            "INT8 bundle on disk",
            f"{size['int8'] / 1e6:.0f} MB against {size['fp32'] / 1e6:.0f} MB, "
            f"{size['int8'] / size['fp32']:.2f}",
        ),
    ]


def _compact_latency(run: dict[str, Any]) -> list[Figure]:
    face = {
        one["subject"]: one for one in run["measurements"] if one["case"] == "1 face, 5 references"
    }
    return [
        Figure(
            "compact weights, on a CPU without VNNI: INT8 bundle against the float32 one",
            _against(face["int8"], face["fp32"]),
            "; [why](int8.md#on-which-cpus)",
        )
    ]


def _compact_quality(run: dict[str, Any]) -> list[Figure]:
    """How near to the truth the compact weights come, at four times smaller."""
    psnr = {one["case"]: one["value"] for one in run["measurements"] if one["unit"] == "dB"}
    before, *after = (
        f"{psnr[f'truth x4, {picture}, whole']:.2f}" for picture in ("input", "generic", "specific")
    )
    return [
        Figure(
            "compact weights, faces made 4 times smaller: mean PSNR against the original",
            f"{before} dB before, {after[0]} dB after, {after[1]} dB with references",
            "; [all of it](compact.md#does-it-restore)",
        )
    ]


def _archive(run: dict[str, Any]) -> list[Figure]:
    ratio, seconds = run["ray_over_local"]["median"], run["median_s"]
    return [
        Figure(
            f"{run['what']}: `--ray` against the local run, without anybody's start",
            f"{seconds['ray']:.0f} s against {seconds['local']:.0f} s, ratio {ratio:.2f}",
            "; [method](archive.md)",
        )
    ]


def _ceiling(run: dict[str, Any]) -> list[Figure]:
    """Photos a second with a network of no cost, by size, on all cores."""
    most = max(one["cores"] for one in run["ceilings"])
    figures = []
    for one in run["ceilings"]:
        if one["cores"] == most:
            turns = one["photos_a_second"]["null engine"]["turns"]
            rate = statistics.median(each for turn in turns for each in turn)
            width, height = one["size"]
            figures.append(
                Figure(
                    f"{width} x {height}, one face, a network of no cost, {most} cores: photos a "
                    "second, and share of decoding and encoding alone",
                    f"{rate:.1f}, {one['share']['median']:.2f}",
                    "; [method](archive.md#n-cores-and-a-gpu)",
                )
            )
    return figures


def _service(run: dict[str, Any]) -> list[Figure]:
    race = run["throughput"]
    ratio, faces = race["ratio to local"], race["faces_per_s"]
    ways = ", ".join(f"{name} {ratio[name]:.2f}" for name in ratio if name != "batching")
    many, alone = (run[name] for name in ("64 clients", "one client"))
    return [
        Figure(
            f"{race['clients']} clients of Triton against as many threads of a local Restorer, "
            f"{run['what'].split('; ')[-1]}: faces a second",
            f"{faces['batching']:.2f} against {faces['local']:.2f}, ratio "
            f"{ratio['batching']:.2f}; {ways}",
            "; [method](triton.md)",
        ),
        Figure(
            "64 clients for two minutes: answers, errors, p50 and p99 (one client's)",
            f"{many['answers']}, {many['errors of ours']}, {many['p50_s']:.0f} s and "
            f"{many['p99_s']:.0f} s ({alone['p50_s']:.1f} s and {alone['p99_s']:.1f} s)",
        ),
    ]


def people_rates(run: dict[str, Any]) -> str:
    """The block of docs/people.md: who degraded faces were taken for."""
    restored = {row["degradation"]: row for row in run["restored_first"]}
    lines = [
        "| degraded | found | right | somebody else | strangers found | accepted | right, restored "
        f"first by {run['restored_by']['weights']} weights |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in run["rates"]:
        level, found, strangers = row["degradation"], row["found"], row["strangers_found"]
        again = restored.get(level)
        cells = (
            level,
            f"{found} of {row['tried']}",
            _part(row["right"], found),
            _part(row["wrong"], found),
            f"{strangers} of {row['strangers_tried']}",
            _part(row["accepted"], strangers),
            "" if again is None else _part(again["right"], again["found"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _part(count: int, of: int) -> str:
    return f"{count}, {100 * count / of:.1f} %"


def _people(run: dict[str, Any]) -> list[Figure]:
    rows = [row for row in run["rates"] if row["degradation"] != "clean"]
    right = ", ".join(f"{100 * row['right'] / row['found']:.1f}" for row in rows)
    wrong = sum(row["wrong"] for row in run["rates"])
    accepted = sum(row["accepted"] for row in run["rates"])
    return [
        Figure(
            f"people recognised in faces degraded {', '.join(row['degradation'] for row in rows)}; "
            "taken for somebody else; strangers accepted",
            f"{right} %; {wrong}; {accepted}",
            "; [table](people.md#how-often-it-is-right)",
        )
    ]


def _people_speed(run: dict[str, Any]) -> list[Figure]:
    ratios = [run[key]["median"] for key in ("ten_people_over_none", "ten_people_over_one")]
    return [
        Figure(
            "time of one core to recognise a face, and for its likeness when it is restored",
            ", ".join(f"{1000 * one:.1f} ms" for one in run["seconds_a_face_on_one_core"].values()),
            "; [method](people.md#what-it-costs)",
        ),
        Figure(
            f"{run['what']}: INT8, against none, and against one dictionary for all",
            f"ratio {ratios[0]:.3f}, and {ratios[1]:.3f}",
        ),
    ]


KINDS: dict[str, tuple[str, Callable[[dict[str, Any]], list[Figure]]]] = {
    "bench-cpu": (
        "`dmd-bench all --bundle fp32 --bundle int8 --baseline torch --json FILE`",
        _bench,
    ),
    "pipeline-cpu": ("`dmd-bench pipeline --bundle int8 --threads 2 --json FILE`", _pipeline),
    "int8-cpu": (
        "`python -m benchmarks.studies.int8 --fp32 BUNDLE --int8 BUNDLE --json FILE`",
        _int8,
    ),
    "latency-compact-cpu": (
        "`dmd-bench latency --bundle fp32 --bundle int8 --threads 2 --duration 20 --json FILE`",
        _compact_latency,
    ),
    "quality-compact": (
        "`dmd-bench quality --bundle compact --truth DIR --threads 1 --json FILE`",
        _compact_quality,
    ),
    "archive-cpu": ("`python -m benchmarks.studies.archive --bundle BUNDLE --json FILE`", _archive),
    "ceiling-cpu": (
        "`python -m benchmarks.studies.archive --null-engine --bundle BUNDLE --json FILE`",
        _ceiling,
    ),
    "people": (
        "`python -m benchmarks.studies.people --people DIR --strangers DIR --two-passes BUNDLE "
        "--json FILE`",
        _people,
    ),
    "people-speed-cpu": (
        "`python -m benchmarks.studies.people --speed BUNDLE --json FILE`",
        _people_speed,
    ),
    "service-cpu": ("`python -m benchmarks.studies.service --bundle BUNDLE --json FILE`", _service),
}
