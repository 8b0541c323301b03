"""A frame on its way: read, looked at, cut, pasted into. One thread at a time works on it."""

from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from runtime.errors import InvalidImageError
from runtime.faces.alignment import Points
from runtime.faces.compositing import put_back, reach
from runtime.images.arrays import Color, Image, rgb_view

if TYPE_CHECKING:
    from runtime.video.files.picture import VideoPicture


class Frame(Protocol):
    """What the pipeline needs of a frame."""

    @property
    def index(self) -> int:
        """Its number in the clip, from 0."""

    @property
    def time(self) -> float:
        """Seconds from the beginning of the clip."""

    def rgb(self) -> Image:
        """The upright frame, uint8 (H, W, 3) RGB, to be read only."""

    def put(self, face: Image, matrix: Points, strength: float) -> None:
        """Blend an RGB `face` (512, 512, 3) into the frame; `matrix`: upright frame -> crop."""

    def settle(self) -> None:
        """Keep the result alone, as it may wait for others: nobody asks for `rgb` any more."""


class ArrayFrame:
    """A frame that a caller gave as an array.

    `image`: a copy, as the caller may fill the array anew; it becomes the result. The frame's shape
    must be `shape`, where that is not None. Raises `InvalidImageError`.
    """

    def __init__(
        self,
        index: int,
        time: float,
        given: NDArray[Any],
        color: Color,
        shape: tuple[int, ...] | None,
    ) -> None:
        self.index, self.time = index, time
        rgb_view(given, color, say_scaled=False)  # raises for what is no picture
        if shape is not None and given.shape != shape:
            raise InvalidImageError(
                f"frame {index} has the shape {given.shape}, and those before had {shape}"
            )
        self.image = given.copy()
        self._color = color
        self._rgb: Image | None = None

    def rgb(self) -> Image:
        if self._rgb is None:
            self._rgb = rgb_view(self.image, self._color, say_scaled=False)
        return self._rgb

    def put(self, face: Image, matrix: Points, strength: float) -> None:
        put_back(self.image, face, matrix, self._color, strength)

    def settle(self) -> None:
        self._rgb = None


class ClipFrame:
    """A frame of a clip: its decoded values change only where a face is put."""

    def __init__(self, picture: "VideoPicture") -> None:
        self.picture = picture
        self.index, self.time = picture.index, float(picture.time)
        self._rgb: Image | None = None  # as it was decoded
        self._shown: Image | None = None  # with the faces that were put

    def rgb(self) -> Image:
        if self._rgb is None:
            self._rgb = self.picture.layout.shown(self.picture.frame)
            self._rgb.flags.writeable = False
        return self._rgb

    def put(self, face: Image, matrix: Points, strength: float) -> None:
        if self._shown is None:
            self._shown = self.rgb().copy()
        left, top, right, bottom = reach(matrix, self._shown.shape)
        part = self._shown[top:bottom, left:right]
        before = part.copy()
        put_back(self._shown, face, matrix, "rgb", strength)
        self.picture.change(before, part, (left, top))

    def settle(self) -> None:
        self._rgb = self._shown = None
