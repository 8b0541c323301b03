"""People on known paths: what is said of a picture is what is in it."""

import numpy as np
import pytest

from benchmarks.measure.clips import RECIPES
from benchmarks.measure.scenes import (
    ASTRONAUT,
    HOPPER,
    Actor,
    Pose,
    Scene,
    Shot,
    picture,
    present,
    shot_at,
    swaying,
    walking,
)
from runtime.faces.alignment import transform
from runtime.faces.compositing import extract
from runtime.samples.faces import samples

SIZE = (320, 240)
FACE = (slice(150, 400), slice(150, 360))  # of an aligned crop


def scene_of(*actors: Actor) -> Scene:
    return Scene(SIZE, (Shot(actors, 1),), noise=0)


def test_the_truth_is_where_the_picture_is() -> None:
    """Cut out by the true transform, the face is that of the sample; moved by 3 pixels, less so."""
    scene = scene_of(Actor(ASTRONAUT, 200, lambda time: Pose(170.3, 118.8, 0.9, 7.0)))
    (truth,) = present(scene, 0)
    sample = samples()[0]
    assert np.allclose(transform(truth.transform, truth.landmarks), sample.landmarks, atol=1e-6)
    rgb = picture(scene, 0, 0)

    def difference(pixels: float) -> float:
        moved = truth.transform.copy()
        moved[:, 2] += pixels * 512 / 180
        cut = extract(rgb, moved)[FACE].astype(int)
        return float(np.abs(cut - sample.rgb[FACE]).mean())

    assert difference(0) < 6
    assert min(difference(-3), difference(3)) > 1.5 * difference(0)


def test_a_turn_is_clockwise() -> None:
    scene = scene_of(Actor(ASTRONAUT, 200, lambda time: Pose(160, 120, 1, 30)))
    (truth,) = present(scene, 0)
    left, right = truth.landmarks[36:42].mean(axis=0), truth.landmarks[42:48].mean(axis=0)
    x, y = right - left
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(30, abs=3)


def test_who_is_in_front_hides_whom() -> None:
    here = walking((0, 120, 120))
    covered = scene_of(Actor(HOPPER, 150, here), Actor(ASTRONAUT, 150, here))
    (front,) = present(covered, 0)
    assert front.person == ASTRONAUT
    assert front.hidden == 0
    beside = walking((0, 210, 130))
    both = present(scene_of(Actor(HOPPER, 150, here), Actor(ASTRONAUT, 150, beside)), 0)
    assert [each.person for each in both] == [HOPPER, ASTRONAUT]
    assert 0.1 < both[0].hidden < 0.9
    assert both[1].hidden == 0


def test_outside_of_the_picture_is_hidden() -> None:
    gone = scene_of(Actor(HOPPER, 150, walking((0, 500, 120))))
    assert present(gone, 0) == ()
    (half,) = present(scene_of(Actor(HOPPER, 150, walking((0, 320, 120)))), 0)
    assert 0.3 < half.hidden < 0.7


def test_shots_follow_each_other() -> None:
    first, second = Shot((), 1), Shot((), 2, seed=1)
    scene = Scene(SIZE, (first, second))
    assert scene.seconds == 3
    assert shot_at(scene, 24 / 25) == (first, 24 / 25)
    assert shot_at(scene, 1.0) == (second, 0)
    assert shot_at(scene, 2.5) == (second, 1.5)
    apart = np.abs(picture(scene, 0.9, 0).astype(int) - picture(scene, 1, 1)).mean()
    assert apart > 5 * np.abs(picture(scene, 0.9, 0).astype(int) - picture(scene, 0.8, 1)).mean()


def test_a_sway_has_no_jump() -> None:
    path = swaying(160, 120, 30)
    poses = np.array([[p.x, p.y, p.size, p.turn] for p in map(path, np.arange(0, 4, 0.04))])
    assert np.abs(np.diff(poses[:, :2], axis=0)).max() < 5
    assert 0.75 <= poses[:, 2].min() < poses[:, 2].max() <= 1
    assert np.abs(np.diff(poses[:, 3])).max() < 1.5


def test_noise_is_as_strong_as_it_says() -> None:
    still = Scene(SIZE, (Shot((), 1),), noise=3)
    one, other = (picture(still, 0, number)[:, :, 1].astype(int) for number in (1, 2))
    assert np.std(one - other) == pytest.approx(3 * np.sqrt(2), rel=0.1)


def test_somebody_is_in_every_frame_but_where_they_leave() -> None:
    for name, recipe in RECIPES.items():
        seen = [len(present(recipe.scene, float(time))) for time in recipe.times]
        gone = seen.count(0)
        assert (gone > 15) == (name == "returns"), name
        assert max(seen) == (2 if name == "crossing" else 1)
