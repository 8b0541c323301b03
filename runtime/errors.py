"""Everything that this project raises for wrong input, and what it warns about.

Each of them is exported from `runtime`.
"""

from runtime.redaction import without_secrets


class DmdnetError(Exception):
    """Base of all errors below; its message is one line for the person who reads it.

    URLs in it are without passwords and tokens.
    """

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class BundleError(DmdnetError):
    """A bundle is missing, incomplete, altered, or of a kind that this version cannot run."""


class ClosedError(DmdnetError):
    """A Restorer was asked to work after its `close`."""

    def __init__(self, message: str = "this Restorer is closed") -> None:
        super().__init__(message)


class DeviceError(DmdnetError):
    """The requested device is not available on this machine, or it failed."""


class EngineError(DeviceError):
    """An engine is missing, altered, or was built for another machine; or a build failed.

    Also raised for an engine of the caller's own whose result has the wrong shape or type.
    """


class DeviceMemoryError(DeviceError):
    """The GPU has too little free memory; the Restorer stays usable."""


class RemoteError(DeviceError):
    """A model server cannot be reached, refused a call, or serves something else."""


class InvalidImageError(DmdnetError):
    """An image cannot be read, or is of a type or size that cannot be restored."""


class InvalidLandmarksError(DmdnetError):
    """Landmarks are not 68 finite points, or give a component too small to restore."""


class NoFaceError(DmdnetError):
    """No face was found in a photograph that needs one."""


class DictionaryError(DmdnetError):
    """A specific dictionary is damaged, too large for the engine, or made with other weights."""


class CheckpointError(DmdnetError):
    """A checkpoint cannot be loaded as DMDNet's weights."""


class CheckpointUnavailableError(CheckpointError):
    """A checkpoint could not be downloaded."""


class ExportError(DmdnetError):
    """An export was refused, or did not pass its parity check."""


class CalibrationError(DmdnetError):
    """Faces to calibrate with are missing or unusable, or INT8 did not pass its quality gate."""


class BenchmarkError(DmdnetError):
    """A benchmark's input cannot be used, or a figure got worse than is allowed."""


class ClusterError(DmdnetError):
    """A Ray cluster cannot be reached, cannot hold what was asked for, or failed."""


class UsageError(DmdnetError):
    """The arguments do not fit together."""


class DmdnetWarning(UserWarning):
    """Something was done that the caller may not expect."""
