"""The people of an archive, as dictionaries, and the files that hold these."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.dictionary import SpecificDictionary, name_of_file
from runtime.errors import DictionaryError, DmdnetWarning, UsageError
from runtime.one_by_one import about
from runtime.people.matching import Person

_SUFFIX = ".safetensors"


def check_people(people: object) -> None:
    """Raise `UsageError` or `DictionaryError` unless each can be recognised, and told from others.

    A person needs vectors, and a name that nobody else has.
    """
    if isinstance(people, SpecificDictionary) or not isinstance(people, Sequence):
        raise UsageError(
            f"people must be a sequence of dictionaries, not a {type(people).__name__}"
        )
    names: set[str] = set()
    for index, person in enumerate(people):
        if not isinstance(person, SpecificDictionary):
            raise UsageError(
                f"people must be a sequence of dictionaries, not of {type(person).__name__}"
            )
        if not person.name:
            raise UsageError(
                f"people: dictionary {index} has no name; give one to memorize, or with "
                'dataclasses.replace(dictionary, name="...")'
            )
        if person.name in names:
            raise UsageError(f"people: two dictionaries have the name {person.name}")
        names.add(person.name)
        _check_vectors(person)


def person_of(dictionary: SpecificDictionary) -> Person | None:
    """What there is to recognise a person by; None where the dictionary has no vectors."""
    if not len(dictionary.vectors):
        return None
    return Person.of(dictionary.name, dictionary.vectors)


def people_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The dictionaries' files that files and folders name, each once; folders are not searched.

    Raises `UsageError` for a folder without any.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.glob(f"*{_SUFFIX}") if file.is_file())
            if not inside:
                raise UsageError(
                    f"--people {path}: no dictionaries (NAME{_SUFFIX}) in this folder; "
                    "dmd-enroll makes them"
                )
        else:
            inside = [path]
        for file in inside:
            files.setdefault(file.resolve(), file)
    return tuple(files.values())


def load_people(files: Sequence[Path]) -> tuple[SpecificDictionary, ...]:
    """The people of these files; one whose file gives no name has that of the file.

    Raises `DictionaryError`, which names the file, and `UsageError` for two files of one name.
    """
    people: dict[str, SpecificDictionary] = {}
    of_name: dict[str, Path] = {}
    for file in files:
        with warnings.catch_warnings():  # that it is old: it has no vectors, and is refused
            warnings.simplefilter("ignore", DmdnetWarning)
            person = SpecificDictionary.load(file)
        with about(str(file), DictionaryError):
            _check_vectors(person)
        name = person.name or name_of_file(file)
        if name in people:
            raise UsageError(
                f"--people: {of_name[name]} and {file} both have the name {name}; enrol one of "
                "them again with another --name"
            )
        people[name], of_name[name] = replace(person, name=name), file
    return tuple(people.values())


def _check_vectors(person: SpecificDictionary) -> None:
    if not len(person.vectors):
        raise DictionaryError(
            f"{f'the dictionary of {person.name}' if person.name else 'this dictionary'} has no "
            "vectors to recognise the person by; enrol again, from sharp references and with "
            "recognition"
        )
