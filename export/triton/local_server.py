"""Run a real Triton Inference Server on loopback, from the wheel of nvidia-pytriton.

    python -m export.triton.local_server REPOSITORY [--port 8001]

The wheel has the server and its Python backend, but no ONNX Runtime backend: `stand_in` turns the
two engine models of a repository into Python models that run the same ONNX files.
"""

import ctypes
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from export.triton.config import APP, MEMORIZER, RESTORER
from export.triton.repository import TRITON_MODEL
from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import RemoteError, UsageError

_STAND_IN = Path(__file__).with_name("onnx_model.py")
_START_S = 120
_TRIES = 5  # of ports that are free when they are chosen, and may be taken when they are opened
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_MIB = 256


def main() -> NoReturn:
    parser = console.Parser(
        "python -m export.triton.local_server",
        "Serve a repository of dmd-triton on this machine's CPU, to try it without a container.",
    )
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="made by dmd-triton")
    parser.add_argument("--port", type=positive, default=8001, help="gRPC port (default: 8001)")
    args = parser.parse_args()
    console.run(parser.prog, lambda: serve(args.repository, args.port))


def serve(repository: Path, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM; `repository` is not changed.

    Raises `UsageError` if there is no repository or no server is installed, `RemoteError` if the
    server fails to start or ends by itself.
    """
    if not (repository / APP / "config.pbtxt").is_file():
        raise UsageError(f"{repository}: not a repository that dmd-triton wrote")
    reason = missing()
    if reason is not None:
        raise UsageError(f"{reason}; install dmdnet-runtime[triton-server], or use a container")
    with tempfile.TemporaryDirectory(prefix="triton-models-") as folder:
        models = Path(folder) / "models"
        shutil.copytree(repository, models)
        stand_in(models)
        with Server(models, port=port) as server:
            console.tell(f"{server.url} is ready; Ctrl-C ends it")
            try:
                server.wait()
            except KeyboardInterrupt:
                return 0
        raise RemoteError("tritonserver ended by itself")


def missing() -> str | None:
    """Why the server cannot be started here; None if it can."""
    if find_spec("pytriton") is None or find_spec("tritonclient") is None:
        return "nvidia-pytriton is not installed"
    if platform.system() != "Linux" or not _stub().exists():
        return f"nvidia-pytriton has no server for Python {_python()} on {platform.platform()}"
    try:
        ctypes.CDLL(f"libpython{_python()}.so.1.0")
    except OSError:
        if not (_libpython_folder() / f"libpython{_python()}.so.1.0").exists():
            return f"no libpython{_python()}.so.1.0, which Triton's Python backend loads"
    free = shutil.disk_usage(_SHARED_MEMORY).free >> 20
    if free < _SHARED_MIB:
        return f"{_SHARED_MEMORY} has {free} MiB free; the Python backend needs {_SHARED_MIB}"
    return None


def stand_in(repository: Path) -> None:
    """Make the engine models of a repository run in ONNX Runtime inside the Python backend."""
    for model in (RESTORER, MEMORIZER):
        config = repository / model / "config.pbtxt"
        config.write_text(
            config.read_text().replace('platform: "onnxruntime_onnx"', 'backend: "python"')
        )
        for graph in (repository / model).glob("*/model.onnx"):
            shutil.copyfile(_STAND_IN, graph.with_name("model.py"))
            shutil.copyfile(TRITON_MODEL, graph.with_name("triton_model.py"))


class Server:
    """A tritonserver process on loopback; it is ready when the constructor or `start` returns.

    `options`: more arguments of tritonserver. After `kill`, `start` starts it again on the same
    port.
    """

    def __init__(self, repository: Path, options: tuple[str, ...] = (), port: int = 0) -> None:
        self.port, self._is_fixed = port or _free_port(), bool(port)
        self._repository, self._options = repository, options
        self._folder = tempfile.TemporaryDirectory(prefix="triton-")
        self._process: subprocess.Popen[bytes] | None = None
        self._regions = f"{Path(self._folder.name).name}-"
        self.log = Path(self._folder.name) / "log"
        _lay_out_backends(Path(self._folder.name))
        self.start()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}/dmdnet"

    def start(self) -> None:
        """Start it, and wait until all models are loaded. Raises `RemoteError` with its log."""
        for left in reversed(range(_TRIES)):
            http = _free_port()
            try:
                self._start(http)
                self._is_fixed = True
                return
            except RemoteError as error:
                port_is_taken = not self._is_fixed and f":{self.port}' already" in str(error)
                if not left or not (port_is_taken or f":{http}' already" in str(error)):
                    raise
                if port_is_taken:
                    self.port = _free_port()

    def _start(self, http: int) -> None:
        libraries = [str(_site() / "nvidia_pytriton.libs"), str(_libpython_folder())]
        libraries += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
        # the first `python` in PATH says which packages the Python backend sees
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(_site() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
                    f"--model-repository={self._repository}",
                    f"--backend-directory={self._folder.name}/backends",
                    *("--grpc-address=127.0.0.1", f"--grpc-port={self.port}"),
                    *("--http-address=127.0.0.1", f"--http-port={http}"),
                    *("--allow-metrics=false", "--exit-timeout-secs=2"),
                    f"--backend-config=python,shm-region-prefix-name={self._regions}",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"LD_LIBRARY_PATH": ":".join(libraries), "PATH": path},
                start_new_session=True,
            )
        end = time.monotonic() + _START_S
        try:
            while not _ready(http):
                if (code := self._process.poll()) is not None:
                    raise RemoteError(
                        f"tritonserver ended with exit code {code}:\n{self._errors()}"
                    )
                if time.monotonic() > end:
                    raise RemoteError(
                        f"tritonserver was not ready after {_START_S} s:\n{self._errors()}"
                    )
                time.sleep(0.1)
        except BaseException:  # Ctrl-C too: it runs in a session of its own, and would stay
            self.kill()
            raise

    def wait(self) -> None:
        """Wait until the server ends."""
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """Kill it and its Python processes with SIGKILL, as if the machine had gone down."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the stubs are in its session
            self._process.wait()
        for region in _SHARED_MEMORY.glob(f"{self._regions}*"):  # it leaves them when it is killed
            region.unlink()

    def _errors(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line[:400] for line in lines if "rror" in line or re.match(r"E\d{4} ", line)]
        return "\n".join(found[-20:])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()


def _lay_out_backends(folder: Path) -> None:
    """The Python backend with the stub of this Python, as Triton looks for it."""
    backend = folder / "backends" / "python"
    source = _site() / "pytriton" / "tritonserver" / "backends" / "python"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, backend, ignore=ignored, copy_function=os.symlink)
    (backend / "triton_python_backend_stub").symlink_to(_stub())


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
            return True
    except OSError:
        return False


def _site() -> Path:
    spec = find_spec("pytriton")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1]


def _stub() -> Path:
    stubs = _site() / "pytriton" / "tritonserver" / "python_backend_stubs"
    return stubs / _python() / "triton_python_backend_stub"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _libpython_folder() -> Path:
    return Path(str(sysconfig.get_config_var("LIBDIR")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
