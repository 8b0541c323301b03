"""A run of `dmd-bench` as one HTML page that loads nothing: all it shows is in it."""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import isfinite
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import UNSTABLE, Measurement, Picture, Result
from benchmarks.tables import amount

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAGES = ("decode", "detect", "align", "network", "paste", "encode")
_LONGEST_NAME = 32  # in plots, characters
_MANY_SAMPLES = 500  # as vectors they would make the page heavy


def report(result: Result) -> str:
    """The page. matplotlib must be installed."""
    suites = dict.fromkeys(each.suite for each in result.measurements)
    return _PAGE.substitute(
        date=_text(result.date.replace("T", " ").replace("+00:00", " UTC")),
        facts=_facts(result),
        subjects=_table(
            ["Subject", "Precision", "Backend", "SHA-256"],
            [
                [_text(each.name), _text(each.precision), _text(each.backend), _hash(each.sha256)]
                for each in result.subjects
            ],
        ),
        errors=_errors(result.errors),
        plots="".join(_plot(result, *each) for each in _PLOTS),
        pictures="".join(map(_comparison, result.pictures)) or "<p>This run has no pictures.</p>",
        measurements="".join(_suite(suite, result.of(suite)) for suite in suites),
        unstable=f"{UNSTABLE:g}",
    )


def _facts(result: Result) -> str:
    facts = {
        "Machine": result.machine,
        "Versions": result.versions,
        "Git revision": result.revision or "unknown",
        "Options": result.options,
        "Machine's peaks (GFLOP/s of a large product, GB/s of a copy)": {
            name: f"{rate:.1f}" for name, rate in result.peaks.items()
        },
        "Took": f"{result.seconds / 60:.1f} minutes",
    }
    return "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items())


def _errors(errors: Mapping[str, str]) -> str:
    if not errors:
        return "<p>No suite failed.</p>"
    rows = [f"<li><b>{_text(suite)}</b>: {_text(why)}</li>" for suite, why in errors.items()]
    return f'<h2>Suites that failed</h2><ul class="errors">{"".join(rows)}</ul>'


def _text(value: Any) -> str:
    """Escaped."""
    match value:
        case Mapping():
            return " · ".join(f"{_text(key)}: {_text(each)}" for key, each in value.items())
        case list() | tuple():
            return ", ".join(map(_text, value))
        case None:
            return "none"
    return escape(str(value))


def _hash(sha256: str) -> str:
    return f'<code title="{_text(sha256)}">{_text(sha256[:12])}</code>'


def _suite(name: str, measurements: Sequence[Measurement]) -> str:
    rows = [_cells(each) for each in measurements]
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    return f"<h3>{_text(name)}</h3>" + _table(
        columns, [[row[column] for column in columns] for row in rows]
    )


