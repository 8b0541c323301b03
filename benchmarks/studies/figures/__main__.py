"""The figures of docs/figures.md, README.md, docs/people.md and docs/video.md.

    python -m benchmarks.studies.figures [--check]

Rewrites what stands between the markers of these pages, from the newest run of each kind in
`benchmarks/results/`.
"""

from typing import NoReturn

from benchmarks.studies.figures.pages import ALL, PROG, README, RESULTS, ROOT, update
from runtime.cli import console


def main() -> NoReturn:
    parser = console.Parser(PROG, f"Write the figures of {ALL} and {README} from the runs.")
    about = "write nothing; fail if a page would change"
    parser.add_argument("--check", action="store_true", help=about)
    args = parser.parse_args()
    console.run(PROG, lambda: update(ROOT, ROOT / RESULTS, args.check))


if __name__ == "__main__":
    main()
