"""Everything that this project raises for wrong input, and what it warns about."""


class DmdnetError(Exception):
    """Base of all errors below; its message is one line for the person who reads it."""


class BundleError(DmdnetError):
    """A bundle is missing, incomplete, altered, or of a kind this version cannot run."""


class DeviceError(DmdnetError):
    """The device that was asked for cannot be had here."""


class EngineError(DeviceError):
    """An engine is missing, altered, or was built for another machine; or a build failed."""


class DeviceMemoryError(DeviceError):
    """The GPU has too little free memory; the Restorer stays usable."""


class RemoteError(DeviceError):
    """A model server cannot be reached, refused a call, or serves something else."""


class InvalidImageError(DmdnetError):
    """An image cannot be read, or is of a type or size that cannot be restored."""


class InvalidLandmarksError(DmdnetError):
    """Landmarks are not 68 finite points, or give a component too small to restore."""


class NoFaceError(DmdnetError):
    """A photograph shows no face that can be found."""


class DictionaryError(DmdnetError):
    """A specific dictionary is damaged, or was made with other weights."""


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
    """A Ray cluster cannot be had or reached, cannot hold what was asked for, or failed."""


class UsageError(DmdnetError):
    """The arguments do not fit together."""


class DmdnetWarning(UserWarning):
    """Something was done that the caller may not expect."""
