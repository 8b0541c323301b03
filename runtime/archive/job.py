"""An archive of photographs: read, restored and written in a stream, wherever it runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.backends.triton.address import Remote, is_server_address
from runtime.bundle.manifest import Manifest
from runtime.bundle.opening import open_bundle
from runtime.dictionary import SpecificDictionary
from runtime.errors import DictionaryError, UsageError
from runtime.images.files import MAX_PIXELS, SUFFIXES
from runtime.one_by_one import about
from runtime.options import RestoreOptions
from runtime.people.known import load_people
from runtime.redaction import public_name
from runtime.restorer import Restorer
from runtime.storage import locations as storage
from runtime.video.naming import is_clip, output_name
from runtime.video.options import ClipOptions

COMPARE, DRAW = ".compare.png", ".draw.png"
"""What is added to an output's name for its previews."""


@dataclass(frozen=True)
class Job:
    """What is done to every picture, on whichever machine; it is pickled and sent to the workers.

    `out`: a folder or URL. `bundle`, `identity` (a file of `dmd-enroll`) and `landmarks` are read
    where the work is done, and so are the dictionaries of `people`, which go into the `options`
    there. `options`: what else is done with the faces. `clip`: what is done with videos. `bundle`,
    `device`, `allow_fallback`, `threads`, `min_face` and `remote` are those of `Restorer`; the
    others are the options of `dmd-restore`. `report` is known here so that no output is written
    over it.
    """

    bundle: str | Path
    out: str
    identity: Path | None = None
    people: tuple[Path, ...] = ()
    options: RestoreOptions = field(default_factory=RestoreOptions)
    clip: ClipOptions = field(default_factory=ClipOptions)
    aligned: bool = False
    compare: bool = False
    draw: bool = False
    resume: bool = False
    landmarks: Path | None = None
    max_pixels: int = MAX_PIXELS
    max_bytes: int = storage.MAX_BYTES
    device: str | None = None
    allow_fallback: bool | None = None
    threads: int | None = None
    min_face: int | None = None
    remote: Remote | None = None
    report: Path | None = None

    def check(self) -> Manifest:
        """Check what can be checked before an engine starts. Returns the bundle's manifest.

        Raises `UsageError`, `BundleError`, `DictionaryError` or `RemoteError`.
        """
        if "\0" in self.out:
            raise UsageError(f"{self.out}: --out holds a NUL character, which no folder name can")
        if self.options.people:
            raise UsageError("the people of a job are files: Job.people, not Job.options.people")
        if is_server_address(self.bundle):
            with self.open() as restorer:  # opens nothing but a connection
                manifest = restorer.manifest
        else:
            manifest = open_bundle(self.bundle, verify=False).manifest
        if self.identity is not None:
            _check_read_by(manifest, SpecificDictionary.load(self.identity), self.identity)
        for person, file in zip(load_people(self.people), self.people, strict=True):
            _check_read_by(manifest, person, file)
        return manifest

    def open(self) -> Restorer:
        """Open the Restorer that this job needs."""
        return Restorer(
            self.bundle,
            device=self.device,
            allow_fallback=self.allow_fallback,
            threads=self.threads,
            min_face=self.min_face,
            remote=self.remote,
        )

    def output_of(self, name: str, in_table: bool = False) -> str:
        """The output of a picture; a format that cannot be written, such as GIF, becomes PNG.

        The result of a clip has the clip's name. `in_table`: the file's bytes are in a table, so
        that it is no clip, whatever it is called.
        """
        if not in_table and is_clip(name):
            return storage.join(self.out, output_name(name))
        base = storage.base_name(name)
        known = Path(base).suffix.lower() in SUFFIXES
        return storage.join(self.out, base if known else f"{base}.png")

    def outputs_of(self, name: str, in_table: bool = False) -> tuple[str, ...]:
        """All files written for a picture: its output, and the previews that were asked for."""
        output = self.output_of(name, in_table)
        asked = {COMPARE: self.compare, DRAW: self.draw}
        return output, *(output + ending for ending in asked if asked[ending])


@dataclass(frozen=True)
class Picture:
    """One picture or clip of the archive: a path or URL, or a name and the file's bytes.

    `error`: what kept it, or all pictures of the table `name`, from being read.
    """

    name: str
    data: bytes | None = None
    error: Exception | None = None

    @property
    def in_table(self) -> bool:
        """Whether its bytes are in a table."""
        return self.data is not None

    @property
    def is_clip(self) -> bool:
        """Whether it is a clip; one whose bytes are in a table is not, whatever it is called."""
        return not self.in_table and is_clip(self.name)


@dataclass(frozen=True)
class Outcome:
    """What became of one picture; `error` is None where its output is written.

    `output`: "" where it was not read or restored. `trace`: the error's traceback. `faces` and
    `seconds`: for the report, None where nothing was restored. `there`: nothing was done, because
    `resume` found the output. `backend`: what ran the network. `clip`: of a clip, what the report
    has in place of `faces`.
    """

    input: str
    output: str
    backend: str
    error: str | None = None
    notes: tuple[str, ...] = ()
    faces: list[dict[str, Any]] | None = None
    seconds: dict[str, float] | None = None
    there: bool = False
    trace: str | None = None
    clip: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """The line of the report, as an object for JSON; URLs are without passwords and tokens."""
        line: dict[str, Any] = {
            "input": public_name(self.input),
            "output": None if self.error else public_name(self.output),
            "error": self.error,
            "notes": list(self.notes),
        }
        more = {"faces": self.faces, "clip": self.clip, "seconds": self.seconds}
        return line | {key: value for key, value in more.items() if value is not None}


def _check_read_by(manifest: Manifest, dictionary: SpecificDictionary, file: Path) -> None:
    """Raise `DictionaryError`, which names the file, unless a bundle can read the dictionary."""
    with about(str(file), DictionaryError):
        dictionary.rows_for(
            manifest.dictionary_layout, manifest.weights.sha256, manifest.dictionary_dtype
        )


def refuse_overwriting(name: str, output: str) -> None:
    """Raise `UsageError` if the output would be the input itself."""
    if storage.same(name, output):
        raise UsageError(f"{public_name(name)} would be overwritten: choose another --out")
