import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.equalization import apply, equalize
from calibration.faces import face_set
from calibration.graph import Graph
from calibration.sessions import RestorerInputs, open_run, restore
from calibration.statistics import Statistics, forget_old, observe

FLOAT = np.dtype(np.float32)


@pytest.fixture(scope="module")
def statistics(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    graph = Graph(bundle / "restorer.onnx")
    faces = face_set(None, 3, 0).calibration
    names = graph.activations(graph.blocks)
    cache = tmp_path_factory.mktemp("statistics")
    return observe(graph, names, faces, bundle / "memorizer.onnx", 0, cache)


def test_equal_ranges_and_the_same_output(
    bundle: Path, statistics: Statistics, tmp_path: Path
) -> None:
    graph = Graph(bundle / "restorer.onnx")
    factors, scaled = equalize(graph, statistics)

    first = next(layer for layer in graph.layers if layer.name == "E_lq.res1.Res.0")
    before, after = statistics[first.output], scaled[first.output]
    reach = np.maximum(-after.low, after.high)
    leaky = np.maximum(-0.2 * after.low, after.high)
    assert np.ptp(np.maximum(-before.low, before.high)) > 0.1
    np.testing.assert_allclose(reach.max(), reach.min(), rtol=1e-4)
    assert leaky.min() > 0.19 * reach.max()
    # all but the pyramid's three streams, the component crops, the image and the result
    touched = [
        name for name in statistics if not np.array_equal(scaled[name].low, statistics[name].low)
    ]
    assert len(touched) > 0.6 * len(statistics)

    apply(graph, factors)
    equalized = bundle / "equalized.onnx"  # beside the dictionary
    onnx.save(graph.model, equalized)
    try:
        inputs, face = (
            RestorerInputs(bundle / "memorizer.onnx"),
            face_set(None, 1, 5).calibration[0](),
        )
        for _ in range(2):  # generic, then specific
            case = inputs.next(face)
            wanted = restore(open_run(bundle / "restorer.onnx"), case, FLOAT)
            got = restore(open_run(equalized), case, FLOAT)
            difference = np.abs(wanted.astype(int) - got)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-3
    finally:
        equalized.unlink()
    changed = [name for name in factors if not np.allclose(factors[name], 1)]
    assert len(changed) > 140  # of 117 weights and their biases


def test_statistics_are_the_graph_s(bundle: Path, statistics: Statistics) -> None:
    graph = Graph(bundle / "restorer.onnx")
    name = next(layer for layer in graph.layers if layer.name == "E_lq.conv1.0").source
    activation = statistics[name]  # the normalised image
    faces = [load().image / 127.5 - 1 for load in face_set(None, 3, 0).calibration]
    np.testing.assert_allclose(activation.low, np.min(faces, axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(activation.high, np.max(faces, axis=(0, 1, 2)), atol=1e-5)
    assert activation.samples.shape == (3 * 512, 3)
    levels = np.rint((activation.samples[:512] + 1) * 127.5).astype(int)
    pixels = set(map(tuple, face_set(None, 3, 0).calibration[0]().image.reshape(-1, 3)))
    assert all(tuple(level) in pixels for level in levels)


def test_interrupted_statistics_go_on(bundle: Path, tmp_path: Path) -> None:
    graph = Graph(bundle / "restorer.onnx")
    faces, names = face_set(None, 3, 0).calibration, graph.activations(graph.blocks)[:5]
    memorizer = bundle / "memorizer.onnx"
    whole = observe(graph, names, faces, memorizer, 0, tmp_path)
    first, second, third = (tmp_path / f"{number}.safetensors" for number in range(3))
    kept = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:1000])  # cut off
    third.unlink()
    again = observe(graph, names, faces, memorizer, 0, tmp_path)
    assert first.stat().st_mtime_ns == kept
    for name in names:
        np.testing.assert_array_equal(whole[name].samples, again[name].samples)
        np.testing.assert_array_equal(whole[name].high, again[name].high)


def test_old_statistics_are_forgotten(tmp_path: Path) -> None:
    for name, days in (("old", 8), ("new", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.safetensors").write_bytes(b"")
        then = time.time() - days * 86400
        os.utime(tmp_path / name, (then, then))
    forget_old(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["new"]
    forget_old(tmp_path / "none")
