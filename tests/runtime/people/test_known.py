"""People as an app gives them, and their files; what is wrong with them is one clear line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import DictionaryError, DmdnetError, RestoreOptions, SpecificDictionary, UsageError
from runtime.people.known import load_people, people_files
from tests.runtime.people.making import known_person

ALICE, BOB = known_person(0, "alice"), known_person(1, "bob")
NO_VECTORS = SpecificDictionary(ALICE.rows, ALICE.layout, ALICE.weights_sha256, "carol")


def test_folders_and_files(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "a.safetensors")
    BOB.save(tmp_path / "b.safetensors")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more").mkdir()
    files = people_files([tmp_path, tmp_path / "a.safetensors", tmp_path / "." / "b.safetensors"])
    assert [file.name for file in files] == ["a.safetensors", "b.safetensors"]
    people = load_people(files)
    assert [person.name for person in people] == ["alice", "bob"]
    np.testing.assert_array_equal(people[1].vectors, BOB.vectors)
    with pytest.raises(UsageError, match=r"more: no dictionaries \(NAME.safetensors\) in this"):
        people_files([tmp_path / "more"])
    with pytest.raises(DictionaryError, match=r"none\.safetensors: no such"):
        load_people(people_files([tmp_path / "none.safetensors"]))


def test_a_file_without_a_name_has_that_of_the_file(tmp_path: Path) -> None:
    replace(ALICE, name="").save(tmp_path / "grandma.safetensors")
    (person,) = load_people([tmp_path / "grandma.safetensors"])
    assert person.name == "grandma"


def test_files_that_cannot_be_told_apart(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "a.safetensors")
    replace(BOB, name="alice").save(tmp_path / "b.safetensors")
    NO_VECTORS.save(tmp_path / "c.safetensors")
    with pytest.raises(UsageError, match=r"a\.safetensors and .*b\.safetensors both have the name"):
        load_people(people_files([tmp_path]))
    with pytest.raises(DictionaryError, match=r"c\.safetensors: .*carol has no vectors"):
        load_people([tmp_path / "c.safetensors"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"people": [NO_VECTORS]}, "dictionary of carol has no vectors"),
        ({"people": [ALICE, replace(BOB, name="alice")]}, "two dictionaries have the name alice"),
        ({"people": [ALICE, replace(BOB, name="")]}, "dictionary 1 has no name"),
        ({"people": ["alice"]}, "not of str"),
        ({"people": ALICE}, "of dictionaries, not a SpecificDictionary"),
        ({"strength": 10**400}, "strength must be a number from 0 to 1"),
        ({"people_threshold": 1.1}, "people_threshold must be a number from 0 to 1, not 1.1"),
        ({"people_threshold": -0.1}, "people_threshold must be"),
        ({"people_threshold": float("nan")}, "people_threshold must be"),
        ({"people_threshold": "0.5"}, "people_threshold must be"),
        ({"strength": 1.5}, "strength must be a number from 0 to 1, not 1.5"),
        ({"strength": {0: 0.5, 1: -1}}, "strength must be a number from 0 to 1, not -1"),
    ],
)
def test_options_that_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(DmdnetError, match=says) as raised:
        RestoreOptions(**options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_options_that_are_right() -> None:
    options = RestoreOptions(people=[ALICE, BOB], people_threshold=0, strength={0: 0.25, 3: 1})
    assert isinstance(options.people[1], SpecificDictionary)
