"""The two graphs of a bundle: 8-bit images in and out, exported to ONNX with external weights."""

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from export.model.network import DMDNet
from runtime.bundle.layout import IMAGE_SIZE

OPSET = 20
FACES, REFERENCES = "faces", "references"


class RestorerGraph(nn.Module):
    """image uint8 (B, 512, 512, 3) RGB, boxes, dictionary, membership -> restored, like image."""

    inputs = ("image", "boxes", "dictionary", "membership")
    output = "restored"
    free = ((FACES,), (FACES,), (REFERENCES,), (FACES, REFERENCES))  # dimensions, from the first

    def __init__(self, network: DMDNet) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, boxes: Tensor, dictionary: Tensor, membership: Tensor
    ) -> Tensor:
        face = _normalise(image, dictionary.dtype)
        restored: Tensor = self.network(face, boxes, dictionary, membership)
        levels = ((restored.float() + 1) * 127.5).round().clamp(0, 255)
        # TensorRT wants the cast to 8 bits last
        return levels.permute(0, 2, 3, 1).to(torch.uint8)

    def example(self) -> tuple[Tensor, ...]:
        dtype = self.network.MSDilate.convi.weight.dtype
        dictionary = torch.zeros(3, self.network.layout[-1].stop, dtype=dtype)
        return (*_example_faces(2), dictionary, torch.ones(2, 3))


class MemorizerGraph(nn.Module):
    """image uint8 (K, 512, 512, 3) RGB, boxes int32 (K, 4, 4) -> dictionary (K, D)."""

    inputs = ("image", "boxes")
    output = "dictionary"
    free = ((REFERENCES,), (REFERENCES,))

    def __init__(self, network: DMDNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, boxes: Tensor) -> Tensor:
        dtype = self.network.MSDilate.convi.weight.dtype
        return self.network.memorize(_normalise(image, dtype), boxes)

    def example(self) -> tuple[Tensor, ...]:
        return _example_faces(2)


def export_onnx(graph: RestorerGraph | MemorizerGraph, path: Path) -> None:
    """Write `graph` to `path` and its weights to `path` + `.data`, checked by ONNX."""
    example = graph.example()
    dynamic = tuple(
        dict(enumerate(torch.export.Dim(name, min=1) for name in names)) for names in graph.free
    )
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)  # else: that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch, nothing of the caller's
            program = torch.onnx.export(
                graph.eval(),
                example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=graph.inputs,
                output_names=(graph.output,),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    program.save(path, external_data=True)
    onnx.checker.check_model(path)


def _normalise(image: Tensor, dtype: torch.dtype) -> Tensor:
    # TensorRT wants the cast from 8 bits to be the first node on the input
    return (image.float().permute(0, 3, 1, 2) / 127.5 - 1).to(dtype)


def _example_faces(count: int) -> tuple[Tensor, Tensor]:
    image = torch.zeros(count, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    boxes = torch.tensor([100, 100, 200, 200], dtype=torch.int32).repeat(count, 4, 1)
    return image, boxes
