"""A gRPC server that answers as Triton would, or as a test wants it to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

Answer = Callable[[Any, grpc.ServicerContext], Any]


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The configuration of a repository's `dmdnet`; `infer` is what a ModelInfer does."""

    def __init__(self, repository: Path) -> None:
        self.config = model_config_pb2.ModelConfig()
        text_format.Parse((repository / "dmdnet" / "config.pbtxt").read_text(), self.config)
        self.infer: Answer = gray
        self.versions = ["1"]
        self.calls: list[Any] = []  # requests of ModelInfer
        self.headers: list[dict[str, str]] = []  # of every call
        self.regions: dict[str, str] = {}  # shared memory that it was told of: the key by its name
        self.port = 0

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}/dmdnet"

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._heard(context)
        return service_pb2.ModelConfigResponse(config=self.config)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._heard(context)
        return service_pb2.ModelMetadataResponse(name="dmdnet", versions=self.versions)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._heard(context)
        self.calls.append(request)
        return self.infer(request, context)

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._heard(context)
        self.regions[request.name] = request.key
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._heard(context)
        self.regions.pop(request.name, None)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def _heard(self, context: grpc.ServicerContext) -> None:
        self.headers.append({key: str(value) for key, value in context.invocation_metadata()})


def gray(request: Any, context: grpc.ServicerContext) -> Any:
    """As many faces as were sent, all of level 7."""
    image = next(tensor for tensor in request.inputs if tensor.name == "image")
    answer = service_pb2.ModelInferResponse(model_name="dmdnet", model_version="1")
    answer.outputs.add(name="restored", datatype="UINT8", shape=image.shape)
    answer.raw_output_contents.append(bytes([7]) * (512 * 512 * 3 * image.shape[1]))
    return answer


@contextmanager
def serving(fake: FakeTriton) -> Iterator[FakeTriton]:
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield fake
    finally:
        server.stop(None)
