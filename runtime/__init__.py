"""DMDNet face restoration without torch: open a bundle, memorise people, restore faces.

docs/api.md describes each name. Importing this package loads nothing heavy: a name is loaded when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from runtime.errors import *  # all of it is public

if TYPE_CHECKING:
    from runtime.backends.base import Engine
    from runtime.backends.triton.address import Remote
    from runtime.dictionary import SpecificDictionary
    from runtime.faces.finder import Face, Likeness
    from runtime.faces.landmark_files import read_landmarks
    from runtime.faces.landmarks import component_boxes
    from runtime.options import RestoreOptions
    from runtime.photo import Restored
    from runtime.restorer import Restorer
    from runtime.video.clip import restore_video
    from runtime.video.report import VideoReport, VideoTrack
    from runtime.video.streaming import stream

__all__ = [
    "BenchmarkError",
    "BundleError",
    "CalibrationError",
    "CancelledError",
    "CheckpointError",
    "CheckpointUnavailableError",
    "ClosedError",
    "ClusterError",
    "DeviceError",
    "DeviceMemoryError",
    "DictionaryError",
    "DmdnetError",
    "DmdnetWarning",
    "Engine",
    "EngineCallError",
    "EngineError",
    "ExportError",
    "Face",
    "InvalidImageError",
    "InvalidLandmarksError",
    "Likeness",
    "NoFaceError",
    "OutputError",
    "Remote",
    "RemoteError",
    "RestoreOptions",
    "Restored",
    "Restorer",
    "SpecificDictionary",
    "UsageError",
    "VideoError",
    "VideoReport",
    "VideoTrack",
    "component_boxes",
    "read_landmarks",
    "restore_video",
    "stream",
]

_HOME = {
    "Engine": "runtime.backends.base",
    "Face": "runtime.faces.finder",
    "Likeness": "runtime.faces.finder",
    "Remote": "runtime.backends.triton.address",
    "RestoreOptions": "runtime.options",
    "Restored": "runtime.photo",
    "Restorer": "runtime.restorer",
    "SpecificDictionary": "runtime.dictionary",
    "VideoReport": "runtime.video.report",
    "VideoTrack": "runtime.video.report",
    "component_boxes": "runtime.faces.landmarks",
    "read_landmarks": "runtime.faces.landmark_files",
    "restore_video": "runtime.video.clip",
    "stream": "runtime.video.streaming",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
