"""The TensorRT backend on a GPU made of host memory (tests/fakes), with engines really built."""

import gc
import itertools
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.backends.base import DeviceSeconds
from runtime.backends.tensorrt import backend as backend_module
from runtime.backends.tensorrt.backend import TensorRtBackend
from runtime.bundle.opening import open_bundle
from runtime.errors import (
    ClosedError,
    DeviceError,
    DeviceMemoryError,
    DictionaryError,
    DmdnetWarning,
    EngineCallError,
    EngineError,
    UsageError,
)
from runtime.images.arrays import Image
from runtime.machine import gpu as cuda
from runtime.machine.gpu import Gpu
from runtime.machine.tensorrt_editions import EXTRAS, Edition
from runtime.restorer import Restorer
from tests.conftest import Face
from tests.fakes import driver as driver_module
from tests.fakes.driver import FakeDriver
from tests.fakes.trt import FakeTensorRt, fake_machine, for_full_tensorrt

IMAGE_AND_BOXES = 512 * 512 * 3 + 4 * 4 * 4  # bytes
GPU = Gpu("Fake RTX", "8.9", 8 << 30, "13.0")
FULL = "Cuda Runtime (out of memory)"


@dataclass(frozen=True)
class Machine:
    """A fake GPU and the bundle whose engines it can run."""

    trt: FakeTensorRt
    bundle: Path
    device: str = "tensorrt-rtx"

    @property
    def driver(self) -> FakeDriver:
        return self.trt.driver

    def restorer(self, **arguments: object) -> Restorer:
        return Restorer(self.bundle, device=self.device, **arguments)  # type: ignore[arg-type]

    def bytes_held(self) -> int:
        """On the GPU."""
        return sum(memory.nbytes for memory in self.driver.live.values())


@pytest.fixture
def machine(engine_bundle: Path) -> Iterator[Machine]:
    with fake_machine(engine_bundle, GPU) as trt:
        yield Machine(trt, engine_bundle)


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def either(
    request: pytest.FixtureRequest, engine_bundle: Path, tmp_path: Path
) -> Iterator[Machine]:
    """A machine with either edition."""
    name, bundle = request.param, engine_bundle
    if name == "tensorrt":
        bundle = for_full_tensorrt(engine_bundle, tmp_path / "full", GPU)
    with fake_machine(bundle, GPU, name) as trt:
        yield Machine(trt, bundle, EXTRAS[name])


@pytest.fixture(scope="module")
def plain(engine_bundle: Path) -> Restorer:
    with pytest.warns(DmdnetWarning, match="slower on a CPU"):
        return Restorer(engine_bundle, device="cpu", max_batch=3)


def test_restores_as_onnx_runtime_does(either: Machine, plain: Restorer, faces: list[Face]) -> None:
    """Alone, with one person, and nobody, two people and one of them again in one call."""
    (a, a_points), (b, b_points) = faces
    titles = {"tensorrt-rtx": "TensorRT for RTX 1.7.1.116", "tensorrt": "TensorRT 10.13.3.9"}
    with either.restorer() as restorer:
        assert restorer.backend == f"{titles[either.device]}, Fake RTX, fp16"
        assert restorer.max_batch == 8
        people = [
            (restorer.memorize([a], [a_points]), plain.memorize([a], [a_points])),
            (restorer.memorize([b, b], [b_points] * 2), plain.memorize([b, b], [b_points] * 2)),
        ]
        for ours, theirs in people:
            np.testing.assert_array_equal(ours.rows, theirs.rows)
        one, two = (ours for ours, _ in people)
        wanted = plain.restore_batch([a, b, a, b], [a_points, b_points] * 2, [None, one, two, two])
        got = restorer.restore_batch([a, b, a, b], [a_points, b_points] * 2, [None, one, two, two])
        alone = restorer.restore_aligned(a, a_points)
        # a batch may round differently from one face
        for one_got, one_wanted in zip([*got, alone], [*wanted, wanted[0]], strict=True):
            assert np.abs(one_got.astype(int) - one_wanted).max() <= 1


