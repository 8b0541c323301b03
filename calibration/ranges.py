"""From what an activation looks like to the range that its 256 levels cover."""

import contextlib
import io

from calibration.statistics import Statistics

_PERCENTILE = 99.99
_BINS = 512

Ranges = dict[str, tuple[float, float]]


def ranges_of(statistics: Statistics, method: str) -> Ranges:
    """Low and high end of each activation.

    "minmax": its extremes; "percentile": what 0.01 % lie outside of; "entropy": least information
    lost (Kullback-Leibler). The last two as onnxruntime's calibration computes them.
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
        collector.collect({name: [activation.samples] for name, activation in statistics.items()})
        found = collector.compute_collection_result()
    return {name: (float(ends[0]), float(ends[1])) for name, ends in found.items()}
