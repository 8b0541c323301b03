"""Small clips to test with: a face that moves over a grey wall, with sound."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.samples.faces import PHOTOS
from tests.conftest import picture

WIDTH, HEIGHT, RATE = 320, 240, 15
_HERTZ = 48_000


def moving_face(count: int) -> list[NDArray[np.uint8]]:
    """BGR frames in which a face moves to the right, and back, two pixels a frame."""
    photo = picture(PHOTOS / "astronaut.png")
    face = cv2.resize(photo[:300, 60:400], (170, 150), interpolation=cv2.INTER_AREA)
    frames = []
    for index in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        x = 20 + 2 * abs((index + 50) % 100 - 50)
        frame[40:190, x : x + 170] = face
        frames.append(frame)
    return frames


def write_clip(path: Path, frames: list[NDArray[np.uint8]], sound: bool = True) -> None:
    """Write frames as H.264, 15 a second, with a tone of the same length."""
    import av

    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        tone = out.add_stream("aac", rate=_HERTZ, layout="mono") if sound else None
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        out.mux(video.encode())
        if tone is not None:
            count = _HERTZ * len(frames) // RATE
            wave = np.sin(np.arange(count) * 2 * np.pi * 440 / _HERTZ).astype(np.float32)
            for start in range(0, count, 1024):
                part = av.AudioFrame.from_ndarray(
                    wave[None, start : start + 1024], format="fltp", layout="mono"
                )
                part.sample_rate, part.pts = _HERTZ, start
                part.time_base = Fraction(1, _HERTZ)
                out.mux(tone.encode(part))
            out.mux(tone.encode())


def decoded(path: Path) -> list[tuple[Fraction, NDArray[np.uint8]]]:
    """The time of each frame, in seconds, and its BGR pixels."""
    import av

    found = []
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            found.append((frame.pts * frame.time_base, pixels))
    return found


def sound_of(path: Path) -> list[bytes]:
    """The packets of the first audio track."""
    import av

    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(audio=0) if packet.size]