def bytes_to_device(machine: Machine, restorer: Restorer, *job: Any) -> int:
    """Of one call, beside a face and its boxes and membership."""
    before = machine.driver.to_device
    restorer.restore_aligned(*job)
    return machine.driver.to_device - before - IMAGE_AND_BOXES - 4 * len(job[2])


def test_a_dictionary_crosses_once(machine: Machine, faces: list[Face]) -> None:
    with machine.restorer() as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        assert bytes_to_device(machine, restorer, *faces[0], alice) == alice.rows.nbytes
        assert bytes_to_device(machine, restorer, *faces[0], alice) == 0


def test_seconds_on_the_device(
    machine: Machine, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that ticks once a byte that is copied to the device, and for the engine."""
    ticks = [0]

    def engine(result: Image) -> Image:
        ticks[0] += 5
        return result

    machine.trt.broken["restorer"] = engine
    clock = SimpleNamespace(monotonic=lambda: machine.driver.to_device + ticks[0])
    monkeypatch.setattr(driver_module, "time", clock)
    with machine.restorer() as restorer:
        assert restorer.device_seconds is None
        restorer.restore_aligned(*faces[0])
        assert restorer.device_seconds == DeviceSeconds(IMAGE_AND_BOXES + 4, 5, 0)


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_dictionary_cache_is_bounded(machine: Machine, faces: list[Face]) -> None:
    face, points = faces[0]
    for limit in (1 << 20, 0):
        with machine.restorer(dictionary_cache=limit >> 20) as restorer:
            alice = restorer.memorize([face], [points])
            others = machine.bytes_held()
            people = [alice[[0] * 2] for _ in range(5)]
            size = people[0].rows.nbytes
            for person in people:
                assert bytes_to_device(machine, restorer, face, points, person) == size
            assert machine.bytes_held() - others == limit // size * size
            again = 0 if limit else size  # the newest stayed, the oldest went
            assert bytes_to_device(machine, restorer, face, points, people[-1]) == again
            assert bytes_to_device(machine, restorer, face, points, people[0]) == size


@pytest.mark.parametrize("seconds", [0, pytest.param(120, marks=pytest.mark.soak)])
def test_threads_share_a_restorer(either: Machine, faces: list[Face], seconds: int) -> None:
    """Eight threads on two lanes: the fake refuses two threads in one execution context."""
    with either.restorer() as restorer:
        people = [None, *(restorer.memorize([face], [points]) for face, points in faces)]
        jobs = [(face, points, person) for face, points in faces for person in people]
        wanted = [restorer.restore_aligned(*job) for job in jobs]
        barrier = threading.Barrier(8, timeout=20)
        deadline = time.monotonic() + seconds
        memory: list[int] = []

        def work(number: int) -> None:
            for turn in itertools.count(number):
                out = restorer.restore_aligned(*jobs[turn % len(jobs)])
                np.testing.assert_array_equal(out, wanted[turn % len(jobs)])
                memory.append(resident_bytes())
                if turn > number + 2 and time.monotonic() > deadline:
                    return

        with ThreadPoolExecutor(8, initializer=barrier.wait) as pool:
            list(pool.map(work, range(8)))
        assert not seconds or memory[-1] < 1.05 * memory[len(memory) // 4]
    assert not either.driver.live  # all is given back
    assert not either.driver.handles


def test_out_of_memory(machine: Machine, faces: list[Face]) -> None:
    face, points = faces[0]
    with machine.restorer() as restorer:
        alice = restorer.memorize([face], [points])
        machine.driver.limit = machine.bytes_held()
        with pytest.raises(DeviceMemoryError, match="dictionary_cache"):
            restorer.restore_aligned(face, points, alice)
        machine.driver.limit = 1 << 40
        restorer.restore_aligned(face, points, alice)  # still usable
    assert not machine.driver.live

    machine.trt.context_limit = machine.trt.contexts
    for limit, says in (
        (1 << 40, "Requested amount of GPU memory"),
        (1 << 20, r"Fake RTX is out of memory; lower --max-batch"),
    ):
        machine.driver.limit = limit
        with pytest.raises(DeviceMemoryError, match=says):
            machine.restorer()
        assert not machine.driver.live


@pytest.mark.parametrize(
    ("lines", "kind", "says"),
    [
        (
            [FULL, "enqueueV3: Internal Error"],
            DeviceMemoryError,
            r"out of memory\); lower --max-batch",
        ),
        (["an illegal memory access was encountered"], DeviceError, "illegal memory access .*d$"),
    ],
)
def test_a_call_that_tensorrt_fails(
    either: Machine, faces: list[Face], lines: list[str], kind: type[DeviceError], says: str
) -> None:
    """Only what was logged in this call counts, and the Restorer stays usable."""
    with either.restorer() as restorer:
        wanted = restorer.restore_aligned(*faces[0])
        for logged, expected in (([FULL], DeviceMemoryError), (lines, kind)):
            either.trt.no_call = logged
            with pytest.raises(DeviceError) as caught:
                restorer.restore_aligned(*faces[0])
            assert type(caught.value) is expected
        assert re.search(says, str(caught.value))
        either.trt.no_call = []
        for _ in range(3):
            np.testing.assert_array_equal(restorer.restore_aligned(*faces[0]), wanted)
        assert either.device == "tensorrt-rtx" or either.driver.calls["cuGraphLaunch"]


def test_one_context_must_do(machine: Machine, faces: list[Face]) -> None:
    """No memory for a second execution context: threads take turns, and are told."""
    at_work, go_on = threading.Event(), threading.Event()

    def slowly(result: Image) -> Image:
        at_work.set()
        assert go_on.wait(20)
        return result

    with machine.restorer() as restorer:
        wanted = restorer.restore_aligned(*faces[0])
        machine.trt.context_limit = machine.trt.contexts
        machine.trt.broken["restorer"] = slowly
        with ThreadPoolExecutor(2) as pool, pytest.warns(DmdnetWarning) as told:  # noqa: PT031
            first = pool.submit(restorer.restore_aligned, *faces[0])
            assert at_work.wait(20)
            second = pool.submit(restorer.restore_aligned, *faces[0])
            deadline = time.monotonic() + 20
            while not told.list and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not second.done()
            go_on.set()
            for future in (first, second):
                np.testing.assert_array_equal(future.result(), wanted)
        assert ["turns on 1 execution" in str(each.message) for each in told.list] == [True]


def test_no_second_context_while_others_capture(machine: Machine, faces: list[Face]) -> None:
    """The thread waits for the first one that time, and a later one gets its own."""
    at_work, go_on = threading.Event(), threading.Event()

    def slowly(result: Image) -> Image:
        at_work.set()
        assert go_on.wait(20)
        return result

    with machine.restorer() as restorer, ThreadPoolExecutor(2) as pool:
        wanted = restorer.restore_aligned(*faces[0])
        machine.trt.broken["restorer"] = slowly
        for refused in (True, False):
            before = machine.trt.contexts
            machine.trt.others_capture = refused
            first = pool.submit(restorer.restore_aligned, *faces[0])
            assert at_work.wait(20)
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                second = pool.submit(restorer.restore_aligned, *faces[0])
                deadline = time.monotonic() + (0.5 if refused else 20)
                while machine.trt.contexts == before and time.monotonic() < deadline:
                    time.sleep(0.01)
            assert machine.trt.contexts == before + (not refused)
            go_on.set()
            for future in (first, second):
                np.testing.assert_array_equal(future.result(20), wanted)
            at_work.clear()
            go_on.clear()


def test_limits_of_the_engine(machine: Machine, faces: list[Face]) -> None:
    face, points = faces[0]
    with pytest.raises(UsageError, match="takes 8 faces at most"):
        machine.restorer(max_batch=9)
    with machine.restorer() as restorer:
        alice = restorer.memorize([face], [points])
        with pytest.raises(DictionaryError, match=r"33 references, the engine takes 32.*\[:32\]"):
            restorer.restore_aligned(face, points, alice[[0] * 33])
        # 20 and 20 rows do not fit into one call, and so take two
        crowd = [alice[[0] * 20], alice[[0] * 20]]
        both = restorer.restore_batch([face, face], [points, points], crowd)
        assert np.abs(both[0].astype(int) - both[1]).max() <= 1
        many = restorer.memorize([face] * 9, [points] * 9)  # more than one call takes
        np.testing.assert_allclose(many.rows[8], alice.rows[0], atol=1e-2)
    bare = TensorRtBackend(open_bundle(machine.bundle), "tensorrt_rtx")
    boxes = np.zeros((9, 4, 4), np.int32)
    with closing(bare), pytest.raises(UsageError, match="9 faces in one call; the engine takes 8"):
        bare.memorize(np.stack([face] * 9), boxes)


def test_closed(machine: Machine, faces: list[Face]) -> None:
    restorer = machine.restorer()
    alice, bob = (restorer.memorize([face], [points]) for face, points in faces)
    restorer.restore_aligned(*faces[0], bob)
    restorer.close()
    assert not machine.driver.live
    assert not machine.driver.handles
    for person in (None, alice, bob):
        with pytest.raises(ClosedError, match="this Restorer is closed"):
            restorer.restore_aligned(*faces[0], person)
    assert not machine.driver.live  # nor is the dictionary left there
    with pytest.raises(ClosedError, match="this Restorer is closed"):
        restorer.memorize([faces[0][0]], [faces[0][1]])
    restorer.close()


def test_closed_while_a_lane_opens(machine: Machine, faces: list[Face]) -> None:
    """The thread that opens it gets the error, and the call on the other lane its result."""
    at_work, opening, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow_call(result: Image) -> Image:
        at_work.set()
        assert go_on.wait(20)
        return result

    def slow_opening() -> None:
        opening.set()
        assert go_on.wait(20)

    restorer = machine.restorer()
    wanted = restorer.restore_aligned(*faces[0])
    machine.trt.broken["restorer"], machine.trt.opening = slow_call, slow_opening
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(restorer.restore_aligned, *faces[0])
        try:
            assert at_work.wait(20)
            second = pool.submit(restorer.restore_aligned, *faces[0])
            assert opening.wait(20)
            restorer.close()
        finally:
            go_on.set()
        np.testing.assert_array_equal(first.result(20), wanted)
        with pytest.raises(ClosedError):
            second.result(20)
    assert not machine.driver.live
    assert not machine.driver.handles


def test_a_gpu_that_cannot_run_it(machine: Machine) -> None:
    machine.trt.invalid = 2
    with pytest.raises(DeviceError, match=r"does not run on compute capability 8\.9"):
        machine.restorer()
    machine.trt.invalid = 32
    with pytest.raises(EngineError, match=r"MALFORMED_ENGINE.*--rebuild"):
        machine.restorer()
    machine.trt.invalid = 0
    machine.trt.known.clear()
    with pytest.raises(EngineError, match="Serialization assertion failed; build it again"):
        machine.restorer()


@pytest.mark.parametrize(
    ("invalid", "kind", "says"),
    [
        (1, EngineError, "VERSION_MISMATCH; build it again"),
        (4, DeviceError, "OLD_CUDA_DRIVER$"),
        (1 | 4, DeviceError, "VERSION_MISMATCH, OLD_CUDA_DRIVER$"),
        (8, DeviceError, "OLD_CUDA_RUNTIME$"),
        (16, DeviceMemoryError, "INSUFFICIENT_GPU_MEMORY; free the GPU"),
        (64, DeviceError, "CUDA_ERROR$"),
    ],
)
def test_only_what_a_new_engine_mends_is_to_be_built_again(
    machine: Machine, invalid: int, kind: type[DeviceError], says: str
) -> None:
    machine.trt.invalid = invalid
    with pytest.raises(DeviceError, match=says) as caught:
        machine.restorer()
    assert type(caught.value) is kind


FOREIGN = (
    "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
    "header.magicTag == rt::kPLAN_MAGIC_TAG failed.Trying to load an engine of another version)"
)
CAPTURING = "Cuda Runtime (operation not permitted when stream is capturing)"
NO_DRIVER = "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"


@pytest.mark.parametrize(
    ("kind", "lines", "says"),
    [
        (EngineError, [FOREIGN, "Engine deserialization failed."], FOREIGN),
        (EngineError, [FOREIGN, NO_DRIVER], FOREIGN),  # foreign bytes, and no driver
        (EngineError, [NO_DRIVER, FOREIGN], FOREIGN),
        (EngineError, ["The engine plan file is not compatible with this version"], "plan file"),
        (DeviceMemoryError, [FULL, "Engine deserialization failed."], FULL),
        (DeviceMemoryError, [FULL, FOREIGN], FULL),
        (EngineError, [FOREIGN, FULL], FOREIGN),
        (DeviceError, [NO_DRIVER], NO_DRIVER),
        (EngineCallError, [CAPTURING], CAPTURING),
        (DeviceError, ["Something else", NO_DRIVER], NO_DRIVER),
    ],
)
def test_an_engine_that_does_not_load(
    machine: Machine, kind: type[DeviceError], lines: list[str], says: str
) -> None:
    """The message shows the line that decides what kind of error it is."""
    machine.trt.known.clear()
    machine.trt.no_engine = lines
    with pytest.raises(DeviceError, match=re.escape(says)) as caught:
        machine.restorer()
    assert type(caught.value) is kind
    assert ("--rebuild" in str(caught.value)) == (kind is EngineError)


def test_each_restorer_hears_its_own_errors(either: Machine, faces: list[Face]) -> None:
    """TensorRT calls the first logger that the process gave it, also when that Restorer is gone."""
    first = either.restorer()
    with either.restorer() as second:
        either.trt.no_call = [FULL]
        with pytest.raises(DeviceMemoryError, match=re.escape(FULL)):
            second.restore_aligned(*faces[0])
        first.close()
        del first
        gc.collect()
        with pytest.raises(DeviceMemoryError, match=re.escape(FULL)):
            second.restore_aligned(*faces[0])


def test_tensorrt_that_cannot_start(machine: Machine) -> None:
    """A driver that is too old: the other devices are tried."""
    machine.trt.no_runtime = "CUDA initialization failure with error: 35"
    says = r"TensorRT for RTX 1\.7\.1\.116 cannot start: CUDA initialization failure with error: 35"
    with pytest.raises(DeviceError, match=says):
        machine.restorer()
    with pytest.warns(DmdnetWarning, match="cannot start"), Restorer(machine.bundle) as restorer:
        assert restorer.backend.startswith("ONNX Runtime")


def test_auto(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.bundle
    edition = Edition("tensorrt_rtx", machine.trt.__version__, machine.trt)

    def only_rtx(name: str) -> Edition:
        if name == "tensorrt":
            raise DeviceError("TensorRT is not installed; install it")
        return edition

    monkeypatch.setattr(backend_module, "load_edition", only_rtx)
    with Restorer(path) as restorer:
        assert restorer.backend.startswith("TensorRT for RTX 1.7.1.116, Fake RTX")
        assert restorer.backend.endswith("(not tensorrt: TensorRT is not installed)")
    with pytest.raises(DeviceError, match="tensorrt cannot be used and no other is allowed"):
        Restorer(path, allow_fallback=False)
    # an engine was built, and another machine would have run it: the user is told
    monkeypatch.setattr(cuda, "gpus", lambda: (replace(GPU, capability="9.0"),))
    cuda._context.cache_clear()
    with (
        pytest.warns(
            DmdnetWarning,
            match=r"using cpu, not tensorrt-rtx: .*8\.0, 8\.6, .*and Fake RTX has 9\.0",
        ),
        Restorer(path) as restorer,
    ):
        assert restorer.backend.startswith("ONNX Runtime")


@pytest.mark.parametrize(
    ("call", "turn"),
    [
        ("Stream", 1),  # for dictionaries
        ("Stream", 2),  # of the lane
        ("Event", 1),
        ("pagelocked_empty", 1),
        ("mem_alloc", 1),
        ("memcpy_htod_async", 1),
        ("memcpy_htod_async", 2),  # her dictionary's was the first
        ("memcpy_dtod_async", 1),
        ("memcpy_dtoh_async", 1),
        ("record", 1),
        ("record", 4),
        ("time_since", 1),
    ],
)
def test_errors_of_the_driver_are_ours(
    machine: Machine, faces: list[Face], monkeypatch: pytest.MonkeyPatch, call: str, turn: int
) -> None:
    """Whichever call of a function fails, a Restorer that was open stays usable."""
    owner: Any = driver_module.Event if call in ("record", "time_since") else machine.driver
    real, turns = getattr(owner, call), itertools.count(1)

    def fail(*arguments: Any) -> Any:
        if next(turns) >= turn:
            raise machine.driver.LogicError("an illegal memory access was encountered")
        return real(*arguments)

    with machine.restorer() as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        wanted = restorer.restore_aligned(*faces[0], alice[[0]])
        first_use = partial(restorer.restore_aligned, *faces[0], alice)  # her dictionary goes there
        opens = call in ("Stream", "Event", "pagelocked_empty")
        live, handles = set(machine.driver.live), set(machine.driver.handles)
        with monkeypatch.context() as patch:
            patch.setattr(owner, call, fail)
            with pytest.raises(DeviceError, match="Fake RTX: an illegal memory access was"):
                (machine.restorer if opens else first_use)()
        if opens:  # what failed to open has left nothing
            assert set(machine.driver.live) == live
            assert set(machine.driver.handles) == handles
        np.testing.assert_array_equal(first_use(), wanted)
    assert not machine.driver.live
    assert not machine.driver.handles


def test_a_driver_that_does_not_start(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise machine.driver.LogicError("cuInit failed: unknown error")

    monkeypatch.setattr(machine.driver, "init", fail)
    with pytest.raises(DeviceError, match="Fake RTX: cuInit failed: unknown error"):
        machine.restorer()


def test_a_kept_error_keeps_nothing_on_the_gpu(machine: Machine, faces: list[Face]) -> None:
    """Neither execution context nor engine nor page-locked memory, once the Restorer is closed."""

    def fail(_result: Image) -> Image:
        raise machine.driver.LogicError("launch failed")

    restorer = machine.restorer()
    machine.trt.broken["restorer"] = fail
    with pytest.raises(DeviceError, match="Fake RTX: launch failed") as of_a_call:
        restorer.restore_aligned(*faces[0])
    restorer.close()
    machine.trt.context_limit = machine.trt.contexts
    with pytest.raises(DeviceMemoryError) as of_opening:
        machine.restorer()
    gc.collect()
    assert of_a_call.value.__traceback__
    assert of_opening.value.__traceback__
    assert not list(machine.trt.alive)
    assert not machine.driver.handles
    assert not [array for array in machine.driver.pagelocked if array() is not None]


def test_dropped_without_close(either: Machine, faces: list[Face]) -> None:
    """In a thread where no GPU context is current."""
    kept = [either.restorer()]
    alice = kept[0].memorize([faces[0][0]], [faces[0][1]])
    kept[0].restore_aligned(*faces[0], alice)
    assert either.driver.live

    def drop() -> None:
        kept.clear()
        gc.collect()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(drop).result()
    assert not either.driver.live
    assert not either.driver.handles  # streams and events, which PyCUDA cannot destroy elsewhere
    assert not either.trt.orphans
    assert not list(either.trt.alive)


def test_the_driver_refuses_a_second_free() -> None:
    driver = FakeDriver()
    driver.retain_primary_context().push()
    memory = driver.mem_alloc(8)
    memory.free()
    with pytest.raises(driver.LogicError, match="cuMemFree failed"):
        memory.free()


def test_without_a_gpu(engine_bundle: Path) -> None:
    try:
        cuda.gpus()
    except DeviceError:
        pass
    else:
        pytest.skip("this machine has an NVIDIA driver")
    for device in ("tensorrt", "tensorrt-rtx"):
        with pytest.raises(DeviceError, match="no NVIDIA driver is installed here"):
            Restorer(engine_bundle, device=device)
    with (
        pytest.warns(DmdnetWarning, match="using cpu, not tensorrt-rtx: no NVIDIA"),
        Restorer(engine_bundle) as restorer,
    ):
        assert "not tensorrt, tensorrt-rtx: no NVIDIA driver is installed here" in restorer.backend
