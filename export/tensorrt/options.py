"""How engines are to be built, and which edition of TensorRT builds them."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from runtime.bundle.engine_record import Profile
from runtime.errors import DeviceError, UsageError
from runtime.machine.gpu import first_gpu
from runtime.machine.tensorrt_editions import EDITIONS, EXTRAS, Edition, load_edition

_NEEDS = ("polygraphy", "filelock")


@dataclass(frozen=True)
class BuildOptions:
    """How engines are to be built.

    `engine`: "auto", "none", "tensorrt" or "tensorrt-rtx". `profile`: the sizes of their calls.
    `timing_cache`: a file that makes later builds of full TensorRT faster. `workspace`: GiB of GPU
    memory that the builder may use; None: all. Raises `UsageError` for an impossible profile.
    """

    engine: str = "auto"
    profile: Profile = field(default_factory=Profile)
    timing_cache: Path | None = None
    workspace: float | None = None

    def __post_init__(self) -> None:
        profile = self.profile
        for name in ("batch", "references"):
            best, most = getattr(profile, f"opt_{name}"), getattr(profile, f"max_{name}")
            if not 1 <= best <= most:
                raise UsageError(
                    f"--opt-{name} is {best} and --max-{name} {most}: 1 <= opt <= max is needed"
                )


def choose_edition(engine: str, int8_target: str | None) -> tuple[Edition | None, str]:
    """The edition to build with, and why; None and why, if nothing is to be built.

    `engine`: as in `BuildOptions`. `int8_target`: "cpu" or "tensorrt" for an int8 bundle, else
    None. Raises `DeviceError` for a named edition that cannot build here or run the bundle.
    """
    if engine == "none":
        return None, "none was asked for"
    if int8_target == "cpu":
        if engine == "auto":
            return None, "an INT8 bundle for CPUs has no use for one"
        raise DeviceError("an INT8 bundle for CPUs has no engine; export with --target tensorrt")
    if engine != "auto":
        edition = next(name for name, extra in EXTRAS.items() if extra == engine)
        return _able(edition), "it was asked for"
    reasons: list[str] = []
    for edition in EDITIONS:
        try:
            return _able(edition), "; ".join(reasons) or "it is the first choice"
        except DeviceError as error:
            reasons.append(f"not {EXTRAS[edition]}: {error}")
    return None, "; ".join(reasons)


def _able(name: str) -> Edition:
    """The edition, if it can build here. Raises `DeviceError`."""
    missing = [need for need in _NEEDS if find_spec(need) is None]
    if missing:
        raise DeviceError(
            f"{', '.join(missing)} not installed; install dmdnet-runtime[{EXTRAS[name]}]"
        )
    if name == "tensorrt":
        first_gpu()
    return load_edition(name)
