"""Checks before the work starts that a run overwrites neither its inputs nor its own outputs."""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from runtime.archive.job import Job
from runtime.errors import UsageError
from runtime.redaction import public_name
from runtime.storage import locations as storage
from runtime.storage.local import are_one_file

_File = tuple[int, int]  # device and inode, which all links to a file have in common


def check_outputs(job: Job, names: Callable[[], Iterable[str]], in_tables: bool = False) -> int:
    """Raise `UsageError` where two files to be written have one name. Returns how many pictures.

    Previews and the report count, too. Two names that differ only in capital letters, or in how an
    accent is encoded, are refused where the disk of `--out` takes them for one. `names`: gives the
    pictures' names at each call, since they are read twice: 8 bytes are held for each output.
    `in_tables`: the bytes of all of them are in tables.
    """
    count = 0

    def outputs() -> Iterator[tuple[str, str]]:
        nonlocal count
        count = 0
        if job.report is not None and _is_in(job.report, job.out):
            yield "the report", job.report.name
        for name in names():
            count += 1
            if storage.flaw(name) is None:  # else it is an error of its own, and writes nothing
                for output in job.outputs_of(name, in_tables):
                    yield name, storage.base_name(output)

    hashes = np.fromiter((hash(_alike(base)) for _, base in outputs()), np.int64)
    different, counts = np.unique(hashes, return_counts=True)
    twice = set(different[counts > 1].tolist())
    taken: dict[str, dict[str, str]] = {}
    for name, base in outputs() if twice else ():
        if hash(_alike(base)) not in twice:
            continue
        alike = taken.setdefault(_alike(base), {})
        for other_base, other in alike.items():
            if base == other_base:
                raise UsageError(
                    f"{public_name(other)} and {public_name(name)} would both be written to "
                    f"{public_name(storage.join(job.out, base))}"
                )
            if not storage.is_url(job.out) and are_one_file(Path(job.out), base, other_base):
                raise UsageError(
                    f"{public_name(other)} and {public_name(name)} would both be written to "
                    f"{storage.join(job.out, base)}: this disk takes {other_base} for the same name"
                )
        alike[base] = name
    return count


def check_inputs(job: Job, names: Iterable[str]) -> None:
    """Raise `UsageError` if a file to be written is one of the inputs, also by a link.

    Inputs are the pictures, the dictionaries and a single landmark file.
    """
    inputs: dict[_File, str] = {}
    urls = set()
    files = (job.identity, *job.people, job.landmarks)
    for name in (*names, *(str(file) for file in files if file)):
        if storage.is_url(name):
            urls.add(storage.canonical(name))
        elif (file := _file(name)) is not None:
            inputs[file] = name
    if job.report is not None and (of_report := _file(str(job.report))) in inputs:
        raise UsageError(
            f"--report {job.report} would be written over the input {inputs[of_report]}"
        )
    for name in names:
        if storage.flaw(name) is not None:
            continue
        for output in job.outputs_of(name):
            there = None if storage.is_url(output) else _file(output)
            if storage.canonical(output) in urls or there in inputs:
                lost = inputs[there] if there is not None else output
                raise UsageError(
                    f"{public_name(lost)} would be overwritten, as {public_name(name)} is written "
                    f"to {public_name(output)}: choose another --out"
                )


def _file(name: str) -> _File | None:
    """Which regular file it is; None where there is none."""
    try:
        found = Path(name).stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _is_in(file: Path, folder: str) -> bool:
    return not storage.is_url(folder) and os.path.realpath(file.parent) == os.path.realpath(folder)


def _alike(base: str) -> str:
    """The same for all names that any disk may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", base).casefold())
