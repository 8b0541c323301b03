"""Bias correction: undo the shift of the mean that quantising a convolution causes.

Rounded weights and clipped, rounded inputs move the mean of each output channel, which shows as a
colour cast. The shift is estimated from the samples of the layer's input, and subtracted from its
bias (Nagel et al., arXiv 1906.04721, section 4.2, with measured means in place of derived ones).
"""

import numpy as np
from numpy.typing import NDArray

from calibration.graph import Graph
from calibration.ranges import Ranges
from calibration.statistics import Statistics

Shifts = dict[str, NDArray[np.float32]]


def shifts_of(graph: Graph, ranges: Ranges, statistics: Statistics, target: str) -> Shifts:
    """The shift (out,) to subtract from each observed layer's bias if that layer is quantised."""
    shifts: Shifts = {}
    for layer in (layer for layer in graph.layers if layer.source in statistics):
        weight = graph.array(layer.weight).astype(np.float32)
        reach = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
        step = np.where(reach > 0, reach, 1) / 127
        rounded = np.rint(weight / step) * step
        samples = statistics[layer.source].samples
        mean = samples.mean(axis=0)
        seen = _quantised(samples, *ranges[layer.source], target).mean(axis=0)
        # the same mean is taken for all nine taps
        shift = rounded.sum(axis=(2, 3)) @ seen - weight.sum(axis=(2, 3)) @ mean
        shifts[layer.bias] = shift.astype(np.float32)
    return shifts


def _quantised(
    samples: NDArray[np.float32], low: float, high: float, target: str
) -> NDArray[np.float32]:
    """`samples` as the target's 8 bits hold them."""
    if target == "tensorrt":
        step = max(-low, high, 1e-12) / 127
        return np.asarray(np.rint(samples / step).clip(-127, 127) * step, np.float32)
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-12) / 255
    zero = np.rint(-low / step)
    levels = (np.rint(samples / step) + zero).clip(0, 255)
    return np.asarray((levels - zero) * step, np.float32)
