"""Where a face is at a moment, from where it was seen before and after: without lag.

A parabola is fitted to what was seen, by least squares in which the moment's neighbours count most
(Cleveland 1979). It follows whatever moves steadily or accelerates, as it looks to both sides, and
it needs no equal intervals: times of variable frame rates, and moments at which nobody looked, are
no exceptions.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_WIDE, _NARROW = 0.20, 0.06
"""Seconds (standard deviation) over which a face at rest, and one that moves quickly, is averaged.

With a look every 0.12 s the wide fit has about half of the landmarks' noise, and 0.98 of a sway of
0.5 Hz, but 0.18 of one of 2 Hz: a parabola with Gaussian weights passes (1 + x / 2) exp(-x / 2), x
being the square of frequency times width times 2 pi. The narrow one has 0.97 of 2 Hz, and at rest
goes through what was seen.
"""

_REST = 0.002  # of the face's size: what noise makes the two differ by, all points together
_SUDDEN = 0.02  # of the face's size: what the narrow fit and the looks differ by, without a jerk
_DENSE = 0.6  # of the time between two looks: looks nearer than that were made after all
_FLAT = 1e-8  # of the largest weight: keeps a slope of which too little is known at nothing


def smoothed(times: Values, points: Values, at: float, size: float) -> Values:
    """Points (P, 2) at the moment `at`, from the times (N,) and places (N, P, 2), N > 0.

    `size`: of the face, in pixels. Each point is where the wide fit has it; but as far as all of
    them move together otherwise in the narrow fit, by more than noise would, they follow that. And
    as far as their middle is far off there, as where a face starts suddenly, they follow a curve
    through the looks (Akima 1970, with the weights of scipy's "makima"), or the straight way.
    """
    wide = _fitted(times, points, at, _WIDE)
    narrow = _nearer(wide, _fitted(times, points, at, _NARROW), _REST * size)
    if len(times) < 3 or not times[0] <= at <= times[-1]:
        return narrow
    straight = between(times, points, at)
    if np.abs((straight - narrow).mean(axis=0)).max() < _SUDDEN / 2 * size:
        return narrow  # which the curve would hardly change, and it costs time
    if _is_sparse(times, at):
        return _nearer(narrow, straight, _SUDDEN * size)
    from scipy.interpolate import Akima1DInterpolator

    through = np.asarray(Akima1DInterpolator(times, points, method="makima")(at))
    return _nearer(narrow, through, _SUDDEN * size)


def between(times: Values, points: Values, at: float) -> Values:
    """Points (P, 2) at the moment `at` on the straight way from one place to the next."""
    after = int(np.searchsorted(times, at))
    if after == len(times):
        return np.asarray(points[-1])
    if after == 0 or times[after] == at:
        return np.asarray(points[after])
    share = (at - times[after - 1]) / (times[after] - times[after - 1])
    return np.asarray(points[after - 1] + share * (points[after] - points[after - 1]))


def _fitted(times: Values, points: Values, at: float, width: float) -> Values:
    """The weighted fit's value: a parabola's, or a line's outside of the times."""
    inside = times[0] <= at <= times[-1]
    order = min(2 if inside else 1, len(times) - 1)
    away = (times - at) / width
    squares = away**2
    weights = np.exp((squares.min() - squares) / 2)
    powers = away ** np.arange(order + 1)[:, None]
    normal = (powers[:, None] * powers * weights).sum(axis=2)
    normal[np.arange(1, order + 1), np.arange(1, order + 1)] += _FLAT
    shares = np.linalg.solve(normal, np.eye(order + 1)[0])
    each = (shares[:, None] * powers).sum(axis=0) * weights
    return np.asarray((each[:, None, None] * points).sum(axis=0))


def _is_sparse(times: Values, at: float) -> bool:
    """Whether a moment lies between looks that are farther apart than those beside them.

    There the curve would swing over: where looks are near to each other, motion changes suddenly.
    """
    after, gaps = int(np.searchsorted(times, at)), np.diff(times)
    around = gaps[max(0, after - 2) : after + 1]
    return bool(times[after] != at and around.min() < _DENSE * gaps[after - 1])


def _nearer(points: Values, other: Values, noise: float) -> Values:
    """The points (P, 2), moved to the others as far as all are off together by more than noise."""
    way = _common(points, other - points)
    square = (way**2).sum(axis=1).mean()
    return np.asarray(points + square / (square + noise**2) * way)


def _common(points: Values, ways: Values) -> Values:
    """What the ways (P, 2) of points (P, 2) have in common: the affine motion nearest to them."""
    basis = np.column_stack([points - points.mean(axis=0), np.ones(len(points))])
    normal = (basis[:, :, None] * basis[:, None]).sum(axis=0) + 1e-9 * np.eye(3)
    goal = (basis[:, :, None] * ways[:, None]).sum(axis=0)
    motion = np.linalg.solve(normal, goal)
    return np.asarray((basis[:, :, None] * motion).sum(axis=1))
