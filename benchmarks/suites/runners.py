"""Runners, which suites measure: a bundle on a device, and our PyTorch module."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.report.results import Subject
from runtime.backends.base import Boxes, DeviceSeconds, Rows
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import open_bundle
from runtime.engine_calls import EngineCalls
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from runtime.machine.onnx_session import PROVIDERS
from runtime.samples.faces import sample_faces

if TYPE_CHECKING:
    import torch

    from export.model.checkpoint import Weights

_PICTURES = 16
_T = TypeVar("_T")


@dataclass(frozen=True)
class Case:
    """The inputs of one call: B faces of one person who has K references; K may be 0."""

    image: Image
    boxes: Boxes
    rows: Rows  # float32 (max(K, 1), D)
    membership: NDArray[np.float32]


class Runner(Protocol):
    """Restores and memorises. Calls go from host arrays to host arrays, so copies are included."""

    subject: Subject
    graph: Path | None
    """The restorer's ONNX file, of which the arithmetic is counted."""
    max_batch: int
    """References in one call of `memorize`."""
    on_cpu: bool

    def restore(self, case: Case) -> Image:
        """Restore uint8 (B, 512, 512, 3) RGB; the result has the same shape and dtype."""

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        """Turn uint8 (K, 512, 512, 3) RGB and int32 (K, 4, 4) boxes into rows (K, D)."""

    def close(self) -> None:
        """Free the engine and its memory."""


class Cases:
    """Makes inputs with other pictures for each call: noisy copies of the samples."""

    def __init__(self, memorize: Callable[[Image, Boxes], Rows], references: int) -> None:
        rng = np.random.default_rng(0)
        faces, boxes = sample_faces()
        which = np.arange(_PICTURES) % len(faces)
        noise = rng.normal(0, 12, (_PICTURES, *faces.shape[1:]))
        self._images = (faces[which] + noise).clip(0, 255).astype(np.uint8)
        self._boxes = boxes[which]
        rows = memorize(self._images[:1], self._boxes[:1]).astype(np.float32)
        # as many people's as are wanted; what they say does not change the time
        spread = rng.normal(1, 0.05, (max(references, 1), 1)).astype(np.float32)
        self._rows: dict[int, Rows] = {0: rows * 0}
        self._every = rows * spread
        self._turn = 0

    def next(self, faces: int, references: int) -> Case:
        self._turn += 1
        which = np.arange(self._turn, self._turn + faces) % _PICTURES
        # the same array at each call: a video's person does not change
        rows = self._rows.setdefault(references, self._every[:references])
        membership = np.full((faces, len(rows)), float(references > 0), np.float32)
        return Case(self._images[which], self._boxes[which], rows, membership)

    def pictures(self, count: int) -> tuple[Image, Boxes]:
        """Pictures uint8 (count, 512, 512, 3) RGB and their boxes, to memorise."""
        self._turn += 1
        which = np.arange(self._turn, self._turn + count) % _PICTURES
        return self._images[which], self._boxes[which]


class _Prepared(Generic[_T]):
    """Keeps what an engine makes of a person's rows, which is made once, as a Restorer does."""

    def __init__(self, make: Callable[[Rows], _T]) -> None:
        self._make = make
        self._made: dict[int, tuple[Rows, _T]] = {}

    def of(self, rows: Rows) -> _T:
        """What was made of this very array, which is kept too: no other takes its address."""
        if id(rows) not in self._made:
            self._made[id(rows)] = rows, self._make(rows)
        return self._made[id(rows)][1]


class BundleRunner:
    """Runs a bundle in its backend. Raises `BundleError` and `DeviceError`."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        bundle = open_bundle(path)
        manifest = bundle.manifest
        self.path = path
        self.graph: Path | None = path / manifest.restorer.file
        self._backend = open_backend(bundle, Choice(device, threads=threads))
        self.max_batch = self._backend.max_batch
        self.on_cpu = PROVIDERS["cpu"] in self._backend.description
        self._prepared = _Prepared[Rows](lambda rows: rows.astype(manifest.dictionary_dtype))
        self.manifest = manifest
        self.calls = EngineCalls(self._backend, manifest, self.max_batch)
        self.subject = Subject(
            path.name or str(path.resolve().name),
            manifest.precision,
            self._backend.description,
            manifest.graph_sha256("restorer"),
            manifest.weights.remark,
        )
        self.weights_sha256 = manifest.weights.sha256

    def restore(self, case: Case) -> Image:
        rows = self._prepared.of(case.rows)
        return self._backend.restore(case.image, case.boxes, [rows], case.membership)

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        return self._backend.memorize(image, boxes)

    @property
    def device_seconds(self) -> DeviceSeconds | None:
        """Times of the last `restore` by the GPU's own clock; None where the backend has none."""
        return self._backend.last_restore

    def close(self) -> None:
        self._backend.close()


