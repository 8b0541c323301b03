"""A run of record: one JSON file of what was measured, when, where and with which versions."""

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from benchmarks.measure.machine import processor
from runtime.cli import console
from runtime.errors import BenchmarkError
from runtime.storage.local import write_atomically


def parser(script: str, doc: str) -> console.Parser:
    """Of a script that measures one thing, with `--json` for its result."""
    made = console.Parser(f"python -m {script}", doc.splitlines()[0])
    made.add_argument("--json", required=True, type=Path, help="result to write")
    return made


def record(prog: str, path: Path, measure: Callable[[], dict[str, object]]) -> NoReturn:
    """Measure, write the result and print it; what is under `failures` makes it an error."""

    def work() -> int:
        result = measure()
        text = json.dumps(result, indent=2)
        write_atomically(path, f"{text}\n".encode())
        print(text)
        if failures := result.get("failures"):
            raise BenchmarkError(f"{path} is written, but: {failures}")
        return 0

    console.run(prog, work)


def circumstances(*tools: str) -> dict[str, object]:
    """Date, machine and versions, as every result records them."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "gpu": None},
        "versions": {
            "python": platform.python_version(),
            **{tool: version(tool) for tool in tools},
        },
    }
