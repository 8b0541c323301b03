"""Who degraded faces are taken for, by people enrolled from clean photographs of them.

A face is asked for with all other photographs of the known people, and never with itself. It is a
stranger where its person is not known: faces of others, and each person with only the others known.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.degradation import Recipe, worsened
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.engine_calls import EngineCalls
from runtime.errors import BenchmarkError, InvalidLandmarksError, NoFaceError
from runtime.faces.finder import FaceFinder, cut
from runtime.images.arrays import Image
from runtime.images.files import SUFFIXES, read_image
from runtime.people.matching import Person, who
from runtime.people.recognition import SHARP, Recognizer, blur
from runtime.photo import crop_reference
from runtime.samples.faces import samples

CLEAN = "clean"
RECIPES = {f"x{times}": Recipe(times, 2.75, 6, 67) for times in (4, 8, 12, 16)}
"""How faces are degraded: with the middle values of `calibration.degradation.degrade`."""

TWICE = ("x12", "x16")
"""Where recognising the restored face is compared with recognising the degraded one."""

LEAST_RIGHT = {"x4": 0.99, "x8": 0.92}
MOST_STRANGERS = {CLEAN: 0.0, "x4": 0.0, "x8": 0.0, "x12": 0.02, "x16": 0.02}
_BIN = 2  # dB of blur

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean aligned face. `person`: None for a stranger; `vector` as it would be enrolled."""

    name: str
    person: str | None
    image: Image
    vector: Vector
    sharp: bool


@dataclass(frozen=True, eq=False)
class Seen:
    """A degraded face that was found. `restored`: its vector after a generic restoration."""

    of: Clean
    vector: Vector
    blur: float
    restored: Vector | None = None


@dataclass(frozen=True)
class Rates:
    """Of the faces that were found at one degradation, in one pass.

    Attributes:
        degradation: "clean", "x4" and so on.
        tried, found: faces of known people.
        right, wrong: of those found, accepted as themselves, and as somebody else.
        strangers_tried, strangers_found: faces of strangers, and those of known people where only
            the others are known.
        accepted: of those found, taken for somebody.
    """

    degradation: str
    tried: int
    found: int
    right: int
    wrong: int
    strangers_tried: int
    strangers_found: int
    accepted: int


def measure(people: Path, strangers: Path, seeds: int, bundle: Path | None) -> dict[str, object]:
    """Degrade, find, and ask for all faces; the result has a row for each degradation."""
    networks = FaceFinder(), Recognizer()
    clean = list(faces_of(people, strangers, *networks))
    calls, weights = None, {}
    if bundle is not None:
        opened = open_bundle(bundle)
        made = opened.manifest.weights
        weights = {"weights": made.kind, "remark": made.likeness_remark}
        backend = open_backend(opened, Choice("cpu"))
        calls = EngineCalls(backend, opened.manifest, backend.max_batch)
    first: list[Rates] = []
    second: list[Rates] = []
    by_blur: dict[str, dict[str, dict[str, int]]] = {}
    for level in (CLEAN, *RECIPES):
        restoring = calls if level in TWICE else None
        seen: list[Seen] = []
        tried = strange = 0
        for face in tqdm(clean, desc=level, unit="face", leave=False, disable=None):
            for seed in range(seeds if level in RECIPES else 1):
                tried, strange = tried + (face.person is not None), strange + 1
                found = _see(face, level, seed, networks, restoring)
                seen += [] if found is None else [found]
        first.append(rates(level, seen, clean, tried, strange))
        if restoring is not None:
            again = [Seen(each.of, _restored(each), each.blur) for each in seen]
            second.append(rates(level, again, clean, tried, strange))
            by_blur[level] = _by_blur(seen, again, clean)
    counts = {name: sum(face.person == name for face in clean) for name in names(clean)}
    return {
        "what": "faces of known people and of strangers, degraded and found anew",
        "seeds": seeds,
        "photographs": sorted(counts.values()),
        "strangers": sum(face.person is None for face in clean),
        "recipes": {level: recipe.text for level, recipe in RECIPES.items()},
        "rates": first,
        "restored_by": weights,
        "restored_first": second,
        "by_blur": by_blur,
        "failures": shortfalls(first),
    }


def faces_of(
    people: Path, strangers: Path, finder: FaceFinder, recognizer: Recognizer
) -> Iterator[Clean]:
    """The largest face of each photograph, cut out as `dmd-enroll` does, and the built-in ones."""
    folders = [each for each in sorted(people.iterdir()) if each.is_dir()]
    if len(folders) < 2:
        raise BenchmarkError(f"{people}: a folder for each of two or more people is needed")
    sources: list[tuple[Path, str | None]] = [(each, each.name) for each in folders]
    for folder, person in (*sources, (strangers, None)):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in SUFFIXES:
                try:
                    crop = crop_reference(read_image(file), None, finder, "bgr").image
                except NoFaceError as error:
                    raise BenchmarkError(f"{file}: {error}") from None
                yield _clean(f"{folder.name}/{file.name}", person, crop, recognizer)
    for sample in samples():
        yield _clean(sample.name, None, sample.rgb, recognizer)


