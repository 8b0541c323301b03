"""What is installed on this machine, what clashes, and which device would be used.

Nothing is changed, and whatever is missing or broken becomes a finding.
"""

import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.metadata import Distribution, distributions
from typing import TypeVar

from runtime.errors import DmdnetError
from runtime.machine import pycuda_build
from runtime.machine.gpu import Gpu
from runtime.machine.gpu import gpus as visible_gpus
from runtime.machine.onnx_session import PROVIDERS, offered_providers
from runtime.machine.tensorrt_editions import (
    DEVICES,
    EDITIONS,
    EXTRAS,
    TITLES,
    installed_version,
    load_edition,
    refuse_capability,
)

T = TypeVar("T")
Installed = Mapping[str, Distribution]

# The edition that a distribution belongs to, and the CUDA it was built for
_TENSORRT = r"(?:onnxruntime-ep-nv-)?(tensorrt|tensorrt-rtx)(?:-cu(\d+))?(?:-bindings|-libs)?"
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
_FIRST_DRIVER = {12: "525", 13: "580"}
_SHOW_A_GPU = (
    "install NVIDIA's driver (https://www.nvidia.com/drivers; in a container: docker run --gpus "
    "all), check that `nvidia-smi` lists a GPU, and that CUDA_VISIBLE_DEVICES does not hide it"
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and the command or step that puts it right."""

    problem: str
    remedy: str


@dataclass(frozen=True)
class Software:
    """A piece of software that the runtime needs or may use.

    `version`: None where it is not installed. `distributions`: the Python packages that installed
    it, with their versions. `finding`: what is wrong; None where it works.
    """

    name: str
    version: str | None
    distributions: Mapping[str, str] = field(default_factory=dict)
    finding: Finding | None = None


@dataclass(frozen=True)
class Device:
    """A `device=` of Restorer, which this machine can use if there are no findings."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Report:
    """What `examine` found on this machine.

    `providers`: ONNX Runtime's execution providers. `driver`: release of the NVIDIA driver, such as
    "580.65.06". `cuda`: the newest CUDA that it runs, such as "13.0"; None without a GPU.
    `devices`: in the order in which "auto" tries them.
    """

    software: tuple[Software, ...]
    providers: tuple[str, ...]
    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    clashes: tuple[Finding, ...]
    devices: tuple[Device, ...]

    @property
    def device(self) -> str | None:
        """The device that "auto" would use; None if there is none."""
        return next((device.name for device in self.devices if not device.findings), None)

    @property
    def healthy(self) -> bool:
        """Whether a device can be used and nothing clashes."""
        return self.device is not None and not self.clashes


def examine() -> Report:
    """Examine this machine and the running Python. Nothing is raised: what fails is a finding."""
    installed = _installed()
    gpus, error = _attempt(visible_gpus)
    no_gpu = None if gpus else Finding(_line(error) if error else "no GPU is visible", _SHOW_A_GPU)
    cuda = gpus[0].driver if gpus else None

    wanted = "onnxruntime-gpu" if gpus else "onnxruntime"
    onnxruntime = _module("ONNX Runtime", "onnxruntime", wanted, installed)
    providers = _attempt(offered_providers)[0] or ()
    no_cuda = onnxruntime.finding
    if not no_cuda and PROVIDERS["cuda"] not in providers:
        problem = f"this ONNX Runtime offers no {PROVIDERS['cuda']} (only {', '.join(providers)})"
        remedy = _in_place_of(onnxruntime.distributions, "onnxruntime-gpu")
        no_cuda = Finding(problem, remedy if gpus else f"with a GPU: {remedy}")
    opencv = _module("OpenCV", "cv2", "opencv-python", installed)
    pycuda = _listed("pycuda", installed)
    if gpus or pycuda.version is None:  # without a driver it cannot be loaded
        build = "--no-cache-dir pycuda  # built from source: nvcc must be in PATH"
        pycuda = _loaded(pycuda, build, _import_pycuda)
    lacks = pycuda_build.missing() if gpus and pycuda.finding else ()
    to_build = [Finding(problem, remedy) for problem, remedy in lacks]
    editions = {name: _edition(name, installed) for name in EDITIONS}
    too_new = {name: _too_new(name, installed, cuda) for name in EDITIONS}
    unfit = {name: _unfit(name, gpus[0]) if gpus else None for name in EDITIONS}

    needs: dict[str, tuple[Finding | None, ...]] = {
        EXTRAS[name]: (
            no_gpu,
            unfit[name],
            too_new[name],
            editions[name].finding,
            pycuda.finding,
            *to_build,
        )
        for name in EDITIONS
    } | {"cuda": (no_gpu, no_cuda), "cpu": (onnxruntime.finding,)}
    return Report(
        software=(
            Software("Python", platform.python_version()),
            _listed("dmdnet-runtime", installed),
            onnxruntime,
            *editions.values(),
            pycuda,
            _listed("polygraphy", installed),
            opencv,
        ),
        providers=providers,
        driver=_driver_release(),
        cuda=cuda,
        gpus=gpus or (),
        clashes=_present(
            _twice(onnxruntime, wanted), _twice(opencv, "opencv-python"), *too_new.values()
        ),
        devices=tuple(Device(name, _present(opencv.finding, *needs[name])) for name in DEVICES),
    )


def _listed(name: str, installed: Installed) -> Software:
    found = {name: installed[name].version} if name in installed else {}
    return Software(name, found.get(name), found)


def _module(name: str, module: str, wanted: str, installed: Installed) -> Software:
    """The packages that installed a module, in the folder where Python finds it; does it load?"""
    owners = {
        owner: one
        for owner, one in installed.items()
        if f"\n{module}/" in "\n" + (one.read_text("RECORD") or "")
    }
    folder = next((one.locate_file("") for one in owners.values()), None)
    brought = {owner: one.version for owner, one in owners.items() if one.locate_file("") == folder}
    software = Software(name, next(iter(brought.values()), None), dict(sorted(brought.items())))
    # where one of two packages in a folder was removed, what is left loads, but has no version
    return _loaded(software, wanted, lambda: str(import_module(module).__version__))


def _edition(name: str, installed: Installed) -> Software:
    version, _ = _attempt(lambda: installed_version(name))
    parts = {part: installed[part].version for part in _parts(name, installed)}
    software = Software(TITLES[name], version, parts)
    wanted = f'"dmdnet-runtime[{EXTRAS[name]}]"'
    return _loaded(software, wanted, lambda: load_edition(name).version)


def _import_pycuda() -> None:
    import_module("pycuda.driver")


def _loaded(software: Software, wanted: str, load: Callable[[], str | None]) -> Software:
    """Load it, perhaps for its version; if that fails, `wanted` is to take its place."""
    version, error = _attempt(load)
    if error is None:
        return replace(software, version=version or software.version)
    if isinstance(error, DmdnetError):
        problem = _line(error)
    elif isinstance(error, ModuleNotFoundError) and not software.distributions:
        problem = f"{software.name} is not installed"
    else:
        problem = f"{software.name} cannot be loaded: {_line(error)}"
    remedy = _in_place_of(software.distributions, wanted)
    library = re.search(r"(\S+): cannot open shared object file", problem)
    if library:  # libGL.so.1, say, which no wheel brings
        remedy = f"install the system's package with {library[1]}, or `{remedy}`"
    return replace(software, finding=Finding(problem, remedy))


def _too_new(name: str, installed: Installed, cuda: str | None) -> Finding | None:
    """The finding that the driver cannot run the CUDA that an edition was built for, or None."""
    parts = _parts(name, installed)
    built = max(parts.values(), default=0)
    runs = int(cuda.split(".")[0]) if cuda else built
    if built <= runs:
        return None
    driver = f"release {_FIRST_DRIVER[built]} or later" if built in _FIRST_DRIVER else "a newer one"
    remedy = f"update the NVIDIA driver to {driver}"
    if runs in _FIRST_DRIVER:
        other = [part.replace(f"cu{built}", f"cu{runs}") for part in parts if parts[part]]
        remedy += f", or `{_in_place_of(parts, ' '.join(dict.fromkeys(other)))}`"
    problem = f"{TITLES[name]} was built for CUDA {built}, but the driver runs CUDA {cuda} at most"
    return Finding(problem, remedy)


def _unfit(name: str, gpu: Gpu) -> Finding | None:
    """The finding that an edition does not run on this GPU, or None."""
    _, error = _attempt(lambda: refuse_capability(name, gpu))
    if error is None:
        return None
    problem, remedy = str(error).split("; ")
    return Finding(problem, remedy)


def _parts(name: str, installed: Installed) -> dict[str, int]:
    """The distributions of an edition, each with the CUDA version in its name, or 0."""
    matches = {part: re.fullmatch(_TENSORRT, part) for part in sorted(installed)}
    return {
        part: int(match[2] or 0)
        for part, match in matches.items()
        if match and match[1] == EXTRAS[name]
    }


def _twice(software: Software, wanted: str) -> Finding | None:
    brought = software.distributions
    if len(brought) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in brought.items())
    return Finding(f"{names} are installed over each other", _in_place_of(brought, wanted))


def _in_place_of(names: Iterable[str], wanted: str) -> str:
    """The command that puts `wanted` in their place."""
    listed = " ".join(names)
    return (f"pip uninstall -y {listed} && " if listed else "") + f"pip install {wanted}"


def _installed() -> Installed:
    """All distributions; of two with one name, that which Python takes."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        name, _ = _attempt(partial(getattr, one, "name"))
        if name:  # not what an interrupted pip leaves behind
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one)
    return found


def _driver_release() -> str | None:
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done, _ = _attempt(
        lambda: subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    )
    return next(iter(done.stdout.split()), None) if done else None


def _present(*findings: Finding | None) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding)


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What the work gives or raises: broken software may raise anything."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def _line(error: Exception) -> str:
    """An error in one line, without its advice: a finding has its own remedy."""
    text = " ".join(str(error).split())
    if isinstance(error, DmdnetError):
        return re.sub(r"; (install|run) .*", "", text)
    return text if isinstance(error, ImportError | OSError) else f"{type(error).__name__}: {text}"
