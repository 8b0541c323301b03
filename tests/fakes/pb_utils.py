"""Triton's `triton_python_backend_utils`, with a restorer that a test gives."""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRITONSERVER_MEMORY_CPU = 0


def restorer(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any] | str:
    """The output, or the message of an error; for a test to replace."""
    return f"no restorer for {list(inputs)}"


class Tensor:
    def __init__(self, name: str, capsule: Any) -> None:
        self.name, self._capsule = name, capsule

    @classmethod
    def from_dlpack(cls, name: str, capsule: Any) -> "Tensor":
        return cls(name, capsule)

    def __dlpack__(self, **_: object) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class TritonError:
    class Code(Enum):
        INTERNAL, INVALID_ARG = range(2)

    INTERNAL, INVALID_ARG = Code

    def __init__(self, message: str, code: Code = Code.INTERNAL) -> None:
        self._message, self.code = message, code

    def message(self) -> str:
        return self._message


class InferenceResponse:
    def __init__(
        self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None
    ) -> None:
        self.outputs = {tensor.name: np.from_dlpack(tensor) for tensor in output_tensors or []}
        self._error = error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class PreferredMemory:
    def __init__(self, kind: int, device: int) -> None: ...


class InferenceRequest:
    def __init__(self, *, inputs: list[Tensor], **named: Any) -> None:
        self.inputs, self.named = inputs, named

    def exec(self) -> InferenceResponse:
        out = restorer({tensor.name: np.from_dlpack(tensor) for tensor in self.inputs})
        if isinstance(out, str):
            return InferenceResponse(error=TritonError(out))
        response = InferenceResponse()
        response.outputs["restored"] = out
        return response


class Request:
    """What a client sent."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]], **parameters: str) -> None:
        self.inputs, self._parameters = inputs, parameters

    def parameters(self) -> str:
        return json.dumps(self._parameters)


def get_input_tensor_by_name(request: Request, name: str) -> NDArray[Any]:
    return request.inputs[name]


def get_output_tensor_by_name(response: InferenceResponse, name: str) -> NDArray[Any]:
    return response.outputs[name]
