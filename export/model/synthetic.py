"""A seeded stand-in for the published weights, for tests, benchmarks and the offline demo.

It has the checkpoint's names and shapes, and it restores nothing. Its output is recognisably its
input: some channels of every layer on the way carry the image, all others carry noise features of
the image, so that activations are as varied as a trained network's. The dictionaries tint and
disturb the three components, so that a misplaced box is visible at a glance.

How a channel passes a LeakyReLU: one convolution gives +x and -x, and the next takes the
difference / 1.2, since leaky(x) - leaky(-x) = 1.2 x for a slope of 0.2.
"""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from export.model.network import SLOPE, DMDNet, checkpoint_shapes

Array = NDArray[np.float32]

# (end of a layer's name, gain of its noise weights): residual, attention and modulation branches
# are small beside what they are added to, as in a trained network. Else 1.
_GAINS = (
    (".Res.2", 0.3),
    (".Model.2", 0.3),
    ("convi", 0.3),
    ("_Attention.2", 0.1),
    ("convCat.2", 0.2),
    ("ScaleModel1.2", 0.1),
    ("Query.2", 0.05),
    ("Key.2", 0.05),
    ("up4.4", 0.5),
)
_BIASES = (("ScaleModel1.2", 1.0), ("_Attention.2", 0.5), ("convCat.2", 0.5))
_LEAK = 0.04  # noise gain of the image channels: what a neighbour's error costs the picture
_CONTRAST = 1.25  # undoes most of the final tanh's compression
_TINT = (0.45, -0.35, 0.15)  # how strongly a component's dictionary read is added, R, G, B


def synthetic_state(seed: int = 0, width: int = 64, entries: int = 128) -> dict[str, torch.Tensor]:
    """A state dict in the published checkpoint's format, the same for the same arguments."""
    with torch.device("meta"):
        shapes = checkpoint_shapes(DMDNet(width, entries))
    state: dict[str, Array] = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith("mem_key"):
            # logits with a spread of a few units, so that the softmax has a clear winner
            state[name] = noise * np.float32(400 / np.sqrt(np.prod(shape[1:])))
        elif name.endswith("weight_orig"):
            gain = _look_up(_GAINS, name.removesuffix(".weight_orig"), 1.0)
            state[name] = noise * np.float32(1.2 * gain / np.sqrt(np.prod(shape[1:])))
        elif name.endswith("bias"):
            mean = _look_up(_BIASES, name.removesuffix(".bias"), 0.0)
            state[name] = noise * np.float32(0.05) + np.float32(mean)
        else:
            state[name] = noise
    _carry_image(state, width)
    for name in [n for n in state if n.endswith("weight_orig")]:
        _normalise(state, name.removesuffix("weight_orig"))
    return {name: torch.from_numpy(state[name]) for name in shapes}


def _carry_image(state: dict[str, Array], width: int) -> None:
    """Lay the image's way through the network over the noise."""
    # a pair carries at most width / 2 channels: four phases of RGB, or else their mean
    phases = 4 if width >= 24 else 1
    n = 3 * phases
    pick = np.eye(3, dtype=np.float32)
    mean = np.tile(pick, phases) / np.float32(phases)  # phases of RGB -> RGB
    unshuffle = np.zeros((n, 3, 3, 3), np.float32)
    for phase in range(4):
        row, column = 1 + phase // 2, 1 + phase % 2
        if phases == 4:
            unshuffle[3 * phase : 3 * phase + 3, :, row, column] = pick
        else:
            unshuffle[:, :, row, column] = pick / 4

    for encoder in ("E_lq", "E_hq"):
        _spread(state, f"{encoder}.conv1.0", unshuffle)
        _gather(state, f"{encoder}.conv1.2", n)
        _pass_pair(state, f"{encoder}.conv2", n)
        for res in ("res1", "res2"):
            _quieten(state, f"{encoder}.{res}.Res.2", n)
    for part in ("LE", "RE", "MO"):
        _pass_pair(state, f"{part}_256_KV.Value", n)
        state[f"{part}_256_Attention.2.bias"][:n] = np.tile(_TINT, phases)
        values = state[f"{part.lower()}_256_mem_value"]
        coarse = values[:, :n, ::10, ::10]  # smooth tints in place of pixel noise
        rows = np.arange(values.shape[2]) // 10
        values[:, :n] = coarse[:, :, rows][:, :, :, rows]

    _quieten(state, "up3.ScaleModel1.2", n, gain=0)
    _pass_pair(state, "up3.ShiftModel1", n)
    _spread(state, "up3.convup.1", _centre_taps(mean))
    _gather(state, "up3.convup.3", 3)
    _spread(state, "up4.0", _centre_taps(pick))
    for block in ("up4.2", "up4.3"):
        _quieten(state, f"{block}.Model.2", 6)
    _gather(state, "up4.4", 3, gain=_CONTRAST)


def _pass_pair(state: dict[str, Array], name: str, n: int) -> None:
    """The first `n` channels go through a conv - LeakyReLU - conv pair unchanged."""
    _spread(state, f"{name}.0", _centre_taps(np.eye(n, dtype=np.float32)))
    _gather(state, f"{name}.2", n)


def _spread(state: dict[str, Array], layer: str, kernel: Array) -> None:
    """Rows 0..n-1 compute `kernel`, rows n..2n-1 its negative; nothing else goes in."""
    n, inputs = kernel.shape[:2]
    weight, bias = state[f"{layer}.weight_orig"], state[f"{layer}.bias"]
    weight[: 2 * n] = 0
    weight[:n, :inputs], weight[n : 2 * n, :inputs] = kernel, -kernel
    bias[: 2 * n] = 0


def _gather(state: dict[str, Array], layer: str, n: int, gain: float = 1.0) -> None:
    """Rows 0..n-1 take the difference of what `_spread` made, and a little noise."""
    _quieten(state, layer, n)
    rows = np.arange(n)
    weight = state[f"{layer}.weight_orig"]
    weight[:n, : 2 * n] = 0
    weight[rows, rows, 1, 1] = gain / (1 + SLOPE)
    weight[rows, n + rows, 1, 1] = -gain / (1 + SLOPE)


def _quieten(state: dict[str, Array], layer: str, n: int, gain: float = _LEAK) -> None:
    """Only little noise gets into the first `n` rows."""
    state[f"{layer}.weight_orig"][:n] *= gain
    state[f"{layer}.bias"][:n] = 0


def _centre_taps(matrix: Array) -> Array:
    """A matrix (out, in) as a 3 x 3 convolution (out, in, 3, 3)."""
    kernel = np.zeros((*matrix.shape, 3, 3), np.float32)
    kernel[:, :, 1, 1] = matrix
    return kernel


def _normalise(state: dict[str, Array], layer: str) -> None:
    """Choose the stored u and v so that sigma = u . (W v) = 1: the weights are those in effect."""
    weight = state[f"{layer}weight_orig"].reshape(len(state[f"{layer}weight_u"]), -1)
    v = state[f"{layer}weight_v"]
    v /= np.linalg.norm(v)
    image = (weight.astype(np.float64) @ v).astype(np.float64)
    state[f"{layer}weight_u"] = (image / (image @ image)).astype(np.float32)


def _look_up(table: tuple[tuple[str, float], ...], layer: str, default: float) -> float:
    return next((value for suffix, value in table if layer.endswith(suffix)), default)
