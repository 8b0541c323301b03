"""Parquet files of pictures: a column `path` of paths or URLs, or columns `name` and `bytes`."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.archive.background import interruptibly
from runtime.archive.job import Job, Picture
from runtime.archive.outputs import check_outputs
from runtime.errors import InvalidImageError, UsageError
from runtime.redaction import public_name
from runtime.storage import locations as storage

_COLUMNS = (("path",), ("name", "bytes"))
_ROWS = 32  # that are read at a time, with their bytes


@dataclass(frozen=True)
class Tables:
    """Files, folders of files or URLs, which all have `columns`; `count` rows together."""

    paths: Sequence[str]
    columns: tuple[str, ...]
    count: int

    def pictures(self) -> Iterator[Picture]:
        """One after the other, a few at a time in memory.

        For a file that turns out to be damaged there is one with an error, after those of its rows
        that could be read; the other files are read all the same.
        """
        for fragment in interruptibly(_fragments, self.paths):
            try:
                for batch in _batches(fragment, self.columns, _ROWS):
                    yield from pictures_of(batch)
            except InvalidImageError as error:
                yield Picture(fragment.path, error=error)


def open_tables(paths: Sequence[str], job: Job) -> Tables:
    """Look at the files and at all names, see `check_outputs`.

    Raises `InvalidImageError` for what is no Parquet file or has no rows, `UsageError` for other
    columns, or two pictures with one output.
    """
    paths = [storage.local(path) for path in paths]
    columns = _columns(paths)
    key = columns[0]

    def names() -> Iterator[str]:
        for fragment in interruptibly(_fragments, paths):
            for batch in _batches(fragment, [key], 1 << 16):
                yield from _texts(batch[key])

    count = check_outputs(job, names)
    if not count:
        raise InvalidImageError(f"{public_name(', '.join(paths))}: no rows")
    return Tables(paths, columns, count)


def pictures_of(rows: Any) -> list[Picture]:
    """The pictures of some rows of Arrow, whose columns are `path`, or `name` and `bytes`."""
    if "path" in rows.schema.names:
        return [Picture(storage.local(name)) for name in _texts(rows["path"])]
    pairs = zip(_texts(rows["name"]), rows["bytes"], strict=True)
    return [Picture(name, data.as_py() or b"") for name, data in pairs]


def _texts(names: Any) -> Iterator[str]:
    """Names, "" where one is missing; bytes that are no text as the names of files have them."""
    binary = names.cast("large_binary" if str(names.type).startswith("large_") else "binary")
    return (os.fsdecode(name.as_py() or b"") for name in binary)


def _columns(paths: Sequence[str]) -> tuple[str, ...]:
    kinds = {field.name: field.type for field in interruptibly(_open, paths).schema}
    shown = ", ".join(paths)
    for columns in _COLUMNS:
        if set(columns) <= set(kinds):
            for name in columns:
                wanted = "binary" if name == "bytes" else "string"
                if str(kinds[name]).removeprefix("large_") != wanted:
                    raise UsageError(
                        f"{shown}: the column `{name}` must be {wanted}, not {kinds[name]}"
                    )
            return columns
    raise UsageError(
        f"{shown}: a column `path`, or `name` and `bytes`, is needed; there are "
        f"{', '.join(kinds) or 'none'}"
    )


def _fragments(paths: Sequence[str]) -> list[Any]:
    """The files of all paths, as pyarrow has them."""
    return list(_open(paths).get_fragments())


def _batches(fragment: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
    ahead = {"batch_readahead": 1, "fragment_readahead": 1}  # rows of bytes are large
    import pyarrow

    try:
        batches = fragment.to_batches(columns=list(columns), batch_size=rows, **ahead)
        while (batch := interruptibly(next, batches, None)) is not None:
            yield batch
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(fragment.path, error) from None


def _open(paths: Sequence[str]) -> Any:
    try:
        import pyarrow
        import pyarrow.dataset as parquet
    except ImportError:
        raise UsageError(
            f"{paths[0]}: Parquet needs pyarrow: install dmdnet-runtime[ray]"
        ) from None
    parts = []
    for path in paths:
        try:
            store = storage.store_of(path)
            inside = Path(path) if store is None else store._strip_protocol(path)
            parts.append(parquet.dataset(inside, filesystem=store, format="parquet"))
        except FileNotFoundError:
            raise InvalidImageError(f"{path}: no such file") from None
        except (pyarrow.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
    return parquet.dataset(parts)


def _unreadable(path: str, error: Exception) -> InvalidImageError:
    return InvalidImageError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())}")
