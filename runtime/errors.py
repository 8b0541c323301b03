"""The errors that this project raises for wrong input or a failure, and its warning.

`runtime` exports each of them.
"""

from runtime.redaction import without_secrets
from runtime.text import shown, squeezed


class DmdnetError(Exception):
    """Base of all errors of this project; its message is one line for the person who reads it.

    Control characters in the message, as of a file name, are escaped, and URLs lose passwords and
    tokens.
    """

    def __str__(self) -> str:
        return _public(super().__str__())


class BundleError(DmdnetError):
    """A bundle is missing, incomplete, altered, or of a kind that this version cannot run."""


class ClosedError(DmdnetError):
    """A Restorer was asked to work after it was closed."""

    def __init__(self, message: str = "this Restorer is closed") -> None:
        super().__init__(message)


class DeviceError(DmdnetError):
    """The requested device is not available on this machine, or it failed."""


class EngineError(DeviceError):
    """An engine is missing, altered, or built for another machine, or building one failed.

    Also raised where an engine of your own gives a result of the wrong shape or type.
    """


class EngineCallError(DeviceError):
    """One engine call failed; others may succeed, and the Restorer stays usable."""


class DeviceMemoryError(EngineCallError):
    """The GPU has too little free memory; the Restorer stays usable."""


class RemoteError(DeviceError):
    """A model server cannot be reached, refused a call, or serves something else."""


class InvalidImageError(DmdnetError):
    """A picture cannot be read, or has a type or size that cannot be restored."""


class InvalidLandmarksError(DmdnetError):
    """Landmarks are not 68 finite points of a face, or give a component too small to restore."""


class VideoError(DmdnetError):
    """A video cannot be read or written: it is none, damaged, or of a kind not supported."""


class NoFaceError(DmdnetError):
    """No face was found in a photo that needs one."""


class DictionaryError(DmdnetError):
    """A specific dictionary is damaged, too large for the engine, or made with other weights."""


class OutputError(DmdnetError):
    """The folder for the results cannot be written to: it is full, gone or protected."""


class CheckpointError(DmdnetError):
    """A checkpoint cannot be loaded as weights of DMDNet."""


class CheckpointUnavailableError(CheckpointError):
    """A checkpoint could not be downloaded."""


class ExportError(DmdnetError):
    """An export was refused, or differs too much from PyTorch."""


class CalibrationError(DmdnetError):
    """Faces to calibrate with are missing or unusable, or INT8 did not pass its quality gate."""


class BenchmarkError(DmdnetError):
    """The input of a benchmark cannot be used, or a figure is worse than is allowed."""


class ClusterError(DmdnetError):
    """A Ray cluster cannot be reached, lacks what was asked for, or failed."""


class CancelledError(DmdnetError):
    """What its caller cancelled; what is finished of it stays, to go on from."""


class UsageError(DmdnetError):
    """An argument has a value that is not allowed, or arguments do not go together."""


class DmdnetWarning(UserWarning):
    """Something was done that the caller may not expect; its text is escaped as errors' are."""

    def __str__(self) -> str:
        return _public(super().__str__())


def error_line(error: BaseException) -> str:
    """An error as one line for people; one that is not ours begins with its class."""
    if isinstance(error, DmdnetError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        where = f"{name.decode(errors='replace') if isinstance(name, bytes) else name}: "
        return _public(where * (name is not None) + error.strerror)
    kind = type(error).__name__
    if type(error) is OSError and text:  # what a store of `runtime.storage` answered
        return without_secrets(squeezed(text))
    return without_secrets(squeezed(f"{kind}: {text}" if text else kind))


def _public(text: str) -> str:
    return without_secrets(shown(text))  # in this order: a line break would hide half of a URL
