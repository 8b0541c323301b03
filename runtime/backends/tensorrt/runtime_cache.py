"""What TensorRT for RTX compiles for this machine's GPU, kept from one process to the next."""

import warnings
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError, DmdnetWarning
from runtime.machine.tensorrt_editions import EXTRAS, Edition
from runtime.storage.local import write_atomically
from runtime.text import squeezed


class RuntimeCache:
    """The runtime configuration of an engine of TensorRT for RTX, with its cache of kernels.

    Kernels are compiled for a call's shapes before it runs, not in the background: results of
    equal calls are equal from the first to the last. `save` writes them to the user's cache
    folder. TensorRT takes what the same version of it has written on the same GPU model, with the
    same driver or an older one of the same major version; else it compiles anew. Raises
    `DeviceError` where a package is missing.
    """

    def __init__(self, edition: Edition, engine: Any, sha256: str) -> None:
        try:
            import platformdirs
        except ModuleNotFoundError:
            raise DeviceError(
                f"{edition} needs platformdirs; install dmdnet-runtime[{EXTRAS[edition.name]}]"
            ) from None
        trt, folder = edition.module, Path(platformdirs.user_cache_dir("dmdnet-runtime"))
        self._path = folder / "kernels" / f"{sha256}.cache"
        self.config = engine.create_runtime_config()
        self.config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self.config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache = self.config.create_runtime_cache()
        self._kept = self._read()
        if self._kept:
            try:
                self._cache.deserialize(self._kept)
            except Exception as error:  # the binding's, which raises many classes
                self._warn("used", error, "its kernels are compiled again")
        self.config.set_runtime_cache(self._cache)
        # kept last, so that Python destroys the configuration and cache before their engine
        self._engine = engine

    def save(self) -> None:
        """Write what was compiled since; where that fails, a warning says so."""
        try:
            content = bytes(self._cache.serialize())
            if content == self._kept:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, content)
        except Exception as error:  # of the disk, or the binding's, which raises many classes
            self._warn("written", error, "the next process compiles its kernels again")

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            self._warn("read", error, "its kernels are compiled again")
            return b""

    def _warn(self, done: str, error: Exception, so: str) -> None:
        why = error.strerror if isinstance(error, OSError) else squeezed(str(error))
        text = f"{self._path}: cannot be {done} ({why}); {so}"
        warnings.warn(text, DmdnetWarning, stacklevel=3)