def names(clean: Iterable[Clean]) -> list[str]:
    """The known people."""
    return sorted({face.person for face in clean if face.person is not None})


def known(clean: Sequence[Clean], without: Clean, left_out: str | None = None) -> list[Person]:
    """The people as they would be enrolled, from sharp photographs and never from `without`."""
    found = []
    for name in names(clean):
        own = [f.vector for f in clean if f.person == name and f.sharp and f is not without]
        if own and name != left_out:
            found.append(Person.of(name, np.stack(own)))
    return found


def rates(
    level: str, seen: Sequence[Seen], clean: Sequence[Clean], tried: int, strange: int
) -> Rates:
    """Count who the faces are taken for."""
    own = [(each.of.person, asked(each, clean)) for each in seen if each.of.person is not None]
    right = sum(name == person for person, name in own)
    nobody = sum(name is None for _, name in own)
    accepted = sum(stranger(each, clean) for each in seen)
    return Rates(
        level, tried, len(own), right, len(own) - right - nobody, strange, len(seen), accepted
    )


def asked(face: Seen, clean: Sequence[Clean]) -> str | None:
    """Who a face is taken for where everybody is known."""
    return who(face.vector[None], known(clean, face.of))[0].name


def stranger(face: Seen, clean: Sequence[Clean]) -> bool:
    """Whether a face is taken for anybody where its own person is not known."""
    others = known(clean, face.of, left_out=face.of.person)
    return who(face.vector[None], others)[0].name is not None


def shortfalls(found: Sequence[Rates]) -> list[str]:
    """The goals that were missed, a line each."""
    missed = []
    for row in found:
        least, most = LEAST_RIGHT.get(row.degradation, 0.0), MOST_STRANGERS[row.degradation]
        if row.wrong:
            missed.append(f"{row.degradation}: {row.wrong} of {row.found} are somebody else")
        if row.right < least * row.found:
            missed.append(f"{row.degradation}: {row.right} of {row.found} right, under {least:.0%}")
        if row.accepted > most * row.strangers_found:
            missed.append(
                f"{row.degradation}: {row.accepted} of {row.strangers_found} strangers accepted"
            )
    return missed


def _clean(name: str, person: str | None, crop: Image, recognizer: Recognizer) -> Clean:
    (vector,) = recognizer.describe([crop])
    return Clean(name, person, crop, vector, blur(crop) <= SHARP)


def _see(
    face: Clean,
    level: str,
    seed: int,
    networks: tuple[FaceFinder, Recognizer],
    calls: EngineCalls | None,
) -> Seen | None:
    """The face degraded and found anew, as a face of a photo is; None where it is not found."""
    finder, recognizer = networks
    image = face.image
    if level in RECIPES:
        rng = np.random.default_rng([seed, zlib.crc32(face.name.encode())])
        image = worsened(face.image, RECIPES[level], rng)
    found = finder.find(image)
    if not found:
        return None
    largest = max(found, key=lambda each: float(np.prod(each.box[2:] - each.box[:2])))
    try:
        crop = cut(image, largest.landmarks, largest.transform)
    except InvalidLandmarksError:  # such a face is not restored either
        return None
    (vector,) = recognizer.describe([crop.image])
    restored = None
    if calls is not None:
        (restored,) = recognizer.describe(calls.restore([crop], [None]))
    return Seen(face, vector, blur(crop.image), restored)


def _restored(face: Seen) -> Vector:
    assert face.restored is not None
    return face.restored


def _by_blur(
    first: Sequence[Seen], second: Sequence[Seen], clean: Sequence[Clean]
) -> dict[str, dict[str, int]]:
    """For faces of each `_BIN` dB of blur: how many there are, and the right and the accepted."""
    found: dict[int, dict[str, int]] = {}
    for name, faces in (("", first), ("_restored", second)):
        for face in faces:
            row = found.setdefault(int(face.blur // _BIN) * _BIN, {})
            mine = face.of.person is not None
            right = mine and asked(face, clean) == face.of.person
            counted = {"right": right, "strangers_accepted": stranger(face, clean)}
            if not name:
                row["faces"] = row.get("faces", 0) + mine
                row["strangers"] = row.get("strangers", 0) + 1
            for key, one in counted.items():
                row[key + name] = row.get(key + name, 0) + one
    return {f"{start} to {start + _BIN} dB": found[start] for start in sorted(found)}
