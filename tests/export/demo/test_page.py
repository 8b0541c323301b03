"""The demo's page: what it says, that it loads nothing, and how a real browser shows it."""

from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest

from calibration.degradation import Recipe
from export.demo.page import page
from export.demo.pictures import Trial
from export.demo.slider import Comparison, data_uri, slider
from runtime.images.arrays import Image
from tests.pages import Page, ask, assert_loads_nothing, needs_browser, text_of

EVIL = """<script>alert('"&$date</script> -->"""


def _flat(height: int, width: int, level: int) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def _trial(name: str) -> Trial:
    """A photograph of 60 x 40 pixels whose face comes nearer by 20 levels: from 40 to 20."""
    pictures = _flat(60, 40, 100), _flat(30, 20, 60), _flat(120, 80, 80)
    return Trial(name, Recipe(2, 0, 5, 60), *pictures, (2, 3, 18, 19))


def test_what_it_says() -> None:
    text = text_of(page([_trial("one"), _trial("two")], "of straw", ["First", "Second"]))
    assert "Faces degraded and restored First. Second." in text
    assert (
        "one Before: 2 times smaller, noise of sigma 5, JPEG quality 60, 20 x 30 pixels. "
        "After: restored at 4 times that size. PSNR of the face against the original: 16.1 dB "
        "before, 22.1 dB after."  # 20 log10(255 / 40) and 20 log10(255 / 20)
    ) in text
    assert text.count("on the right: after (of straw) original") == 4
    assert "after (" not in text_of(page([_trial("one")], None, []))


def test_faces_are_cut_out_of_one_place() -> None:
    trial = _trial("one")
    assert {moment: face.shape for moment, face in trial.faces.items()} == dict.fromkeys(
        ("before", "after", "original"), (64, 64, 3)
    )
    levels = {moment: int(face.mean()) for moment, face in trial.faces.items()}
    assert levels == {"before": 60, "after": 80, "original": 100}
    marked = trial.after.copy()
    marked[4 * 3, 4 * 2] = 255  # the face's corner
    trial = Trial(trial.name, trial.recipe, trial.original, trial.before, marked, trial.face)
    assert trial.faces["after"][0, 0].tolist() == [255, 255, 255]


def test_all_text_is_escaped() -> None:
    made = page([_trial(EVIL)], EVIL, [EVIL])
    assert Page(made).tags["script"] == 1
    assert "<script>alert" not in made
    assert escape(EVIL) in made
    assert not [name for name, _ in Page(made).attributes if name.startswith("on")]
    made = slider(Comparison(EVIL, f'"{EVIL}', {EVIL: f'"{EVIL}', "b": "c"}, EVIL, EVIL))
    parsed = Page(made)
    assert parsed.tags == {
        tag: count
        for tag, count in parsed.tags.items()
        if tag in {"div", "h3", "img", "span", "input", "label", "select", "option"}
    }
    assert parsed.values("src")[:2] == [f'"{EVIL}', f'"{EVIL}']
    assert f"<span>{EVIL}</span>" in unescape(made)


def test_it_loads_nothing() -> None:
    assert_loads_nothing(page([_trial("one"), _trial(EVIL)], "of straw", [EVIL]))


def test_data_uri() -> None:
    assert data_uri("jpeg", b"\xff\xd8\xff") == "data:image/jpeg;base64,/9j/"


@needs_browser
@pytest.mark.parametrize("choice", [0, 1])
def test_browser_moves_the_slider(tmp_path: Path, choice: int) -> None:
    script = f"""
const boxes = [...document.querySelectorAll(".comparison")];
const range = boxes[0].querySelector("input"), select = boxes[0].querySelector("select");
range.value = 20; select.value = {choice};
range.dispatchEvent(new Event("input", {{bubbles: true}}));
const seen = box => [...box.querySelectorAll(".after")].map(image =>
  image.checkVisibility() ? getComputedStyle(image).clipPath : "hidden");
const box = boxes[0].querySelector(".stack").getBoundingClientRect();
const hit = document.elementFromPoint(box.left + box.width / 3, box.top + box.height / 3);
const answer = [boxes.length, seen(boxes[0]), seen(boxes[1]), hit === range, refused];
"""
    moved = ["hidden", "hidden"]
    moved[choice] = "inset(0px 0px 0px 20%)"
    untouched = ["inset(0px 0px 0px 50%)", "hidden"]
    made = page([_trial("one")], "of straw", [])
    assert ask(tmp_path, made, script) == [2, moved, untouched, True, 0]
