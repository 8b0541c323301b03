"""A run of `dmd-bench` as one self-contained HTML page, which loads no other file."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from benchmarks.report import truth
from benchmarks.report.plots import plots
from benchmarks.report.results import UNSTABLE, Measurement, Picture, Result
from benchmarks.report.tables import TRUTH, cells, filled
from calibration.truth import HEADER
from calibration.truth import cells as cells_of_truth
from export.demo.slider import POLICY, SCRIPT, STYLE, Comparison, slider


def report(result: Result) -> str:
    """The page as HTML. Needs matplotlib."""
    return _PAGE.substitute(
        policy=POLICY,
        style=STYLE,
        script=SCRIPT,
        date=_text(result.date.replace("T", " ").replace("+00:00", " UTC")),
        facts=_facts(result),
        subjects=_table(
            ["Subject", "Precision", "Backend", "SHA-256"],
            [
                [
                    *map(_text, (each.name, each.precision, each.backend)),
                    f'<code title="{_text(each.sha256)}">{_text(each.sha256[:12])}</code>',
                ]
                for each in result.subjects
            ],
        ),
        errors=_errors(result.errors),
        plots="".join(plots(result)),
        pictures="".join(map(_comparison, result.pictures)) or "<p>This run has no pictures.</p>",
        remarks="".join(f"<p><mark>{_text(each)}</mark></p>" for each in result.remarks),
        measurements="".join(_suite(suite, result.of(suite)) for suite in result.suites),
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
    """A value as escaped text."""
    match value:
        case Mapping():
            return " · ".join(f"{_text(key)}: {_text(each)}" for key, each in value.items())
        case list() | tuple():
            return ", ".join(map(_text, value))
        case None:
            return "none"
    return escape(str(value))


def _suite(name: str, measurements: Sequence[Measurement]) -> str:
    judged = [cells_of_truth(row) for row in truth.rows_of(measurements)]
    header, *lines_of_truth = filled(HEADER, judged)
    of_truth = _table(header, [map(_text, line) for line in lines_of_truth])
    tables = f"<h3>{TRUTH}</h3>{of_truth}" if judged else ""
    rows = [cells(each) for each in truth.others(measurements)]
    if not rows:
        return tables
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = [[_text(row[column]) for column in columns] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        if row["note"]:
            line[-1] = f"<mark>{row['note']}</mark>"
    return f"<h3>{_text(name)}</h3>" + _table(columns, lines) + tables


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{each}</th>" for each in head)]
    lines += ["".join(f"<td>{each}</td>" for each in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'


def _comparison(picture: Picture) -> str:
    after = {subject: _png(each) for subject, each in picture.after.items()}
    return slider(Comparison(picture.name, _png(picture.before), after))


def _png(base64: str) -> str:
    return f"data:image/png;base64,{base64}"


_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
$policy
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
figcaption { font-weight: 600; margin: 0 0 .4rem; font-size: 1rem }
svg { width: 100%; height: auto }
$style
@media (prefers-color-scheme: dark) {
 body { background: #16181c; color: #e4e6ea }
 svg { filter: invert(1) hue-rotate(180deg) }
}
</style></head><body>
<h1>Benchmark of $date</h1>
$remarks
<dl>$facts</dl>
$subjects
$errors
<h2>Plots</h2><div class="plots">$plots</div>
<h2>Before and after</h2>
<p>Drag over a picture, or focus it and use the arrow keys.</p>
<div class="comparisons">$pictures</div>
<h2>Measurements</h2>
<p>Values are medians. <mark>unstable</mark>: the 90th percentile is over $unstable times as
slow as the median. A ratio is the value against the baseline's of the same round, with its
95 % interval. Of peak: the time that the arithmetic would take at the machine's peak rate, as a
share of the measured time.</p>
$measurements
<script>
$script
</script></body></html>
""")