def _cells(each: Measurement) -> dict[str, str]:
    """By column, "" for what was not measured."""

    def written(value: float | None, unit: str = each.unit) -> str:
        return "" if value is None else _text(amount(value, unit))

    ratio = ""
    if each.ratio:
        ratio = f"{each.ratio.median:.2f} ({each.ratio.low:.2f} to {each.ratio.high:.2f})"
        ratio += f" of {_text(each.ratio.baseline)}"
    return {
        "Case": _text(each.case),
        "Subject": _text(each.subject),
        "Value": written(each.value) + (" <mark>unstable</mark>" if each.unstable else ""),
        "p90": written(each.p90),
        "p99": written(each.p99),
        "Runs": str(each.runs) if each.runs > 1 else "",
        "First run": written(each.warm_up_s, "s"),
        "Ratio (95 % interval)": ratio,
        "GFLOP": "" if each.gflop is None else f"{each.gflop:.0f}",
        "Share of peak": "" if each.share_of_peak is None else f"{100 * each.share_of_peak:.0f} %",
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{each}</th>" for each in head)]
    lines += ["".join(f"<td>{each}</td>" for each in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'


def _plot(result: Result, title: str, needs: str, draw: "Callable[[Figure, Result], bool]") -> str:
    """In words where there is nothing to draw."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.size": 9,
            "grid.alpha": 0.3,
            "svg.fonttype": "none",
            "svg.hashsalt": title,  # plots of one page must not share names
            "text.parse_math": False,  # a name may hold a $
        }
    ):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        if not draw(figure, result):
            return f"<p>{title}: no plot, for this run has no figures of {needs}.</p>"
        svg = io.StringIO()
        absent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=absent)
    code = svg.getvalue()
    code = re.sub(r' id="[a-zA-Z.]+(2d)?_\d+"', "", code[code.index("<svg") :])  # nothing uses them
    return f"<figure><figcaption>{title}</figcaption>{code}</figure>"


def _of(result: Result, suite: str, unit: str) -> list[Measurement]:
    return [each for each in result.of(suite) if each.unit == unit and isfinite(each.value)]


def _scale(longest: float) -> tuple[float, str]:
    """What an axis counts in, in seconds."""
    return (1, "s") if longest >= 1 else (1e-3, "ms")


def _colors(result: Result) -> dict[str, str]:
    """A subject has the same one in all plots."""
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
    """Those of such a case, by the number in it."""
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
    subjects = list(dict.fromkeys(subject for subject, _ in measured))
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


_PLOTS: "tuple[tuple[str, str, Callable[[Figure, Result], bool]], ...]" = (
    ("Latency", "the suite latency", _latency),
    ("Throughput against batch size", "the suite throughput", _throughput),
    ("Cost of references", "the suite scaling", _scaling),
    ("Where the time of a photograph goes", "the suite pipeline", _pipeline),
    ("Quality against speed", "both the suites latency and quality", _quality),
)


def _comparison(picture: Picture) -> str:
    name = _text(picture.name)
    options, images = [], [_image(picture.before, f"{name} before", "")]
    for place, (subject, after) in enumerate(picture.after.items()):
        options.append(f'<option value="{place}">{_text(subject)}</option>')
        hidden = "hidden" if place else ""
        images.append(_image(after, f"{name} after, {_text(subject)}", f'class="after" {hidden}'))
    label = f"{name}: share of the picture that shows before, in percent"
    choice = f'<label>after: <select aria-label="after">{"".join(options)}</select></label>'
    if len(options) == 1:
        choice = f"after: {_text(next(iter(picture.after)))}"
    return f"""<div class="comparison"><h3>{name}</h3>
<div class="stack">{"".join(images)}<span class="line"></span>
<input type="range" min="0" max="100" value="50" aria-label="{label}"></div>
<div class="sides"><span>before</span><span>{choice}</span></div></div>
"""


def _image(png: str, alt: str, attributes: str) -> str:
    return f'<img src="data:image/png;base64,{_text(png)}" alt="{alt}" {attributes}>'


_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Benchmark of $date</title>
<style>
:root { color-scheme: light dark; --soft: #8883; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2; font-weight: 600 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--soft); padding-bottom: .3rem }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .3rem 1.5rem }
dt { opacity: .7 }
dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--soft);
 white-space: nowrap }
th { font-weight: 600 }
tr:has(mark) { background: #f5a62333 }
mark { background: #f5a623; color: #000; border-radius: .3rem; padding: 0 .3rem; font-size: 85% }
.errors { white-space: pre-wrap; border-left: 4px solid #d33; padding-left: 2rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr));
 gap: 2rem; align-items: start }
figure { margin: 0 }
figcaption, .comparison h3 { font-weight: 600; margin: 0 0 .4rem; font-size: 1rem }
svg { width: 100%; height: auto }
.comparisons { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
 gap: 2rem }
.stack { position: relative; --at: 50%; line-height: 0 }
.stack:focus-within { outline: 3px solid #48f }
.stack img { width: 100% }
.stack .after { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at)) }
.stack .line { position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px;
 background: #fff; box-shadow: 0 0 3px #000 }
.stack input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
 cursor: ew-resize; appearance: none; touch-action: pan-y }
.stack input::-webkit-slider-thumb { appearance: none; width: 2px }
.stack input::-moz-range-thumb { width: 2px; border: 0 }
.sides { display: flex; justify-content: space-between; margin-top: .4rem }
@media (prefers-color-scheme: dark) {
 body { background: #16181c; color: #e4e6ea }
 svg { filter: invert(1) hue-rotate(180deg) }
}
</style></head><body>
<h1>Benchmark of $date</h1>
<dl>$facts</dl>
$subjects
$errors
<h2>Plots</h2><div class="plots">$plots</div>
<h2>Before and after</h2>
<p>Drag over a picture, or focus it and use the arrow keys.</p>
<div class="comparisons">$pictures</div>
<h2>Measurements</h2>
<p>Values are medians. <mark>unstable</mark>: the 90th percentile is over $unstable times as
slow as the median. A ratio is the value against the baseline's of the same round.</p>
$measurements
<script>
for (const box of document.querySelectorAll(".comparison")) {
  const range = box.querySelector("input"), choice = box.querySelector("select");
  const show = () => {
    box.querySelector(".stack").style.setProperty("--at", range.value + "%");
    box.querySelectorAll(".after").forEach((image, place) =>
      image.hidden = choice && place != choice.value);
  };
  box.addEventListener("input", show);
  show();  // a reloaded page may bring back what was chosen
}
</script></body></html>
""")
