"""The long form of the fuzz tests: tries inputs for some minutes, and says what became of them.

python -m tests.fuzz --minutes 60 --json FILE --save FOLDER
"""

import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from benchmarks.studies.record import write
from runtime.cli import console
from runtime.cli.inputs import number, positive
from tests.fuzz.explore import explore
from tests.fuzz.kinds.catalog import KINDS
from tests.fuzz.rule import MEMORY, Tally


def main() -> NoReturn:
    parser = console.Parser("python -m tests.fuzz", (__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=lambda text: number(text, 10_000, "minutes"), default=10)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="summary to write")
    parser.add_argument(
        "--save",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="for inputs that neither worked nor ended in a clean error",
    )
    parser.add_argument("--seed", type=positive, default=1, help="of the first inputs (default: 1)")
    parser.add_argument(
        "--kind", action="append", choices=sorted(KINDS), help="may be repeated (default: all)"
    )
    args = parser.parse_args()
    console.run(parser.prog, lambda: fuzz(args))


def fuzz(args: Namespace) -> int:
    """Each kind has an equal part of the time. Returns the exit code."""
    kinds = args.kind or list(KINDS)
    start, found = time.monotonic(), dict[str, Tally]()
    for name in kinds:
        with tempfile.TemporaryDirectory() as work:
            found[name] = explore(
                name,
                Path(work),
                args.save,
                seed=args.seed,
                seconds=args.minutes * 60 / len(kinds),
            )
        record = found[name].record()
        counts = ", ".join(f"{key} {record[key]}" for key in list(record)[:4])
        console.say(f"{name}: {counts}, peak {record['peak_mib']:.0f} MiB")
    total = Tally()
    for each in found.values():
        total.add(vars(each))
    result = {
        "seed": args.seed,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "memory_bound_mib": MEMORY,
        "all": total.record(),
        "kinds": {name: each.record() for name, each in found.items()},
    }
    write(args.json, result)
    faults = sum(total.faults.values())
    console.say(f"{total.tried} inputs, {faults} neither right nor a clean error: {args.json}")
    return console.FAILED if faults else 0


if __name__ == "__main__":
    main()
