import numpy as np
import pytest

from calibration.ranges import ranges_of
from calibration.statistics import Activation


def test_methods() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 1, (20_000, 4)).astype(np.float32)
    samples[0, 0] = 40  # an outlier
    statistics = {"x": Activation(samples, samples.min(0), np.full(4, 50, np.float32))}
    assert ranges_of(statistics, "minmax")["x"] == (samples.min(), 50.0)  # beyond the samples
    low, high = ranges_of(statistics, "percentile")["x"]
    assert -3.5 < low < -2.3
    assert 4.3 < high < 5.5
    low, high = ranges_of(statistics, "entropy")["x"]
    assert low < -2
    assert 4 < high <= 40


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_channels_of_zeros_change_nothing(method: str) -> None:
    """An export pads with them."""
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 1, (5_000, 4)).astype(np.float32)
    padded = np.pad(samples, ((0, 0), (0, 4)))
    x, same, nothing = (
        Activation(of, of.min(0), of.max(0)) for of in (samples, padded, padded[:, 4:])
    )
    ranges = ranges_of({"x": x, "same": same, "nothing": nothing}, method)
    assert ranges["same"] == ranges["x"]
    assert ranges["nothing"] == (0, 0)
