"""One decoded frame: shown upright to the network, and changed only where a face was restored."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import VideoError
from runtime.images.arrays import Image
from runtime.video.files.pixels.colour import Colours, coding_of
from runtime.video.files.pixels.orientation import orientation_of

if TYPE_CHECKING:
    from av import VideoFrame

# formats whose planes hold one thing each, which are worked on as they are
_PLANAR = re.compile(r"(yuvj?4\d\dp|yuva4\d\dp|gbra?p|gray)(9|10|12|14|16)?(le)?")
_KINDS = 64  # of side data; FFmpeg 8 has half as many
# the same values in separate planes
_UNPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "p010le": "yuv420p10le",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
}
SCALERS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""The numbers by which FFmpeg's scaler knows the matrices."""

_SAMPLED = 8  # one row in so many is enough for a fingerprint


class Layout:
    """What all pictures of a clip have in common; safe to call from many threads.

    Attributes:
        width, height: of the upright picture.
        pixel_format: FFmpeg's name of the format that is worked on and encoded.
        orientation: from coded to upright.
        coding: how the planes code colours.
    """

    def __init__(self, frame: "VideoFrame", colours: Colours) -> None:
        """Take the layout of a clip from its first frame.

        Raises `VideoError` for a pixel format or a colour matrix that is not supported.
        """
        from av.video.reformatter import VideoReformatter

        self.pixel_format = working_format(frame.format.name)
        self.orientation = orientation_of(display_matrix(frame))
        self._coded_size = (frame.width, frame.height)
        self.width, self.height = self.orientation.size(frame.width, frame.height)
        is_rgb = self.pixel_format.startswith("gbr")
        full = self.pixel_format.startswith(("yuvj", "gray"))  # as FFmpeg's scaler takes gray
        depth = frame.format.components[0].bits
        self.coding = coding_of(colours, is_rgb, full, depth, frame.height)
        self._reformatter: VideoReformatter = VideoReformatter()
        self._lock = threading.Lock()  # a reformatter does one thing at a time

    def fits(self, frame: "VideoFrame") -> bool:
        """Whether a frame has the size and format of the first one."""
        return (frame.width, frame.height) == self._coded_size and (
            _UNPACKED.get(frame.format.name, frame.format.name) == self.pixel_format
        )

    def unpacked(self, frame: "VideoFrame") -> "VideoFrame":
        """The frame in the format that is worked on, with the same values."""
        if frame.format.name == self.pixel_format:
            return frame
        with self._lock:
            return self._reformatter.reformat(frame, format=self.pixel_format, threads=1)

    def shown(self, frame: "VideoFrame") -> Image:
        """The frame as upright RGB (H, W, 3) of 8 bits, HDR with its tones mapped."""
        from av.video.reformatter import Interpolation

        hdr = self.coding.colours.hdr is not None
        form = "rgb48le" if hdr else "rgb24"
        # without rounding, all are about one level darker, in a fifth of the time; to 16 bits the
        # scaler gives magenta without it, and with BILINEAR, where the width is odd
        way = Interpolation.BICUBIC | Interpolation.ACCURATE_RND if hdr else Interpolation.BILINEAR
        coding = self.coding
        matrix = SCALERS.get(coding.matrix)  # None for red, green and blue: as the frame says
        with self._lock:
            made = self._reformatter.reformat(
                frame,
                format=form,
                src_colorspace=matrix,
                dst_colorspace=matrix,
                src_color_range=2 if coding.full else 1,
                dst_color_range=2,
                interpolation=way,
                threads=1,
            )
        plane = made.planes[0]
        dtype = np.dtype(np.uint16 if hdr else np.uint8)
        strides = (plane.line_size, 3 * dtype.itemsize, dtype.itemsize)
        rgb = np.ndarray((made.height, made.width, 3), dtype, memoryview(plane), strides=strides)
        return self.orientation.upright(coding.shown(rgb) if hdr else np.array(rgb))


