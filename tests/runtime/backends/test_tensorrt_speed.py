"""What TensorRT's backend asks of the driver, and who waits for whom, on a GPU of host memory."""

import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from runtime.backends.tensorrt import contexts
from runtime.backends.tensorrt.lane import Lane
from runtime.errors import DeviceError, DeviceMemoryError, DmdnetWarning
from runtime.machine.gpu import Gpu
from runtime.restorer import Restorer
from tests.conftest import Face
from tests.fakes.driver import Event
from tests.fakes.trt import FakeTensorRt, RuntimeCache, fake_machine, for_full_tensorrt

GPU = Gpu("Fake RTX", "8.9", 8 << 30, "13.0")


@pytest.fixture(scope="module")
def full_bundle(engine_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return for_full_tensorrt(engine_bundle, tmp_path_factory.mktemp("full") / "bundle", GPU)


@pytest.fixture
def full(full_bundle: Path) -> Iterator[FakeTensorRt]:
    with fake_machine(full_bundle, GPU, "tensorrt") as trt:
        yield trt


@pytest.fixture
def rtx(engine_bundle: Path) -> Iterator[FakeTensorRt]:
    with fake_machine(engine_bundle, GPU) as trt:
        yield trt


def calls_of(trt: FakeTensorRt, work: Callable[[], object]) -> dict[str, int]:
    before = Counter(trt.driver.calls)
    work()
    return dict(trt.driver.calls - before)


COPIES = {"memcpy_htod_async": 3, "memcpy_dtod_async": 1, "memcpy_dtoh_async": 1}
"""Of one call: image, boxes and membership, one person's rows, and the result."""


def test_calls_of_one_restore_on_full_tensorrt(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face]
) -> None:
    """From the third call of the same shapes on, a graph is all that is launched."""
    with Restorer(full_bundle, device="tensorrt") as restorer:
        alice, bob = (restorer.memorize([face], [points]) for face, points in faces)

        def restore(person: Any = alice) -> object:
            return restorer.restore_aligned(*faces[0], person)

        calls = calls_of(full, restore)
        copies = {**COPIES, "memcpy_htod_async": 4}
        assert calls == {**copies, "mem_alloc": 1, "set_input_shape": 4, "execute_async_v3": 1}
        calls = calls_of(full, restore)  # a context of these shapes' own
        more = {"set_input_shape": 4, "set_tensor_address": 5, "execute_async_v3": 1}
        assert calls == {**COPIES, **more}
        calls = calls_of(full, restore)
        capture = {"cuStreamBeginCapture": 1, "execute_async_v3": 1, "cuGraphLaunch": 1}
        assert calls == {**COPIES, **capture}
        assert calls_of(full, restore) == {**COPIES, "cuGraphLaunch": 1}
        # somebody else, whose rows come to the same address
        calls = calls_of(full, lambda: restore(bob))
        assert calls == {**copies, "mem_alloc": 1, "cuGraphLaunch": 1}
        assert calls_of(full, lambda: restore(bob)) == {**COPIES, "cuGraphLaunch": 1}


def test_calls_of_one_restore_on_rtx(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face]
) -> None:
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        restorer.restore_aligned(*faces[0], alice)
        calls = calls_of(rtx, lambda: restorer.restore_aligned(*faces[0], alice))
        assert calls == {**COPIES, "execute_async_v3": 1}


