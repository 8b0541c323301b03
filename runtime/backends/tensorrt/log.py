"""TensorRT's errors, which it logs and does not raise."""

from collections import deque
from typing import Any

from runtime.machine.tensorrt_editions import Edition

_MEMORY_WORDS = ("out of memory", "outofmemory")


def is_full(text: str) -> bool:
    """Whether a logged error says that memory ran out."""
    return any(words in text.lower() for words in _MEMORY_WORDS)


def listener(edition: Edition) -> Any:
    """A logger that keeps TensorRT's last errors for our own messages, and prints nothing."""
    severity = edition.module.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Listener(edition.module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.count = 0  # of all errors, of which the last are kept
            self._errors: deque[str] = deque(maxlen=8)

        @property
        def last(self) -> str:
            return self._errors[-1] if self._errors else "no reason given"

        def since(self, count: int) -> list[str]:
            """The errors that were logged since `count` was as given."""
            new = self.count - count
            return list(self._errors)[-new:] if new else []

        def log(self, level: Any, message: str) -> None:
            if level in errors:
                self._errors.append(" ".join(message.split()))
                self.count += 1

    return Listener()
