"""A person's specific dictionary: what the memorizer keeps of a few good photographs."""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import columns_of
from runtime.bundle.weights import weights_name
from runtime.errors import DictionaryError
from runtime.storage.local import write_atomically

LARGEST = 65504.0
"""No number of a dictionary is larger, nor smaller than its negative: it is float16's largest."""

_FORMAT = "dmdnet-specific-dictionary"
_VERSION = "1"
_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_FILE = 4 << 30
"""Bytes of a dictionary's file at most: some 1,200 references in float32."""


@dataclass(frozen=True, eq=False)
class SpecificDictionary:
    """What the network remembers of one person, from a few good photographs.

    `Restorer.memorize` makes it, and its file is read by any bundle of the same weights. It holds
    features of a face, from which a likeness can be computed, though no picture: treat it as
    personal data.

    Args:
        rows: float32 or float16 (K, D), one row a reference; read-only. No magnitude is over 65504.
        layout: what the D columns are (`dictionary_layout` in the manifest).
        weights_sha256: the SHA-256 of the weights that made the rows; no others can read them.

    Raises `DictionaryError` when the parts do not fit together.
    """

    rows: NDArray[np.floating]
    layout: str
    weights_sha256: str

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
        view = rows.view()
        view.setflags(write=False)
        object.__setattr__(self, "rows", view)

    def __len__(self) -> int:
        """Number of references."""
        return len(self.rows)

    def __getitem__(self, chosen: slice | Sequence[int]) -> "SpecificDictionary":
        """The dictionary of some references only: `alice[:3]`, `alice[[0, 4]]`.

        Raises `DictionaryError`.
        """
        try:
            rows = self.rows[chosen if isinstance(chosen, slice) else list(chosen)]
        except (IndexError, TypeError) as error:
            raise DictionaryError(f"no such references: {error}") from None
        return SpecificDictionary(rows, self.layout, self.weights_sha256)

    def merge(self, *others: "SpecificDictionary") -> "SpecificDictionary":
        """One dictionary with the rows of all, in order; all must come from the same weights.

        Raises `DictionaryError`.
        """
        for other in others:
            self._check_same("the dictionary to merge", other.weights_sha256, other.layout)
            if other.rows.dtype != self.rows.dtype:
                raise DictionaryError(
                    f"cannot merge {self.rows.dtype} rows with {other.rows.dtype} rows; "
                    "enrol both with the same bundle"
                )
        rows = np.concatenate([self.rows, *(other.rows for other in others)])
        return SpecificDictionary(rows, self.layout, self.weights_sha256)

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
        }
        data = safetensors.numpy.save({"rows": np.ascontiguousarray(self.rows)}, metadata)
        try:
            write_atomically(Path(path), data)
        except OSError as error:
            raise DictionaryError(f"{path}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: str | Path) -> "SpecificDictionary":
        """Read and check a file that `save` wrote, of 4 GiB at most.

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
                names = list(file.keys())
                rows = file.get_tensor("rows") if names == ["rows"] else np.empty(0)
        except FileNotFoundError:
            raise DictionaryError(f"{path}: no such dictionary file") from None
        except OSError as error:
            raise DictionaryError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (safetensors.SafetensorError, TypeError, AttributeError, ValueError) as error:
            raise DictionaryError(f"{path}: not a dictionary file: {str(error)[:200]}") from None
        if metadata.get("format") != _FORMAT or names != ["rows"]:
            raise DictionaryError(f"{path}: a safetensors file, but not of a specific dictionary")
        if metadata.get("format_version") != _VERSION:
            raise DictionaryError(
                f"{path}: format version {str(metadata.get('format_version'))[:20]}, this program "
                f"reads version {_VERSION}; update dmdnet-runtime or enrol again"
            )
        said = (metadata.get("references"), metadata.get("dtype"))
        if said != (str(len(rows)) if rows.ndim else None, str(rows.dtype)):
            raise DictionaryError(
                f"{path}: its metadata does not describe its numbers: {str(said)[:100]}"
            )
        try:
            return cls(rows, metadata.get("layout", ""), metadata.get("weights_sha256", ""))
        except DictionaryError as error:
            raise DictionaryError(f"{path}: {error}") from None

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