def test_graphs_change_no_number(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shapes in turns, of which two may have graphs, and people who change in one shape."""
    monkeypatch.setattr(contexts, "_GRAPHS", 2)
    (a, a_points), (b, b_points) = faces
    with Restorer(full_bundle, device="tensorrt") as restorer:
        people = [restorer.memorize([a], [a_points]), restorer.memorize([b], [b_points])]
        jobs: list[tuple[Any, ...]] = [(a, a_points, person) for person in people]
        jobs += [(b, b_points, people[1][[0] * rows]) for rows in (2, 3)]
        wanted = [restorer.restore_aligned(*job) for job in jobs]
        for _ in range(2):
            for job, result in zip(jobs, wanted, strict=True):
                np.testing.assert_array_equal(restorer.restore_aligned(*job), result)
        assert len(full.graphs.live) == 2
        # two for any shape, one of each graph, and one of the memorizer's shape, which came twice
        assert full.contexts == 2 + 2 + 1
    assert not full.graphs.live
    assert not full.driver.live


@pytest.mark.parametrize("fails", [2, 3])
def test_a_capture_that_fails(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face], fails: int
) -> None:
    """It is tried again twice, as another library may have waited for the whole GPU."""
    full.graphs.errors["cuStreamEndCapture"] = 901
    with Restorer(full_bundle, device="tensorrt") as restorer, warnings.catch_warnings():
        wanted = restorer.restore_aligned(*faces[0])
        restorer.restore_aligned(*faces[0])

        def restore() -> None:
            np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)

        warnings.simplefilter("error")
        restore()
        restore()
        if fails == 2:
            full.graphs.errors.clear()
            restore()
        else:
            with pytest.warns(DmdnetWarning, match=r"without a CUDA graph.*CUDA error 901"):
                restore()
            full.graphs.errors.clear()
        calls = calls_of(full, restore)
        assert ("cuGraphLaunch" in calls) == (fails == 2)
        assert "cuStreamBeginCapture" not in calls


def test_nothing_opens_during_a_capture(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT may wait for the whole GPU there, which ends a capture: the thread that opens waits.

    It waits for the capture alone.
    """
    opened, together = threading.Event(), list[bool]()
    end = full.graphs.cuStreamEndCapture
    with Restorer(full_bundle, device="tensorrt") as restorer, ThreadPoolExecutor(1) as pool:
        wanted = restorer.restore_aligned(*faces[0])
        restorer.restore_aligned(*faces[0])
        full.opening = opened.set

        def slowly(*arguments: Any) -> int:
            pool.submit(restorer.restore_aligned, *faces[0])  # on a second lane
            together.append(opened.wait(0.5))
            return end(*arguments)

        monkeypatch.setattr(full.graphs, "cuStreamEndCapture", slowly)
        np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)
        assert opened.wait(20)
    assert together == [False]


@pytest.mark.parametrize("warm_ups", [0, 1, 3])
def test_nothing_opens_while_rtx_captures(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], warm_ups: int
) -> None:
    """In one of a lane's first calls of its shapes; after four, no call waits for an opening."""
    rtx.warm_ups = warm_ups
    opened, go_on, together = threading.Event(), threading.Event(), list[bool]()
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer, ThreadPoolExecutor(1) as pool:

        def opens() -> None:
            pool.submit(restorer.memorize, [faces[0][0]], [faces[0][1]])
            together.append(opened.wait(0.5))

        def slow_opening() -> None:
            opened.set()
            assert go_on.wait(20)

        for _ in range(warm_ups):
            restorer.restore_aligned(*faces[0])
        rtx.capturing, rtx.opening = opens, slow_opening
        try:
            wanted = restorer.restore_aligned(*faces[0])
            assert opened.wait(20)
            rtx.capturing = lambda: None
            if warm_ups == 3:
                np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)
        finally:
            go_on.set()
    assert together == [False]


@pytest.mark.parametrize("before", [1, 2])
def test_nothing_is_captured_while_something_opens(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face], before: int
) -> None:
    """A call that would open a context, or capture, runs without, at once; a later one does it."""
    opening, go_on = threading.Event(), threading.Event()

    def slow_opening() -> None:
        opening.set()
        assert go_on.wait(20)

    with Restorer(full_bundle, device="tensorrt") as restorer, ThreadPoolExecutor(1) as pool:
        for _ in range(before):
            wanted = restorer.restore_aligned(*faces[0])

        def restore() -> None:
            np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)

        full.opening = slow_opening
        memorizer = pool.submit(restorer.memorize, [faces[0][0]], [faces[0][1]])
        try:
            assert opening.wait(20)
            calls = calls_of(full, restore)
            assert not memorizer.done()
        finally:
            go_on.set()
        memorizer.result(20)
        assert "cuStreamBeginCapture" not in calls
        for _ in range(2 - before):
            restore()
        assert "cuGraphLaunch" in calls_of(full, restore)


