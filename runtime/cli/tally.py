"""What `dmd-restore` prints when a run is over, however it ends."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.cli import console

if TYPE_CHECKING:
    from runtime.archive.job import Outcome

_SHOWN = 1000  # failures that are listed at the end; --report has all of them


@dataclass
class Tally:
    """Counts the outcomes of `count` pictures, and prints them when its `with` block is left.

    So failures are listed, too, when an error or Ctrl-C ends the run. `out`: where the results go.
    `remark`: what the reader should know of the weights.
    """

    out: str
    remark: str | None = None
    count: int = 0
    done: int = 0
    there: int = 0
    failed: int = 0
    _failures: "list[Outcome]" = field(default_factory=list)
    _backends: dict[str, None] = field(default_factory=dict)

    def add(self, outcome: "Outcome") -> None:
        self._backends[outcome.backend] = None
        if outcome.there:
            self.there += 1
            return
        self.done += 1
        if outcome.error:
            self.failed += 1
            if len(self._failures) < _SHOWN:
                self._failures.append(outcome)

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._backends:
            return  # it ended before it began
        resumed = f", {self.there} more existed already" if self.there else ""
        restored = f"restored {self.done - self.failed} of {self.done} in {self.out}{resumed}"
        about = [*self._backends, *([self.remark] if self.remark else [])]
        console.tell(f"{restored} ({'; '.join(about)})")
        for failure in self._failures:
            console.say_trace(failure.trace)
            console.say(f"dmd-restore: {failure.error}")
        if hidden := self.failed - len(self._failures):
            console.say(f"dmd-restore: and {hidden} more failures; --report FILE lists all of them")
        if kind is not None:
            left = self.count - self.done - self.there
            line = f"{left} of {self.count} were not done; run again with --resume to do them"
            console.say(f"dmd-restore: {line}")
