"""Which part of a clip is restored, and how the result is encoded."""

from dataclasses import dataclass, field
from fractions import Fraction

from runtime.errors import UsageError
from runtime.video.files.encoding import Encoding


@dataclass(frozen=True)
class ClipOptions:
    """What `restore_video` does with a clip, beside its faces.

    Args:
        start: seconds of the clip from which on it is restored; None: its beginning.
        end: seconds up to which it is restored; None: its end.
        encoding: how the result is written.

    Raises `UsageError` for a part that is empty.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    encoding: Encoding = field(default_factory=Encoding)

    def __post_init__(self) -> None:
        start, end = self.start or Fraction(0), self.end
        if start < 0 or (end is not None and end <= start):
            until = "" if end is None else f", end {float(end):g}"
            raise UsageError(f"a clip's end must be after its start: start {float(start):g}{until}")
