"""The plots of a run of `dmd-bench`, as SVG."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import truth
from benchmarks.report.results import Measurement, Result
from benchmarks.report.tables import amount
from calibration.truth import GENERIC, SPECIFIC, Row, input_of
from runtime.bundle.layout import PARTS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAGES = (
    "decode", "detect", "align", "boxes", "copy in", "network", "copy out", "paste", "encode",
)  # fmt: skip
_LONGEST_NAME = 32  # in plots, characters
_MANY_SAMPLES = 500  # as vectors they would make the page heavy
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a $
}


def plots(result: Result) -> Iterator[str]:
    """Each plot as an HTML figure, or a sentence if there is nothing to draw. Needs matplotlib."""
    import matplotlib

    for title, (needs, _) in _PLOTS.items():
        with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):  # names differ on one page
            figure = figure_of(result, title)
            if figure is None:
                yield f"<p>{title}: no plot, for this run has no figures of {needs}.</p>"
                continue
            svg = io.StringIO()
            absent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(svg, format="svg", transparent=True, metadata=absent)
        code = svg.getvalue()
        code = code[code.index("<svg") :]
        code = re.sub(r' id="[a-zA-Z.]+(2d)?_\d+"', "", code)  # nothing uses them
        yield f"<figure><figcaption>{title}</figcaption>{code}</figure>"


def figure_of(result: Result, title: str) -> "Figure | None":
    """The plot with this title as a matplotlib figure; None if there is nothing to draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    _, draw = _PLOTS[title]
    return figure if draw(figure, result) else None


def _of(result: Result, suite: str, unit: str) -> list[Measurement]:
    return [each for each in result.of(suite) if each.unit == unit and isfinite(each.value)]


def _scale(longest: float) -> tuple[float, str]:
    """The unit of an axis, in seconds and by name."""
    return (1, "s") if longest >= 1 else (1e-3, "ms")


def _colors(result: Result) -> dict[str, str]:
    """The colour of each subject, the same in all plots."""
    names = [each.name for each in result.subjects] + [each.subject for each in result.measurements]
    return {name: f"C{place % 10}" for place, name in enumerate(dict.fromkeys(names))}


def _short(name: str) -> str:
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _rows(figure: "Figure", labels: Iterable[str]) -> "Axes":
    """Axes with a labelled row for each."""
    names = list(labels)
    figure.set_size_inches(6.4, 1.4 + 0.5 * len(names))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    return axes


def _legend(figure: "Figure", handles: "Sequence[Artist]", labels: Iterable[str]) -> None:
    names = list(map(_short, labels))
    columns = max(1, 90 // (max(map(len, names)) + 6))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def _latency(figure: "Figure", result: Result) -> bool:
    drawn = [each for each in _of(result, "latency", "s") if each.samples]
    if not drawn:
        return False
    colors = _colors(result)
    one_case = len({each.case for each in drawn}) == 1
    names = [_short(each.subject) + ("" if one_case else f"\n{each.case}") for each in drawn]
    axes = _rows(figure, names)
    size, unit = _scale(max(each.value for each in drawn))
    for row, each in enumerate(drawn):
        samples, color = np.array(each.samples) / size, colors[each.subject]
        low, middle, high = np.percentile(samples, (25, 50, 75))
        jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(samples))
        many = len(samples) > _MANY_SAMPLES
        alpha = 0.1 if many else 0.7
        axes.scatter(samples, row + jitter, 9, color, alpha=alpha, linewidths=0, rasterized=many)
        axes.barh(row, high - low, 0.6, left=low, color=color, alpha=0.3)
        axes.plot([middle, middle], [row - 0.3, row + 0.3], color=color, linewidth=2)
    axes.set_xlim(left=0)
    case = f" of {drawn[0].case}" if one_case else ""
    axes.set_xlabel(f"time{case}, {unit}\nline: median, box: quartiles, dots: runs")
    return True


def _throughput(figure: "Figure", result: Result) -> bool:
    points = _points(_of(result, "throughput", "faces/s"), r"batch (\d+)")
    if not points:
        return False
    _lines(figure, result, points).set(xlabel="faces in a batch", ylabel="faces/s")
    return True


def _scaling(figure: "Figure", result: Result) -> bool:
    points = _points(_of(result, "scaling", "s"), r"1 face, (\d+) references?")
    if not points:
        return False
    size, unit = _scale(max(each.value for _, each in points))
    axes = _lines(figure, result, points, size)
    axes.set(xlabel="references", ylabel=f"median time of 1 face, {unit}")
    return True


def _points(measurements: Iterable[Measurement], case: str) -> list[tuple[int, Measurement]]:
    """The measurements whose case matches the pattern, with the number in it, in order."""
    found = ((re.fullmatch(case, each.case), each) for each in measurements)
    return sorted(((int(x[1]), each) for x, each in found if x), key=lambda point: point[0])


