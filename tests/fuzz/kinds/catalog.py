"""All kinds of inputs, by name; each opens with a folder of its own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path

from tests.fuzz.rule import Kind

Opener = Callable[[Path], AbstractContextManager[Kind]]


def _late(module: str, name: str) -> Opener:
    """What a kind imports, torch for example, is imported when it is opened."""

    @contextmanager
    def open_kind(folder: Path) -> Iterator[Kind]:
        opener: Opener = getattr(import_module(f"tests.fuzz.kinds.{module}"), name)
        with opener(folder) as kind:
            yield kind

    return open_kind


KINDS: Mapping[str, Opener] = {
    name: _late(module, name)
    for module, names in {
        "bundles": ("manifests", "engine_records"),
        "dictionaries": ("dictionaries",),
        "pictures": ("pictures",),
        "landmarks": ("landmark_files", "landmarks", "detectors"),
        "triton": ("requests", "replies"),
        "downloads": ("downloads", "web_pictures"),
        "checkpoints": ("checkpoints",),
        "archives": ("archives",),
        "tables": ("tables",),
        "commands": ("commands",),
    }.items()
    for name in names
}
FAULTY: Mapping[str, Opener] = {
    name: _late("faulty", name) for name in ("faulty", "deadly", "hanging")
}
"""Kinds that break the rule, for the tests of what watches over it."""
