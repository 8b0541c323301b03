"""Measure the peak rates of the processor and the GPU, which are the roof of a roofline."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.measure.timing import Work, seconds_of
from runtime.machine.onnx_session import open_session

_SIDE = 1536  # of the square matrices of a product on the CPU
_SIDE_GPU = 8192
_COPY = 256 << 20  # bytes
_TRIES = 25
_TRIES_GPU = 70  # an idle card takes tens of ms to raise its clocks


def peaks(threads: int | None, on_gpu: bool = False) -> dict[str, float]:
    """Peak rates of this CPU in ONNX Runtime, and of the GPU in PyTorch.

    "float" and "int8": GFLOP/s of a large matrix product of such numbers (int8: 8-bit
    multiplications and additions); "copy": GB/s of a large copy; "gpu float" and "gpu half":
    GFLOP/s of a product on the GPU, if `on_gpu` and PyTorch can use it. Float is without TF32.
    """
    found = {
        "float": _product_rate("float", threads),
        "int8": _product_rate("int8", threads),
        "copy": _copy_rate(),
    }
    if on_gpu and find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            for name, kind in (("gpu float", torch.float32), ("gpu half", torch.float16)):
                found[name] = _product_rate_gpu(kind)
    return found


def _product_rate(precision: str, threads: int | None) -> float:
    from onnx import numpy_helper, parser

    rng = np.random.default_rng(0)
    if precision == "float":
        left = rng.standard_normal((_SIDE, _SIDE), np.float32)
        right: Any = rng.standard_normal((_SIDE, _SIDE), np.float32)
        kind, sum_kind, operator = "float", "float", "MatMul"
    else:
        left = rng.integers(0, 255, (_SIDE, _SIDE), np.uint8)
        right = rng.integers(-127, 127, (_SIDE, _SIDE), np.int8)
        kind, sum_kind, operator = "uint8", "int32", "MatMulInteger"
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20]> product ({kind}[{_SIDE}, {_SIDE}] left) '
        f"=> ({sum_kind}[{_SIDE}, {_SIDE}] out) {{ out = {operator}(left, right) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(right, "right"))
    session = open_session(model.SerializeToString(), threads=threads)
    return 2 * _SIDE**3 / _best(lambda: session.run(None, {"left": left})) / 1e9


def _product_rate_gpu(kind: Any) -> float:
    """`kind`: PyTorch's name of the type. PyTorch uses no TF32 in products by itself."""
    import torch

    left, right = (torch.randn(_SIDE_GPU, _SIDE_GPU, device="cuda").to(kind) for _ in range(2))
    # reading one number waits until the whole product is there
    return 2 * _SIDE_GPU**3 / _best(lambda: (left @ right)[0, 0].item(), _TRIES_GPU) / 1e9


def _copy_rate() -> float:
    source = np.ones(_COPY, np.uint8)
    target = np.empty_like(source)
    return 2 * _COPY / _best(lambda: np.copyto(target, source)) / 1e9  # read and written


def _best(work: Work, tries: int = _TRIES) -> float:
    """Seconds of the fastest try: a peak is what is possible, not what is usual."""
    work()
    return min(seconds_of(work) for _ in range(tries))
