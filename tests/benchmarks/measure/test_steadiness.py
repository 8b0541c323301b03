import numpy as np
import pytest

from benchmarks.measure.steadiness import Change, jitter

EVEN = [0.04 * n for n in range(60)]
ODD = [0.04 * n + 0.015 * (n % 2) for n in range(60)]


@pytest.mark.parametrize("times", [EVEN, ODD])
def test_jitter_counts_what_changes_at_random(times: list[float]) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((68, 2)) for _ in times]
    assert jitter(noise, times) == pytest.approx(1, abs=0.05)
    assert jitter([2 * each for each in noise], times) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("times", [EVEN, ODD])
def test_jitter_is_neither_an_offset_nor_a_drift(times: list[float]) -> None:
    offset = np.random.default_rng(0).standard_normal((68, 2))
    assert jitter([offset + 3 * time for time in times], times) < 1e-9


def test_change_is_of_consecutive_crops_of_a_track() -> None:
    def crop(level: int) -> np.ndarray:
        return np.full((4, 4, 3), level, np.uint8)

    change = Change()
    for index, level in enumerate((10, 14, 200)):
        change.add("a", index, crop(level))
    change.add("b", 2, crop(0))  # another track
    change.add("a", 5, crop(0))  # after a gap
    change.add("a", 6, crop(2))
    assert (change.total, change.pairs) == (4 + 186 + 2, 3)
    assert change.mean == 64
