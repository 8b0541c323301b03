"""A run of record: a JSON file with what was measured, when, where and with which versions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from benchmarks.measure.machine import circumstances
from runtime.cli import console
from runtime.errors import BenchmarkError
from runtime.storage.local import write_atomically


def parser(script: str, doc: str) -> console.Parser:
    """The command line of a script that measures one thing, with `--json` for its result."""
    made = console.Parser(f"python -m {script}", doc.splitlines()[0])
    made.add_argument("--json", required=True, type=Path, help="file to write the result to")
    return made


def record(prog: str, path: Path, measure: Callable[[], Mapping[str, object]]) -> NoReturn:
    """Measure, write the result and print it; if it has `failures`, the command fails."""

    def work() -> int:
        result = measure()
        print(write(path, result))
        if failures := result.get("failures"):
            raise BenchmarkError(f"{path} was written, but there were failures: {failures}")
        return 0

    console.run(prog, work)


def write(path: Path, result: Mapping[str, object]) -> str:
    """Write date, machine, versions and `result` as JSON, whole or not at all; returns the text.

    Dataclasses in `result` become objects with their fields.
    """
    text = json.dumps({**circumstances(), **result}, indent=2, default=asdict)
    write_atomically(path, f"{text}\n".encode())
    return text
