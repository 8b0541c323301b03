"""Opening a bundle: its manifest is read, and every file is checked against it.

A bundle may come from a stranger. Only files that the manifest lists are read, and
only from inside the bundle's folder; a graph is checked again when it is loaded.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runtime.bundle.files import State, is_settled, state_of, wrong_with
from runtime.bundle.manifest import MANIFEST, Manifest
from runtime.bundle.onnx_files import external_files
from runtime.bundle.typed_json import read_text
from runtime.errors import BundleError

_LARGEST_GRAPH = 8 << 20
"""Largest ONNX file, without its weights, in bytes; ours have two million."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest.

    `verify`: files are checked by their hashes, not only by their sizes. `states`: the state of
    each file when it was hashed; while the state stays the same, it is not hashed again.
    """

    path: Path
    manifest: Manifest
    verify: bool = True
    states: Mapping[str, State] = field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def unaltered(self, graph: str) -> Iterator[Path]:
        """The ONNX file of "restorer" or "memorizer", to be loaded within the `with` block.

        Raises `BundleError` if a file of the graph is not what the manifest says, or is written to
        before the block ends.
        """
        files = self.manifest.files_of(graph)
        before = {name: state_of(self.path / name) for name in files}
        for name, record in files.items():
            known = before[name] is not None and before[name] == self.states.get(name)
            _check(
                self.path, name, record.size, record.sha256 if self.verify and not known else None
            )
        yield self.path / next(iter(files))
        for name, state in before.items():
            if state_of(self.path / name) != state:
                raise BundleError(f"{self.path / name}: altered while it was being loaded")


def open_bundle(path: str | Path, verify: bool = True) -> Bundle:
    """Read a bundle's manifest and check its files: sizes always, SHA-256 if `verify`.

    Raises `BundleError` that names the missing, truncated or altered file, a graph that reads files
    that the manifest does not list for it, or a link that leads out of the folder.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    states = {}
    for name, record in manifest.files.items():
        state = state_of(path / name)
        if verify and state is not None and is_settled(state):  # before it is hashed
            states[name] = state
        _check(path, name, record.size, record.sha256 if verify else None)
    for graph in ("restorer", "memorizer"):
        _refuse_unlisted(path, manifest, graph, verify)
    return Bundle(path, manifest, verify, states)


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    try:
        if not path.exists():
            raise BundleError(f"{path}: no such bundle; make one with dmd-export")
        if not path.is_dir():
            raise BundleError(f"{path}: a file, but a bundle is a folder")
        if not file.exists():
            raise BundleError(f"{file}: missing; is {path} a bundle?")
        _check(path, MANIFEST, None, None)
        return Manifest.from_json(read_text(file))
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"{file}: not a manifest: {error}; export again") from None


def _check(folder: Path, name: str, size: int | None, sha256: str | None) -> None:
    if wrong := wrong_with(folder, name, size, sha256):
        raise BundleError(f"{folder / name}: {wrong}; export again")


def _refuse_unlisted(folder: Path, manifest: Manifest, graph: str, verify: bool) -> None:
    """Raise `BundleError` if an ONNX file names other files than the manifest lists for it."""
    name, *listed = manifest.files_of(graph)
    path, record = folder / name, manifest.files[name]
    if record.size > _LARGEST_GRAPH:
        raise BundleError(
            f"{path}: {record.size} bytes, but a graph has {_LARGEST_GRAPH >> 20} MiB at most and "
            "its weights in a file beside it; export again"
        )
    try:
        model = path.read_bytes()
        if verify and hashlib.sha256(model).hexdigest() != record.sha256:
            raise BundleError(f"{path}: altered (its SHA-256 differs); export again")
        strange = external_files(model) - set(listed)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}; export again") from None
    if strange:
        raise BundleError(
            f"{path}: it reads {min(strange)[:200]!r}, which the manifest does not list as a file "
            "of this graph; export again"
        )
