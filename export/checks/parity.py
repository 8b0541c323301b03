"""Parity: how far the exported graphs are from the float32 network in PyTorch.

ONNX Runtime runs the files on the CPU with built-in faces: one face without a dictionary, one with
a specific dictionary, a batch that mixes both and two people, and the memorizer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from calibration.sessions import Run, open_run
from export.checks.reference import dictionary_levels
from export.model.graphs import MemorizerGraph, RestorerGraph
from export.model.network import DMDNet
from runtime.bundle.manifest import Parity
from runtime.samples.faces import CASES, sample_faces


def measure(network: DMDNet, restorer: Path, memorizer: Path) -> tuple[Parity, ...]:
    """Compare both files with `network` (float32) on the built-in cases."""
    images, boxes = sample_faces()
    references, reference_boxes = images[[0, 1, 2]], boxes[[0, 1, 2]]
    with _activations(network) as seen:
        graph = MemorizerGraph(network)
        wanted = graph(torch.from_numpy(references), torch.from_numpy(reference_boxes)).numpy()
    (got,) = open_run(memorizer)({"image": references, "boxes": reference_boxes})
    finite = bool(np.isfinite(got).all())
    report = [_parity("memorizer", dictionary_levels(got, wanted), finite, max(seen))]
    dictionary = onnx.load(restorer, load_external_data=False).graph.input[2]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(dictionary.type.tensor_type.elem_type)
    rows = got.astype(dtype)  # an int8 export's float32 restorer comes with a float16 memorizer

    with _before_tanh(restorer) as run:
        for case, (faces, members) in CASES.items():
            image, corners, membership = images[faces], boxes[faces], np.array(members, np.float32)
            with _activations(network) as seen:
                tensors = map(torch.from_numpy, (image, corners, wanted, membership))
                expected = RestorerGraph(network)(*tensors).numpy()
            restored, before_tanh = run(
                {"image": image, "boxes": corners, "dictionary": rows, "membership": membership}
            )
            finite = bool(np.isfinite(before_tanh).all())
            difference = restored.astype(np.float64) - expected
            report.append(_parity(case, difference, finite, max(seen)))
    return tuple(report)


def _parity(case: str, difference: NDArray[np.float64], finite: bool, peak: float) -> Parity:
    square = float(np.mean(difference**2))
    psnr = None if square == 0 else float(10 * np.log10(255**2 / square))
    largest, mean = float(np.abs(difference).max()), float(np.abs(difference).mean())
    return Parity(case, largest, mean, psnr, finite, peak)


@contextmanager
def _activations(network: DMDNet) -> Iterator[list[float]]:
    """The largest absolute activation of each convolution that runs meanwhile."""
    seen: list[float] = []

    def see(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        seen.append(float(output.abs().max()))

    convolutions = (module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    hooks = [module.register_forward_hook(see) for module in convolutions]
    try:
        with torch.inference_mode():
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _before_tanh(path: Path) -> Iterator[Run]:
    """Run the file; it also returns the input of its one Tanh, in which NaN can still be seen."""
    model = onnx.load(path, load_external_data=False)
    (node,) = [n for n in model.graph.node if n.op_type == "Tanh"]
    model.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    probed = path.with_name(f"probe-{path.name}")  # beside the weights that it refers to
    onnx.save(model, probed)
    try:
        yield open_run(probed)
    finally:
        probed.unlink()
