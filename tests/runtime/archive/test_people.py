"""People in an archive: the same results as by hand, byte for byte, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Restored, RestoreOptions, Restorer, SpecificDictionary
from runtime.archive.job import Job, Outcome, Picture
from runtime.archive.local import restore_archive
from runtime.archive.outputs import check_inputs
from runtime.bundle.weights import TRAINED_FOR
from runtime.errors import DictionaryError, UsageError
from runtime.people.recognition import Recognizer
from tests.conftest import SAMPLES, Face, picture

PHOTOS = SAMPLES / "photos"


@pytest.fixture(scope="module")
def people(
    restorer: Restorer, faces: list[Face], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The two samples, each enrolled from one picture; Bob's name is that of his file."""
    folder = tmp_path_factory.mktemp("people")
    for name, given, (image, points) in (("alice", "Alice", faces[0]), ("bob", "", faces[1])):
        dictionary = restorer.memorize([image], [points], name=given)
        assert dictionary.vectors.shape == (1, 128)
        dictionary.save(folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("alice", "bob")}


@pytest.fixture(scope="module")
def both() -> NDArray[np.uint8]:
    """Alice at the left, Bob at the right."""
    one, other = picture(PHOTOS / "astronaut.png"), picture(PHOTOS / "grace_hopper.jpg")
    return np.hstack([one, other[: len(one)]])


def done(job: Job, picture: NDArray[np.uint8], name: str = "both.png") -> Outcome:
    (outcome,) = restore_archive(job, [Picture(name, cv2.imencode(".png", picture)[1].tobytes())])
    assert outcome.error is None
    return outcome


def test_an_archive_by_its_people(
    restorer: Restorer,
    people: dict[str, Path],
    both: NDArray[np.uint8],
    bundle: Path,
    tmp_path: Path,
) -> None:
    """The result is that of `identities=`, byte for byte; strangers get nobody's dictionary."""
    alice = SpecificDictionary.load(people["alice"])
    job = Job(bundle, str(tmp_path / "out"), device="cpu", people=(people["alice"],))
    outcome = done(job, both)
    assert outcome.faces is not None
    found = restorer.detect(both)
    left = min(range(len(found)), key=lambda index: float(found[index].box[0]))
    by_hand = restorer.restore(both, identities={left: alice})
    assert (picture(tmp_path / "out" / "both.png") == by_hand.image).all()
    assert (by_hand.image != restorer.restore(both).image).any()

    names = [face["name"] for face in outcome.faces]
    assert names == ["Alice" if index == left else None for index in range(len(found))]
    face = outcome.faces[left]
    assert face["distance"] < 0.4
    assert (face["runner_up"], face["threshold"], face["guess"]) == (None, 0.57, None)
    assert face["likeness"]["before"] == face["distance"]
    assert 0 < face["likeness"]["after"] < 1.2
    assert face["likeness"]["remark"] == TRAINED_FOR
    stranger = next(each for index, each in enumerate(outcome.faces) if index != left)
    assert stranger["likeness"] is None
    assert stranger["distance"] > 0.63
    assert outcome.seconds is not None
    assert {"recognize", "likeness"} <= set(outcome.seconds)


def test_from_python_too(
    restorer: Restorer, people: dict[str, Path], both: NDArray[np.uint8]
) -> None:
    known = [SpecificDictionary.load(file) for file in people.values()]
    known[1] = replace(known[1], name="bob")
    result = restorer.restore(both, people=known)
    by_name = {face.name: index for index, face in enumerate(result.faces)}
    assert {"Alice", "bob"} <= set(by_name)
    hands = {by_name["Alice"]: known[0], by_name["bob"]: known[1]}
    by_hand = restorer.restore(both, identities=hands)
    assert (by_hand.image == result.image).all()
    assert [face.likeness for face in by_hand.faces] == [face.likeness for face in result.faces]
    (again,) = restorer.restore_photos([both], options=RestoreOptions(people=known))
    assert isinstance(again, Restored)
    assert (again.image == result.image).all()
    detected = restorer.detect(both)
    assert [(face.name, face.likeness) for face in detected] == [(None, None)] * len(detected)

    swapped = restorer.restore(both, people=known, identities={by_name["bob"]: known[0]})
    names = [face.name for face in swapped.faces]
    assert names[by_name["bob"]] == "Alice", "what is given by hand goes before"
    assert names[by_name["Alice"]] is None, "and nobody is in a photo twice"
    everyone = restorer.restore(both, known[1], people=known)
    assert (everyone.image == restorer.restore(both, known[1]).image).all()


def test_aligned_faces_by_their_people(
    people: dict[str, Path], faces: list[Face], bundle: Path, tmp_path: Path
) -> None:
    job = Job(bundle, str(tmp_path), device="cpu", people=tuple(people.values()), aligned=True)
    outcome = done(job, faces[1][0], "face.png")
    assert outcome.faces is not None
    assert [face["name"] for face in outcome.faces] == ["bob"]


def test_strength_in_an_archive(both: NDArray[np.uint8], bundle: Path, tmp_path: Path) -> None:
    job = Job(bundle, str(tmp_path), device="cpu", options=RestoreOptions(strength=0.0))
    done(job, both)
    assert (picture(tmp_path / "both.png") == both).all()


def test_people_that_cannot_be(
    restorer: Restorer, people: dict[str, Path], bundle: Path, tmp_path: Path
) -> None:
    alice = SpecificDictionary.load(people["alice"])
    other = replace(alice, weights_sha256="1" * 64)
    other.save(tmp_path / "other.safetensors")
    job = Job(bundle, str(tmp_path / "out"), device="cpu")
    with pytest.raises(DictionaryError, match=r"other\.safetensors: .*1{64}"):
        replace(job, people=(tmp_path / "other.safetensors",)).check()
    alice.save(tmp_path / "again.safetensors")
    twice = replace(job, people=(people["alice"], tmp_path / "again.safetensors"))
    with pytest.raises(UsageError, match="both have the name Alice"):
        twice.check()
    with pytest.raises(UsageError, match=r"Job\.people"):
        replace(job, options=RestoreOptions(people=[alice])).check()
    with pytest.raises(DictionaryError, match=r"^Alice: .*1{64}"):
        restorer.restore(np.zeros((64, 64, 3), np.uint8), people=[other])


def test_nobody_is_recognised_for_an_image_alone(
    restorer: Restorer,
    people: dict[str, Path],
    faces: list[Face],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take longer than the network on a GPU."""
    alice, (face, points) = SpecificDictionary.load(people["alice"]), faces[0]
    (whole,) = restorer.restore_faces([face], [points], [alice])
    assert isinstance(whole, Restored)
    assert whole.faces[0].likeness is not None

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Recognizer, "describe", never)
    assert (restorer.restore_aligned(face, points, alice) == whole.image).all()


def test_people_are_inputs(people: dict[str, Path], bundle: Path) -> None:
    """Nothing is written over a person's file, not even the report."""
    job = Job(bundle, "out", people=tuple(people.values()), report=people["bob"])
    with pytest.raises(UsageError, match=r"would be written over the input .*bob\.safetensors"):
        check_inputs(job, ["photo.jpg"])
