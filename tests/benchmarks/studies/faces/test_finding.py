"""The study of which faces are found, on this checkout against itself."""

from argparse import Namespace

import pytest

from benchmarks.studies.faces.finding import measure
from tests.conftest import ROOT


@pytest.mark.long
def test_what_is_found_and_what_is_not() -> None:
    result = measure(Namespace(before=ROOT, faces=None, without=None), (10, 96), ())
    tiny, usual = result["canvases"]
    for finder in ("before", "now", "now, min_face=28"):
        assert tiny["finders"][finder]["found"] == 0
        assert usual["finders"][finder]["found"] == usual["faces"] == 24
        assert usual["finders"][finder]["others"] == 0
    assert usual["finders"]["now"]["cpu_s"] < usual["finders"]["now, min_face=28"]["cpu_s"]
