import numpy as np
import pytest
import torch

from export.model.checkpoint import build_network
from export.model.synthetic import synthetic_state
from runtime.faces.landmarks import component_boxes
from tests.conftest import Face


def test_seeded() -> None:
    one, same, other = (synthetic_state(seed, 8, 2) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["up1.conv1.0.bias"], other["up1.conv1.0.bias"])


@pytest.mark.parametrize("width", [8, 24])
def test_output_is_the_input_with_marked_components(width: int, faces: list[Face]) -> None:
    network = build_network(synthetic_state(0, width, 4), "synthetic")
    face, points = faces[0]
    boxes = component_boxes(points)
    image = torch.from_numpy(face[:, :, ::-1].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    largest = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, out: largest.append(float(out.abs().max())))
    with torch.inference_mode():
        rows = torch.zeros(1, network.layout[-1].stop)
        out = network(image[None], torch.from_numpy(boxes)[None], rows, torch.zeros(1, 1))[0]
    error = ((out - image) / 2).numpy() ** 2
    inside = np.zeros((512, 512), bool)
    for x1, y1, x2, y2 in boxes[[0, 1, 3]]:
        inside[y1:y2, x1:x2] = True
    plain, marked = (-10 * np.log10(error[:, mask].mean()) for mask in (~inside, inside))
    assert plain > 25
    assert marked < plain - 3
    assert min(largest) > 0.01  # no dead layer
    assert max(largest) < 100
