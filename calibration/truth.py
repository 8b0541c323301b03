"""Judge a bundle by clean faces, which are degraded, restored and compared with the originals.

A face is restored without references and, if there are other photographs of the person, with
those as references. The photograph itself is never one of them.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from calibration import quality
from calibration.degradation import Recipe, is_clean, worsened
from calibration.faces import BUILT_IN, FacePair, Load, faces_of_files, files_of_folder
from calibration.likeness import Distances, LikenessNetworks
from runtime.bundle.manifest import Manifest
from runtime.dictionary import SpecificDictionary
from runtime.engine_calls import EngineCalls
from runtime.errors import CalibrationError
from runtime.faces.finder import Crop, FaceFinder
from runtime.samples.faces import Sample, samples
from runtime.storage.local import sha256_of

RECIPES = (Recipe(2.5, 1.0, 8, 60), Recipe(4, 1.5, 6, 60), Recipe(6, 2.0, 5, 60))
"""How the clean faces are degraded, by one of these at a time: export/model/weights/README.md."""

INPUT, GENERIC, SPECIFIC = "input", "generic", "specific"
"""What is compared with a clean face: the degraded picture, enlarged, and what is restored from it
without references and with them."""

MOST_REFERENCES = 5
HEADER = ("degradation", "picture", "faces", *quality.NAMES.values(), "identity", "landmarks")
"""The columns of `cells`."""

_WITH_REFERENCES = ", of faces with references"


@dataclass(frozen=True)
class Truth:
    """Clean faces, grouped by person.

    `source`: the folder's name; `digest`: the SHA-256 of all its pictures, "" for the built-in
    samples; `warnings`: what was left out and why.
    """

    source: str
    digest: str
    people: tuple[tuple[Load, ...], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A bundle to judge and its engine; `name` is what tables call it."""

    name: str
    calls: EngineCalls
    manifest: Manifest


@dataclass(frozen=True)
class Row:
    """Scores of one kind of picture against the clean faces, under one degradation.

    `degradation`: how many times smaller, as "x4"; `subject`: the candidate's name, or `INPUT`;
    `kind`: `INPUT`, `GENERIC` or `SPECIFIC`, with a suffix if only faces that have references are
    counted. `psnr_db` and `ssim`: by region, a value for each face. `likeness`: of each face;
    empty in results of older versions, which did not measure it.
    """

    degradation: str
    subject: str
    kind: str
    psnr_db: Mapping[str, tuple[float, ...]]
    ssim: Mapping[str, tuple[float, ...]]
    likeness: tuple[Distances, ...] = ()

    @property
    def faces(self) -> int:
        return len(self.psnr_db["whole"])

    def mean_psnr_db(self, region: str) -> float:
        return float(np.mean(self.psnr_db[region]))

    def mean_ssim(self, region: str) -> float:
        return float(np.mean(self.ssim[region]))


@dataclass(frozen=True)
class _Scored:
    """One picture against the clean face."""

    score: quality.Score
    likeness: Distances


def truth_set(folder: Path | None = None) -> Truth:
    """Clean faces: those of a folder of photographs, or the two built-in ones for None.

    The largest face of each photograph is taken. A sub-folder holds photographs of one person; each
    photograph in `folder` itself is the only one of its person. Faces that are not clean, and
    copies of a file, are left out. Raises `CalibrationError` if no face is left.
    """
    if folder is None:
        return Truth(BUILT_IN, "", tuple((partial(_sample, one),) for one in samples()), ())
    if not folder.exists():
        raise CalibrationError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: not a folder; --truth takes one of clean photographs")
    groups = {"": files_of_folder(folder)}
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            groups[f"{inner.name}/"] = files_of_folder(inner)
    if not any(groups.values()):
        raise CalibrationError(f"{folder}: no picture in this folder, nor in its sub-folders")
    finder, seen = FaceFinder(), dict[str, str]()
    people: list[tuple[Load, ...]] = []
    warnings: list[str] = []
    for prefix, files in groups.items():
        new = list(_new(prefix, files, seen, warnings))
        loads, left_out = faces_of_files(new, finder)
        warnings += [prefix + line for line in left_out]
        clean = tuple(_clean(prefix, loads, warnings))
        people += [clean] if prefix and clean else [(load,) for load in clean]
    if not people:
        more = f", and {len(warnings) - 1} more" if len(warnings) > 1 else ""
        raise CalibrationError(f"{folder}: no clean face to judge by ({warnings[0]}{more})")
    digest = hashlib.sha256("".join(seen).encode()).hexdigest()
    return Truth(folder.resolve().name, digest, tuple(people), tuple(warnings))


