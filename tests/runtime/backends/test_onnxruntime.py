"""ONNX Runtime's CUDA provider, which is the CPU's here (tests/fakes)."""

import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.backends import onnxruntime as backend
from runtime.errors import ClosedError, DeviceError, DeviceMemoryError, EngineCallError
from runtime.machine import onnx_session
from runtime.restorer import Restorer
from tests.conftest import Face
from tests.fakes.onnxruntime import CUDA, FakeOnnxRuntime


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    fake = FakeOnnxRuntime()
    for module in (onnx_session, backend):
        monkeypatch.setattr(module, "load_onnxruntime", lambda: fake)
    return fake


def test_cuda_opens_with_the_libraries_of_pip_and_without_tf32(
    cuda: FakeOnnxRuntime, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Restorer(bundle, device="cuda"):
        assert cuda.sessions[0] == (CUDA, {"use_tf32": "0"})
    assert cuda.preloaded == 1
    assert capsys.readouterr().out == ""  # stdout is for results


def test_a_dictionary_crosses_once(cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face]) -> None:
    (a, a_points), (b, b_points) = faces
    with Restorer(bundle, device="cuda") as restorer, Restorer(bundle, device="cpu") as plain:
        one, two = (restorer.memorize([face], [points]) for face, points in faces)
        for _ in range(3):
            got = restorer.restore_aligned(a, a_points, one)
        assert cuda.copied == one.rows.nbytes
        np.testing.assert_array_equal(got, plain.restore_aligned(a, a_points, one))
        for _ in range(3):
            both = restorer.restore_batch([a, b], [a_points, b_points], [one, two])
        assert cuda.copied == 2 * one.rows.nbytes + two.rows.nbytes
        assert np.abs(both[0].astype(int) - got).max() <= 1
    with pytest.raises(ClosedError):
        restorer.restore_aligned(a, a_points, one)
    assert cuda.copied == 2 * one.rows.nbytes + two.rows.nbytes  # nothing after it was closed


def test_no_cache_no_memory(cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face]) -> None:
    with Restorer(bundle, device="cuda", dictionary_cache=0) as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        for _ in range(2):
            restorer.restore_aligned(*faces[0], alice)
        assert cuda.copied == 2 * alice.rows.nbytes


def test_memory_is_gone_when_it_is_announced_as_free(
    cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to a thread that waits while this call ends."""
    left: list[int] = []

    class Freed(threading.Condition):
        def notify_all(self) -> None:
            left.append(len(cuda.kept))
            super().notify_all()

    class Watched(backend._OnGpu):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            self._freed = Freed(self._lock)

    monkeypatch.setattr(backend, "_OnGpu", Watched)
    with Restorer(bundle, device="cuda", dictionary_cache=0) as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        restorer.restore_aligned(*faces[0], alice)
    assert cuda.copied == alice.rows.nbytes
    assert left
    assert not any(left)


FULL = "CUDA failure 2: out of memory"
ARENA = "Failed to allocate memory for requested buffer of size 17000000"
LOST = "CUDA failure 700: an illegal memory access was encountered"
NO_HANDLE = "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; expr=cublasCreate(&cublas_handle_);"
NO_PRODUCT = "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; expr=cublasGemmEx"
NO_KIND = "Non-zero status code returned while running Reshape node"


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (FULL, DeviceMemoryError),
        (ARENA, DeviceMemoryError),
        (NO_HANDLE, DeviceMemoryError),
        (LOST, DeviceError),
        (NO_PRODUCT, DeviceError),
        (NO_KIND, EngineCallError),
    ],
)
@pytest.mark.parametrize("step", ["put", "bind", "run"])
def test_a_call_that_fails(
    cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face], step: str, says: str,
    kind: type[DeviceError],
) -> None:  # fmt: skip
    with Restorer(bundle, device="cuda", dictionary_cache=0) as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        cuda.before[step] = raising(says)
        with pytest.raises(DeviceError, match=re.escape(says)) as caught:
            restorer.restore_aligned(*faces[0], alice)
        assert type(caught.value) is kind
        assert ("dictionary_cache" in str(caught.value)) == (kind is DeviceMemoryError)
        assert not cuda.kept
        if step != "put":  # a memorizer has no dictionary
            with pytest.raises(kind, match=re.escape(says)):
                restorer.memorize([faces[1][0]], [faces[1][1]])
        cuda.before.clear()
        restorer.restore_aligned(*faces[0], alice)


@pytest.mark.parametrize(
    ("says", "kind"), [(FULL, DeviceMemoryError), (ARENA, DeviceMemoryError), (LOST, DeviceError)]
)
def test_a_session_that_does_not_open(
    cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face], says: str, kind: type[DeviceError]
) -> None:
    """The restorer's or, at its first use, the memorizer's; the message is one line."""

    def opens_none(work: Callable[[], object]) -> None:
        cuda.before["open"] = raising(f"[ONNXRuntimeError]\n{says}")
        with pytest.raises(DeviceError, match=rf"\] {says}") as caught:
            work()
        assert type(caught.value) is kind
        assert ("lower max_batch" in str(caught.value)) == (kind is DeviceMemoryError)
        cuda.before.clear()

    opens_none(lambda: Restorer(bundle, device="cuda"))
    with Restorer(bundle, device="cuda") as restorer:
        opens_none(lambda: restorer.memorize([faces[0][0]], [faces[0][1]]))
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        restorer.restore_aligned(*faces[0], alice)


def test_a_kept_error_keeps_no_dictionary(
    cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face]
) -> None:
    with Restorer(bundle, device="cuda") as restorer:
        alice = restorer.memorize([faces[0][0]], [faces[0][1]])
        cuda.before["run"] = raising(LOST)
        with pytest.raises(DeviceError) as kept:
            restorer.restore_aligned(*faces[0], alice)
        assert len(cuda.kept) == 1  # in the cache
    assert not cuda.kept
    assert kept.value.__traceback__ is not None


def test_idle_dictionaries_make_room(
    cuda: FakeOnnxRuntime, bundle: Path, faces: list[Face]
) -> None:
    with Restorer(bundle, device="cuda") as restorer:
        one, two = (restorer.memorize([face], [points]) for face, points in faces)
        restorer.restore_aligned(*faces[0], one)

        def full() -> None:
            if cuda.kept:
                raise RuntimeError(ARENA)

        cuda.before["put"] = full
        restorer.restore_aligned(*faces[0], two)
        assert cuda.copied == one.rows.nbytes + two.rows.nbytes


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_it_is_not_installed(bundle: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match="onnxruntime is not installed") as caught:
        Restorer(bundle, device=device)
    assert type(caught.value) is DeviceError


def test_two_threads_ask_for_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first load of the CUDA libraries prints is hidden, and nothing else, ever."""

    class Slow(FakeOnnxRuntime):
        def preload_dlls(self) -> None:
            time.sleep(0.2)
            super().preload_dlls()

    fake, together = Slow(), threading.Barrier(2)

    def load() -> FakeOnnxRuntime:
        together.wait(20)
        return fake

    monkeypatch.setattr(onnx_session, "load_onnxruntime", load)
    shown = sys.stdout
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(onnx_session.offered_providers) for _ in range(2)]:
            assert CUDA in future.result(20)
    assert sys.stdout is shown
    assert fake.preloaded == 1


def raising(says: str) -> Callable[[], None]:
    def fail() -> None:
        raise RuntimeError(says)

    return fail
