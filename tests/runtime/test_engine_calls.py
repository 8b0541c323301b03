"""Whose faces share an engine call, by what the bundle says of its graph."""

import dataclasses
import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from runtime import DmdnetWarning, Restorer, SpecificDictionary
from runtime.bundle.manifest import MANIFEST, Manifest
from runtime.bundle.opening import open_bundle
from tests.conftest import Face
from tests.fakes.engines import FakeEngine


@pytest.fixture
def old_bundle(bundle: Path, tmp_path: Path) -> Path:
    """As an earlier version wrote it: its manifest does not know of `isolates_people`."""
    folder = tmp_path / "old"
    shutil.copytree(bundle, folder)
    content = json.loads((folder / MANIFEST).read_text())
    del content["isolates_people"], content["manifest_sha256"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def test_bundles_say_whether_their_graph_isolates_people(bundle: Path, old_bundle: Path) -> None:
    new, old = (open_bundle(path).manifest for path in (bundle, old_bundle))
    assert new.isolates_people
    assert not old.isolates_people
    assert (
        Manifest.from_json(old.to_json()) == old == dataclasses.replace(new, isolates_people=False)
    )


def test_people_share_calls_of_a_graph_that_isolates_them(
    bundle: Path, faces: list[Face], alice: SpecificDictionary, bob: SpecificDictionary
) -> None:
    assert calls_of(bundle, faces, [alice, None, bob, bob, None]) == [4, 1]


def test_they_do_not_where_it_does_not(
    old_bundle: Path, faces: list[Face], alice: SpecificDictionary, bob: SpecificDictionary
) -> None:
    """Nor does a person with nobody known; it is said once in a Restorer's life."""
    with pytest.warns(DmdnetWarning, match="export the bundle again") as said:
        assert calls_of(old_bundle, faces, [alice, alice, None, bob, bob, None]) == [2, 1, 2, 1]
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody was kept apart: nothing to say
        assert calls_of(old_bundle, faces, [bob] * 5) == [4, 1]
        assert calls_of(old_bundle, faces, [alice, None, bob], max_batch=1) == [1, 1, 1]


def calls_of(
    bundle: Path,
    faces: list[Face],
    people: list[SpecificDictionary | None],
    max_batch: int = 4,
) -> list[int]:
    """Faces in each engine call when they are restored twice; both times must be alike."""
    engine = FakeEngine(lambda image: 255 - image, max_batch=max_batch)
    pictures, points = zip(*(faces * len(people))[: len(people)], strict=True)
    with Restorer(bundle, engine=engine) as restorer:
        for _ in range(2):
            out = restorer.restore_batch(pictures, points, people)
            assert all(np.array_equal(a, 255 - b) for a, b in zip(out, pictures, strict=True))
    half = len(engine.calls) // 2
    assert engine.calls[:half] == engine.calls[half:]
    return engine.calls[:half]
