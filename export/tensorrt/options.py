"""What engines are asked for, and the edition of TensorRT that builds them."""

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
    """`engine`: "auto", "none", or an edition's extra.

    `workspace`: GiB that the builder may use; None: all there is.
    `timing_cache`: a file that makes later builds of full TensorRT faster.
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
    """The edition to build with, and why it; None where nothing is to be built.

    `int8_target`: what an int8 bundle is made for. Raises `DeviceError` for an edition that was
    named and cannot build here, or that may not run the bundle.
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
