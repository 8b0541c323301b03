"""Video clips of which the truth is known: people on known paths, with sound, written by PyAV."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.scenes import (
    ASTRONAUT,
    HOPPER,
    Actor,
    Present,
    Scene,
    Shot,
    picture,
    present,
    swaying,
    walking,
)
from runtime.images.arrays import Image

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CUES = ((0, 400, "Good evening."), (500, 400, "Good night."))
"""The subtitles: begin and length in milliseconds, and words."""

NOTE = b"written by benchmarks.measure.clips"
"""What is attached to clips that may have an attachment."""

LUMA_709, LUMA_2020 = (0.2126, 0.7152, 0.0722), (0.2627, 0.6780, 0.0593)
"""How much of red, green and blue is in luma: ITU-R BT.709, BT.2020."""

_HERTZ, _CHUNK = 48_000, 1024  # samples of sound, a second and at a time
_GAPS = (17, 33, 40, 50, 100)  # milliseconds between frames of a variable rate
_NITS = 203.0  # of white in HDR: ITU-R BT.2408
_TO_2020 = np.array(  # linear light of BT.709 to BT.2020: ITU-R BT.2087
    [(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)]
)
_TAGS_709, _TAGS_PQ = (1, 1, 1), (9, 16, 9)  # primaries, transfer, matrix: ITU-T H.273
_MASTERING = (  # a display of 1000 nits with the primaries of P3, as most HDR is made with
    "hdr10=1:repeat-headers=1:max-cll=1000,400:master-display="
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
# the muxer of .mp4 writes a subtitle track's description from such a header
_STYLES = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    b"Style: Default,Arial,16\n\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


@dataclass(frozen=True)
class Recipe:
    """How a clip is written.

    Attributes:
        scene: what is to be seen, upright.
        suffix: of the file, which says the container.
        codec: the encoder: "libx264" or "libx265".
        crf: its quality: 18 is near to lossless for the eye, 32 poor.
        deep: 10 bits in place of 8.
        hdr: PQ and BT.2020 in place of BT.709; for deep clips.
        variable: 17 to 100 ms between frames, in place of 40.
        rotation: degrees by which players turn the stored pictures clockwise: 0, 90, 180 or 270.
        sounds: tracks of sound, each a sine of its own.
        extras: subtitles, chapters and, in .mkv, an attachment.
    """

    scene: Scene
    suffix: str = ".mp4"
    codec: Literal["libx264", "libx265"] = "libx264"
    crf: int = 18
    deep: bool = False
    hdr: bool = False
    variable: bool = False
    rotation: int = 0
    sounds: int = 1
    extras: bool = False

    @property
    def times(self) -> tuple[Fraction, ...]:
        """The seconds of each frame, from the clip's beginning."""
        if not self.variable:
            return tuple(Fraction(n, 25) for n in range(round(25 * self.scene.seconds)))
        rng, found = np.random.default_rng(0), [Fraction(0)]
        while (time := found[-1] + Fraction(int(rng.choice(_GAPS)), 1000)) < self.scene.seconds:
            found.append(time)
        return tuple(found)


@dataclass(frozen=True)
class Clip:
    """A clip that was written; `times`: the seconds of each frame."""

    path: Path
    recipe: Recipe
    times: tuple[Fraction, ...]

    def present(self, index: int) -> tuple[Present, ...]:
        """The truth about the people in a frame, in pixels of the upright picture."""
        return present(self.recipe.scene, float(self.times[index]))


def one_person(size: tuple[int, int], seconds: float) -> Scene:
    """The astronaut, who sways; her face is a sixth of the picture wide."""
    width, height = size
    path = swaying(width / 2, height / 2, width / 10)
    return Scene(size, (Shot((Actor(ASTRONAUT, round(0.32 * width), path),), seconds),))