def _lines(
    figure: "Figure", result: Result, points: Sequence[tuple[int, Measurement]], size: float = 1
) -> "Axes":
    """A line for each subject; `size`: what the y axis counts in."""
    axes = figure.add_subplot()
    lines: dict[str, list[tuple[int, float]]] = {}
    for x, each in points:
        lines.setdefault(each.subject, []).append((x, each.value / size))
    colors = _colors(result)
    handles: list[Artist] = []
    for subject, line in lines.items():
        handles += axes.plot(*zip(*line, strict=True), marker="o", color=colors[subject])
    axes.set_xticks(sorted({x for x, _ in points}))
    axes.set_ylim(bottom=0)
    _legend(figure, handles, lines)
    return axes


def _pipeline(figure: "Figure", result: Result) -> bool:
    measured = {(each.subject, each.case): each.value for each in _of(result, "pipeline", "s")}
    stages = [stage for stage in _STAGES if any(case == stage for _, case in measured)]
    if not stages:
        return False
    subjects = list(dict.fromkeys(subject for subject, case in measured if case in stages))
    axes = _rows(figure, map(_short, subjects))
    times = np.array([[measured.get((each, stage), 0) for stage in stages] for each in subjects])
    size, unit = _scale(times.sum(1).max())
    ends = times.cumsum(1) / size
    handles: list[Artist] = []
    for column in range(len(stages)):
        width = times[:, column] / size
        bars = axes.barh(range(len(subjects)), width, 0.6, left=ends[:, column] - width)
        handles += bars[:1]
    for row, total in enumerate(ends[:, -1]):
        axes.text(total, row, f"\xa0{amount(total * size, 's')}", va="center")
    axes.set_xlabel(f"median time, {unit}")
    _legend(figure, handles, stages)
    return True


def _quality(figure: "Figure", result: Result) -> bool:
    latency = _of(result, "latency", "s")
    times = {each.subject: each.value for each in latency if each.case == latency[0].case}
    quality = [each for each in _of(result, "quality", "dB") if each.case == "whole"]
    points = [(times[each.subject], each) for each in quality if each.subject in times]
    if not points:
        return False
    axes, colors = figure.add_subplot(), _colors(result)
    size, unit = _scale(max(time for time, _ in points))
    handles = [
        axes.scatter(time / size, each.value, 60, colors[each.subject]) for time, each in points
    ]
    axes.set_xlim(left=0)
    axes.margins(y=0.2)
    axes.set_xlabel(f"median time of {latency[0].case}, {unit} (left: faster)")
    axes.set_ylabel("PSNR against float32, dB (up: nearer)")
    _legend(figure, handles, (each.subject for _, each in points))
    return True


def _truth(figure: "Figure", result: Result) -> bool:
    rows = [row for row in truth.rows_of(result.of("quality")) if row.faces]
    lines: dict[tuple[str, str], list[tuple[Row, Row]]] = {}
    for row in rows:
        given = input_of(row, rows)
        if given is not None and row.kind in (GENERIC, SPECIFIC):
            lines.setdefault((row.subject, row.kind), []).append((row, given))
    if not lines:
        return False
    colors, handles = _colors(result), dict[tuple[str, str], "Artist"]()
    parts = {"whole": ("whole",), "eyes and mouth": PARTS}
    for axes, (title, regions) in zip(figure.subplots(1, 2), parts.items(), strict=True):
        for (subject, kind), line in lines.items():
            gains = [_gain(row, given, regions) for row, given in line]
            places = [_times_smaller(row) for row, _ in line]
            style = "-" if kind == GENERIC else "--"
            handles[subject, kind] = axes.plot(
                places, gains, linestyle=style, marker="o", color=colors[subject]
            )[0]
        axes.axhline(0, color="gray", linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("times smaller")
        axes.set_xticks(sorted({_times_smaller(row) for row in rows}))
    figure.axes[0].set_ylabel("PSNR over the degraded face's, dB")
    names = (f"{subject}, {kind}" for subject, kind in handles)
    _legend(figure, list(handles.values()), names)
    return True


def _gain(row: Row, given: Row, regions: Iterable[str]) -> float:
    gains = [row.mean_psnr_db(region) - given.mean_psnr_db(region) for region in regions]
    return float(np.mean(gains))


def _times_smaller(row: Row) -> float:
    return float(row.degradation[1:])


_PLOTS: "dict[str, tuple[str, Callable[[Figure, Result], bool]]]" = {
    "Latency": ("the suite latency", _latency),
    "Throughput against batch size": ("the suite throughput", _throughput),
    "Cost of references": ("the suite scaling", _scaling),
    "Where the time of a photograph goes": ("the suite pipeline", _pipeline),
    "Nearer to the truth": ("quality against clean faces", _truth),
    "Quality against speed": ("both the suites latency and quality", _quality),
}
