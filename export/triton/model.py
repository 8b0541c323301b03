"""The Triton model that apps call: requests that wait together share one call of the restorer.

Triton runs this file as `model.py`, with NumPy and nothing of this project. Inputs and output of a
request with F faces and K dictionary rows; the 1 is Triton's batch dimension:

    image uint8 (1, F, 512, 512, 3) RGB, boxes int32 (1, F, 4, 4), dictionary (1, K, D),
    membership float32 (1, F, K) -> restored uint8 (1, F, 512, 512, 3) RGB

K is 0 without references. Nothing of a request is logged: a dictionary is personal data.
"""

import ctypes
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

_SIDE = 512
_LARGEST = 65504  # of a dictionary's numbers, as `runtime.dictionary.LARGEST`
_SAMPLE = 4096  # one number in so many is compared before all are


class TritonPythonModel:
    """Triton's name for what it loads."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        values = {key: value["string_value"] for key, value in parameters.items()}
        manifest = json.loads(values["manifest"])
        self._weights = manifest["weights"]["sha256"]
        dictionary = manifest["memorizer"]["outputs"][0]
        self._dtype, self._columns = np.dtype(dictionary["dtype"]), int(dictionary["shape"][1])
        self._restorer, self._version = values["restorer"], int(args["model_version"])
        self._max_batch, self._max_references = (
            int(values[key]) for key in ("max_batch", "max_references")
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        jobs: list[_Job] = []
        for index, request in enumerate(requests):
            try:
                jobs.append(self._read(index, request, jobs))
            except Exception as error:  # a bad request must not fail the others
                ours = type(error) is ValueError
                said = str(error) if ours else f"it cannot be read ({type(error).__name__})"
                answers[index] = _refusal(said, pb_utils.TritonError.INVALID_ARG)
        for batch in self._batches(jobs):
            for job, answer in zip(batch, self._run(batch), strict=True):
                answers[job.index] = answer
        return answers

    def _read(self, index: int, request: Any, others: "Sequence[_Job]") -> "_Job":
        """Check a request by itself, so that it cannot spoil a call that it shares."""
        sent = json.loads(request.parameters() or "{}").get("weights", self._weights)
        if sent != self._weights:
            shown = ascii(str(sent)[:64])  # it may be shown on a terminal
            raise ValueError(f"other weights: the request is for {shown}, not {self._weights}")
        image, boxes, dictionary, membership = (
            array(pb_utils.get_input_tensor_by_name(request, name))
            for name in ("image", "boxes", "dictionary", "membership")
        )
        faces, rows = image.shape[1], dictionary.shape[1]
        for name, given, dtype, shape in (
            ("image", image, "uint8", (1, faces, _SIDE, _SIDE, 3)),
            ("boxes", boxes, "int32", (1, faces, 4, 4)),
            ("dictionary", dictionary, self._dtype, (1, rows, self._columns)),
            ("membership", membership, "float32", (1, faces, rows)),
        ):
            if given.dtype != dtype or given.shape != shape:
                raise ValueError(
                    f"{name} has shape {given.shape} of {given.dtype}, wanted is {shape} of {dtype}"
                )
        for what, count, most in (
            ("faces", faces, self._max_batch),
            ("dictionary rows", rows, self._max_references),
        ):
            if count > most:
                raise ValueError(f"{count} {what}: this model takes {most} a request")
        if not faces:
            raise ValueError("no face")
        corners = boxes.reshape(-1, 2, 2)
        if (corners < 0).any() or (corners > _SIDE).any() or (corners[:, 0] >= corners[:, 1]).any():
            raise ValueError(f"boxes must be x1 < x2, y1 < y2 from 0 to {_SIDE}")
        if not np.isin(membership, (0, 1)).all():
            raise ValueError("membership must be 0 or 1")
        for job in others:
            if _same(job.dictionary, dictionary[0]):
                return _Job(index, image[0], boxes[0], job.dictionary, membership[0])
        if rows:
            low, high = dictionary.min(), dictionary.max()  # NaN if there is one
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError("the dictionary holds numbers that are not finite")
            if low < -_LARGEST or high > _LARGEST:
                raise ValueError(f"the dictionary's numbers must be from -{_LARGEST} to {_LARGEST}")
        return _Job(index, image[0], boxes[0], dictionary[0], membership[0])

    def _batches(self, jobs: "Sequence[_Job]") -> "Iterator[list[_Job]]":
        """Requests that go into one call: by their faces, and by the rows of all their people."""
        batch: list[_Job] = []
        for job in jobs:
            together = [*batch, job]
            faces = sum(len(each.image) for each in together)
            rows = sum(len(person) for person in _people(together))
            if batch and (faces > self._max_batch or rows > self._max_references):
                yield batch
                together = [job]
            batch = together
        if batch:
            yield batch

    def _run(self, batch: "Sequence[_Job]") -> list[Any]:
        """Each request's answer, from one call, or from one each where that fails."""
        try:
            return self._call(batch)
        except Exception as error:  # an engine's, or of memory that is short
            if len(batch) > 1:  # no request fails because of another
                return [answer for job in batch for answer in self._run([job])]
            return [_refusal(f"{self._restorer} failed: {str(error) or type(error).__name__}")]

    def _call(self, batch: "Sequence[_Job]") -> list[Any]:
        """One call of the restorer, and each request's part of the answer."""
        people = _people(batch) or [np.zeros((1, self._columns), self._dtype)]
        ends = np.cumsum([len(person) for person in people])
        faces = np.cumsum([0, *(len(job.image) for job in batch)])
        membership = np.zeros((faces[-1], ends[-1]), np.float32)
        for job, first in zip(batch, faces[:-1], strict=True):
            for person, end in zip(people, ends, strict=True):
                if person is job.dictionary:
                    mine = job.membership
                    membership[first : first + len(mine), end - len(person) : end] = mine
        inputs = {
            "image": np.concatenate([job.image for job in batch]),
            "boxes": np.concatenate([job.boxes for job in batch]),
            "dictionary": people[0] if len(people) == 1 else np.concatenate(people),
            "membership": membership,
        }
        done = pb_utils.InferenceRequest(
            model_name=self._restorer,
            model_version=self._version,
            requested_output_names=["restored"],
            inputs=[tensor(name, values) for name, values in inputs.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        ).exec()
        if done.has_error():
            raise RuntimeError(done.error().message())
        restored = array(pb_utils.get_output_tensor_by_name(done, "restored"))
        return [
            pb_utils.InferenceResponse([tensor("restored", restored[None, first:last])])
            for first, last in pairwise(faces)
        ]


@dataclass(frozen=True)
class _Job:
    """A request's arrays without Triton's batch dimension; equal dictionaries are one array."""

    index: int  # among the requests
    image: NDArray[np.uint8]
    boxes: NDArray[np.int32]
    dictionary: NDArray[np.floating]
    membership: NDArray[np.float32]


def _people(batch: Sequence[_Job]) -> list[NDArray[np.floating]]:
    """The dictionaries of some requests, each once."""
    return list(
        {id(job.dictionary): job.dictionary for job in batch if len(job.dictionary)}.values()
    )


def _same(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    return (
        one.shape == other.shape
        and np.array_equal(one[:, ::_SAMPLE], other[:, ::_SAMPLE])
        and np.array_equal(one, other)
    )


def array(tensor: Any) -> NDArray[Any]:
    """The content of a Triton tensor, read-only.

    It goes through DLPack, as in `tensor`: a Triton built before NumPy 2 misreads NumPy's types.
    """
    return np.from_dlpack(tensor)


def tensor(name: str, values: NDArray[Any]) -> Any:
    """A Triton tensor that holds `values`."""
    capsule = np.require(values, requirements=["C", "W"]).__dlpack__()
    made = pb_utils.Tensor.from_dlpack(name, capsule)
    # Triton owns the numbers now, but names the capsule so that NumPy's destructor would complain
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return made


def _refusal(message: str, code: int | None = None) -> Any:
    error = pb_utils.TritonError(message) if code is None else pb_utils.TritonError(message, code)
    return pb_utils.InferenceResponse(error=error)
