"""The faces of a clip as tracks: where each is in every frame, and whose it is."""

from collections.abc import Sequence
from typing import Any, TypeVar

from runtime.dictionary import SpecificDictionary
from runtime.people.matching import THRESHOLD, Person
from runtime.video.tracks.cuts import Thumbnail
from runtime.video.tracks.deciding import decided
from runtime.video.tracks.following import State, advanced, is_surprising, wanted
from runtime.video.tracks.looks import Looks
from runtime.video.tracks.saving import Saved, as_json, from_json
from runtime.video.tracks.seen import REACH, Seen, Tracked

_T = TypeVar("_T")

_KEPT = 512  # of the last frames, for which `state` can be asked


class Tracks:
    """Follows the faces of one clip, which it is given frame by frame.

    For each frame, in order: ask `wants_look`, find faces if so, ask `wants_vector` which of them
    to recognise, and `push` what was seen. Frames come back REACH (15) frames later, in order;
    after the last one, `finish` gives the rest. `wants_look` does not depend on what is found: it
    may be ahead of `push`, in a thread of its own. Those who hold a frame that is not to be looked
    at until the next look is known can ask `wants_look_after_all`.

    Args:
        people: who may be seen, with vectors and different names.
        threshold: the distance up to which a person is accepted.
        steady: False: look at each frame, and leave landmarks as they were found, to compare with.
        state: what `state(before)` of another run gave; this one goes on with that frame.

    Raises ValueError for a `state` that is none.
    """

    def __init__(
        self,
        people: Sequence[SpecificDictionary] = (),
        threshold: float = THRESHOLD,
        steady: bool = True,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._people = tuple(Person.of(each.name, each.vectors) for each in people)
        self._threshold, self._steady = threshold, steady
        begin = Saved(0, Looks(), State()) if state is None else from_json(state)
        self._first, self._looks, self._state = begin.before, begin.looks, begin.state
        self._asked: int | None = None  # the frame that `wants_look` was asked about last
        # what was known before each of the last frames
        self._looks_before: dict[int, Looks] = {}
        self._states_before: dict[int, State] = {}

    def wants_look(
        self, index: int, time: float, thumbnail: Thumbnail, ahead: Thumbnail | None
    ) -> bool:
        """Whether faces are to be looked for in the next frame; to be asked once for each.

        `ahead`: the thumbnail of the frame after it; None where that was the last.
        """
        _keep(self._looks_before, index, self._looks)
        wants, self._looks = self._looks.asked(index, time, thumbnail, ahead)
        self._asked = index
        return wants or not self._steady

    def wants_look_after_all(self, look: Seen) -> bool:
        """Whether to look for faces in the next frame to be pushed, although `wants_look` said no.

        `look`: the next frame after it in which faces were looked for. A face that was not where
        it should be there has started, stopped or turned in between.
        """
        return is_surprising(self._state, look)

    def wants_vector(self, seen: Seen) -> tuple[int, ...]:
        """Which faces of the next frame to recognise before it is pushed, by their indices.

        Those that are new or where people cross, the first sights of a track, and one each second.
        More vectors do no harm. None without people.
        """
        return wanted(self._state, seen) if self._people else ()

    def push(self, seen: Seen) -> list[Tracked]:
        """The frames that are decided by the next frame.

        Raises ValueError where a frame was left out.
        """
        _keep(self._states_before, seen.index, self._state)
        self._state = advanced(self._state, seen, self._people)
        return self._results(seen.index - REACH, over=False)

    def finish(self) -> list[Tracked]:
        """The frames that are left, when the clip has no more."""
        following = self._state.following
        return [] if following is None else self._results(following - 1, over=True)

    def state(self, before: int) -> dict[str, Any]:
        """JSON from which another run can go on with the frame `before`, as this one did.

        Its results are those of this run, number for number. Raises ValueError where the frame is
        not among the last 512.
        """
        looks, state = self._looks_before.get(before), self._states_before.get(before)
        if looks is None and self._asked in (None, before - 1):
            looks = self._looks
        if state is None and self._state.following in (None, before):
            state = self._state
        if looks is None or state is None:
            raise ValueError(f"what was known before frame {before} is not kept any more")
        return as_json(Saved(before, looks, state))

    def _results(self, last: int, over: bool) -> list[Tracked]:
        """The results up to a frame, without those that another run has given."""
        names = [person.name for person in self._people]
        results = []
        while self._state.undecided <= last:
            self._state, result = decided(self._state, over, names, self._threshold, self._steady)
            if result.index >= self._first:
                results.append(result)
        return results


def _keep(kept: dict[int, _T], index: int, value: _T) -> None:
    kept[index] = value
    kept.pop(index - _KEPT, None)