def test_contexts_are_refused_while_others_capture(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face]
) -> None:
    """As while PyTorch captures a graph: calls go on without, and get their context later."""
    with Restorer(full_bundle, device="tensorrt") as restorer:

        def restore() -> None:
            restorer.restore_aligned(*faces[0])

        restore()
        full.others_capture = True
        for _ in range(2):
            assert "cuStreamBeginCapture" not in calls_of(full, restore)
        full.others_capture = False
        restore()
        assert "cuGraphLaunch" in calls_of(full, restore)


def test_graphs_that_cannot_be_freed(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face]
) -> None:
    """As after an illegal access, which every later call answers with: the rest is freed."""
    with Restorer(full_bundle, device="tensorrt") as restorer:
        for _ in range(3):
            alice = restorer.memorize([faces[0][0]], [faces[0][1]])
            restorer.restore_aligned(*faces[0], alice)
        full.graphs.errors["cuGraphExecDestroy"] = 700
    assert not full.driver.live


def test_a_launch_that_finds_no_memory(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face]
) -> None:
    with Restorer(full_bundle, device="tensorrt") as restorer:
        for _ in range(3):
            wanted = restorer.restore_aligned(*faces[0])
        full.graphs.errors["cuGraphLaunch"] = 2
        with pytest.raises(DeviceMemoryError, match=r"cuGraphLaunch .*; free the GPU"):
            restorer.restore_aligned(*faces[0])
        full.graphs.errors.clear()
        np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)


def test_no_memory_for_a_graphs_context(
    full: FakeTensorRt, full_bundle: Path, faces: list[Face]
) -> None:
    with Restorer(full_bundle, device="tensorrt") as restorer:
        full.context_limit = full.contexts
        wanted = restorer.restore_aligned(*faces[0])
        with pytest.warns(DmdnetWarning, match="without a CUDA graph.*no memory") as told:  # noqa: PT031
            for _ in range(3):
                np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)
        assert len(told) == 1


def test_the_hosts_work_comes_before_the_clock(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first event is recorded, page-locked memory has the face already."""
    locked: list[Any] = []
    empty, record = rtx.driver.pagelocked_empty, Event.record
    found: list[bool] = []

    def pagelocked_empty(shape: int, dtype: Any) -> Any:
        locked.append(empty(shape, dtype))
        return locked[-1]

    def looks(event: Event, stream: Any) -> None:
        face = faces[0][0][..., ::-1].ravel()  # RGB
        found.append(any(np.array_equal(one[: face.size], face) for one in locked))
        record(event, stream)

    monkeypatch.setattr(rtx.driver, "pagelocked_empty", pagelocked_empty)
    monkeypatch.setattr(Event, "record", looks)
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        restorer.restore_aligned(*faces[0])
    assert found == [True] * 4


def test_result_buffers_do_not_add_up(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five threads copy their results at a time; afterwards two buffers are kept."""
    given: list[Callable[[], None]] = []
    give_back = Lane.give_back
    monkeypatch.setattr(Lane, "give_back", lambda *back: given.append(partial(give_back, *back)))

    def locked() -> int:
        return sum(array() is not None for array in rtx.driver.pagelocked)

    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        before = locked()
        for _ in range(5):
            restorer.restore_aligned(*faces[0])
        assert locked() == before + 4
        while given:
            given.pop()()
        assert locked() == before + 1


def test_streams_do_not_wait_for_each_other(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face]
) -> None:
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        restorer.memorize([faces[0][0]], [faces[0][1]])
        flags = [stream.flags for stream in rtx.driver.streams.values()]
    assert flags == [1] * 3  # two lanes, uploads


