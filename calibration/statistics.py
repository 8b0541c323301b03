"""Statistics of each activation of the float graph on real faces.

From each tensor some positions of every face are kept with all their channels, half of them inside
the components, and each channel's extremes. That is enough to equalise channels and to choose
ranges afterwards. It takes the same memory for 4 faces as for 128; beyond, each face adds 16
positions. Each face's part is a file in the cache, so that an interrupted calibration goes on
where it was.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from tqdm import tqdm

from calibration.faces import Load
from calibration.graph import Graph
from calibration.sessions import RestorerInputs, open_run
from runtime.bundle.layout import BOX_ROW, IMAGE_SIZE, PARTS
from runtime.errors import CalibrationError
from runtime.storage.local import write_atomically

Array = NDArray[np.float32]

_POSITIONS = 2048  # of all faces together
_FEWEST, _MOST = 16, 512  # of one face


@dataclass(frozen=True)
class Activation:
    """One tensor over all faces: `samples` (S, C), and each channel's `low` and `high` (C,)."""

    samples: Array
    low: Array
    high: Array

    def scaled(self, scale: Array) -> "Activation":
        return Activation(self.samples * scale, self.low * scale, self.high * scale)


Statistics = dict[str, Activation]
Observe = Callable[[Mapping[str, NDArray[Any]], Array], dict[str, Array]]

_KEPT_S = 7 * 24 * 3600


def observe(
    graph: Graph,
    tensors: Sequence[str],
    faces: Sequence[Load],
    memorizer: Path,
    seed: int,
    cache: Path,
) -> Statistics:
    """Run `graph` on every face and collect statistics of `tensors`; `cache` keeps them by face.

    Raises `CalibrationError` if an activation is not finite.
    """
    cache.mkdir(parents=True, exist_ok=True)
    kept = [cache / f"{index}.safetensors" for index in range(len(faces))]
    missing = [i for i in range(len(faces)) if not _readable(kept[i], tensors)]
    if missing:
        inputs, run = RestorerInputs(memorizer), _observer(graph, tensors)
        bar = tqdm(faces, desc="calibration", unit="face", leave=False, disable=None)
        for index, load in enumerate(bar):
            case = inputs.next(load())  # of every face, so that a resumed run sees the same rows
            if index in missing:
                positions = _positions(case["boxes"][0], len(faces), [seed, index])
                write_atomically(kept[index], save(run(case, positions)))
    return _merge(kept, tensors)


def forget_old(cache: Path) -> None:
    """Delete the statistics below `cache` that are older than a week; each has some 150 MB."""
    for folder in cache.iterdir() if cache.is_dir() else ():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def _observer(graph: Graph, tensors: Sequence[str]) -> Observe:
    """A function from inputs and positions to samples and extremes of `tensors`."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    sides = sorted({graph.shapes[name][2] for name in tensors})
    body = model.graph
    body.initializer.append(numpy_helper.from_array(np.array([0, 0, -1]), "observed_shape"))
    body.initializer.append(numpy_helper.from_array(np.array([2]), "observed_axis"))
    for side in sides:
        kind = onnx.TensorProto.INT64
        body.input.append(helper.make_tensor_value_info(f"positions_{side}", kind, ["positions"]))
    outputs = []
    for name in tensors:
        flat, side = f"{name}/flat", graph.shapes[name][2]
        wanted = [f"{name}/samples", f"{name}/low", f"{name}/high"]
        body.node.extend(
            [
                helper.make_node("Reshape", [name, "observed_shape"], [flat]),
                helper.make_node("Gather", [flat, f"positions_{side}"], wanted[:1], axis=2),
                helper.make_node("ReduceMin", [flat, "observed_axis"], wanted[1:2], keepdims=0),
                helper.make_node("ReduceMax", [flat, "observed_axis"], wanted[2:], keepdims=0),
            ]
        )
        body.output.extend(map(helper.make_empty_tensor_value_info, wanted))
        outputs += wanted
    with tempfile.NamedTemporaryFile(dir=graph.folder, prefix="observer-", suffix=".onnx") as file:
        onnx.save(model, file.name)
        session = open_run(Path(file.name), outputs)

    def run(case: Mapping[str, NDArray[Any]], positions: Array) -> dict[str, Array]:
        at = {
            f"positions_{side}": (
                np.floor(positions[:, 1] * side) * side + np.floor(positions[:, 0] * side)
            ).astype(np.int64)
            for side in sides
        }
        arrays = session({**case, **at})
        found = dict(zip(outputs, arrays, strict=True))
        for name in tensors:
            samples = found[f"{name}/samples"].transpose(0, 2, 1)
            found[f"{name}/samples"] = np.ascontiguousarray(samples)
            if not all(np.isfinite(found[f"{name}/{end}"]).all() for end in ("low", "high")):
                raise CalibrationError(f"{name}: activations that are not finite")
        return {name: array[0] for name, array in found.items()}

    return run


def _positions(boxes: NDArray[np.int32], faces: int, seed: list[int]) -> Array:
    """Points of a face, (P, 2) x, y in [0, 1): half of them inside its components."""
    rng = np.random.default_rng(seed)
    points = rng.random((int(np.clip(_POSITIONS // faces, _FEWEST, _MOST)), 2))
    inside = len(points) // 2
    box = boxes[[BOX_ROW[part] for part in PARTS]][rng.integers(0, len(PARTS), inside)] / IMAGE_SIZE
    points[:inside] = box[:, :2] + points[:inside] * (box[:, 2:] - box[:, :2])
    return points.clip(0, 1 - 1e-6).astype(np.float32)


def _readable(path: Path, tensors: Sequence[str]) -> bool:
    try:
        with safe_open(path, "numpy") as file:
            return {f"{name}/samples" for name in tensors} <= set(file.keys())
    except (OSError, SafetensorError):
        return False


def _merge(paths: Sequence[Path], tensors: Sequence[str]) -> Statistics:
    parts = [load_file(path) for path in paths]
    return {
        name: Activation(
            np.concatenate([part.pop(f"{name}/samples") for part in parts]),
            np.min([part[f"{name}/low"] for part in parts], axis=0),
            np.max([part[f"{name}/high"] for part in parts], axis=0),
        )
        for name in tensors
    }
