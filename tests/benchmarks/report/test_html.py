"""The HTML report: what it says, that it loads nothing, and how a real browser shows it."""

import base64
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from benchmarks.measure.timing import Ratio
from benchmarks.report.html import report
from benchmarks.report.plots import figure_of
from benchmarks.report.results import Measurement, Picture, Result, Subject
from benchmarks.report.truth import measurements
from calibration.quality import REGIONS
from calibration.truth import GENERIC, INPUT, SPECIFIC, Row
from tests.conftest import SAMPLES
from tests.pages import Page, ask, assert_loads_nothing, needs_browser, text_of

EVIL = """<script>alert('"&$date</script> $x_1$ -->"""
TITLES = (
    "Latency",
    "Throughput against batch size",
    "Cost of references",
    "Where the time of a photograph goes",
    "Nearer to the truth",
    "Quality against speed",
)


def _png(blur: float) -> str:
    image = cv2.imread(str(SAMPLES / "astronaut.png"))
    assert image is not None
    small = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".png", cv2.GaussianBlur(small, (0, 0), blur))[1]
    return base64.b64encode(encoded.tobytes()).decode()


def _measured(subject: str, time: float) -> list[Measurement]:
    samples = tuple(time * factor for factor in (0.9, 0.95, 1.0, 1.1, 1.25))
    case = "1 face, 5 references"
    latency = Measurement(
        "latency", subject, case, "s", time, 5, 1.2 * time, 1.25 * time, samples=samples
    )
    stages = {"decode": 0.02, "network": time, "encode": 0.03}
    others: list[tuple[str, str, str, float]]
    others = [("throughput", f"batch {n}", "faces/s", n / time) for n in (1, 4)]
    others += [("scaling", f"1 face, {n} references", "s", time * (1 + n / 10)) for n in (5, 0, 10)]
    others += [("pipeline", each, "s", took) for each, took in stages.items()]
    others += [("quality", "whole", "dB", 40.26)]
    judged = (row(subject, GENERIC, 0.5), row(subject, SPECIFIC, 0.7), row(INPUT, INPUT, 0.0))
    return [
        latency,
        *(Measurement(each[0], subject, *each[1:]) for each in others),
        *measurements(each for three in judged for each in three),
    ]


def row(subject: str, kind: str, gain: float) -> list[Row]:
    """Of two faces: `gain` dB over the input at x4, and twice that at x6."""
    rows = []
    for index, degradation in enumerate(("x4", "x6")):
        first = 25 + gain * (index + 1)
        psnr = dict.fromkeys(REGIONS, (first, first + 2))
        rows.append(Row(degradation, subject, kind, psnr, dict.fromkeys(REGIONS, (0.5, 0.7))))
    return rows


def _result(*names: str) -> Result:
    names = names or ("fp32", "int8", "torch eager")
    times = (1.96, 0.7337, 3.4)
    return Result(
        date="2026-11-23T01:34:46+00:00",
        machine={"processor": "Xeon", "cores": 2, "gpu": None},
        versions={"onnxruntime": "1.32.0"},
        revision="a84ce8b",
        options={"rounds": 5, "suites": ["latency", "quality"]},
        peaks={"fp32": 161.2},
        subjects=tuple(Subject(name, "fp32", "cpu", "9f86d081884c7d65") for name in names),
        measurements=tuple(
            each for pair in zip(names, times, strict=True) for each in _measured(*pair)
        ),
        pictures=(Picture("astronaut", _png(4), {name: _png(0.5) for name in names}),),
        errors={},
        seconds=90,
    )


def _with(*measurements: Measurement) -> Result:
    return replace(_result(), measurements=measurements, pictures=())


def test_headline() -> None:
    text = text_of(report(_result()))
    for fact in (
        "Benchmark of 2026-11-23 01:34:46 UTC",
        "processor: Xeon · cores: 2 · gpu: none",
        "onnxruntime: 1.32.0",
        "Git revision a84ce8b",
        "rounds: 5 · suites: latency, quality",
        "fp32: 161.2",
        "1.5 minutes",
        "int8 fp32 cpu 9f86d081884c",
        "No suite failed",
    ):
        assert fact in text
    assert "Git revision unknown" in text_of(report(replace(_result(), revision=None)))


def test_measurements() -> None:
    full = Measurement(
        *("latency", "int8", "1 face, 5 references", "s", 0.5, 15, 0.6, 0.7, 1.5),
        *(Ratio("fp32", 0.379, 0.356, 0.408), 412.3, 0.314),
    )
    rate = Measurement("throughput", "int8", "batch 1", "faces/s", 2.0, warm_up_s=1.5)
    text = text_of(report(_with(full, rate)))
    assert (
        "latency subject case value p90 p99 runs first run ratio GFLOP of peak "
        "int8 1 face, 5 references 500 ms 600 ms 700 ms 15 1.50 s 0.38 (0.36-0.41) of fp32 412 31 %"
    ) in text
    assert "value runs first run int8 batch 1 2.00 faces/s 1 1.50 s" in text