@dataclass(eq=False)
class VideoPicture:
    """One frame of a clip on its way.

    Attributes:
        index: its number, from 0, in the part of the clip that is restored.
        pts: its timestamp in the source, in units of `time_base` seconds.
        time_base: as in the source.
        time: seconds from the clip's beginning.
        duration: as `pts`; 0 where the file does not say.
        frame: the decoded frame; `change` makes its planes ours before it writes.
        longest: the longest break between two frames so far that counts as no damage, as `pts`.
        fingerprint: tells whether a later run decoded the same.
    """

    index: int
    pts: int
    time_base: Fraction
    time: Fraction
    duration: int
    frame: "VideoFrame"
    layout: Layout
    longest: int = 0
    fingerprint: int = field(init=False)

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint_of(self.frame)

    def change(self, before: Image, after: Image, corner: tuple[int, int]) -> None:
        """Add what differs between two parts of the upright picture to the decoded values.

        Both are uint8 RGB (h, w, 3), and lie at x, y = `corner` of the picture. Where they are
        equal, the decoded values stay what they are; a value of chroma that stands for several
        pixels changes by the mean of their changes.
        """
        layout = self.layout
        size = (layout.width, layout.height)
        coded_before, _ = layout.orientation.coded(before, corner, size)
        coded_after, (x, y) = layout.orientation.coded(after, corner, size)
        delta = layout.coding.change(coded_before, coded_after)
        self.frame.make_writable()
        for number in range(min(3, len(self.frame.planes))):
            self._add(number, delta[:, :, number], x, y)

    def _add(self, number: int, delta: NDArray[np.float32], x: int, y: int) -> None:
        """Add to the plane of this number what it shall change by, at x, y of the coded picture."""
        values = _values(self.frame, number)
        across = _ratio(self.frame.width, values.shape[1])
        down = _ratio(self.frame.height, values.shape[0])
        if across * down > 1:
            left, top = x % across, y % down
            right, bottom = -(left + delta.shape[1]) % across, -(top + delta.shape[0]) % down
            # beyond the picture's edges nothing keeps its value
            below = bottom if y + delta.shape[0] == self.frame.height else 0
            beside = right if x + delta.shape[1] == self.frame.width else 0
            blocks = cv2.copyMakeBorder(delta, 0, below, 0, beside, cv2.BORDER_REPLICATE)
            bottom, right = bottom - below, right - beside
            blocks = cv2.copyMakeBorder(blocks, top, bottom, left, right, cv2.BORDER_CONSTANT)
            size = (blocks.shape[1] // across, blocks.shape[0] // down)
            delta = np.asarray(cv2.resize(blocks, size, interpolation=cv2.INTER_AREA), np.float32)
            x, y = x // across, y // down
        part = values[y : y + delta.shape[0], x : x + delta.shape[1]]
        most = (1 << self.layout.coding.depth) - 1
        part[...] = np.rint(part + delta).clip(0, most)


def working_format(name: str) -> str:
    """The format that pictures of a format are worked on in. Raises `VideoError`."""
    name = _UNPACKED.get(name, name)
    if not _PLANAR.fullmatch(name):
        raise VideoError(f"pictures of the format {name} are not supported; convert the clip")
    return name


def readable(frame: "VideoFrame") -> "VideoFrame":
    """The frame, without side data that PyAV does not know, such as EXIF: it would read none."""
    import av
    from av.sidedata.sidedata import Type

    try:
        len(frame.side_data)
        return frame
    except ValueError:
        graph = av.filter.Graph()
    last = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base,
    )
    for kind in range(len(Type), _KINDS):
        deleting = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(deleting)
        last = deleting
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    made = graph.pull()
    assert isinstance(made, av.VideoFrame)
    return made


def side_data(frame: "VideoFrame", name: str) -> bytes | None:
    """What a frame brings along under FFmpeg's name, if it does."""
    data = cast("Mapping[str, Any]", frame.side_data).get(name)
    return None if data is None else bytes(data)


def display_matrix(frame: "VideoFrame") -> NDArray[np.int32] | None:
    """The nine numbers by which a frame is to be turned and mirrored, if it says so."""
    data = side_data(frame, "DISPLAYMATRIX")
    return None if data is None else np.frombuffer(data, np.int32)


def fingerprint_of(frame: "VideoFrame") -> int:
    """A number by which two decoders' results can be compared, from one row in eight."""
    rows = _values(frame, 0)[::_SAMPLED]
    return crc32(np.ascontiguousarray(rows).data)


def _values(frame: "VideoFrame", number: int) -> NDArray[Any]:
    """The values of a plane, as an array on the frame's own memory."""
    plane = frame.planes[number]
    dtype = np.dtype(np.uint8 if frame.format.components[number].bits <= 8 else np.uint16)
    line = plane.line_size
    strides, shape = (abs(line), dtype.itemsize), (plane.height, plane.width)
    rows = np.ndarray(shape, dtype, memoryview(plane), strides=strides)
    return rows[::-1] if line < 0 else rows  # some decoders write from the bottom up


def _ratio(whole: int, part: int) -> int:
    """How many pixels one value stands for, of a plane that is rounded up."""
    return next(ratio for ratio in (1, 2, 4) if -(-whole // ratio) == part)
