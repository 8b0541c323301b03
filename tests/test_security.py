"""docs/security.md names the tests of its promises: they are there."""

import re

from tests.conftest import ROOT
from tests.fuzz.kinds.catalog import KINDS

TEXT = (ROOT / "docs" / "security.md").read_text()


def test_tests_that_are_named_exist() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", TEXT))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_kind_of_input_is_named() -> None:
    assert set(re.findall(r"\[(\w+)\]`", TEXT)) == set(KINDS)