def test_unstable_rows_are_marked() -> None:
    calm = Measurement("latency", "fp32", "case", "s", 1.0, runs=9, p90=1.2)
    page = report(_with(calm, replace(calm, subject="int8", p90=1.4)))
    rows = [text_of(row) for row in page.split("<tr>") if "case" in row and "mark>" in row]
    assert rows == ["int8 case 1.00 s 1.40 s 9 unstable"]


def test_errors_are_told() -> None:
    page = report(replace(_result(), errors={"endurance": "no CUDA device"}))
    assert "Suites that failed endurance : no CUDA device" in text_of(page)


def test_plots_show_subjects_cases_and_units() -> None:
    drawn = Page(report(_result())).drawn
    assert {"fp32", "int8", "torch eager", "network", "faces in a batch", "10"} <= set(drawn)
    assert "time of 1 face, 5 references, s" in drawn
    assert "\xa02.01 s" in drawn  # all stages of fp32
    assert Page(report(_result())).tags["svg"] == len(TITLES)
    drawn = Page(report(_result("_a", "b $x_1$", "c"))).drawn  # in all plots, and as they are
    assert (drawn.count("_a"), drawn.count("b $x_1$")) == (5, 5)
    assert (drawn.count("_a, generic"), drawn.count("b $x_1$, specific")) == (1, 1)


def test_short_times_are_drawn_in_ms() -> None:
    cases = (f"1 face, {count} references" for count in (0, 5))
    page = report(_with(*(Measurement("scaling", "a", case, "s", 0.004) for case in cases)))
    assert {"median time of 1 face, ms", "4.0"} <= set(Page(page).drawn)


def test_latency_of_several_cases_says_which() -> None:
    one = Measurement("latency", "a", "1 face, 5 references", "s", 1.0, samples=(0.9, 1.1))
    drawn = Page(report(_with(one, replace(one, case="1 face, 0 references")))).drawn
    assert {"1 face, 5 references", "1 face, 0 references", "time, s"} <= set(drawn)


def test_lines_go_from_left_to_right() -> None:
    figure = figure_of(_result("a", "b", "c"), "Cost of references")
    assert figure is not None
    for line in figure.axes[0].lines:  # the suite gives 5, 0, 10
        assert np.asarray(line.get_xdata()).tolist() == [0, 5, 10]


def test_stages_lie_one_after_the_other() -> None:
    figure = figure_of(_result(), "Where the time of a photograph goes")
    assert figure is not None
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars[::3]]  # of one subject
    assert np.allclose(ends, [(0, 0.02), (0.02, 1.98), (1.98, 2.01)])


def test_quality_is_against_the_time_of_one_case() -> None:
    latency = Measurement("latency", "a", "1 face", "s", 1.0)
    other = replace(latency, subject="b", case="4 faces")
    quality = (Measurement("quality", each, "whole", "dB", 40.0) for each in ("a", "b"))
    drawn = Page(report(_with(latency, other, *quality))).drawn
    assert "median time of 1 face, s (left: faster)" in drawn
    assert "a" in drawn
    assert "b" not in drawn


def test_gain_over_the_input() -> None:
    judged = (row("a", GENERIC, 0.5), row("a", SPECIFIC, 0.7), row(INPUT, INPUT, 0.0))
    made = measurements(each for rows in judged for each in rows)
    figure = figure_of(_with(*made), "Nearer to the truth")
    assert figure is not None
    for axes in figure.axes:  # the whole, and the components
        generic, specific, zero = axes.lines
        assert np.asarray(generic.get_xdata()).tolist() == [4, 6]
        assert np.allclose(np.asarray(generic.get_ydata()), [0.5, 1.0])
        assert np.allclose(np.asarray(specific.get_ydata()), [0.7, 1.4])
        assert np.asarray(zero.get_ydata()).tolist() == [0, 0]


def test_truth_has_a_table_of_its_own() -> None:
    words = text_of(report(_with(*measurements(row("a", SPECIFIC, 0.5)))))
    assert "degradation picture faces whole left eye right eye mouth" in words
    assert "x4 a, specific 2 26.50 dB, 0.600" in words
    assert "subject case value" not in words


def test_weights_are_told() -> None:
    result = _result()
    subjects = [replace(each, remark="compact <weights>") for each in result.subjects]
    page = report(replace(result, subjects=tuple(subjects)))
    assert page.count("<p><mark>compact &lt;weights&gt;</mark></p>") == 1


