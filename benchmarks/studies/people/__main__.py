"""Who is recognised as whom, by degradation, and what recognising costs: docs/people.md.

    python -m benchmarks.studies.people --people DIR --strangers DIR --json FILE
    python -m benchmarks.studies.people --people DIR --strangers DIR --two-passes BUNDLE --json FILE
    python -m benchmarks.studies.people --speed BUNDLE --json FILE

`--people` has a folder of clean photographs for each of two or more people, `--strangers` holds
photographs of others, to whom the built-in faces are added. Only numbers get into the result. It
fails where a goal is missed.
"""

from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmarks.studies import record
from benchmarks.studies.people import rates, speed


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.people", __doc__)
    parser.add_argument("--people", type=Path, metavar="DIR", help="a folder for each person")
    parser.add_argument("--strangers", type=Path, metavar="DIR", help="photographs of others")
    parser.add_argument("--seeds", type=int, default=10, help="noise seeds (default: 10)")
    two = "also recognise the faces of x12 and x16 as this bundle restores them"
    parser.add_argument("--two-passes", type=Path, metavar="BUNDLE", help=two)
    fast = "measure the cost of recognising instead, and of an archive run with ten people"
    parser.add_argument("--speed", type=Path, metavar="BUNDLE", help=fast)
    parser.add_argument("--photos", type=int, default=60, help="photos of an archive run")
    parser.add_argument("--rounds", type=int, default=5, help="archive runs of each kind")
    args = parser.parse_args()
    if (args.speed is None) == (args.people is None or args.strangers is None):
        parser.error("give either --people and --strangers, or --speed")
    if args.speed is not None:
        measured = partial(speed.measure, args.speed, args.photos, args.rounds)
    else:
        measured = partial(rates.measure, args.people, args.strangers, args.seeds, args.two_passes)
    record.record(parser.prog, args.json, measured)


if __name__ == "__main__":
    main()
