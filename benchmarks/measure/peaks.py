"""What is measured on a GPU: a backend's times and endurance, and what they are held against.

Those are the card's own rate, PyTorch, and ONNX Runtime's plugin. torch and ONNX Runtime are
imported late, so that `python -m benchmarks.studies.endurance --help` is quick.
"""

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib import import_module
from os import sysconf
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from benchmarks.measure.machine import output_of
from export.checks.reference import FILE
from runtime.backends.base import Boxes, Rows
from runtime.backends.tensorrt.backend import TensorRtBackend
from runtime.bundle.engine_record import Profile
from runtime.bundle.layout import IMAGE_SIZE
from runtime.bundle.opening import Bundle
from runtime.errors import BundleError, DeviceError, DmdnetError
from runtime.images.arrays import Image

if TYPE_CHECKING:
    from export.model.network import DMDNet

Restore = Callable[[Image, Boxes, Sequence[Rows], NDArray[np.float32]], Image]
"""A backend's `restore`: host image in, host image out."""

DEVICE = "cuda"  # PyTorch's name
REFERENCES = 10
BATCH = 8
WARM_UP = 20  # calls, the first included
THREADS = 8
PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_MATMULS = (50, 20)  # not counted, counted: an idle card takes tens of ms to raise its clocks
_QUERIES = ("driver_version", "pstate", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")


@dataclass(frozen=True)
class Case:
    """A person: `pictures` uint8 (N, 512, 512, 3), `boxes` int32 (4, 4), `rows` (10, D)."""

    pictures: Image
    boxes: Boxes
    rows: Rows

    @classmethod
    def of(cls, bundle: Bundle, rounds: int) -> "Case":
        """Random pictures for so many rounds; boxes and rows are what engines are judged by.

        Raises `BundleError` if the bundle has none.
        """
        if FILE not in bundle.manifest.files:
            raise BundleError(f"{bundle.path} has no {FILE}; export it again")
        kept = safetensors.numpy.load_file(bundle.path / FILE)
        size = (WARM_UP + rounds + BATCH - 1, IMAGE_SIZE, IMAGE_SIZE, 3)
        pictures = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        rows = kept["dictionary"]
        return cls(pictures, kept["boxes"][0], rows[np.arange(REFERENCES) % len(rows)])

    def inputs(self, call: int, faces: int) -> tuple[Image, Boxes, list[Rows], NDArray[np.float32]]:
        """What `Restore` takes; each face is another picture at each call."""
        boxes = np.repeat(self.boxes[None], faces, axis=0)
        membership = np.ones((faces, len(self.rows)), np.float32)
        return self.pictures[call : call + faces], boxes, [self.rows], membership


def in_turns(
    works: Mapping[str, Restore], case: Case, faces: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call, on the same pictures in turns, so that a slower minute slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for call in range(WARM_UP + rounds):
        inputs = case.inputs(call, faces)
        for name, work in works.items():
            start = time.perf_counter()
            work(*inputs)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Of `in_turns`' seconds, those after the warm-up."""
    p50, p90, p99 = np.percentile(seconds[WARM_UP:], (50, 90, 99)) * 1000
    return {
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
        "runs": len(seconds) - WARM_UP,
        "warm_up": WARM_UP,
        "first_call_s": seconds[0],
    }


def speed(restore: Restore, case: Case, rounds: int) -> dict[str, Any]:
    """One face a call, and eight."""
    alone, together = (in_turns({"": restore}, case, faces, rounds)[""] for faces in (1, BATCH))
    image, boxes, _, membership = case.inputs(0, 1)
    return {
        "batch_1": summary(alone),
        "batch_8": {
            "faces_per_s": BATCH * rounds / sum(together[WARM_UP:]),
            **summary(together),
        },
        "bytes": {
            "in_a_face": image.nbytes + boxes.nbytes + membership.nbytes,
            "out_a_face": image.nbytes,
            # TensorRT keeps it on the GPU, ONNX Runtime copies it at each call
            "dictionary": case.rows.nbytes,
        },
    }


def device_times(backend: TensorRtBackend, case: Case, faces: int) -> dict[str, float]:
    """Medians by the GPU's own clock, in milliseconds."""
    calls = []
    for call in range(WARM_UP):
        backend.restore(*case.inputs(call, faces))
        seconds = backend.last_restore
        assert seconds is not None
        calls.append((seconds.copy_in, seconds.engine, seconds.copy_out))
    names = ("copy_in_ms", "engine_ms", "copy_out_ms")
    return dict(zip(names, (1000 * np.median(calls, axis=0)).tolist(), strict=True))


def floor(row: Mapping[str, Any], gflop: float, tflops: float) -> dict[str, float]:
    """`speed`'s times of a face over what its arithmetic takes at the card's rate in half."""
    least = gflop / tflops  # ms
    return {
        "gflop": gflop,
        "floor_ms": least,
        "batch_1_ratio": row["batch_1"]["p50_ms"] / least,
        "batch_8_ratio": 1000 / row["batch_8"]["faces_per_s"] / least,
    }


@dataclass
class _Tally:
    """What one thread met."""

    faces: int = 0
    mismatches: int = 0  # faces
    largest: int = 0  # difference in levels
    errors: Counter[str] = field(default_factory=Counter)

    def compare(self, got: Sequence[Image], wanted: Sequence[Image]) -> None:
        for one, other in zip(got, wanted, strict=True):
            self.faces += 1
            if not np.array_equal(one, other):
                self.mismatches += 1
                self.largest = max(self.largest, int(np.abs(one.astype(int) - other).max()))


def endure(jobs: Sequence[Callable[[], list[Image]]], seconds: float) -> dict[str, object]:
    """The jobs in eight threads, over and over, against what each gave to one thread alone."""

    def work(first: int) -> _Tally:
        tally = _Tally()
        for number in itertools.count(first):
            if time.monotonic() >= deadline:
                break
            try:
                got = jobs[number % len(jobs)]()
            except Exception as error:  # whatever it is, it is what we look for
                tally.errors[line_of(error)] += 1
            else:
                tally.compare(got, wanted[number % len(jobs)])
        return tally

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job: job(), jobs))  # what is made once, is made now
        wanted = [job() for job in jobs]
        used, resident = [memory_used()], _resident_bytes()
        deadline = time.monotonic() + seconds
        running = [pool.submit(work, number) for number in range(THREADS)]
        while wait(running, timeout=0.5).not_done:
            used.append(memory_used())
        tallies = [each.result() for each in running]
    used.append(memory_used())
    errors = sum((tally.errors for tally in tallies), Counter[str]())
    return {
        "threads": THREADS,
        "seconds": seconds,
        "faces": sum(tally.faces for tally in tallies),
        "errors": errors.total(),
        "messages": dict(errors.most_common(5)),
        "mismatches": sum(tally.mismatches for tally in tallies),
        "largest_difference_levels": max(tally.largest for tally in tallies),
        "gpu_bytes": {"start": used[0], "after": used[-1], "peak_growth": max(used) - used[0]},
        "host_growth_bytes": _resident_bytes() - resident,
    }