class TorchRunner:
    """Runs our PyTorch module: in float32 on the CPU, in half with cuDNN's fastest on a GPU.

    A person's rows stay on the device, as they do for an engine. `mode`: "eager"; "compile" for
    `torch.compile`; "both": eager, decoded for the generic and the specific result from one
    encoding, as the authors' code does for every specific one. With " fp32" after it, it runs in
    float32 on a GPU too, without TF32.
    """

    graph: Path | None = None
    max_batch = 1

    def __init__(self, weights: "Weights", mode: str, threads: int | None) -> None:
        import torch

        from export.model.graphs import MemorizerGraph, RestorerGraph

        if threads is not None:
            torch.set_num_threads(threads)
        gpu = torch.cuda.is_available()
        torch.backends.cudnn.benchmark = gpu
        torch.backends.cudnn.allow_tf32 = False
        self.on_cpu = not gpu
        kind, _, precision = mode.partition(" ")
        half = gpu and precision != "fp32"
        self._device, dtype = "cuda" if gpu else "cpu", torch.half if half else torch.float
        # `to` changes a module in place, and runners of other precisions share the weights
        network = deepcopy(weights.network) if gpu else weights.network
        self._network = network.to(self._device, dtype).eval()
        self._memorizer = MemorizerGraph(self._network)
        graph = RestorerGraph(self._network)
        self._forward: Any = torch.compile(graph) if kind == "compile" else graph
        self._mode = kind
        self._prepared = _Prepared["torch.Tensor"](lambda rows: self._tensors(rows)[0].to(dtype))
        precision = "fp16" if half else "fp32"
        backend = f"PyTorch {torch.__version__}, {self._device}, {mode}"
        made_of = weights.record
        self.subject = Subject(f"torch {mode}", precision, backend, made_of.sha256, made_of.remark)

    def restore(self, case: Case) -> Image:
        import torch

        image, boxes, members = self._tensors(case.image, case.boxes, case.membership)
        tensors = (image, boxes, self._prepared.of(case.rows), members)
        with torch.inference_mode():
            if self._mode == "both":
                return self._both(*tensors)
            return cast(Image, self._forward(*tensors).cpu().numpy())

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        import torch

        with torch.inference_mode():
            return cast(Rows, self._memorizer(*self._tensors(image, boxes)).cpu().numpy())

    def close(self) -> None:
        del self._network, self._memorizer, self._forward, self._prepared

    def _both(self, *tensors: "torch.Tensor") -> Image:
        image, boxes, rows, membership = tensors
        face = (image.float().permute(0, 3, 1, 2) / 127.5 - 1).to(rows.dtype)
        encoded = self._network.E_lq(face)
        for members in (membership * 0, membership):
            restored = self._network.decode(encoded, boxes, rows, members)
            levels = ((restored.float() + 1) * 127.5).round().clamp(0, 255)
            out = levels.permute(0, 2, 3, 1).byte().cpu().numpy()
        return cast(Image, out)

    def _tensors(self, *arrays: NDArray[Any]) -> "list[torch.Tensor]":
        import torch

        return [torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for a in arrays]


@contextmanager
def open_runners(
    bundles: Sequence[Path],
    device: str,
    threads: int | None,
    checkpoint: str | None,
    modes: Sequence[str],
) -> Iterator[list[Runner]]:
    """Open the bundles, then PyTorch in each of `modes` with the weights of `checkpoint`.

    Raises `BenchmarkError` for two bundles of one name, or with other weights than the first, and
    where PyTorch would run on the CPU beside bundles that run on CUDA.
    """
    if modes and device == "cuda":
        _refuse_torch_without_cuda()
    with ExitStack() as stack:
        runners = [
            stack.enter_context(closing(BundleRunner(path, device, threads))) for path in bundles
        ]
        _refuse_mixture(runners)
        others = []
        if modes:
            from export.model.checkpoint import load_weights

            weights = load_weights(checkpoint)
            sha256, source = weights.record.sha256, weights.record.source
            if sha256 != runners[0].weights_sha256:
                raise BenchmarkError(
                    f"{runners[0].path} was not made from {source}; name its weights with "
                    "--checkpoint"
                )
            others = [
                stack.enter_context(closing(TorchRunner(weights, mode, threads))) for mode in modes
            ]
        yield [*runners, *others]


def _refuse_torch_without_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BenchmarkError(
            f"PyTorch {torch.__version__} cannot use CUDA here, and would run on the CPU beside "
            "bundles on the GPU: install a build of it for CUDA"
        )


def _refuse_mixture(runners: Sequence[BundleRunner]) -> None:
    named: dict[str, Path] = {}
    for runner in runners:
        other = named.setdefault(runner.subject.name, runner.path)
        if other != runner.path:
            raise BenchmarkError(f"{other} and {runner.path} have the same name: rename one")
        if runner.weights_sha256 != runners[0].weights_sha256:
            raise BenchmarkError(f"{runner.path} has other weights than {runners[0].path}")
