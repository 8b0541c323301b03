"""Engine calls: which faces share one, and which face may read which rows of the dictionary."""

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from runtime.backends.base import Boxes, Engine, Rows
from runtime.bundle.manifest import Manifest
from runtime.dictionary import SpecificDictionary
from runtime.errors import ClosedError, DictionaryError, DmdnetWarning, EngineError
from runtime.faces.finder import Crop
from runtime.images.arrays import Image


class EngineCalls:
    """Calls one engine with at most `max_batch` faces at a time; safe to share between threads.

    Where the bundle's graph does not isolate people, each call has the faces of one person only, or
    only faces without a dictionary, and a `DmdnetWarning` says so once.

    Attributes:
        likeness_remark: what to show beside identity distances of faces that the engine's weights
            restored; None: nothing is needed.
    """

    def __init__(self, engine: Engine, manifest: Manifest, max_batch: int) -> None:
        self._engine, self._manifest, self._max_batch = engine, manifest, max_batch
        self.likeness_remark = manifest.weights.likeness_remark
        self._said = threading.Lock()  # held from the one warning on
        self._closed = False
        # the same array at each call, so that a backend can keep it on its device
        self._rows_of: WeakKeyDictionary[SpecificDictionary, Rows] = WeakKeyDictionary()
        # the graph wants a row, even where nobody reads it
        columns = int(manifest.memorizer.outputs[0].shape[1])
        self._nobody: Rows = np.zeros((1, columns), manifest.dictionary_dtype)

    def restore(
        self, crops: Sequence[Crop], identities: Sequence[SpecificDictionary | None]
    ) -> list[Image]:
        """Restore faces in as many calls as they need. Returns RGB faces (512, 512, 3).

        `identities`: the dictionary of each face, or None.
        """
        people = {id(person): self.rows(person) for person in identities if person is not None}
        owners = [id(person) if person is not None else None for person in identities]
        restored: list[Image] = []
        for chunk in self._chunks(owners, people):
            restored += self._restore_chunk(
                [crops[index] for index in chunk], [owners[index] for index in chunk], people
            )
        return restored

    def memorize(self, crops: Sequence[Crop]) -> Rows:
        """Make a row of a dictionary from each reference."""
        starts = range(0, len(crops), self._max_batch)
        parts = [crops[start : start + self._max_batch] for start in starts]
        return np.concatenate([self._engine.memorize(*_stack(part)) for part in parts])

    def rows(self, person: SpecificDictionary) -> Rows:
        """A dictionary's rows as the engine reads them. Raises `DictionaryError` if it cannot."""
        self.refuse_closed()
        rows = self._rows_of.get(person)
        if rows is None:
            manifest, most = self._manifest, self._engine.max_references
            if most is not None and len(person) > most:
                raise DictionaryError(
                    f"the dictionary has {len(person)} references, the engine takes {most}; use "
                    f"some of them (`identity[:{most}]`), or build the engine or serve the bundle "
                    "with a larger --max-references"
                )
            rows = self._rows_of[person] = person.rows_for(
                manifest.dictionary_layout, manifest.weights.sha256, manifest.dictionary_dtype
            )
        return rows

    def close(self) -> None:
        """Free the engine; later calls raise `ClosedError`."""
        self._closed = True
        self._engine.close()

    def refuse_closed(self) -> None:
        """Raise `ClosedError` after `close`; for work that comes before the engine is called."""
        if self._closed:
            raise ClosedError

    def _chunks(
        self, owners: Sequence[int | None], people: Mapping[int, Rows]
    ) -> Iterator[list[int]]:
        """Faces that go into one engine call: by number, by all the rows they read, by person."""
        most = self._engine.max_references
        chunk: list[int] = []
        for index, owner in enumerate(owners):
            readers = {owners[i] for i in chunk} | {owner}
            rows = sum(len(people[person]) for person in readers if person is not None)
            full = len(chunk) == self._max_batch or (most is not None and rows > most)
            if chunk and (full or (len(readers) > 1 and not self._may_share())):
                yield chunk
                chunk = []
            chunk.append(index)
        if chunk:
            yield chunk

    def _may_share(self) -> bool:
        """Whether faces of several people may share a call; says once why they may not."""
        isolates = self._manifest.isolates_people
        if not isolates and self._said.acquire(blocking=False):
            warnings.warn(
                "this bundle's graph does not isolate people who share an engine call, so each "
                "person's faces go in calls of their own, which is slower; export the bundle again",
                DmdnetWarning,
                stacklevel=2,
            )
        return isolates

    def _restore_chunk(
        self, crops: Sequence[Crop], owners: Sequence[int | None], people: Mapping[int, Rows]
    ) -> list[Image]:
        """One engine call: everyone's rows below each other, and who may read which."""
        present = [owner for owner in people if owner in owners]
        if present:
            dictionaries = [people[owner] for owner in present]
            of_row = np.repeat(present, [len(rows) for rows in dictionaries])
            membership = np.array([[row == owner for row in of_row] for owner in owners])
        else:
            dictionaries, membership = [self._nobody], np.zeros((len(crops), 1))
        images, boxes = _stack(crops)
        restored = self._engine.restore(images, boxes, dictionaries, membership.astype(np.float32))
        if restored.shape != images.shape or restored.dtype != np.uint8:
            raise EngineError(
                f"the engine ({self._engine.description}) gave {restored.dtype} {restored.shape} "
                f"in place of uint8 {images.shape}"
            )
        return list(restored)


def _stack(crops: Sequence[Crop]) -> tuple[Image, Boxes]:
    return np.stack([c.image for c in crops]), np.stack([c.boxes for c in crops])
