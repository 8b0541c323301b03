"""What `dmd-restore` has for videos: their options, a bar of frames, and a line for each."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runtime.cli import console
from runtime.cli.inputs import positive
from runtime.errors import UsageError
from runtime.redaction import public_name

if TYPE_CHECKING:
    from runtime.archive.job import Outcome
    from runtime.video.options import ClipOptions

_SHOWN = 4  # tracks in the line of a clip


def add_clip_arguments(parser: ArgumentParser) -> None:
    """Add the options that are for videos only."""
    group = parser.add_argument_group("of videos (docs/video.md)")
    time = "S|H:MM:SS"
    group.add_argument(
        "--start",
        type=_moment,
        metavar=time,
        help="restore from this time on (default: the beginning)",
    )
    group.add_argument(
        "--end", type=_moment, metavar=time, help="restore up to this time (default: the end)"
    )
    group.add_argument(
        "--codec",
        metavar="NAME",
        help="encoder of the result, as FFmpeg names it (default: the source's codec, or H.264)",
    )
    group.add_argument(
        "--crf",
        type=_quality,
        metavar="N",
        help="constant quality of the result, smaller is better (default: the encoder's)",
    )
    group.add_argument(
        "--pixel-format",
        metavar="NAME",
        help="of the result, such as yuv420p10le (default: the source's)",
    )


def clip_options(args: Namespace) -> "ClipOptions":
    """What the arguments say of videos. Raises `UsageError`."""
    from runtime.video.files.encoding import Encoding
    from runtime.video.options import ClipOptions

    return ClipOptions(args.start, args.end, Encoding(args.codec, args.crf, args.pixel_format))


def refuse_without_clips(args: Namespace, names: Sequence[str]) -> None:
    """Raise `UsageError` where options for videos are given, and none of the inputs is one."""
    from runtime.video.naming import is_clip

    given = {
        "--start": args.start,
        "--end": args.end,
        "--codec": args.codec,
        "--crf": args.crf,
        "--pixel-format": args.pixel_format,
    }
    asked = [option for option, value in given.items() if value is not None]
    if asked and not any(map(is_clip, names)):
        raise UsageError(f"{asked[0]} is for videos, and no input is one")


def line_of(outcome: "Outcome") -> str:
    """What became of a clip: its frames, how fast they were done, and who is in it."""
    clip: dict[str, Any] = outcome.clip or {}
    before = f" ({clip['resumed']} done before)" if clip["resumed"] else ""
    tracks = [_track(track) for track in clip["tracks"]]
    more = f" and {len(tracks) - _SHOWN} more" if len(tracks) > _SHOWN else ""
    who = f"; tracks: {', '.join(tracks[:_SHOWN])}{more}" if tracks else "; no face was found"
    name = public_name(outcome.input)
    return f"{name}: {clip['frames']} frames{before}, {clip['fps']:.1f} frames a second{who}"


def _track(track: dict[str, Any]) -> str:
    name = f"{track['name']}, " if track["name"] else ""
    return f"{track['number']} ({name}{track['begin']:.1f} to {track['end']:.1f} s)"


class FrameBar:
    """The frames of the clip in work, under the bar of all inputs; to be closed by `with`."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._bar: Any = None

    def __enter__(self) -> "FrameBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end()

    def show(self, name: str, done: int, total: int | None, fps: float) -> None:
        """Show that so many frames of a clip are done; ends it where Ctrl-C was pressed."""
        from tqdm import tqdm

        console.check_interrupted()
        if name != self._name:
            self.end()
            self._name = name
            base = public_name(name).rpartition("/")[2]
            # what an earlier run has done does not make this one faster
            self._bar = tqdm(
                total=total, initial=done, unit="frame", desc=base, disable=None, leave=False
            )
        self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._name = self._bar = None


def _moment(text: str) -> Fraction:
    """Parse seconds, or minutes and hours before them, with a colon between."""
    parts = text.split(":")
    whole, seconds = parts[:-1], parts[-1]
    point = seconds.replace(".", "", 1)
    if len(parts) > 3 or not all(map(_is_digits, (*whole, point))) or len(text) > 20:
        raise ArgumentTypeError(f"{text!r} is neither seconds nor H:MM:SS")
    moment = Fraction(seconds)
    for factor, part in zip((60, 3600), reversed(whole), strict=False):
        moment += factor * int(part)
    return moment


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _quality(text: str) -> int:
    """Parse a quality, of which 0 is the best."""
    return 0 if text == "0" else positive(text)
