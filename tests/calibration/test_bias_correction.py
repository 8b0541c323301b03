from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calibration.bias_correction import shifts_of
from calibration.calibrate import Floats, Quantizer, choose_faces, prepare
from calibration.graph import Graph
from calibration.options import Options
from calibration.quantization import write_int8
from calibration.sessions import open_run
from calibration.statistics import Activation

NAME = "network.up4.0.weight"
CHANNELS, OUT, FACES = 24, 16, 4096


def one_layer(path: Path, dtype: type[np.floating], weight: NDArray[np.floating]) -> None:
    """A restorer of a single convolution, (faces, 24, 3, 3) -> (faces, 16, 1, 1), and its tanh."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", NAME, "bias"], ["convolved"], "conv"),
            helper.make_node("Tanh", ["convolved"], ["image"], "tanh"),
        ],
        "restorer",
        [value("x", kind, ["faces", CHANNELS, 3, 3])],
        [
            value("image", kind, ["faces", len(weight), 1, 1]),
            value("convolved", kind, ["faces", len(weight), 1, 1]),
        ],
        [
            numpy_helper.from_array(weight.astype(dtype), NAME),
            numpy_helper.from_array(np.zeros(len(weight), dtype), "bias"),
        ],
        value_info=[value("bias", kind, [len(weight)])],  # as torch's exporter writes it
    )
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)


@pytest.mark.parametrize(
    ("target", "dtype", "tolerance"),
    [("cpu", np.float32, 0.005), ("tensorrt", np.float16, 0.03)],  # float16 rounds the scales too
)
def test_each_channel_s_mean_comes_back(
    target: str, dtype: type[np.floating], tolerance: float, tmp_path: Path
) -> None:
    """Of a layer whose weights are rounded and whose input is clipped, on the observed faces."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0.03, 0.1, (OUT, CHANNELS, 3, 3)) * rng.uniform(0.2, 1, (1, CHANNELS, 1, 1))
    samples = rng.gamma(2, 0.5, (FACES, CHANNELS)).astype(np.float32)
    one_layer(tmp_path / "float.onnx", dtype, weight)
    graph = Graph(tmp_path / "float.onnx")
    # the same number at all nine taps, so that the samples are the whole input
    x = np.broadcast_to(samples[:, :, None, None], (FACES, CHANNELS, 3, 3)).astype(dtype)
    wanted = open_run(tmp_path / "float.onnx")({"x": x})[1].astype(np.float64)
    ends = float(wanted.min()) - 0.5, float(wanted.max()) + 0.5
    ranges = {"x": (0.0, 1.5), "convolved": ends}  # a fifth of the input lies above
    statistics = {"x": Activation(samples, samples.min(axis=0), samples.max(axis=0))}
    shifts = shifts_of(graph, ranges, statistics, target)

    def error(shift: NDArray[np.float32]) -> NDArray[np.float64]:
        path = tmp_path / "int8.onnx"
        write_int8(graph, graph.blocks, ranges, {"bias": shift}, target, path)
        got = open_run(path)({"x": x})[1].astype(np.float64)
        return np.asarray((got - wanted).mean(axis=(0, 2, 3)))

    uncorrected, corrected = error(np.zeros(OUT, np.float32)), error(shifts["bias"])
    typical = np.abs(uncorrected).mean()
    assert typical > 0.4
    assert np.abs(corrected).max() < tolerance * typical


@pytest.mark.long
def test_the_network_s_colour_cast_is_taken_back(bundle: Path, tmp_path: Path) -> None:
    floats = Floats(bundle / "restorer.onnx", bundle / "memorizer.onnx")
    options = Options(size=32)  # of six faces, the shifts of learned weights are too much their own
    work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "weights")
    assert len(work.shifts) == 117

    def cast(quantizer: Quantizer) -> float:
        """Mean signed difference of each colour, in levels."""
        path = tmp_path / "restorer.onnx"
        quantizer.write(work.graph.blocks, path)
        differences = [
            (got.astype(float) - trial.wanted).mean(axis=(0, 1))
            for trial, got in quantizer.restored(path, work.trials)
        ]
        return float(np.abs(np.mean(differences, axis=0)).mean())

    corrected = cast(work)
    twice_wrong = cast(replace(work, shifts={name: -s for name, s in work.shifts.items()}))
    assert corrected < 0.7 * twice_wrong
    assert corrected < 0.4  # levels; a narrow network has little cast to correct
