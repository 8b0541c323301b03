"""A person's specific dictionary: what the memorizer keeps of a few good photographs."""

import re
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import columns_of
from runtime.bundle.weights import weights_name
from runtime.errors import DictionaryError, DmdnetWarning
from runtime.storage.local import write_atomically
from runtime.text import shown

LARGEST = 65504.0
"""No number of a dictionary is larger, nor smaller than its negative: it is float16's largest."""

_LONGEST_NAME = 255  # characters of a person's name
_FORMAT = "dmdnet-specific-dictionary"
_VERSION = "2"
_TENSORS = {"1": {"rows"}, _VERSION: {"rows", "vectors", "vector_rows"}}  # of each version
_VECTOR = 128  # numbers that say who a face is
_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_FILE = 4 << 30
"""Bytes of a dictionary's file at most: some 1,200 references in float32."""


@dataclass(frozen=True, eq=False)
class SpecificDictionary:
    """What the network remembers of one person, from a few good photographs.

    `Restorer.memorize` makes it, and its file is read by any bundle of the same weights. It holds
    features of a face, from which a likeness can be computed, though no picture, and numbers by
    which the person is recognised: treat it as personal and biometric data.

    Args:
        rows: float32 or float16 (K, D), one row a reference; read-only. No magnitude is over 65504.
        layout: what the D columns are (`dictionary_layout` in the manifest).
        weights_sha256: the SHA-256 of the weights that made the rows; no others can read them.
        name: the person's, one line of 255 characters at most; "" if it is unknown.
        vectors: float32 (R, 128), who the person is by the R references that are sharp; read-only.
            Default: none, so that nobody is recognised by the dictionary.
        vector_rows: the R rows that the vectors belong to, ascending; default: the first R.

    Raises `DictionaryError` when the parts do not fit together.
    """

    rows: NDArray[np.floating] = field(repr=False)
    layout: str
    weights_sha256: str
    name: str = ""
    # None is for the constructor only: `__post_init__` puts what it stands for
    vectors: NDArray[np.float32] = field(default=None, repr=False)  # type: ignore[arg-type]
    vector_rows: tuple[int, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        rows = self.rows
        if not isinstance(rows, np.ndarray) or rows.dtype not in _DTYPES or rows.ndim != 2:
            raise DictionaryError("dictionary rows must be a float32 or float16 array (K, D)")
        columns = _columns(self.layout)
        if not isinstance(self.weights_sha256, str) or not _SHA256.fullmatch(self.weights_sha256):
            raise DictionaryError(
                f"not the SHA-256 of weights: {str(self.weights_sha256)[:80]!r}; enrol again"
            )
        if rows.shape[1] != columns or not rows.size:
            raise DictionaryError(
                f"dictionary rows have shape {rows.shape}; the layout wants (K, {columns}), K > 0"
            )
        _check_numbers(rows)
        check_name(self.name)
        vectors = np.empty((0, _VECTOR), np.float32) if self.vectors is None else self.vectors
        _check_vectors(vectors)
        of = range(len(vectors)) if self.vector_rows is None else self.vector_rows
        of = _checked_vector_rows(of, len(vectors), len(rows))
        object.__setattr__(self, "rows", _read_only(rows))
        object.__setattr__(self, "vectors", _read_only(vectors))
        object.__setattr__(self, "vector_rows", of)

    def __len__(self) -> int:
        """Number of references."""
        return len(self.rows)

    def __getitem__(self, chosen: slice | Sequence[int]) -> "SpecificDictionary":
        """The dictionary of some references only: `alice[:3]`, `alice[[0, 4]]`.

        Raises `DictionaryError`.
        """
        which: slice | list[int] = chosen if isinstance(chosen, slice) else list(chosen)
        try:
            rows, before = self.rows[which], np.arange(len(self.rows))[which].tolist()
            if rows.ndim != self.rows.ndim:
                raise IndexError("a slice or a list of numbers is needed")
        except (IndexError, TypeError) as error:
            raise DictionaryError(f"no such references: {error}") from None
        vector_of = {row: vector for vector, row in enumerate(self.vector_rows)}
        of = tuple(row for row, old in enumerate(before) if old in vector_of)
        vectors = self.vectors[[vector_of[before[row]] for row in of]]
        return SpecificDictionary(rows, self.layout, self.weights_sha256, self.name, vectors, of)

    def merge(self, *others: "SpecificDictionary") -> "SpecificDictionary":
        """One dictionary with the references of all, in order; all must be of the same weights.

        Its name is the first that one of them has.

        Raises `DictionaryError`.
        """
        for other in others:
            self._check_same("the dictionary to merge", other.weights_sha256, other.layout)
            if other.rows.dtype != self.rows.dtype:
                raise DictionaryError(
                    f"cannot merge {self.rows.dtype} rows with {other.rows.dtype} rows; "
                    "enrol both with the same bundle"
                )
        all_of_them = (self, *others)
        rows = np.concatenate([each.rows for each in all_of_them])
        vectors = np.concatenate([each.vectors for each in all_of_them])
        name = next((each.name for each in all_of_them if each.name), "")
        of: list[int] = []
        start = 0
        for each in all_of_them:
            of += [start + row for row in each.vector_rows]
            start += len(each)
        return SpecificDictionary(rows, self.layout, self.weights_sha256, name, vectors, tuple(of))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises `DictionaryError` where it cannot be written.
        """
        import safetensors.numpy

        metadata = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "layout": self.layout,
            "weights_sha256": self.weights_sha256,
            "references": str(len(self.rows)),
            "dtype": str(self.rows.dtype),
            "name": self.name,
        }
        tensors = {
            "rows": np.ascontiguousarray(self.rows),
            "vectors": np.ascontiguousarray(self.vectors),
            "vector_rows": np.array(self.vector_rows, np.int64),
        }
        data = safetensors.numpy.save(tensors, metadata)
        try:
            write_atomically(Path(path), data)
        except OSError as error:
            raise DictionaryError(f"{path}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: str | Path) -> "SpecificDictionary":
        """Read and check a file that `save` wrote, of 4 GiB at most.

        One of an older release holds no vectors, and a `DmdnetWarning` says so once.

        Raises `DictionaryError`, which names the file.
        """
        import safetensors

        path = Path(path)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise DictionaryError(f"{path}: not a dictionary file: not a regular file")
            if found.st_size > _LARGEST_FILE:
                raise DictionaryError(
                    f"{path}: {found.st_size >> 20} MiB; a dictionary "
                    f"has {_LARGEST_FILE >> 20} MiB at most"
                )
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                version, names = metadata.get("format_version", ""), set(file.keys())
                whole = names == _TENSORS.get(version)
                tensors = {name: file.get_tensor(name) for name in names if whole}
        except FileNotFoundError:
            raise DictionaryError(f"{path}: no such dictionary file") from None
        except OSError as error:
            raise DictionaryError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (safetensors.SafetensorError, TypeError, AttributeError, ValueError) as error:
            raise DictionaryError(f"{path}: not a dictionary file: {str(error)[:200]}") from None
        ours = metadata.get("format") == _FORMAT
        if ours and version not in _TENSORS:
            raise DictionaryError(
                f"{path}: format version {version[:20]}, this program reads versions "
                f"{' and '.join(_TENSORS)}; update dmdnet-runtime or enrol again"
            )
        if not ours or not whole:
            raise DictionaryError(f"{path}: a safetensors file, but not of a specific dictionary")
        rows = tensors["rows"]
        said = (metadata.get("references"), metadata.get("dtype"))
        if said != (str(len(rows)) if rows.ndim else None, str(rows.dtype)):
            raise DictionaryError(
                f"{path}: its metadata does not describe its numbers: {str(said)[:100]}"
            )
        try:
            person = cls(
                rows,
                metadata.get("layout", ""),
                metadata.get("weights_sha256", ""),
                metadata.get("name", ""),
                tensors.get("vectors", np.empty((0, _VECTOR), np.float32)),
                _indices(tensors["vector_rows"]) if "vector_rows" in tensors else (),
            )
        except DictionaryError as error:
            raise DictionaryError(f"{path}: {error}") from None
        if version != _VERSION:
            warnings.warn(
                f"{path}: of an older release, without what recognises the person; enrol again "
                "for recognition",
                DmdnetWarning,
                stacklevel=1,  # here, so that Python says it once a file, whoever loads it
            )
        return person

    def rows_for(self, layout: str, weights_sha256: str, dtype: np.dtype) -> NDArray[np.floating]:
        """The rows in the `dtype` that a bundle of these weights and this layout reads.

        Raises `DictionaryError` where the weights or the layout are others.
        """
        self._check_same("the bundle", weights_sha256, layout)
        return self.rows.astype(dtype, copy=False)

    def _check_same(self, whose: str, weights_sha256: str, layout: str) -> None:
        if weights_sha256 != self.weights_sha256:
            raise DictionaryError(
                f"the dictionary was made with {weights_name(self.weights_sha256)}, but {whose} "
                f"has {weights_name(weights_sha256)}; enrol the person again"
            )
        if layout != self.layout:
            raise DictionaryError(f"the dictionary's layout differs from that of {whose}")


def check_name(name: str) -> None:
    """Raise `DictionaryError` if this cannot be a person's name; "" stands for an unknown one."""
    if not isinstance(name, str) or name != shown(name).strip() or len(name) > _LONGEST_NAME:
        raise DictionaryError(
            f"a person's name must be one line of {_LONGEST_NAME} characters at most, without "
            f"control characters and spaces around it, not {str(name)[:80]!r}"
        )


def name_of_file(path: Path) -> str:
    """The name that a person has by the name of the dictionary's file."""
    return shown(path.stem)[:_LONGEST_NAME].strip()


def _check_vectors(vectors: NDArray[np.float32]) -> None:
    """The message holds no number of a face, as messages may be kept."""
    right = isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
    if not right or vectors.ndim != 2 or vectors.shape[1] != _VECTOR:
        raise DictionaryError(
            f"the vectors of a face must be a float32 array (R, {_VECTOR}); enrol again"
        )
    if not (np.isfinite(vectors).all() and np.abs(vectors).max(initial=0) <= LARGEST):
        raise DictionaryError(
            "the vectors of a face hold numbers that are not finite or too large; enrol again"
        )


def _checked_vector_rows(of: Sequence[int], vectors: int, rows: int) -> tuple[int, ...]:
    if not isinstance(of, Sequence) or not all(isinstance(row, int) for row in of):
        raise DictionaryError("the rows of the vectors of a face must be whole numbers")
    bounds = [-1, *of, rows]
    if len(of) != vectors or any(low >= high for low, high in pairwise(bounds)):
        raise DictionaryError(
            f"the vectors of a face do not belong to the references: {vectors} vectors of "
            f"{len(of)} references, which must be ascending and under {rows}; enrol again"
        )
    return tuple(of)


def _indices(tensor: NDArray[np.int64]) -> tuple[int, ...]:
    """A file's `vector_rows`."""
    if tensor.dtype != np.int64 or tensor.ndim != 1:
        raise DictionaryError("the rows of the vectors of a face must be int64 (R,); enrol again")
    return tuple(tensor.tolist())


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.setflags(write=False)
    return view


def _check_numbers(rows: NDArray[np.floating]) -> None:
    low, high = rows.min(), rows.max()  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DictionaryError("the dictionary holds numbers that are not finite; enrol again")
    if low < -LARGEST or high > LARGEST:
        raise DictionaryError(
            f"the dictionary holds numbers from {low:g} to {high:g}, and {LARGEST:g} is the "
            "largest magnitude that it may hold; enrol again"
        )


def _columns(layout: str) -> int:
    """Numbers in a row, from a layout's text: `256.le.key:16x40x40 256.le.value:...`."""
    if not isinstance(layout, str):
        raise DictionaryError(f"a dictionary's layout must be text, not {type(layout).__name__}")
    try:
        return columns_of(layout)
    except ValueError as error:
        raise DictionaryError(f"{error}; enrol again") from None