_SIZE = (480, 272)
_ONE = one_person(_SIZE, 1.6)
_TALL = (272, 480)
_ALONE = Actor(HOPPER, 176, swaying(240, 136, 40))
_AWAY = walking((0, 150, 136), (0.8, 240, 136), (1.2, 620, 136), (2, 620, 136), (2.4, 240, 136))
_RIGHT = Actor(HOPPER, 176, walking((0, 110, 130), (2.6, 370, 130)))
_LEFT = Actor(ASTRONAUT, 176, walking((0, 370, 142), (2.6, 110, 142)))

RECIPES = {
    "constant": Recipe(_ONE),
    "variable": Recipe(_ONE, variable=True),
    "worn": Recipe(replace(_ONE, noise=10.0), crf=32, variable=True),
    "rotated": Recipe(
        Scene(_TALL, (Shot((Actor(ASTRONAUT, 176, swaying(136, 240, 30)),), 1.2),)), rotation=90
    ),
    "deep": Recipe(_ONE, codec="libx265", deep=True),
    "hdr": Recipe(_ONE, codec="libx265", deep=True, hdr=True),
    "tracks": Recipe(_ONE, suffix=".mkv", sounds=2, extras=True),
    "movie": Recipe(_ONE, sounds=2, extras=True),
    "cut": Recipe(Scene(_SIZE, (Shot(_ONE.shots[0].actors, 1), Shot((_ALONE,), 1, seed=1)))),
    "returns": Recipe(Scene(_SIZE, (Shot((Actor(HOPPER, 176, _AWAY),), 3.2),))),
    "crossing": Recipe(Scene(_SIZE, (Shot((_RIGHT, _LEFT), 2.6),))),
}
"""A clip for each thing that may go wrong, by name; .mkv and .mp4 with all tracks are two."""


