"""TensorRT for RTX parses and builds the INT8 form that is made for it, without a GPU."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from calibration.calibrate import Floats, Options, choose_faces, prepare


@pytest.fixture(scope="module")
def tensorrt() -> Any:
    libraries = pytest.importorskip("onnxruntime_ep_nv_tensorrt_rtx", reason="no TensorRT for RTX")
    folder = Path(libraries.__file__).parent
    for pattern in ("libtensorrt_rtx.so.?.?.?", "libtensorrt_onnxparser_rtx.so.?.?.?"):
        (library,) = folder.rglob(pattern)
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings

    return tensorrt_rtx_bindings


def test_int8_engine(narrow_bundles: dict[str, Path], tensorrt: Any, tmp_path: Path) -> None:
    fp32, fp16 = narrow_bundles["fp32"], narrow_bundles["fp16"]
    floats = Floats(fp32 / "restorer.onnx", fp16 / "memorizer.onnx", fp16 / "restorer.onnx")
    options = Options(size=3, target="tensorrt")
    work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "narrow")
    path = tmp_path / "restorer.onnx"
    work.write(work.graph.blocks, path)

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path)), parser.get_error(0)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = [layer.type for layer in layers]
    # input and weight of every quantised convolution, and the 9 values of the dictionary
    assert kinds.count(tensorrt.LayerType.DEQUANTIZE) >= 2 * 117
    convolutions = [layer for layer in layers if layer.type == tensorrt.LayerType.CONVOLUTION]
    half = [layer for layer in convolutions if layer.get_output(0).dtype == tensorrt.float16]
    assert len(convolutions) == len(half) == 171  # nothing falls back to float32

    columns = network.get_input(2).shape[1]
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 512, 512, 3), (1, 512, 512, 3), (8, 512, 512, 3))
    profile.set_shape("boxes", (1, 4, 4), (1, 4, 4), (8, 4, 4))
    profile.set_shape("dictionary", (1, columns), (10, columns), (32, columns))
    profile.set_shape("membership", (1, 1), (1, 10), (8, 32))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 1e6
