"""Other checkouts of this repository, each in a process of its own, to compare this one with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import BenchmarkError

HERE = Path(__file__).parents[2]
"""This checkout."""

Ask = Callable[[str], Any]
"""Writes a line to the process, and gives what it answers."""


@contextmanager
def asked(checkout: Path, code: str, *arguments: str) -> Iterator[Ask]:
    """Run Python `code` with a checkout's packages: for each line in, it prints one line of JSON.

    Raises `BenchmarkError` where it ends instead; what it says about that is on stderr.
    """
    words = [sys.executable, "-c", code, *arguments]
    # the checkout's own packages come before those that are installed
    place = {**os.environ, "PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        words, cwd=checkout, env=place, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        to, back = process.stdin, process.stdout
        assert to is not None
        assert back is not None

        def ask(line: str) -> Any:
            with suppress(BrokenPipeError):  # it ended, as its silence says
                to.write(f"{line}\n")
                to.flush()
            if not (answer := back.readline()):
                raise BenchmarkError(f"{checkout}: its process failed; see the lines above")
            return json.loads(answer)

        try:
            yield ask
        finally:
            with suppress(BrokenPipeError):
                to.close()