def write_clip(path: Path, recipe: Recipe) -> Clip:
    """Write a clip to a path that has the recipe's suffix."""
    import av

    with av.open(str(path), "w") as container:
        container.metadata["title"] = "People on known paths"
        video = container.add_stream(recipe.codec, rate=25, options=_options(recipe))
        _set_up(video, recipe)
        sounds = [_Sound(container, number) for number in range(recipe.sounds)]
        if recipe.extras:
            container.mux(list(_extras(container, recipe)))
        for number, time in enumerate(recipe.times):
            rgb = picture(recipe.scene, float(time), number)
            frame = _frame(np.rot90(rgb, recipe.rotation // 90), recipe)
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
            for sound in sounds:
                container.mux(sound.until(float(time)))
        container.mux(video.encode(None))
        for sound in sounds:
            container.mux([*sound.until(recipe.scene.seconds), *sound.stream.encode(None)])
    return Clip(path, recipe, recipe.times)


def _options(recipe: Recipe) -> dict[str, str]:
    if recipe.codec != "libx265":
        return {"preset": "veryfast", "crf": str(recipe.crf)}
    quiet = "log-level=error"
    parameters = f"{quiet}:{_MASTERING}" if recipe.hdr else quiet
    return {"preset": "ultrafast", "crf": str(recipe.crf), "x265-params": parameters}


def _set_up(video: "VideoStream", recipe: Recipe) -> None:
    width, height = recipe.scene.size
    turned = recipe.rotation % 180 != 0
    context = video.codec_context
    context.width, context.height = (height, width) if turned else (width, height)
    context.pix_fmt = "yuv420p10le" if recipe.deep else "yuv420p"
    # in milliseconds, as the rate may vary
    context.time_base = video.time_base = Fraction(1, 1000)
    tags = _TAGS_PQ if recipe.hdr else _TAGS_709
    context.color_primaries, context.color_trc, context.colorspace = tags
    context.color_range = 1  # 16 to 235, of 8 bits
    if recipe.codec == "libx265" and recipe.suffix == ".mp4":
        context.codec_tag = "hvc1"  # as players of Apple's want it
    if recipe.rotation:
        video.set_display_rotation(-recipe.rotation)  # PyAV counts counter-clockwise


class _Sound:
    """A track of sound: a sine, of another pitch and language in each track."""

    def __init__(self, container: "OutputContainer", number: int) -> None:
        self.stream = container.add_stream("aac", rate=_HERTZ, layout="mono")
        self.stream.metadata["language"] = ("eng", "fra", "deu")[number % 3]
        self._pitch = 440.0 * (1 + number / 2)
        self._written = 0  # samples

    def until(self, seconds: float) -> list["Packet[AudioStream]"]:
        """The packets up to so many seconds after the beginning."""
        import av

        packets = []
        while self._written < seconds * _HERTZ:
            time = np.arange(self._written, self._written + _CHUNK) / _HERTZ
            wave = 0.2 * np.sin(2 * np.pi * self._pitch * time)
            frame = av.AudioFrame.from_ndarray(
                wave.astype(np.float32)[None], format="fltp", layout="mono"
            )
            frame.sample_rate, frame.time_base = _HERTZ, Fraction(1, _HERTZ)
            frame.pts = self._written
            packets += self.stream.encode(frame)
            self._written += _CHUNK
        return packets


def _extras(container: "OutputContainer", recipe: Recipe) -> Iterator["Packet[Stream]"]:
    """Add subtitles, chapters and an attachment; the packets of the subtitles."""
    import av

    is_mp4 = recipe.suffix == ".mp4"
    cues = container.add_stream("mov_text" if is_mp4 else "subrip")
    cues.codec_context.subtitle_header = _STYLES
    cues.time_base = Fraction(1, 1000)
    cues.metadata["language"] = "eng"
    if not is_mp4:
        container.add_attachment("note.txt", "text/plain", NOTE)
    half, whole = (round(recipe.scene.seconds * part) for part in (500, 1000))
    container.set_chapters(
        [
            {
                "id": number,
                "start": start,
                "end": end,
                "time_base": Fraction(1, 1000),
                "metadata": {"title": title},
            }
            for number, start, end, title in ((1, 0, half, "First"), (2, half, whole, "Second"))
        ]
    )
    for start, length, words in CUES:
        data = words.encode()
        packet = av.Packet(len(data).to_bytes(2, "big") + data if is_mp4 else data)
        packet.stream = cues
        packet.pts = packet.dts = start
        packet.duration, packet.time_base = length, Fraction(1, 1000)
        yield packet


def _frame(rgb: Image, recipe: Recipe) -> "VideoFrame":
    """A picture as the encoder takes it."""
    import av

    values = np.asarray(rgb / 255, np.float32)
    luma = LUMA_709
    if recipe.hdr:
        values, luma = perceptual(values), LUMA_2020
    made = planes(values, luma, 10 if recipe.deep else 8)
    return av.VideoFrame.from_ndarray(made, "yuv420p10le" if recipe.deep else "yuv420p")


def perceptual(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB values from 0 to 1 as those of BT.2020 with PQ: SMPTE ST 2084."""
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    wide = cv2.transform(linear.astype(np.float32), _TO_2020.astype(np.float32))
    power = (np.clip(wide, 0, 1) * (_NITS / 10_000)) ** 0.1593017578125
    return np.asarray(
        ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375, np.float32
    )


def planes(
    values: NDArray[np.float32], luma: tuple[float, float, float], bits: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """RGB from 0 to 1 as Y, then Cb, then Cr of half the size, in the smaller range of values."""
    height, width = values.shape[:2]
    red, green, blue = luma
    one = 2 ** (bits - 8)
    high, low = 219 * one, 112 * one  # of luma, and of half of chroma
    matrix = np.array(
        [
            (high * red, high * green, high * blue, 16 * one),
            (-low * red / (1 - blue), -low * green / (1 - blue), low, 128 * one),
            (low, -low * green / (1 - red), -low * blue / (1 - red), 128 * one),
        ],
        np.float32,
    )
    full = cv2.split(cv2.transform(values, matrix))
    half = (width // 2, height // 2)
    parts = [full[0], *(cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in full[1:])]
    flat = np.rint(np.concatenate([np.ravel(part) for part in parts])).reshape(-1, width)
    return np.asarray(flat, np.uint8) if bits == 8 else np.asarray(flat, np.uint16)
