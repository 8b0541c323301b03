"""The INT8 graph of a narrow network, and that of the full-size one against the quality gate."""

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from calibration.calibrate import Floats, calibrate, choose_faces, prepare
from calibration.chart import draw
from calibration.graph import Graph
from calibration.options import Options
from export.bundle import export_bundle
from runtime import DeviceError, Restorer
from runtime.bundle.manifest import Quantization
from runtime.bundle.opening import open_bundle
from runtime.errors import CalibrationError
from runtime.images.files import read_image
from tests.conftest import COMPACT_INT8


def test_the_manifest(int8_bundle: Path) -> None:
    manifest = open_bundle(int8_bundle).manifest
    assert manifest.precision == "int8"
    made = manifest.quantization
    assert made is not None
    assert (made.target, made.method, made.calibration_faces) == ("cpu", "percentile", 6)
    assert len(made.blocks) == 43  # and the dictionary
    assert made.min_psnr_db == 35
    assert sum(block.share for block in made.blocks) == pytest.approx(1)
    assert all(block.integer for block in made.blocks)
    assert all(30 < block.psnr_db["whole"] < 90 for block in made.blocks)
    whole, *components = made.quality
    assert whole.mean_psnr_db > 37
    assert all(row.mean_psnr_db > 35 for row in components)
    assert 0.96 < whole.mean_ssim < 1
    assert "two people" in made.warnings[0]
    assert sorted(file.name for file in int8_bundle.iterdir()) == [
        "manifest.json",
        "memorizer.onnx",
        "memorizer.onnx.data",
        "restorer.onnx",
        "restorer.onnx.data",
    ]


def test_onnx_runtime_keeps_the_chains_in_integers(int8_bundle: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        int8_bundle / "restorer.onnx", options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph
    counted = collections.Counter(node.op_type for node in graph.node)
    assert counted["QLinearConv"] == 117
    assert counted["QLinearLeakyRelu"] == 61
    assert counted["QLinearAdd"] == 12
    assert counted["QLinearMul"] == 3
    assert counted["QLinearConcat"] == 1
    # what decides about the dictionaries stays in float
    assert counted["Conv"] + counted["FusedConv"] == 171 - 117
    assert counted["Softmax"] == 18


def test_the_dictionary_shrinks(int8_bundle: Path, bundle: Path) -> None:
    arrays = {t.name: t for t in onnx.load(int8_bundle / "restorer.onnx").graph.initializer}
    floats = {t.name: t for t in onnx.load(bundle / "restorer.onnx").graph.initializer}
    wanted = numpy_helper.to_array(floats["network.mo_256_mem_value"]).reshape(16, -1)
    levels = numpy_helper.to_array(arrays["network.mo_256_mem_value/int8"])
    scale = numpy_helper.to_array(arrays["network.mo_256_mem_value/scale"])
    assert levels.dtype == np.int8
    np.testing.assert_allclose(levels * scale, wanted, atol=float(scale.max()) * 0.51)
    keys = numpy_helper.to_array(arrays["network.mo_256_mem_key/half"])
    assert keys.dtype == np.float16


def test_devices(int8_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="made for CPUs"):
        Restorer(int8_bundle, device="cuda")


@pytest.mark.long
def test_the_same_for_the_same_seed(int8_bundle: Path, bundle: Path, tmp_path: Path) -> None:
    """Also from a cache of its own."""
    floats = Floats(bundle / "restorer.onnx", bundle / "memorizer.onnx")
    work = prepare(floats, choose_faces(COMPACT_INT8), COMPACT_INT8, tmp_path / "cache", "weights")
    work.write(work.graph.blocks, tmp_path / "restorer.onnx")
    for name in ("restorer.onnx", "restorer.onnx.data"):
        assert (tmp_path / name).read_bytes() == (int8_bundle / name).read_bytes()


def test_blocks_go_back_to_float(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floats = Floats(bundle / "restorer.onnx", bundle / "memorizer.onnx")
    # fewer blocks to try, for speed
    kept = ("E_lq.conv1", "up3.convup", "up4.2.Model", "up4.4")
    monkeypatch.setattr(Graph, "blocks", property(lambda _: kept))
    said: list[str] = []

    def run(min_psnr_db: float) -> Quantization:
        options = Options(size=3, min_psnr_db=min_psnr_db)
        out = tmp_path / "out.onnx"
        faces, cache = choose_faces(options), tmp_path / "cache"
        return calibrate(floats, out, faces, options, cache, "weights", said.append)

    first = run(30)
    made = run(first.quality[0].mean_psnr_db + 1)
    back = [block.name for block in made.blocks if not block.integer]
    assert back
    assert len(back) < 4
    assert made.quality[0].mean_psnr_db > first.quality[0].mean_psnr_db + 1
    assert any(f"back to float: {back[0]}" in line for line in said)


def test_a_missed_gate_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Graph, "blocks", property(lambda _: ("up4.4",)))
    options = Options(size=3, min_psnr_db=99)
    with pytest.raises(CalibrationError, match="with every layer"):
        export_bundle(tmp_path / "out", "int8", "compact", int8=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_tensorrt_form(tmp_path: Path) -> None:
    """Symmetric, biases in float, all else half; refused by ONNX Runtime's backend."""
    options = Options(size=3, target="tensorrt", method="minmax", min_psnr_db=30)
    bundle = export_bundle(tmp_path / "out", "int8", "compact", int8=options)
    model = onnx.load(tmp_path / "out" / "restorer.onnx")
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    produced = {name: node for node in model.graph.node for name in node.output}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 120
    for node in pairs:
        assert arrays[node.input[2]].dtype == np.int8
        assert not arrays[node.input[2]].any()  # symmetric
        assert arrays[node.input[1]].dtype == np.float16
    quantised = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            before = [produced[name].op_type for name in node.input[:2] if name in produced]
            quantised += before == ["DequantizeLinear", "DequantizeLinear"]
            if len(node.input) > 2:
                assert arrays[node.input[2]].dtype == np.float16
    assert quantised == 117
    assert bundle.manifest.dictionary_dtype == np.float16
    made = bundle.manifest.quantization
    assert made is not None
    assert made.quality[0].mean_psnr_db > 36
    with pytest.raises(DeviceError, match="made for tensorrt"):
        Restorer(tmp_path / "out")


def test_chart(int8_bundle: Path, tmp_path: Path) -> None:
    made = open_bundle(int8_bundle).manifest.quantization
    assert made is not None
    draw(made, tmp_path / "chart.png")
    picture = read_image(tmp_path / "chart.png")
    assert picture.shape[0] > 800
    assert picture.std() > 30


@pytest.mark.long
def test_full_size_passes_the_gate(full_bundle: Path, tmp_path: Path) -> None:
    """Every block in INT8, the default gate, and less than 0.45 of the float32 bundle's size."""
    floats = Floats(full_bundle / "restorer.onnx", full_bundle / "memorizer.onnx")
    options = Options(size=6)
    work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "weights")
    work.write(work.graph.blocks, tmp_path / "restorer.onnx")
    whole, *components = work.quality(tmp_path / "restorer.onnx")
    assert whole.mean_psnr_db >= 35
    assert all(row.mean_psnr_db >= 32 for row in components)
    small = sum((tmp_path / n).stat().st_size for n in ("restorer.onnx", "restorer.onnx.data"))
    small += sum(f.stat().st_size for f in full_bundle.glob("memorizer*"))
    assert small < 0.45 * sum(f.stat().st_size for f in full_bundle.iterdir())
