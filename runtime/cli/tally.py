"""What `dmd-restore` says when a run is over, however it ends."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.cli import console

if TYPE_CHECKING:
    from runtime.archive.job import Outcome

_SHOWN = 1000  # failures that are kept to be listed at the end; --report has them all


@dataclass
class Tally:
    """Counts the outcomes of `count` pictures; leaving its `with` block prints what became of them.

    So a failure that was found before an error or Ctrl-C ended the run is not lost. `remark`: what
    is to be known of the weights.
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
        resumed = f", {self.there} were there already" if self.there else ""
        restored = f"restored {self.done - self.failed} of {self.done} in {self.out}{resumed}"
        about = [*self._backends, *([self.remark] if self.remark else [])]
        console.tell(f"{restored} ({'; '.join(about)})")
        for failure in self._failures:
            console.say_trace(failure.trace)
            console.say(f"dmd-restore: {failure.error}")
        if hidden := self.failed - len(self._failures):
            console.say(f"dmd-restore: and {hidden} more: --report FILE has them all")
        if kind is not None:
            left = self.count - self.done - self.there
            line = f"{left} of {self.count} were not done: --resume does what is missing"
            console.say(f"dmd-restore: {line}")
