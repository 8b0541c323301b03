"""Choose the range of each activation, which its 256 levels cover, from its statistics."""

import contextlib
import io

from calibration.statistics import Activation, Array, Statistics

_PERCENTILE = 99.99
_BINS = 512

Ranges = dict[str, tuple[float, float]]


def ranges_of(statistics: Statistics, method: str) -> Ranges:
    """The low and high end of each activation's range, by `method`.

    "minmax": the extremes; "percentile": 0.01 % of the numbers lie outside; "entropy": least
    information is lost (Kullback-Leibler). onnxruntime's calibration computes the last two, of the
    channels that are not always zero, as those are that an export pads Mask with.
    """
    if method == "minmax":
        return {name: (float(a.low.min()), float(a.high.max())) for name, a in statistics.items()}
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=method,
        symmetric=False,
        num_bins=_BINS if method == "entropy" else 4 * _BINS,
        num_quantized_bins=256,
        percentile=_PERCENTILE,
        scenario="same",
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its settings
        collector.collect({name: [_live(activation)] for name, activation in statistics.items()})
        found = collector.compute_collection_result()
    return {name: (float(ends[0]), float(ends[1])) for name, ends in found.items()}


def _live(activation: Activation) -> Array:
    """The samples, without those of channels that are always zero, if there are others."""
    live = (activation.low != 0) | (activation.high != 0)
    return activation.samples[:, live] if live.any() else activation.samples
