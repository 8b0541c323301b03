"""People who share an engine call, one of whom attacks the others with a dictionary.

An attacked face must have the bits that it has beside an honest dictionary of as many rows, where
the same arithmetic is done. Alone, the products have other sizes, and so are rounded otherwise:
there a difference is allowed, of 1 level, and of 5 where it can flip an INT8 rounding.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.studies.isolation import attacks, effects, queries
from runtime import Restorer, SpecificDictionary
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.dictionary import LARGEST
from runtime.images.arrays import Image
from runtime.samples.faces import sample_faces
from tests.conftest import BundleOf, Face, levels

pytestmark = pytest.mark.filterwarnings("ignore:a float16 bundle is slower on a CPU")
FROM_ALONE = {"fp32": 1, "fp16": 1, "int8": 5}


LONG = pytest.mark.long


@pytest.fixture(params=["fp32", pytest.param("fp16", marks=LONG), pytest.param("int8", marks=LONG)])
def attacked(request: pytest.FixtureRequest, bundle_of: BundleOf) -> Path:
    """A bundle of each precision."""
    return bundle_of(request.param)


def test_the_graph_alone_isolates_people(attacked: Path) -> None:
    """NaN, infinity, 3e38, and logits at the lowest number: what no dictionary may hold."""
    bundle = open_bundle(attacked)
    backend = open_backend(bundle, Choice("cpu"))
    for effect in effects(bundle, backend):
        assert effect.is_isolated, effect
        assert effect.from_theirs > 10, effect
        alone = max(effect.from_alone, effect.from_alone_without_dictionary)
        assert alone <= FROM_ALONE[bundle.manifest.precision], effect
    backend.close()


def test_an_attacker_in_the_same_call(attacked: Path, faces: list[Face]) -> None:
    """The attacker's face and two victims, known and unknown; numbers as dictionaries may hold."""
    (mine, my_points), (other, points) = faces
    images, boxes = sample_faces()
    with (
        Restorer(attacked, device="cpu") as alone,
        Restorer(attacked, device="cpu", max_batch=3) as together,
    ):
        honest = alone.memorize([mine, mine // 2], [my_points] * 2)
        theirs = alone.memorize([other], [points])
        graph = attacked / alone.manifest.restorer.file
        asked = [queries(graph, images[[face]], boxes[[face]]) for face in (0, 1)]
        made = attacks(honest.rows, *asked)

        def restore(rows: NDArray[np.floating]) -> list[Image]:
            person = SpecificDictionary(rows, honest.layout, honest.weights_sha256)
            pictures, landmarks = [mine, other, other], [my_points, points, points]
            return list(together.restore_batch(pictures, landmarks, [person, theirs, None]))

        _, *wanted = restore(honest.rows)
        apart = alone.restore_batch([other] * 2, [points] * 2, [theirs, None])
        allowed = FROM_ALONE[alone.manifest.precision]
        assert all(levels(a, b) <= allowed for a, b in zip(wanted, apart, strict=True))
        from_theirs = alone.restore_aligned(mine, my_points, theirs)
        for rows in (
            made["keys away from the own query"],
            made["keys towards the neighbour's query"],
            np.full_like(honest.rows, LARGEST),
        ):
            attacker, *victims = restore(rows)
            assert all(np.array_equal(a, b) for a, b in zip(victims, wanted, strict=True))
            assert levels(attacker, from_theirs) > 10


def test_a_strangers_picture_changes_nothing(attacked: Path, faces: list[Face]) -> None:
    """Nothing in the graph has a range, or a mean, over all faces of a call."""
    pictures, points = zip(*faces, strict=True)
    noise = np.random.default_rng(0).integers(0, 256, pictures[0].shape).astype(np.uint8)
    with Restorer(attacked, device="cpu", max_batch=2) as restorer:
        people = [restorer.memorize([pictures[1]], [points[1]])] * 2
        _, beside_a_face = restorer.restore_batch(pictures, points, people)
        _, beside_noise = restorer.restore_batch([noise, pictures[1]], points, people)
        assert np.array_equal(beside_a_face, beside_noise)
