"""docs/api.md says what the code does: names, arguments, defaults, errors and their classes."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import runtime
from runtime import (
    DmdnetError,
    DmdnetWarning,
    Engine,
    Face,
    Likeness,
    Restored,
    Restorer,
    VideoReport,
    VideoTrack,
)
from runtime.bundle.manifest import MANIFEST_VERSION
from runtime.cli import console
from tests.conftest import ROOT
from tests.docs.blocks import blocks
from tests.fakes.engines import FakeEngine

PAGE = "docs/api.md"
RESULTS = (Restored, Face, Likeness, VideoReport, VideoTrack)
"""Classes that apps receive and do not make: they have no signature on the page."""


@dataclass(frozen=True)
class Section:
    """What stands under the heading of a name."""

    signature: str | None
    arguments: tuple[str, ...]  # what the list describes, in its order
    attributes: tuple[str, ...]  # the same of the list after "Attributes:"
    errors: frozenset[str]  # in the paragraph that begins with "Raises"


def sections() -> dict[str, Section]:
    found = {}
    text = (ROOT / PAGE).read_text()
    for part in re.split(r"^###? ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        if not re.fullmatch(r"[\w.]+", heading) or heading == "Errors":
            continue
        given, _, more = body.partition("\nAttributes:\n")
        signature = re.match(r"```text\n(.*?)\n```", body, re.DOTALL)
        found[heading] = Section(
            re.sub(r"\s+", " ", signature[1]) if signature else None,
            tuple(re.findall(r"^- `(\w+)`:", given, re.MULTILINE)),
            tuple(re.findall(r"^- `(\w+)`:", more, re.MULTILINE)),
            raised(body),
        )
    return found


def raised(text: str | None) -> frozenset[str]:
    """The errors that a page's section or a docstring says are raised."""
    paragraphs = re.findall(
        r"^\s*Raises\b(.*?)(?:\n\s*\n|\Z)", text or "", re.MULTILINE | re.DOTALL
    )
    return frozenset(re.findall(r"\b\w+Error\b", " ".join(paragraphs)))


SECTIONS = sections()
PUBLIC = {name: getattr(runtime, name) for name in runtime.__all__}
ERRORS = {
    name: kind
    for name, kind in PUBLIC.items()
    if isinstance(kind, type) and issubclass(kind, DmdnetError)
}
DESCRIBED = {name: thing for name, thing in PUBLIC.items() if name not in ERRORS}


def members(kind: type) -> dict[str, Callable[..., object]]:
    """The public methods of a class."""
    return {
        name: getattr(kind, name)
        for name, member in vars(kind).items()
        if not name.startswith("_") and isinstance(member, classmethod | type(members))
    }


CALLABLES: dict[str, Callable[..., object]] = {
    name: thing
    for name, thing in DESCRIBED.items()
    if thing not in (*RESULTS, Engine, DmdnetWarning)
} | {
    f"{name}.{method}": function
    for name, kind in DESCRIBED.items()
    if isinstance(kind, type)
    for method, function in members(kind).items()
    if kind is not DmdnetWarning
}


def parameters(name: str) -> list[inspect.Parameter]:
    found = list(inspect.signature(CALLABLES[name]).parameters.values())
    return [
        each.replace(annotation=inspect.Parameter.empty) for each in found if each.name != "self"
    ]


def test_every_public_name_has_its_place() -> None:
    others = {name for name in DESCRIBED if name not in CALLABLES}
    assert set(SECTIONS) == set(CALLABLES) | others


@pytest.mark.parametrize("name", CALLABLES)
def test_signatures_and_arguments(name: str) -> None:
    section, expected = SECTIONS[name], parameters(name)
    signature = str(inspect.Signature(expected)).replace("'", '"')
    assert section.signature == name.rpartition(".")[2] + signature
    assert section.arguments == tuple(each.name for each in expected)


@pytest.mark.parametrize("name", [name for name in SECTIONS if name in CALLABLES])
def test_errors_are_those_of_the_docstring(name: str) -> None:
    assert SECTIONS[name].errors == raised(CALLABLES[name].__doc__)
    assert SECTIONS[name].errors <= set(ERRORS)


def test_attributes(bundle: Path) -> None:
    for kind in RESULTS:
        fields = tuple(field.name for field in dataclasses.fields(kind))
        assert SECTIONS[kind.__name__].arguments == fields
    assert SECTIONS["Engine"].arguments == tuple(Engine.__annotations__)
    with Restorer(bundle, engine=FakeEngine(lambda image: image)) as restorer:
        public = {name for name in vars(restorer) if not name.startswith("_")}
    properties = {name for name, each in vars(Restorer).items() if isinstance(each, property)}
    public |= {name for name in properties if not name.startswith("_")}
    assert set(SECTIONS["Restorer"].attributes) == public


def test_the_table_of_errors() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \S", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(
        (name, kind.__bases__[0].__name__) for name, kind in ERRORS.items()
    )


def test_every_name_is_in_an_example() -> None:
    """Errors have the examples of their base classes."""
    used = {
        node.id if isinstance(node, ast.Name) else node.attr
        for block in blocks(PAGE, "python")
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    methods = {name.rpartition(".")[2] for name in CALLABLES if not name.startswith("Engine.")}
    assert set(DESCRIBED) | methods | set(SECTIONS["Restorer"].attributes) <= used


def test_numbers_of_the_promise() -> None:
    text = " ".join((ROOT / PAGE).read_text().split())
    for code, reason in (
        (console.FAILED, "the command failed"),
        (console.USAGE, "an argument cannot be understood"),
        (console.UNAVAILABLE, "a checkpoint could not be downloaded"),
        (console.INTERRUPTED, "interrupted"),
    ):
        assert f"{code} ({reason}" in text
    assert f"`manifest_version` ({MANIFEST_VERSION} at present" in text