ODD = (
    Measurement("latency", "int8", "case", "s", 1.0),
    Measurement("throughput", "int8", "2 threads, batch 1", "faces/s", 1.0),
    Measurement("scaling", "int8", "4 faces, 5 references", "s", 1.0),
    Measurement("pipeline", "int8", "total", "s", 1.0),
    Measurement("quality", "int8", "whole", "dB", float("inf")),
)


@pytest.mark.parametrize("measurements", [(), ODD])
def test_what_no_plot_can_show_is_told(measurements: tuple[Measurement, ...]) -> None:
    page = report(_with(*measurements))
    for title in TITLES:
        assert f"{title}: no plot, for this run has no figures of" in text_of(page)
    assert Page(page).tags["svg"] == 0
    assert "no pictures" in text_of(page)


def test_all_text_is_escaped() -> None:
    result = _result("fp32", EVIL, "torch eager")
    first = result.measurements[0]
    page = report(
        replace(
            result,
            date=EVIL,
            machine={EVIL: [EVIL, {EVIL: EVIL}]},
            versions={EVIL: EVIL},
            revision=EVIL,
            options={EVIL: EVIL},
            peaks={EVIL: 1.0},
            subjects=(Subject(EVIL, EVIL, EVIL, EVIL),),
            measurements=(
                *result.measurements,
                Measurement(EVIL, EVIL, EVIL, EVIL, 1, ratio=Ratio(EVIL, 1, 1, 1)),
                replace(first, case=EVIL),
            ),
            pictures=(Picture(EVIL, f'"{EVIL}', {EVIL: f'"{EVIL}', "int8": _png(1)}),),
            errors={EVIL: EVIL},
        )
    )
    parsed = Page(page)
    assert parsed.tags["script"] == 1
    assert "<script>alert" not in page
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert f"{EVIL}: {EVIL}, {EVIL}: {EVIL}" in unescape(page)
    assert escape(EVIL) in page


@pytest.mark.parametrize("result", [_result(), _result("fp32", EVIL, "torch eager"), _with()])
def test_page_loads_nothing(result: Result) -> None:
    assert_loads_nothing(report(result))


def test_page_is_the_same_each_time_and_its_ids_differ() -> None:
    page = report(_result())
    assert page == report(_result())
    ids = Page(page).values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in Page(page).values("xlink:href") if link[0] == "#"} <= set(ids)


def test_many_runs_do_not_make_the_page_heavy() -> None:
    samples = tuple(np.random.default_rng(0).lognormal(0, 0.1, 20_000).tolist())
    many = Measurement("latency", "int8", "case", "s", 1.0, runs=20_000, samples=samples)
    assert len(report(_with(many))) < 300_000


def test_subject_is_chosen_where_there_are_several() -> None:
    result = _result()
    several = Page(report(result))
    assert (several.tags["select"], several.tags["option"]) == (1, 3)
    picture = result.pictures[0]
    single = replace(picture, after={"int8": picture.after["int8"]})
    page = report(replace(result, pictures=(single,)))
    assert Page(page).tags["select"] == 0
    assert "before after: int8" in text_of(page)


@needs_browser
def test_browser_moves_the_slider_and_changes_the_subject(tmp_path: Path) -> None:
    script = """
const range = document.querySelector("input"), choice = document.querySelector("select");
const seen = () => [...document.querySelectorAll(".after")].map(image =>
  image.checkVisibility() ? getComputedStyle(image).clipPath : "hidden");
const change = (element, value) => {
  element.value = value;
  element.dispatchEvent(new Event("input", {bubbles: true}));
  return seen();
};
const box = document.querySelector(".stack").getBoundingClientRect();
const hit = document.elementFromPoint(box.left + box.width / 3, box.top + box.height / 3);
const answer = [seen(), change(range, 20), change(choice, 2), hit === range];
"""
    assert ask(tmp_path, report(_result()), script) == [
        ["inset(0px 0px 0px 50%)", "hidden", "hidden"],
        ["inset(0px 0px 0px 20%)", "hidden", "hidden"],
        ["hidden", "hidden", "inset(0px 0px 0px 20%)"],
        True,  # a pointer drags the range anywhere over the picture
    ]


@needs_browser
@pytest.mark.parametrize("names", [(), (EVIL, "b", "c"), tuple(9 * f"{n}-folder-" for n in "abc")])
def test_browser_refuses_nothing_and_plots_are_not_cut_off(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    script = """
let cut = 0, texts = 0;
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.getBoundingClientRect();
  for (const text of svg.querySelectorAll("text")) {
    const at = text.getBoundingClientRect();
    texts++;
    cut += at.left < box.left - 1 || at.right > box.right + 1
      || at.top < box.top - 1 || at.bottom > box.bottom + 1;
  }
}
const answer = {cut, texts: texts > 50, refused, wide: document.body.scrollWidth > 1200};
"""
    expected = {"cut": 0, "texts": True, "refused": 0, "wide": False}
    assert ask(tmp_path, report(_result(*names)), script) == expected
