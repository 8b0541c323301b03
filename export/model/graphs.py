"""The two graphs of a bundle as PyTorch modules: 8-bit images in and out."""

import torch
from torch import Tensor, nn

from export.model.network import DMDNet
from runtime.bundle.layout import IMAGE_SIZE

FACES, REFERENCES = "faces", "references"


class RestorerGraph(nn.Module):
    """image uint8 (B, 512, 512, 3) RGB, boxes, dictionary, membership -> restored, like image."""

    name = "restorer"
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

    name = "memorizer"
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


def _normalise(image: Tensor, dtype: torch.dtype) -> Tensor:
    # TensorRT wants the cast from 8 bits to be the first node on the input
    return (image.float().permute(0, 3, 1, 2) / 127.5 - 1).to(dtype)


def _example_faces(count: int) -> tuple[Tensor, Tensor]:
    image = torch.zeros(count, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    boxes = torch.tensor([100, 100, 200, 200], dtype=torch.int32).repeat(count, 4, 1)
    return image, boxes