def judge(
    truth: Truth, candidates: Sequence[Candidate], recipes: Sequence[Recipe] = RECIPES
) -> list[Row]:
    """Degrade each face by each recipe, restore it, and score all pictures by the clean face.

    The noise of a face does not depend on the other faces. References are up to `MOST_REFERENCES`
    of the person's other photographs: those that follow it, and after the last the first ones.
    """
    found: dict[tuple[str, str, str], list[_Scored]] = {}
    networks = LikenessNetworks()
    lone: set[str] = set()
    faces = [(person, index) for person in truth.people for index in range(len(person))]
    for person, index in tqdm(faces, desc="restoring", unit="face", leave=False, disable=None):
        face = person[index]()
        others = (*person[index + 1 :], *person[:index])[:MOST_REFERENCES]
        if not others:
            lone.add(face.name)
        references, clean = [_crop(load()) for load in others], networks.features(face.image)
        people = [_memorize(each, references) if others else None for each in candidates]
        for recipe in recipes:
            rng = np.random.default_rng(zlib.crc32(os.fsencode(face.name)))
            given = Crop(worsened(face.image, recipe, rng), face.boxes)
            pictures = {(INPUT, INPUT): given.image}
            for each, known in zip(candidates, people, strict=True):
                for kind, who in ((GENERIC, None), (SPECIFIC, known)):
                    if kind == GENERIC or who is not None:
                        (picture,) = each.calls.restore([given], [who])
                        pictures[each.name, kind] = picture
            for (subject, kind), picture in pictures.items():
                scored = _Scored(
                    quality.score(face.name, picture, face.image, face.boxes),
                    networks.likeness(picture, clean),
                )
                found.setdefault((f"x{recipe.shrink:g}", subject, kind), []).append(scored)
    if 0 < len(lone) < len(faces):
        for (degradation, subject, kind), every in list(found.items()):
            if kind != SPECIFIC:  # to compare it with
                same = [one for one in every if one.score.face not in lone]
                found[degradation, subject, kind + _WITH_REFERENCES] = same
    return sorted((_row(*key, every) for key, every in found.items()), key=_order)


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, under `HEADER`: mean PSNR and SSIM of each region, and mean distances.

    `Distances` are "" where they were not measured.
    """
    picture = row.kind if row.kind.startswith(INPUT) else f"{row.subject}, {row.kind}"
    means = (f"{row.mean_psnr_db(r):.2f} dB, {row.mean_ssim(r):.3f}" for r in quality.REGIONS)
    distances = ("", "")
    if row.likeness:
        identity = float(np.mean([each.identity for each in row.likeness]))
        landmarks = float(np.mean([each.landmarks_px for each in row.likeness]))
        distances = (f"{identity:.3f}", f"{landmarks:.2f} px")
    return row.degradation, picture, str(row.faces), *means, *distances


def table(rows: Sequence[Row]) -> str:
    """The rows as lines of text."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def input_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The row of `rows` for the degraded pictures of the same faces; None if it is missing."""
    alike = [each for each in rows if each.degradation == row.degradation]
    inputs = [each for each in alike if each.kind.startswith(INPUT)]
    return next((each for each in inputs if each.faces == row.faces), None)


def _new(
    prefix: str, files: Sequence[Path], seen: dict[str, str], warnings: list[str]
) -> Iterator[Path]:
    """The files whose bytes were not `seen`; a copy would serve as a reference of its original."""
    for file in files:
        name = prefix + file.name
        try:
            first = seen.setdefault(sha256_of(file), name)
        except OSError as error:
            warnings.append(f"{name} cannot be read: {error.strerror}")
            continue
        if first == name:
            yield file
        else:
            warnings.append(f"{name} is the same file as {first}")


def _clean(prefix: str, loads: Sequence[Load], warnings: list[str]) -> Iterator[Load]:
    for load in loads:
        face = load()
        if is_clean(face.image):
            yield partial(_named, load, prefix + face.name)
        else:
            warnings.append(f"{prefix}{face.name} is not clean: its face has too little detail")


def _named(load: Load, name: str) -> FacePair:
    return replace(load(), name=name)


def _sample(sample: Sample) -> FacePair:
    return FacePair(sample.name, sample.rgb, sample.rgb, sample.boxes)


def _crop(face: FacePair) -> Crop:
    return Crop(face.image, face.boxes)


def _memorize(candidate: Candidate, references: Sequence[Crop]) -> SpecificDictionary:
    manifest = candidate.manifest
    rows = candidate.calls.memorize(references)
    return SpecificDictionary(rows, manifest.dictionary_layout, manifest.weights.sha256)


def _row(degradation: str, subject: str, kind: str, every: Sequence[_Scored]) -> Row:
    psnr = {r: tuple(one.score.psnr_db[r] for one in every) for r in quality.REGIONS}
    ssim = {r: tuple(one.score.ssim[r] for one in every) for r in quality.REGIONS}
    likeness = tuple(one.likeness for one in every)
    return Row(degradation, subject, kind, psnr, ssim, likeness)


def _order(row: Row) -> tuple[float, bool, bool]:
    """By degradation; the rows that hold fewer faces, and what they are for, after the others."""
    apart = row.kind.endswith(_WITH_REFERENCES)
    return float(row.degradation[1:]), apart or row.kind == SPECIFIC, row.kind == SPECIFIC
