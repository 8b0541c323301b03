"""Parquet files of pictures, without a cluster."""

from pathlib import Path
from typing import Any

import numpy as np
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


def test_bytes_are_no_clip_whatever_their_name(job: Job, tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {"name": ["a.mp4", "a.png"], "bytes": [b"1", b"2"]}
    (picture, _) = open_tables([written(tmp_path / "x.parquet", rows)], job).pictures()
    assert not picture.is_clip
    assert job.outputs_of(picture.name, picture.in_table) == (f"{job.out}/a.mp4.png",)
    assert job.outputs_of("a.mp4") == (f"{job.out}/a.mp4",)
    rows["name"][1] = "b/a.mp4.png"
    with pytest.raises(UsageError, match=r"a.mp4 and b/a.mp4.png would both be"):
        open_tables([written(tmp_path / "y.parquet", rows)], job)


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


def test_two_rows_without_a_name_are_errors_of_their_own(job: Job, tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {"path": [None, "", "a.png", "http://x/%00", "http://y/%00"]}
    tables = open_tables([written(tmp_path / "x.parquet", rows)], job)
    assert tables.count == 5


def test_names_that_are_no_text_name_files(job: Job, tmp_path: Path) -> None:
    """A column of strings may hold any bytes, and so may the name of a file."""
    names = pyarrow.array([b"caf\xe9.png", b"a.png", None, b"a/caf\xc3\xa9.png"])
    for kind in (pyarrow.string(), pyarrow.large_string()):
        column = names.cast(f"large_{names.type}" if "large" in str(kind) else names.type)
        text = pyarrow.Array.from_buffers(kind, 4, column.buffers())
        rows: dict[str, Any] = {"name": text, "bytes": [b"1"] * 4}
        tables = open_tables([written(tmp_path / "x.parquet", rows)], job)
        found = [picture.name for picture in tables.pictures()]
        assert found == ["caf\udce9.png", "a.png", "", "a/caf\xe9.png"]


def test_a_small_file_of_large_pictures_is_read_one_at_a_time(job: Job, tmp_path: Path) -> None:
    """50 GB in 20 kB: what all rows share is in memory for a row at a time."""
    shared = pyarrow.DictionaryArray.from_arrays([0] * 10_000, [b"\0" * 5_000_000])
    names = [f"{index}.png" for index in range(10_000)]
    table = pyarrow.table({"name": names, "bytes": shared}).cast(
        pyarrow.schema({"name": "string", "bytes": shared.type})
    )
    parquet.write_table(
        table,
        tmp_path / "x.parquet",
        compression="zstd",
        dictionary_pagesize_limit=1 << 30,
        store_schema=False,
    )
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    tables = open_tables([str(tmp_path / "x.parquet")], job)
    assert tables.count == 10_000
    pictures = tables.pictures()
    assert [len(next(pictures).data or b"") for _ in range(3)] == [5_000_000] * 3


def test_damaged_files_are_errors_of_ours(job: Job, tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    rows: dict[str, list[Any]] = {"name": ["a.png", "b.png", None], "bytes": [b"1", b"2", None]}
    whole = Path(written(file, rows)).read_bytes()
    random, refused = np.random.default_rng(0), 0
    for _ in range(300):
        data = bytearray(whole[: random.integers(1, 2 * len(whole))])
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(0, 256)
        file.write_bytes(data)
        try:
            list(open_tables([str(file)], job).pictures())
        except (InvalidImageError, UsageError):
            refused += 1
    assert refused > 200


def test_other_files_have_the_same_columns(job: Job, tmp_path: Path) -> None:
    one = written(tmp_path / "one.parquet", {"path": ["a.png"]})
    others: list[dict[str, list[Any]]] = [
        {"name": ["b.png"], "bytes": [b"1"]},
        {"path": [1]},
        {"x": [1]},
    ]
    for columns in others:
        other = written(tmp_path / "other.parquet", columns)
        with pytest.raises(UsageError, match=r"other\.parquet: "):
            open_tables([one, other], job)


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
