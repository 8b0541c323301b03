"""Tries inputs of one kind in a process of its own: `explore` starts it, and sees it hang or die.

    python -m tests.fuzz.child KIND FOLDER SEED EXAMPLES SECONDS

In FOLDER: `current` holds the input that is tried, `faults/` those that broke the rule, with what
they did beside them, and `tally.json` what became of all so far.
"""

import json
import resource
import sys
import time
from pathlib import Path

import onnxruntime  # noqa: F401  # now: it leaves files in TMPDIR and HOME
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.kinds.catalog import FAULTY, KINDS
from tests.fuzz.rule import Judge

ROUND = 500  # inputs that share a seed
_ADDRESSES = 16 << 30  # bytes of address space; libraries reserve far more than they use
_KEPT = 3  # inputs of each fault


def main(name: str, folder: Path, first: int, examples: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    (folder / "faults").mkdir(exist_ok=True)
    end = time.monotonic() + seconds
    with {**KINDS, **FAULTY}[name](folder / "inside") as kind:
        judge = Judge(folder)

        def attempt(value: object) -> None:
            if seconds and time.monotonic() > end:
                return
            data = value if isinstance(value, bytes) else repr(value).encode(errors="replace")
            (folder / "current").write_bytes(data)
            fault = judge.judge(kind, value)
            (folder / "tally.new").write_text(json.dumps(vars(judge.tally)))
            (folder / "tally.new").replace(folder / "tally.json")  # this process may be killed
            if fault is not None and judge.tally.faults[fault] <= _KEPT:
                number = sum(1 for _ in (folder / "faults").iterdir()) // 2
                (folder / "faults" / f"{name}-{first}-{number}.input").write_bytes(data)
                (folder / "faults" / f"{name}-{first}-{number}.txt").write_text(
                    f"{fault}\n{judge.detail}\n", errors="backslashreplace"
                )

        number = first
        while examples > 0 or time.monotonic() < end:
            wanted = settings(
                max_examples=min(examples, ROUND) if examples > 0 else ROUND,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(number)(wanted(given(kind.inputs)(attempt)))()
            examples -= ROUND
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
