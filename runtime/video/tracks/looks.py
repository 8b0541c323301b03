"""In which frames faces are looked for: every third, and more where the picture moves."""

from dataclasses import dataclass, field, replace

from runtime.video.tracks.cuts import Thumbnail, Watch, moved

_EVERY = 3  # frames from one look to the next at most
_LONGEST = 0.1 - 1e-6  # seconds from which on the next frame is looked at
_MOVED = 8.0  # grey levels: what a camera gives that turns by a hundredth of the picture


@dataclass(frozen=True, eq=False)
class Looks:
    """What is known before a frame; it does not depend on what was found in those before.

    Attributes:
        watch: for cuts; it has seen the frame already, unless it is the first.
        cut: whether the frame begins a scene.
        index, time, thumbnail: of the last frame that was looked at.
    """

    watch: Watch = field(default_factory=Watch)
    cut: bool = False
    index: int = 0
    time: float = 0.0
    thumbnail: Thumbnail | None = None

    def asked(
        self, index: int, time: float, thumbnail: Thumbnail, ahead: Thumbnail | None
    ) -> tuple[bool, "Looks"]:
        """Whether to look for faces in the frame, and what is known after it.

        The first and the last frame of a scene are looked at, so that tracks begin and end where
        faces were seen. `ahead`: the next frame's thumbnail; None where there is none.
        """
        watch = Watch(thumbnail) if self.watch.last is None else self.watch
        ends, watch = (True, watch) if ahead is None else watch.after(ahead)
        if (
            self.thumbnail is None
            or self.cut
            or ends
            or index - self.index >= _EVERY
            or time - self.time >= _LONGEST
            or moved(self.thumbnail, thumbnail) > _MOVED
        ):
            return True, Looks(watch, ends, index, time, thumbnail)
        return False, replace(self, watch=watch, cut=ends)
