"""A Triton model that runs the `model.onnx` beside it, as Triton's ONNX Runtime backend would.

`local_server.stand_in` puts it into a repository, with `triton_model.py` beside it.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Triton's name for what it loads."""

    def initialize(self, args: dict[str, str]) -> None:
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = False
        # as in `runtime.machine.onnx_session`: else 8-bit products overflow on CPUs without VNNI
        options.add_session_config_entry("session.x64quantprecision", "1")
        # waiting threads would keep the cores from the server and the clients beside them
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._output = config["output"][0]["name"]
        self._model = import_module("triton_model")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            inputs = {
                name: self._model.array(pb_utils.get_input_tensor_by_name(request, name))
                for name in self._inputs
            }
            (out,) = self._session.run([self._output], inputs)
        except Exception as error:  # the binding raises many classes, none public
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([self._model.tensor(self._output, out)])
