"""CUDA graphs on a driver made of host memory: what fails leaves neither a capture nor a graph."""

import threading
from collections.abc import Callable, Iterator

import pytest

from runtime.errors import DeviceError, DeviceMemoryError
from runtime.machine import cuda_graphs
from runtime.machine.cuda_graphs import CudaGraph
from runtime.machine.gpu import NON_BLOCKING
from tests.fakes.driver import FakeDriver, FakeGraphs, Stream


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> FakeGraphs:
    driver = FakeDriver()
    driver.retain_primary_context().push()
    fake = FakeGraphs(driver)
    monkeypatch.setattr(cuda_graphs, "driver_library", lambda: fake)
    return fake


@pytest.fixture
def stream(graphs: FakeGraphs) -> Iterator[Stream]:
    """Neither a capture nor a graph is left at the end."""
    one: Stream = graphs.driver.Stream(NON_BLOCKING)
    yield one
    assert one.captured is None
    assert not graphs.live


def captured(stream: Stream, work: Callable[[], object]) -> CudaGraph:
    def enqueue() -> bool:
        stream.add(work)
        return True

    return CudaGraph(stream.handle, enqueue)


def test_runs_again_at_each_launch(stream: Stream) -> None:
    turns: list[int] = []
    graph = captured(stream, lambda: turns.append(1))
    stream.synchronize()
    assert not turns
    for _ in range(2):
        graph.launch(stream.handle)
    stream.synchronize()
    assert turns == [1, 1]
    graph.free()


def test_work_that_fails(stream: Stream) -> None:
    with pytest.raises(DeviceError, match="a CUDA graph cannot be captured"):
        CudaGraph(stream.handle, lambda: False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_that_raises(stream: Stream, error: type[BaseException]) -> None:
    def work() -> bool:
        raise error

    with pytest.raises(error):
        CudaGraph(stream.handle, work)


def test_interrupted_once_the_capture_has_begun(
    graphs: FakeGraphs, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C before the driver's answer is looked at."""
    begin = graphs.cuStreamBeginCapture_v2

    def interrupted(handle: object, mode: int) -> int:
        begin(handle, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(graphs, "cuStreamBeginCapture_v2", interrupted)
    with pytest.raises(KeyboardInterrupt):
        captured(stream, lambda: None)


@pytest.mark.parametrize(
    "name", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_step_that_fails(graphs: FakeGraphs, stream: Stream, name: str) -> None:
    graphs.errors[name] = 700
    with pytest.raises(DeviceError, match="CUDA error 700"):
        captured(stream, lambda: None)


@pytest.mark.parametrize("name", ["cuGraphInstantiateWithFlags", "cuGraphLaunch"])
def test_no_memory_for_a_graph(graphs: FakeGraphs, stream: Stream, name: str) -> None:
    graphs.errors[name] = 2
    with pytest.raises(DeviceMemoryError, match=f"{name} answers that the GPU is out of memory; f"):
        captured(stream, lambda: None).launch(stream.handle)
    graphs.live.clear()


def test_a_graph_that_cannot_be_freed(graphs: FakeGraphs, stream: Stream) -> None:
    """After an error of the GPU the driver answers every call with that; `free` goes on."""
    graph = captured(stream, lambda: None)
    graphs.errors["cuGraphExecDestroy"] = 700
    graph.free()
    graphs.live.clear()


def test_memory_is_freed_in_a_capture(graphs: FakeGraphs, stream: Stream) -> None:
    """By the garbage collector, of a Restorer that was dropped; and allocated in other threads."""
    memory = graphs.driver.mem_alloc(8)

    def allocate() -> None:
        graphs.driver.retain_primary_context().push()
        graphs.driver.mem_alloc(8)

    def work() -> bool:
        memory.free()
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        return True

    CudaGraph(stream.handle, work).free()
    assert len(graphs.driver.live) == 1
