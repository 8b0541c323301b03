"""The short form: some inputs of each kind, the same each time. Long: `python -m tests.fuzz`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.explore import explore
from tests.fuzz.kinds.catalog import KINDS
from tests.fuzz.rule import Tally, unclean

INPUTS = {
    "manifests": 300,
    "engine_records": 300,
    "dictionaries": 400,
    "pictures": 800,
    "landmark_files": 500,
    "landmarks": 150,
    "detectors": 100,
    "requests": 150,
    "replies": 150,
    "downloads": 16,
    "web_pictures": 60,
    "checkpoints": 30,
    "archives": 35,
    "tables": 60,
    "commands": 120,
}
"""How many of each kind; about two to six seconds of one core."""


@pytest.fixture(scope="module")
def fuzzed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Tally]]:
    """What became of a kind's inputs; the kinds that are tested are tried two at a time."""
    marks = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = {mark.params.get("kind") for mark in marks if mark is not None}
    folder = tmp_path_factory.mktemp("fuzz")
    with ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(
                explore, name, folder / name, folder / "faults", seed=0, examples=INPUTS[name]
            )
            for name in KINDS
            if name in wanted
        }
        yield lambda name: running[name].result()


def test_every_kind_has_its_inputs() -> None:
    assert set(INPUTS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_right_or_a_clean_error(kind: str, fuzzed: Callable[[str], Tally]) -> None:
    found = fuzzed(kind)
    assert dict(found.faults) == {}
    assert found.tried == found.accepted + sum(found.refused.values())
    assert found.tried >= INPUTS[kind] // 2  # else the inputs are too much alike
    assert found.accepted > 0, "the inputs never come as far as to work"
    assert found.refused.total() > 0, "the inputs are not hostile"


def test_every_misdeed_is_seen(tmp_path: Path) -> None:
    """Each of ten ways to break the rule is a fault of its own, and its input is kept."""
    found = explore("faulty", tmp_path / "work", tmp_path / "save", seed=0, examples=60)
    signs = (
        "KeyError at tests/fuzz/kinds/faulty.py:foreign",
        "AssertionError at",
        "an empty message",
        "outside of the folder",
        "left behind: cwd/here",
        "a .tmp file",
        "chatter on stderr: libtiff",
        "memory: over",
        "started a program",
        "warning RuntimeWarning",
    )
    for sign in signs:
        assert [fault for fault in found.faults if sign in fault], sign
    assert len(found.faults) == len(signs)
    assert found.accepted > 0
    assert found.refused["InvalidImageError"] > 0
    kept = {file.read_text() for file in (tmp_path / "save").glob("*.input")}
    assert kept >= {"'foreign'", "'left'"}


def test_a_process_that_dies_or_hangs_is_seen(tmp_path: Path) -> None:
    died = explore("deadly", tmp_path / "work", tmp_path / "save", seed=0, examples=1)
    assert [fault[:26] for fault in died.faults] == ["the process ended with -11"]
    hung = explore("hanging", tmp_path / "work", tmp_path / "save", seed=0, examples=1, patience=3)
    assert dict(hung.faults) == {"hang: over 3 s": 1}
    assert (tmp_path / "save" / "hanging-0-died.input").read_bytes() == b"'x'"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a line", None),
        ("caf\u00e9 \U0001f600", None),
        ("two\nlines", "control"),
        ("\x1b[2J", "control"),
        ("\ud800", "control"),
        ("\u202egnp", "turning"),
        ("  ", "empty"),
        ("x" * 6000, "screen"),
    ],
)
def test_clean_is_one_line_for_a_person(text: str, wrong: str | None) -> None:
    assert (unclean(text) is None) if wrong is None else (wrong in str(unclean(text)))