def test_a_second_lane_opens_beside_the_first(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face]
) -> None:
    """While it is opened, the first lane comes back and serves a third thread."""
    at_work, opening, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow_call(result: Any) -> Any:
        at_work.set()
        assert opening.wait(20)
        return result

    def slow_opening() -> None:
        opening.set()
        assert go_on.wait(20)

    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        for _ in range(4):  # until then it captures, and waits for what opens
            wanted = restorer.restore_aligned(*faces[0])
        rtx.broken["restorer"], rtx.opening = slow_call, slow_opening
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(restorer.restore_aligned, *faces[0])
            assert at_work.wait(20)
            second = pool.submit(restorer.restore_aligned, *faces[0])
            assert opening.wait(20)
            third = pool.submit(restorer.restore_aligned, *faces[0])
            try:
                for future in (first, third):
                    np.testing.assert_array_equal(future.result(10), wanted)
                assert not second.done()
            finally:
                go_on.set()
            np.testing.assert_array_equal(second.result(20), wanted)
    assert not rtx.driver.live


def test_kernels_are_compiled_once(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The next process finds them in the user's cache folder; what is damaged is made again."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _name: str(tmp_path))

    def compiled() -> int:
        before = rtx.compiled
        with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
            for _ in range(2):
                restorer.restore_aligned(*faces[0])
        return rtx.compiled - before

    assert [compiled(), compiled()] == [1, 0]
    (file,) = (tmp_path / "kernels").iterdir()
    file.write_bytes(b"damaged")
    assert [compiled(), compiled()] == [1, 0]
    file.unlink()
    (tmp_path / "kernels").rmdir()
    (tmp_path / "kernels").write_text("not a folder")
    with pytest.warns(DmdnetWarning) as told:
        assert compiled() == 1
    assert [str(one.message).partition(" cannot be ")[2] for one in told] == [
        "read (Not a directory); its kernels are compiled again",
        "written (File exists); the next process compiles its kernels again",
    ]


def test_kept_kernels_that_tensorrt_fails_at(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are compiled again, and written anew."""

    def deserialize(_cache: RuntimeCache, _content: bytes) -> bool:
        raise RuntimeError("malformed")

    def compiled() -> int:
        before = rtx.compiled
        with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
            restorer.restore_aligned(*faces[0])
        return rtx.compiled - before

    compiled()
    with monkeypatch.context() as patch:
        patch.setattr(RuntimeCache, "deserialize", deserialize)
        with pytest.warns(DmdnetWarning, match=r"cache: cannot be used \(malformed\); its kern"):
            assert compiled() == 1
    assert compiled() == 0


def test_without_platformdirs(
    rtx: FakeTensorRt, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra brings it: the error says so, and "auto" takes another device."""
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    says = r"needs platformdirs; install dmdnet-runtime\[tensorrt-rtx\]"
    with pytest.raises(DeviceError, match=says):
        Restorer(engine_bundle, device="tensorrt-rtx")
    assert not rtx.driver.live
    with pytest.warns(DmdnetWarning, match=says), Restorer(engine_bundle) as restorer:
        assert restorer.backend.startswith("ONNX Runtime")


@pytest.mark.parametrize("says", ["the engine has none", "'NoneType'"])
def test_kernels_that_cannot_be_serialised(
    rtx: FakeTensorRt, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    """TensorRT fails, or gives none: a warning, and all is freed."""

    def serialize(_cache: RuntimeCache) -> bytes:
        if says == "the engine has none":
            raise RuntimeError(says)
        return None  # type: ignore[return-value]

    monkeypatch.setattr(RuntimeCache, "serialize", serialize)
    restorer = Restorer(engine_bundle, device="tensorrt-rtx")
    with pytest.warns(DmdnetWarning, match=f"cache: cannot be written .*{says}.*next process"):
        restorer.close()
    assert not rtx.driver.live


def test_the_rest_is_freed_where_a_warning_is_an_error(
    rtx: FakeTensorRt, engine_bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RuntimeCache, "serialize", lambda _cache: None)
    restorer = Restorer(engine_bundle, device="tensorrt-rtx")
    alice = restorer.memorize([faces[0][0]], [faces[0][1]])
    restorer.restore_aligned(*faces[0], alice)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DmdnetWarning):
            restorer.close()
    assert not rtx.driver.live
    assert not rtx.driver.handles
