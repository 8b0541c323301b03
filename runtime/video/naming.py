"""Which inputs are clips, by name and by content, and what the result of one is called."""

import os
from pathlib import Path

from runtime.images.files import SUFFIXES as PICTURES
from runtime.storage import locations as storage
from runtime.video.files.kinds import CONTAINERS, demuxer_of, is_video, named_video

SUFFIXES = tuple(CONTAINERS)
"""Of clips, as a folder is searched for them."""

# of a file whose name does not say it: containers that hold whatever the source's does
_SUFFIX_OF = {"mov": ".mov", "matroska": ".mkv", "avi": ".avi"}


def is_clip(name: str) -> bool:
    """Whether a path or URL is a clip: by its name or, where that says nothing, its content."""
    base = storage.base_name(name)
    if named_video(base) or Path(base).suffix.lower() in PICTURES or storage.is_url(name):
        return named_video(base)
    # a FIFO would wait for its writer, and be read twice
    path = storage.local(name)
    return os.path.isfile(path) and is_video(path)  # noqa: PTH113 - no error for an odd name


def output_name(name: str) -> str:
    """What the result of a clip is called: as the clip, with an ending if it has none."""
    base = storage.base_name(name)
    return base if named_video(base) else base + _SUFFIX_OF[demuxer_of(storage.local(name))]