def half_rate(size: int = 8192) -> dict[str, object]:
    """What the card really does in half precision: products of two large random matrices."""
    import torch

    a, b = (torch.randn(size, size, device=DEVICE).half() for _ in range(2))
    out = torch.empty_like(a)
    warm_up, runs = _MATMULS
    seconds = []
    for _ in range(warm_up + runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        torch.matmul(a, b, out=out)
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    median = statistics.median(seconds[warm_up:])
    return {
        "tflops": 2 * size**3 / median / 1e12,
        "median_s": median,
        "size": size,
        "runs": runs,
        "warm_up": warm_up,
    }


class TorchHalf:
    """Our PyTorch module in half precision, eager, with cuDNN's fastest algorithms.

    One person's `rows` stay on the GPU, as they do for an engine. Frees PyTorch's memory on exit.
    """

    def __init__(self, network: "DMDNet", rows: Rows) -> None:
        import torch

        from export.model.graphs import RestorerGraph

        torch.backends.cudnn.benchmark = True
        self._graph: RestorerGraph | None = RestorerGraph(network.half().to(DEVICE))
        self._rows = torch.from_numpy(rows).to(DEVICE, torch.half)

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        """A `Restore`, whoever `people` are."""
        import torch

        assert self._graph is not None
        faces, cells, members = (
            torch.from_numpy(array).to(DEVICE) for array in (image, boxes, membership)
        )
        with torch.inference_mode():
            return cast(Image, self._graph(faces, cells, self._rows, members).cpu().numpy())

    def __enter__(self) -> "TorchHalf":
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self._graph, self._rows = None, torch.empty(0)
        torch.cuda.empty_cache()


class PluginSession:
    """`restorer.onnx` in ONNX Runtime with the provider for TensorRT for RTX, from its wheel.

    `nodes`: the graph's nodes by the provider that runs them. Raises `DeviceError` if the plugin
    runs none, and whatever ONNX Runtime raises.
    """

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime

        plugin = import_module(PLUGIN)
        name: str = plugin.get_ep_name()
        onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
        devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
        if not devices:
            raise DeviceError(f"{name} finds no GPU that it can use")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_provider_for_devices(devices[:1], _profiles(bundle))
        spec = bundle.manifest.restorer
        self._names = [tensor.name for tensor in spec.inputs]
        self._session: Any = onnxruntime.InferenceSession(bundle.path / spec.file, options)
        self.nodes: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            self.nodes[part.ep_name] += len(part.get_nodes())
        if not self.nodes[name]:  # ONNX Runtime goes on without a provider that fails
            raise DeviceError(f"{name} runs no node of the graph")

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        """A `Restore`, for one person."""
        (rows,) = people
        inputs = dict(zip(self._names, (image, boxes, rows, membership), strict=True))
        return cast(Image, self._session.run(None, inputs)[0])


def memory_used() -> int:
    """Bytes of the card that are taken, by whomever."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def nvidia_smi() -> dict[str, str] | None:
    """The driver's release, clocks and heat of the first GPU; None without the program."""
    said = output_of(
        "nvidia-smi", f"--query-gpu={','.join(_QUERIES)}", "--format=csv,noheader", "--id=0"
    )
    if said is None:
        return None
    return dict(zip(_QUERIES, (value.strip() for value in said.split(",")), strict=False))


def line_of(error: Exception) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, DmdnetError) else f"{type(error).__name__}: {text}"


def _profiles(bundle: Bundle) -> dict[str, str]:
    """The sizes of our engines, as the plugin's options."""
    sizes = Profile()
    faces_and_rows = {
        "min": (1, 1),
        "opt": (sizes.opt_batch, sizes.opt_references),
        "max": (sizes.max_batch, sizes.max_references),
    }
    columns = bundle.manifest.memorizer.outputs[0].shape[1]
    return {
        f"nv_profile_{which}_shapes": f"image:{faces}x{IMAGE_SIZE}x{IMAGE_SIZE}x3,"
        f"boxes:{faces}x4x4,dictionary:{rows}x{columns},membership:{faces}x{rows}"
        for which, (faces, rows) in faces_and_rows.items()
    }


def _resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * sysconf("SC_PAGE_SIZE")
