"""Parquet files of pictures, without a cluster."""

from pathlib import Path
from typing import Any

import pytest

from runtime.archive.job import Job, Picture
from runtime.archive.tables import open_tables
from runtime.errors import InvalidImageError, UsageError

pyarrow = pytest.importorskip("pyarrow")

import pyarrow.parquet as parquet  # noqa: E402


def written(path: Path, columns: dict[str, list[Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return str(path)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "bundle", str(tmp_path / "out"))


def test_paths_of_files_and_folders(job: Job, tmp_path: Path) -> None:
    one = written(tmp_path / "one.parquet", {"rank": [1, 2, 3], "path": ["a.png", "b/c.png", None]})
    written(tmp_path / "many.parquet" / "0.parquet", {"path": ["d.png"]})
    written(tmp_path / "many.parquet" / "1.parquet", {"path": ["file:///e%20f.png"]})
    tables = open_tables([one, str(tmp_path / "many.parquet")], job)
    assert tables.count == 5
    names = [picture.name for picture in tables.pictures()]
    assert names == ["a.png", "b/c.png", "", "d.png", "/e f.png"]


def test_bytes(job: Job, tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {"name": ["a.png", "b.png", "c.png"], "bytes": [b"1", b"2", None]}
    tables = open_tables([written(tmp_path / "x.parquet", rows)], job)
    assert list(tables.pictures()) == [
        Picture("a.png", b"1"),
        Picture("b.png", b"2"),
        Picture("c.png", b""),
    ]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"url": ["x.png"]}, "`path`, or `name` and `bytes`, is needed; there are url"),
        ({"path": [1, 2]}, "`path` must be string, not int64"),
        ({"name": ["x.png"], "bytes": ["y"]}, "`bytes` must be binary, not string"),
        ({"path": ["a/x.png", "b/y.png", "b/x.png"]}, "a/x.png and b/x.png would both be"),
        ({"path": ["x.gif", "x.gif.png"]}, "x.gif and x.gif.png would both be"),
    ],
)
def test_wrong_columns(job: Job, tmp_path: Path, columns: dict[str, list[Any]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_tables([written(tmp_path / "x.parquet", columns)], job)


def test_wrong_files(job: Job, tmp_path: Path) -> None:
    empty = written(tmp_path / "x.parquet", {"path": pyarrow.array([], pyarrow.string())})
    with pytest.raises(InvalidImageError, match="no rows"):
        open_tables([empty], job)
    (tmp_path / "x.parquet").write_bytes(b"PAR1, but no more")
    with pytest.raises(InvalidImageError, match=r"x\.parquet: cannot be read as Parquet"):
        open_tables([empty], job)
    with pytest.raises(InvalidImageError, match=r"y\.parquet: no such file"):
        open_tables([str(tmp_path / "y.parquet")], job)


def test_a_damaged_file_among_others(job: Job, tmp_path: Path) -> None:
    """Its rows are one error, and the other files are read."""
    rows = {"name": [f"{i}.png" for i in range(40)], "bytes": [bytes([i]) * 99 for i in range(40)]}
    bad = tmp_path / "bad.parquet"
    parquet.write_table(pyarrow.table(rows), bad)
    good = written(tmp_path / "good.parquet", {"name": ["x.png"], "bytes": [b"1"]})
    page = parquet.ParquetFile(bad).metadata.row_group(0).column(1).data_page_offset
    data = bytearray(bad.read_bytes())
    data[page : page + 30] = b"\xff" * 30
    bad.write_bytes(data)
    torn, whole = open_tables([str(bad), good], job).pictures()
    assert torn.name == str(bad)
    assert str(torn.error).startswith(f"{bad}: cannot be read as Parquet: ")
    assert whole == Picture("x.png", b"1")


def test_names_that_are_no_text(job: Job, tmp_path: Path) -> None:
    """They are those of files, and spoil no other row."""
    offsets = pyarrow.array([b"a.png", b"b\xff.png"], pyarrow.binary()).buffers()
    names = pyarrow.Array.from_buffers(pyarrow.string(), 2, offsets)
    parquet.write_table(pyarrow.table({"path": names}), tmp_path / "x.parquet")
    tables = open_tables([str(tmp_path / "x.parquet")], job)
    assert [picture.name for picture in tables.pictures()] == ["a.png", "b\udcff.png"]
