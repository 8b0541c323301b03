"""Which files are videos, and in which container: by their first bytes, and by their names."""

from pathlib import Path

from runtime.errors import VideoError

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
"""FFmpeg's name of the container that is written for a file name's ending."""

KNOWN = "MP4, MOV, MKV, WebM and AVI are read"

_HEAD = 64  # bytes: more than all signatures
_EBML = b"\x1a\x45\xdf\xa3"
# how QuickTime files may begin, `ftyp` and those of before it; each after four bytes of its size
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# brands of HEIF and AVIF: pictures in the same container
_PICTURES = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis")


def is_video(path: str) -> bool:
    """Whether a file is a video, by its content; not where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    return _demuxer(head) is not None


def named_video(name: str) -> bool:
    """Whether a file's name has the ending of a video."""
    return Path(name).suffix.lower() in CONTAINERS


def demuxer_of(path: str) -> str:
    """FFmpeg's reader for a file. Only these three are ever given one, whatever its name says.

    FFmpeg knows some three hundred others, among them playlists that open further files and URLs.
    Raises `VideoError` for a file that cannot be read, and for one that is no video.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: cannot be read: {why}") from None
    demuxer = _demuxer(head)
    if demuxer is None:
        raise VideoError(f"{path}: not a video in a known container ({KNOWN})")
    return demuxer


def container_of(target: str) -> str:
    """The container that is written under a name. Raises `VideoError` for an unknown ending."""
    suffix = Path(target).suffix.lower()
    if suffix not in CONTAINERS:
        raise VideoError(f"{target}: a video's name ends in one of {', '.join(CONTAINERS)}")
    return CONTAINERS[suffix]


def _demuxer(head: bytes) -> str | None:
    if head[:4] == _EBML:
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in _ATOMS and not (head[4:8] == b"ftyp" and head[8:12] in _PICTURES):
        return "mov"
    return None
