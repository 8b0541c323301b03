import pytest

from benchmarks.measure import timing
from benchmarks.measure.timing import Ratio, race, ratio
from tests.benchmarks.suites.test_bench import Clock


def test_race_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_REST_S", 0)
    order: list[str] = []
    works = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = race(works, 0, fewest=3)
    assert order == ["a", "b"] * 4  # the first of each is the warm-up
    assert [len(each.seconds) for each in times.values()] == [3, 3]
    race(works, 0, fewest=1, warm_up=2)
    assert order[8:] == ["a", "a", "b", "b", "a", "b"]


def test_a_work_may_know_its_own_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_REST_S", 0)
    works = {"a": lambda: 2.0, "b": lambda: 8.0}
    times = race(works, fewest=2, warm_up=0, measured=lambda work: work())
    assert times["a"].turns == ((2.0,), (2.0,))
    assert times["a"].against(times["b"], "b") == Ratio("b", 0.25, 0.25, 0.25)


def test_race_lasts_its_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "_REST_S", 0)
    times = race({"a": lambda: clock.sleep(0.01), "b": lambda: clock.sleep(0.02)}, 0.3)
    assert clock.now == pytest.approx(0.63)  # 0.3 for each, and the warm-up
    assert [len(each.seconds) for each in times.values()] == [20, 20]
    assert (times["a"].median, times["b"].warm_up_s) == pytest.approx((0.01, 0.02))


def test_a_fast_work_runs_again_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    steps = iter([0.0, *(0.1, 0.2, 0.3), *(0.4, 0.05, 0.1)])
    works = {"fast": lambda: clock.sleep(next(steps)), "slow": lambda: clock.sleep(1)}
    times = race(works, 0, fewest=2, turn_s=0.5)
    assert times["fast"].rounds == pytest.approx((0.2, 0.1))
    assert len(times["fast"].seconds) == 6
    assert times["slow"].turns == ((1,), (1,))


def test_ratio_is_of_the_same_rounds() -> None:
    """A slower minute, which slows both, does not move it."""
    theirs = [1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 1.0, 1.0]
    ours = [0.5 * second for second in theirs]
    assert ratio(ours, theirs, "b") == Ratio("b", 0.5, 0.5, 0.5)
    ours[0] *= 1.2
    found = ratio(ours, theirs, "b")
    assert found.median == 0.5
    assert 0.5 <= found.low <= found.high <= 0.6
    wide = ratio([1, 2, 3, 4, 5, 6, 7], [1] * 7, "b")
    assert wide.median == 4
    assert 1 <= wide.low < 3 < 5 < wide.high <= 7
