"""TensorRT's errors, which it logs and does not raise."""

import threading
from collections import deque
from functools import cache
from typing import Any

from runtime.machine.tensorrt_editions import Edition

_making = threading.Lock()
_MEMORY_WORDS = ("out of memory", "outofmemory")


def is_full(text: str) -> bool:
    """Whether a logged error says that memory ran out."""
    return any(words in text.lower() for words in _MEMORY_WORDS)


def listener(edition: Edition) -> Any:
    """A logger that keeps TensorRT's last errors for our own messages, and prints nothing.

    A process has one for each edition: TensorRT keeps the first that it is given, calls it for
    whatever is opened later, and does not ask whether it still lives.
    """
    with _making:
        return _listener(edition.module)


@cache
def _listener(module: Any) -> Any:
    severity = module.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Listener(module.ILogger):  # type: ignore[misc]
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
