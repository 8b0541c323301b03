"""A bundle's reference: outputs of its graphs on built-in faces, which engines are compared with.

ONNX Runtime computes it when the bundle is exported, so that a machine that builds an engine needs
neither torch nor ONNX Runtime to judge it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import quality
from runtime.backends.base import Engine, Rows
from runtime.bundle.engine_record import EngineParity
from runtime.bundle.opening import Bundle
from runtime.errors import BundleError
from runtime.images.arrays import Image
from runtime.samples.faces import CASES, sample_faces
from runtime.storage.local import write_atomically

FILE = "reference.safetensors"


def case_names() -> tuple[str, ...]:
    """What each face of each case is called in the rows of `measure`."""
    return tuple(_name(case, i) for case, (faces, _) in CASES.items() for i in range(len(faces)))


def write_reference(folder: Path) -> None:
    """Run `restorer.onnx` and `memorizer.onnx` of `folder` on the CPU, and write their outputs."""
    import safetensors.numpy

    from calibration.sessions import open_run

    images, boxes = sample_faces()
    (rows,) = open_run(folder / "memorizer.onnx")({"image": images, "boxes": boxes})
    run = open_run(folder / "restorer.onnx")
    kept: dict[str, NDArray[Any]] = {"image": images, "boxes": boxes, "dictionary": rows}
    for case, (faces, members) in CASES.items():
        inputs: dict[str, NDArray[Any]] = {
            "image": images[faces],
            "boxes": boxes[faces],
            "dictionary": rows,
            "membership": np.array(members, np.float32),
        }
        (kept[case],) = run(inputs)
    write_atomically(folder / FILE, safetensors.numpy.save(kept))


def measure(backend: Engine, bundle: Bundle) -> tuple[tuple[EngineParity, ...], ...]:
    """Run the built-in faces through `backend` and compare with the bundle's reference.

    An engine that takes fewer of them in a call gets them in several; a face that reads more rows
    than a call takes is left out. Returns the restorer's rows, one for each region of each face,
    and the memorizer's one row. Raises `BundleError` if the bundle has no reference.
    """
    kept = _read(bundle)
    image = kept["image"].astype(np.uint8, copy=False)
    boxes = kept["boxes"].astype(np.int32, copy=False)
    rows: Rows = kept["dictionary"]
    restored: list[EngineParity] = []
    for case, (faces, members) in CASES.items():
        membership = np.array(members, np.float32)
        for numbers, read in _calls(membership, backend):
            chosen = [faces[number] for number in numbers]
            belong = membership[np.ix_(numbers, read)]
            got = backend.restore(image[chosen], boxes[chosen], [rows[read]], belong)
            for number, face, picture in zip(numbers, chosen, got, strict=True):
                wanted = kept[case][number]
                restored += _compare(_name(case, number), picture, wanted, boxes[face])
    starts = range(0, len(image), backend.max_batch)
    pieces = [slice(start, start + backend.max_batch) for start in starts]
    made = np.concatenate([backend.memorize(image[piece], boxes[piece]) for piece in pieces])
    return tuple(restored), (_compare_dictionaries(made, rows),)


def _calls(
    membership: NDArray[np.float32], backend: Engine
) -> Iterator[tuple[list[int], list[int]]]:
    """The faces and the dictionary rows of each call, by number; one row at least."""
    count = membership.shape[1]
    most = backend.max_references or count

    def read(faces: list[int]) -> list[int]:
        if count <= most:
            return list(range(count))
        return np.flatnonzero(membership[faces].any(axis=0)).tolist() or [0]

    call: list[int] = []
    for face in range(len(membership)):
        if len(read([face])) > most:
            continue
        if call and (len(call) == backend.max_batch or len(read([*call, face])) > most):
            yield call, read(call)
            call = []
        call.append(face)
    if call:
        yield call, read(call)


def _name(case: str, number: int) -> str:
    return case if len(CASES[case][0]) == 1 else f"{case} {number}"


def dictionary_levels(got: Rows, wanted: Rows) -> NDArray[np.float64]:
    """Difference of two dictionaries in units of 1/255 of the range of `wanted`.

    It stands in one table with differences of pictures in levels of 255.
    """
    reference = wanted.astype(np.float64)
    return np.asarray((got.astype(np.float64) - reference) / np.ptp(reference) * 255)


def _read(bundle: Bundle) -> dict[str, NDArray[Any]]:
    import safetensors
    import safetensors.numpy

    path = bundle.path / FILE
    if FILE not in bundle.manifest.files:
        raise BundleError(f"{bundle.path} has no {FILE} to judge an engine by; export it again")
    try:
        return dict(safetensors.numpy.load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"{path}: cannot be read: {error}; export the bundle again") from None


def _compare(
    case: str, got: Image, wanted: Image, boxes: NDArray[np.int32]
) -> Iterator[EngineParity]:
    """Each region of one face."""
    for region, decibels in quality.psnr(got, wanted, boxes).items():
        pair = [quality.region_of(image, boxes, region).astype(int) for image in (got, wanted)]
        levels = float(np.abs(pair[0] - pair[1]).max())
        yield EngineParity(case, region, levels, decibels)


def _compare_dictionaries(got: Rows, wanted: Rows) -> EngineParity:
    difference = dictionary_levels(got, wanted)
    square = float(np.mean(difference**2))
    decibels = quality.EQUAL_DB if square == 0 else float(10 * np.log10(255**2 / square))
    return EngineParity("memorizer", "dictionary", float(np.abs(difference).max()), decibels)
