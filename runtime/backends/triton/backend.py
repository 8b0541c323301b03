"""Triton Inference Server: crops and boxes go there, restored crops come back."""

import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Boxes, Rows
from runtime.backends.triton.address import Address, Remote
from runtime.backends.triton.client import CallError, SharedRegion, TritonClient
from runtime.backends.triton.served import Served, newest, read_output, read_parameters
from runtime.backends.triton.shared_memory import SharedRows
from runtime.errors import DmdnetWarning, RemoteError
from runtime.images.arrays import Image

Inputs = Mapping[str, NDArray[Any] | SharedRegion]


class TritonBackend:
    """Runs the models that `dmd-triton` wrote, on the Triton server at an address.

    `cache`: bytes of shared memory for dictionaries that no call is using. Raises `UsageError`,
    `DeviceError` or `RemoteError`.
    """

    last_restore = None  # the GPU's clock is the server's

    def __init__(self, address: Address, remote: Remote, cache: int) -> None:
        self._url, self._model = address.url, address.model
        self._lock = threading.Lock()
        self._client = TritonClient(address, remote)
        try:
            served = self._served()
            self.manifest = served.manifest
            self._memorizer = served.memorizer
            self.max_batch = served.max_batch
            self.max_references: int | None = served.max_references
            self._version = newest(self._url, self._client.versions())
            self._regions = SharedRows(self._client, cache) if remote.shared_memory else None
        except BaseException:
            self._client.close()
            raise
        if self.max_batch > 1 and not self.manifest.isolates_people:
            warnings.warn(
                f"{self._url}: the server joins requests of people whom its graph does not isolate "
                "from each other; export the bundle again, and run dmd-triton",
                DmdnetWarning,
                stacklevel=2,
            )
        self.description = f"Triton at {self._url}, {self.manifest.precision}"

    def restore(
        self, image: Image, boxes: Boxes, people: Sequence[Rows], membership: NDArray[np.float32]
    ) -> Image:
        inputs: dict[str, NDArray[Any] | SharedRegion] = {
            "image": image[None],
            "boxes": boxes[None],
            "membership": membership[None],
        }
        if not membership.any():  # nobody is known: no row crosses the network
            inputs["membership"] = membership[None, :, :0]
            inputs["dictionary"] = people[0][None, :0]
            return self._restore(inputs)
        if self._regions is None:
            rows = people[0] if len(people) == 1 else np.concatenate(people)
            return self._restore(inputs | {"dictionary": rows[None]})
        with self._regions.hold([tuple(people)]) as (region,):
            try:
                self._regions.introduce(region)
                return self._restore(inputs | {"dictionary": region})
            except CallError as error:
                if region.name not in str(error):
                    raise
            region.known = False  # by a server that was started since
            self._regions.introduce(region)
            return self._restore(inputs | {"dictionary": region})

    def memorize(self, image: Image, boxes: Boxes) -> Rows:
        output = self.manifest.memorizer.outputs[0]
        shape = (len(image), *cast(tuple[int, ...], output.shape[1:]))
        inputs: Inputs = {"image": image, "boxes": boxes}
        rows, _ = self._infer(self._memorizer, inputs, output.name, output.dtype, shape)
        self._confirm()  # else rows of other weights would be saved as rows of these
        return cast(Rows, rows)

    def close(self) -> None:
        if self._regions is not None:
            self._regions.close()
        self._client.close()

    def _restore(self, inputs: Inputs) -> Image:
        shape = inputs["image"].shape
        # the server refuses a dictionary of other weights
        weights = {"weights": self.manifest.weights.sha256}
        restored, version = self._infer(self._model, inputs, "restored", "uint8", shape, weights)
        if version != self._version:
            self._confirm()
            with self._lock:
                before, self._version = self._version, version
            if before != version:
                warnings.warn(
                    f"{self._url} serves version {version} now, in place of {before}; the weights "
                    "are the same",
                    DmdnetWarning,
                    stacklevel=2,
                )
        return cast(Image, restored[0])

    def _infer(
        self,
        model: str,
        inputs: Inputs,
        output: str,
        dtype: str,
        shape: tuple[int, ...],
        parameters: Mapping[str, str] | None = None,
    ) -> tuple[NDArray[Any], str]:
        """The output, which must be of this type and shape; and the version that answered."""
        try:
            result = self._client.infer(model, inputs, parameters)
        except CallError as error:
            if error.status == "INVALID_ARGUMENT":
                self._confirm()  # says it better if another model is served now
            raise
        answer = result.get_response()
        return read_output(self._url, answer, output, dtype, shape), str(answer.model_version)[:20]

    def _confirm(self) -> None:
        """Raise `RemoteError` unless the server still has a model that reads our dictionaries."""
        now = self._served().manifest
        for what, theirs, ours in (
            ("weights", now.weights.sha256, self.manifest.weights.sha256),
            ("dictionary layout", now.dictionary_layout, self.manifest.dictionary_layout),
            ("dictionary type", now.dictionary_dtype, self.manifest.dictionary_dtype),
        ):
            if theirs != ours:
                raise RemoteError(
                    f"{self._url} serves another model now, {what} {theirs} in place of {ours}: "
                    "open a new Restorer, and enrol again if the weights differ"
                )

    def _served(self) -> Served:
        parameters = self._client.config().parameters
        return read_parameters(
            self._url, {key: value.string_value for key, value in parameters.items()}
        )
