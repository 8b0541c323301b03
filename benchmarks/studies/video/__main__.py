"""Clips that are restored: how steady, how fast, with how much memory, and what is kept of them.

    python -m benchmarks.studies.video flicker --bundle BUNDLE --json FILE [--clip FILE ...]
    python -m benchmarks.studies.video speed --bundle BUNDLE --json FILE
    python -m benchmarks.studies.video memory --bundle BUNDLE --json FILE
    python -m benchmarks.studies.video resume --bundle BUNDLE --json FILE
    python -m benchmarks.studies.video listing --bundle BUNDLE --json FILE

All clips but those of `--clip` are generated: the built-in faces on known paths. `speed` is meant
for an INT8 bundle of full size, `flicker` and `listing` for any; `memory` and `resume` need a
bundle only to know how crops are cut. It fails where a goal is missed.
"""

from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmarks.studies import record
from benchmarks.studies.video import flicker, listing, memory, resume, speed


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.video", __doc__)
    studies = ("flicker", "speed", "memory", "resume", "listing")
    parser.add_argument("study", choices=studies, help="what is measured")
    parser.add_argument("--bundle", required=True, type=Path, help="bundle to restore with")
    clip = "flicker: a clip of your own, too; may be given several times"
    parser.add_argument("--clip", type=Path, action="append", default=[], help=clip)
    keep = "listing: a folder to keep the clip and its result in"
    parser.add_argument("--keep", type=Path, metavar="DIR", help=keep)
    seconds = "speed and resume: length of the clip (default: 4 and 40)"
    parser.add_argument("--seconds", type=float, help=seconds)
    network = "speed: length of the clip that the network restores (default: 4)"
    parser.add_argument("--network-seconds", type=float, default=4.0, help=network)
    rounds = "speed and memory: runs of each (default: 3)"
    parser.add_argument("--rounds", type=int, default=3, help=rounds)
    args = parser.parse_args()
    measured = {
        "flicker": partial(flicker.measure, args.bundle, args.clip),
        "speed": partial(
            speed.measure, args.bundle, args.seconds or 4.0, args.network_seconds, args.rounds
        ),
        "memory": partial(memory.measure, args.bundle, args.rounds),
        "resume": partial(resume.measure, args.bundle, args.seconds or 40.0),
        "listing": partial(listing.measure, args.bundle, args.keep),
    }
    record.record(parser.prog, args.json, measured[args.study])


if __name__ == "__main__":
    main()
