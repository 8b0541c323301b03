"""Asking another checkout: its own packages answer, and its end is an error."""

from pathlib import Path

import pytest

from benchmarks.measure.checkouts import HERE, asked
from runtime.errors import BenchmarkError

_ECHO = """
import json, sys, runtime
for line in sys.stdin:
    print(json.dumps([line.strip(), sys.argv[1], runtime.__file__]), flush=True)
    if line == "end\\n":
        sys.exit(3)
"""


def test_the_checkouts_own_packages_answer(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "__init__.py").touch()
    for checkout in (HERE, tmp_path):
        with asked(checkout, _ECHO, "an argument") as ask:
            for line in ("one", "two"):
                *said, file = ask(line)
                assert said == [line, "an argument"]
                assert Path(file) == checkout / "runtime" / "__init__.py"


def test_a_process_that_ends_is_an_error() -> None:
    with asked(HERE, _ECHO, "") as ask:
        ask("end")
        for _ in range(2):
            with pytest.raises(BenchmarkError, match="its process failed"):
                ask("more")
