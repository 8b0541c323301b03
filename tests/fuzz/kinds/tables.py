"""Parquet tables of pictures: damaged files, and rows that a stranger wrote."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

from runtime.errors import InvalidImageError, UsageError
from tests.fakes.bundle import write_bundle
from tests.fuzz.kinds.command_line import call
from tests.fuzz.kinds.pictures import LIMIT, named_picture
from tests.fuzz.mutations import Draw, mutated
from tests.fuzz.rule import Kind

_GOOD = "good.png"
_PATHS = (
    "",
    "missing.png",
    "/etc/hostname",
    ".",
    "bundle",
    "a\nb.png",
    "http://[x/a.png",
    "x\0.png",
)


@contextmanager
def tables(folder: Path) -> Iterator[Kind]:
    """The rows that can be read have an outcome each, and the good one is done as ever."""
    write_bundle(folder / "bundle")
    ok, encoded = cv2.imencode(".png", np.full((20, 30, 3), 99, np.uint8))
    assert ok
    good, out = np.asarray(encoded).tobytes(), folder / "out"
    words = ["dmd-restore", "t.parquet", "--bundle", "bundle", "--out", "out", "--device", "cpu"]
    words += ["--report", "report", "--max-pixels", str(LIMIT)]
    (folder / "t.parquet").write_bytes(_table({"name": [_GOOD], "bytes": [good]}))
    assert call(words, folder) == 0
    expected = (out / _GOOD).read_bytes()
    plain = [
        _table({"name": [_GOOD], "bytes": [good]}),
        _table({"name": [_GOOD, "b.png"], "bytes": [good, b"none"]}),
        _table({"path": ["missing.png", "other.png"]}),
    ]

    def attempt(data: bytes) -> None:
        shutil.rmtree(out, ignore_errors=True)
        (folder / "report").unlink(missing_ok=True)
        (folder / "t.parquet").write_bytes(data)
        before = set(folder.iterdir())
        code = call(words, folder)
        made = {each.name for each in set(folder.iterdir()) - before}
        assert made <= {"out", "report"}, "another file was written"
        if code and not (folder / "report").exists():
            raise UsageError("refused before anything was done")
        text = (folder / "report").read_text()
        lines: Sequence[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        written = {Path(line["output"]).name for line in lines if line["error"] is None}
        there = {each.name for each in out.iterdir()} if out.exists() else set()
        assert written == there, "another file was written"
        if data.count(good) == 1 and _GOOD in there:
            assert (out / _GOOD).read_bytes() == expected, "the good picture came out changed"
        if code:
            raise InvalidImageError("rows were refused")

    yield Kind(_rows(good) | mutated(plain, hot=_footer), attempt)


@st.composite
def _rows(draw: Draw, good: bytes) -> bytes:
    """A whole file of hostile rows: names and pictures, or paths; or other columns."""
    column = draw(st.sampled_from(("bytes", "bytes", "path", "odd")))
    if column == "path":
        paths = st.none() | st.sampled_from(_PATHS)
        return _table({"path": draw(st.lists(paths, max_size=3))})
    if column == "odd":
        return _table({draw(st.sampled_from(("path", "name", "x\x1b[2J"))): [1, 2]})
    pairs = draw(st.lists(named_picture(), max_size=3))
    names = [name.encode(errors="replace").decode() for name, _ in pairs]
    return _table({"name": [*names, _GOOD], "bytes": [*(data for _, data in pairs), good]})


def _table(columns: dict[str, Any]) -> bytes:
    types = {"name": pyarrow.string(), "path": pyarrow.string(), "bytes": pyarrow.binary()}
    made = {
        name: pyarrow.array(rows, None if rows and isinstance(rows[0], int) else types.get(name))
        for name, rows in columns.items()
    }
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(made), stream, compression="none")
    return stream.getvalue()


def _footer(data: bytes) -> Sequence[int]:
    return range(max(0, len(data) - 900), len(data))
