"""Fits that neither lag nor overshoot, and take the noise away."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.video.tracks.smoothing import between, smoothed

SIZE = 150.0


def at_times(times: NDArray[np.float64], speed: float, growth: float) -> NDArray[np.float64]:
    """Two points (N, 2, 2) that move by a parabola: x of the first, y of the second."""
    way = 40 + speed * times + growth * times**2
    points = np.zeros((len(times), 2, 2))
    points[:, 0, 0], points[:, 1, 1] = way, -way
    return points


@pytest.mark.parametrize("at", [-0.6, -0.31, 0.0, 0.05, 0.6])
def test_what_moves_steadily_or_accelerates_is_where_it_is(at: float) -> None:
    """At irregular times, in the middle and where there are looks on one side only."""
    times = np.sort(np.random.default_rng(3).uniform(-0.6, 0.6, 14))
    times[[0, -1]] = -0.6, 0.6
    found = smoothed(times, at_times(times, 300, 500), at, SIZE)
    assert found == pytest.approx(at_times(np.array([at]), 300, 500)[0], abs=5e-3)


def test_beyond_the_last_look_it_goes_on_as_it_went() -> None:
    times = np.linspace(-0.6, 0.0, 6)
    found = smoothed(times, at_times(times, 300, 0), 0.08, SIZE)
    assert found == pytest.approx(at_times(np.array([0.08]), 300, 0)[0], abs=2e-3)


@pytest.mark.parametrize(("step", "most"), [(0.04, 0.40), (0.12, 0.65)])
def test_noise_at_rest(step: float, most: float) -> None:
    """A look in each frame, and one in every third, at 25 frames a second."""
    times = np.linspace(-0.6, 0.6, 1 + round(1.2 / step))
    noise = np.random.default_rng(4).normal(size=(len(times), 2000, 2))
    left = smoothed(times, noise, 0.0, SIZE).std()
    assert 0.1 < left < most


@pytest.mark.parametrize(("rate", "error"), [(0.5, 1.0), (1.0, 1.0), (2.0, 4.1)])
def test_a_sway_is_followed(rate: float, error: float) -> None:
    """30 px to and fro, with a look every 0.12 s: by how many pixels the fit is off at most."""
    looks = np.linspace(-0.6, 0.6, 11)
    worst = 0.0
    for shift in np.linspace(0, 1 / rate, 40):
        for at in np.linspace(0, 0.12, 4):
            places = np.zeros((len(looks), 1, 2))
            places[:, 0, 0] = 30 * np.sin(2 * np.pi * rate * (looks + shift))
            true = 30 * np.sin(2 * np.pi * rate * (at + shift))
            worst = max(worst, abs(smoothed(looks, places, at, SIZE)[0, 0] - true))
    assert worst < error


@pytest.mark.parametrize("speed", [300.0, 900.0])
def test_a_sudden_start_is_followed(speed: float) -> None:
    """From rest, where it is looked at seldom, with a look in each frame of 0.04 s from then on."""
    looks = np.concatenate([np.linspace(-0.6, 0, 6), np.linspace(0.04, 0.6, 15)])
    places = np.zeros((len(looks), 1, 2))
    places[:, 0, 0] = speed * looks.clip(0)
    for at in np.arange(-0.12, 0.13, 0.04):
        off = smoothed(looks, places, at, SIZE)[0, 0] - speed * max(0.0, at)
        assert abs(off) < 0.01 * SIZE


def test_few_and_far_looks() -> None:
    """One, two, and at one frame a second: there the look itself counts, and nothing overflows."""
    alone = np.array([[[3.0, 4.0]]])
    assert smoothed(np.zeros(1), alone, 5.0, SIZE) == pytest.approx(alone[0])
    two = np.array([[[0.0, 0.0]], [[10.0, 20.0]]])
    assert smoothed(np.array([0, 0.2]), two, 0.1, SIZE)[0] == pytest.approx((5, 10), abs=1e-3)
    slow = np.random.default_rng(5).normal(0, 50, (21, 1, 2))
    times = np.arange(-10.0, 11)
    assert smoothed(times, slow, 0.0, SIZE) == pytest.approx(slow[10], abs=0.01)


def test_between_looks() -> None:
    times = np.array([0.0, 1.0, 3.0])
    points = np.array([[[0.0, 0.0]], [[10.0, 20.0]], [[30.0, 20.0]]])
    for at, place in [(-1, (0, 0)), (0.5, (5, 10)), (1, (10, 20)), (2, (20, 20)), (4, (30, 20))]:
        assert between(times, points, at)[0] == pytest.approx(place)
