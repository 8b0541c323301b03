"""Parquet files of pictures: a column `path` of paths or URLs, or columns `name` and `bytes`."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from runtime.archive.job import Job, Picture
from runtime.archive.outputs import check_outputs
from runtime.errors import InvalidImageError, UsageError
from runtime.redaction import public_name
from runtime.scheduling.background import interruptibly
from runtime.storage import locations as storage

_COLUMNS = (("path",), ("name", "bytes"))
# what Arrow raises for a damaged file, beside its own
_DAMAGED = (OSError, ValueError, TypeError, LookupError, NotImplementedError)
_BUFFER = 1 << 20  # bytes that are read of a file at a time


_T = TypeVar("_T")


@dataclass(frozen=True)
class Tables:
    """Parquet files, folders of them, or URLs: all have `columns`, and `count` rows together."""

    paths: Sequence[str]
    columns: tuple[str, ...]
    count: int

    def pictures(self) -> Iterator[Picture]:
        """The pictures, one after the other; in memory is one page of a table, of 2 GiB at most.

        A file that turns out to be damaged gives one picture with an error, after those of its
        rows that could be read; the other files are read all the same.
        """
        rows = 1 if "bytes" in self.columns else 1 << 10
        for file, store in interruptibly(_files, self.paths):
            try:
                for pictures in _batches(file, store, self.columns, rows, pictures_of):
                    yield from pictures
            except InvalidImageError as error:
                yield Picture(file, error=error)


def open_tables(paths: Sequence[str], job: Job) -> Tables:
    """Open Parquet files, and check the names of all pictures in them; see `check_outputs`.

    Raises `InvalidImageError` for a file that is not Parquet or has no rows, `UsageError` for other
    columns, or two pictures with one output.
    """
    paths = [storage.local(path) for path in paths]
    columns = _columns(paths)
    key = columns[0]

    def names() -> Iterator[str]:
        for file, store in interruptibly(_files, paths):
            for texts in _batches(file, store, [key], 1 << 16, lambda rows: _texts(rows[key])):
                yield from texts

    count = check_outputs(job, names, "bytes" in columns)
    if not count:
        raise InvalidImageError(f"{_shown(paths)}: no rows")
    return Tables(paths, columns, count)


def pictures_of(rows: Any) -> list[Picture]:
    """The pictures of some rows of Arrow, whose columns are `path`, or `name` and `bytes`."""
    if "path" in rows.schema.names:
        return [Picture(storage.local(name)) for name in _texts(rows["path"])]
    pairs = zip(_texts(rows["name"]), rows["bytes"], strict=True)
    return [Picture(name, data.as_py() or b"") for name, data in pairs]


def _texts(names: Any) -> list[str]:
    """Names, "" where one is missing; bytes that are no text as the names of files have them."""
    if not hasattr(names, "dictionary"):
        return _decoded(names)
    used = names.indices.unique().drop_null()
    found = dict(zip(used.to_pylist(), _decoded(names.dictionary.take(used)), strict=True))
    return [found.get(place, "") for place in names.indices.to_pylist()]


def _decoded(texts: Any) -> list[str]:
    binary = texts.cast("large_binary" if str(texts.type).startswith("large_") else "binary")
    return [os.fsdecode(name or b"") for name in binary.to_pylist()]


def _columns(paths: Sequence[str]) -> tuple[str, ...]:
    files = interruptibly(_files, paths)
    if not files:
        raise InvalidImageError(f"{_shown(paths)}: no Parquet file")
    file, store = files[0]
    with _opened(file, store) as table:
        return _wanted(table, file)


def _wanted(table: Any, file: str) -> tuple[str, ...]:
    """Which of the two sets of columns a file has. Raises `UsageError`."""
    kinds = {field.name: str(field.type) for field in table.schema_arrow}
    for columns in _COLUMNS:
        if set(columns) <= set(kinds):
            for name in columns:
                wanted, kind = "binary" if name == "bytes" else "string", kinds[name]
                if _plain(kind) != wanted:
                    raise UsageError(
                        f"{public_name(file)}: the column `{name}` must be {wanted}, not {kind}"
                    )
            return columns
    raise UsageError(
        f"{public_name(file)}: a column `path`, or `name` and `bytes`, is needed; there are "
        f"{', '.join(kinds) or 'none'}"
    )


def _plain(kind: str) -> str:
    """An Arrow type without how a file happens to store it."""
    found = re.fullmatch(r"dictionary<values=(\w+), .*>", kind)
    return (found[1] if found else kind).removeprefix("large_")


def _batches(
    file: str, store: Any, columns: Sequence[str], rows: int, convert: Callable[[Any], _T]
) -> Iterator[_T]:
    """Batches of a file, as `convert` makes something of them.

    A name that many rows share is in memory once.
    """
    with _opened(file, store) as table:
        if not set(columns) <= set(_wanted(table, file)):
            raise UsageError(f"{public_name(file)}: its columns are not those of the other files")
    with _opened(file, store, columns[0]) as table:
        batches = table.iter_batches(rows, columns=list(columns))
        while (batch := interruptibly(next, batches, None)) is not None:
            yield convert(batch)


@contextmanager
def _opened(file: str, store: Any, shared: str | None = None) -> Iterator[Any]:
    """A Parquet file, of which the column `shared` is read as the different values that it has."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # without buffers of whole columns: a small file may unfold to a large one
        table = interruptibly(
            partial(
                ParquetFile,
                file,
                filesystem=store,
                read_dictionary=[shared] if shared else None,
                pre_buffer=False,
                buffer_size=_BUFFER,
            )
        )
        with table:
            yield table
    except (pyarrow.ArrowException, *_DAMAGED) as error:
        raise _unreadable(file, error) from None


def _files(paths: Sequence[str]) -> list[tuple[str, Any]]:
    """The Parquet files of files and folders, each with Arrow's file system for it."""
    try:
        import pyarrow
        import pyarrow.dataset as parquet
    except ImportError:
        raise UsageError(
            f"{public_name(paths[0])}: Parquet needs pyarrow; install dmdnet-runtime[ray]"
        ) from None
    files: list[tuple[str, Any]] = []
    for path in paths:
        try:
            store = storage.store_of(path)
            inside = Path(path) if store is None else store._strip_protocol(path)
            found = parquet.dataset(inside, filesystem=store, format="parquet")
        except FileNotFoundError:
            raise InvalidImageError(f"{public_name(path)}: no such file") from None
        except (pyarrow.ArrowException, *_DAMAGED) as error:
            raise _unreadable(path, error) from None
        files += [(file, found.filesystem) for file in found.files]
    return files


def _unreadable(path: str, error: Exception) -> InvalidImageError:
    text = " ".join(str(error).split())
    return InvalidImageError(f"{public_name(path)}: cannot be read as Parquet: {text}")


def _shown(paths: Sequence[str]) -> str:
    return ", ".join(map(public_name, paths))
