"""The choice of a backend: the device that was asked for, or the first that is available."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.backends.base import Backend
from runtime.backends.triton.address import Address, Remote
from runtime.bundle.engine_record import FOLDER
from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import Bundle
from runtime.errors import DeviceError, DmdnetWarning, UsageError
from runtime.machine.onnx_session import PROVIDERS, offered_providers
from runtime.machine.tensorrt_editions import DEVICES, EXTRAS


@dataclass(frozen=True)
class Choice:
    """The arguments of `Restorer` that choose and configure a backend; documented there."""

    device: str = "auto"
    allow_fallback: bool = True
    threads: int | None = None
    verify: bool = True
    dictionary_cache: int = 512


def open_backend(bundle: Bundle, choice: Choice) -> Backend:
    """Open the backend for `choice.device`; "auto" is the first of `DEVICES` that is available.

    Its description says at the end why no earlier device is used. A warning says so, too, where the
    bundle has an engine for one, or the installed ONNX Runtime serves it. Raises `DeviceError`.
    """
    if choice.device in DEVICES:
        return _open(bundle, choice.device, choice)
    if choice.device != "auto":
        names = ", ".join(f'"{name}"' for name in ("auto", *DEVICES))
        raise DeviceError(f"device must be one of {names}, not {choice.device!r}")
    reasons: dict[str, str] = {}
    for device in _candidates(bundle):
        try:
            backend = _open(bundle, device, choice)
        except DeviceError as error:
            if not choice.allow_fallback:
                raise DeviceError(
                    f"{device} cannot be used and no other is allowed: {error}"
                ) from None
            reasons[device] = str(error)
            continue
        expected = [name for name in reasons if _expected(bundle, name)]
        if expected:
            why = "; ".join(f"not {name}: {reasons[name]}" for name in expected)
            warnings.warn(f"using {device}, {why}", DmdnetWarning, stacklevel=3)
        if reasons:
            backend.description += f" ({_short(reasons)})"
        return backend
    quantization = bundle.manifest.quantization
    what = f"this INT8 bundle is made for {quantization.target}; " if quantization else ""
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise DeviceError(f"{what}no device here can run it: {why}")


def open_remote(url: str, remote: Remote, choice: Choice) -> tuple[Manifest, Backend]:
    """Connect to a model server. Returns the manifest of what it serves, and the backend.

    Raises `UsageError`, `DeviceError` or `RemoteError`.
    """
    if choice.device != "auto":
        raise UsageError(f"{url}: the server chooses its device; leave device out")
    from runtime.backends.triton.backend import TritonBackend

    backend = TritonBackend(Address.parse(url), remote, choice.dictionary_cache << 20)
    return backend.manifest, backend


def _open(bundle: Bundle, device: str, choice: Choice) -> Backend:
    if device in ("cuda", "cpu"):
        from runtime.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(
            bundle, device, choice.threads, dictionary_cache=choice.dictionary_cache
        )
    from runtime.backends.tensorrt.backend import TensorRtBackend

    return TensorRtBackend(
        bundle, _edition(device), verify=choice.verify, dictionary_cache=choice.dictionary_cache
    )


def _short(reasons: Mapping[str, str]) -> str:
    """The reasons without their advice: "not tensorrt, tensorrt-rtx: no driver; not cuda: ..."."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason.split(";")[0], []).append(name)
    return "; ".join(f"not {', '.join(those)}: {reason}" for reason, those in names.items())


def _candidates(bundle: Bundle) -> tuple[str, ...]:
    """The devices that may run the bundle: an INT8 graph is made for the CPU or for TensorRT."""
    quantization = bundle.manifest.quantization
    if quantization is None:
        return DEVICES
    return ("cpu",) if quantization.target == "cpu" else DEVICES[:2]


def _expected(bundle: Bundle, device: str) -> bool:
    """Whether somebody meant `device` to be used: an engine was built, a provider installed."""
    if device == "cuda":
        return PROVIDERS["cuda"] in offered_providers()
    return any((bundle.path / FOLDER).glob(f"{_edition(device)}-*.engine"))


def _edition(device: str) -> str:
    return {extra: edition for edition, extra in EXTRAS.items()}[device]
