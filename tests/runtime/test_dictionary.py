import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from runtime import DictionaryError, DmdnetWarning, SpecificDictionary
from runtime.dictionary import LARGEST

LAYOUT = "256.le.key:2x3x3 256.le.value:4x3x3"
WEIGHTS = "a" * 64


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 54), np.float32)


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed + 9).standard_normal((count, 128), np.float32)


def written(folder: Path, **changes: NDArray[np.generic]) -> Path:
    """A file of two references, both with vectors, but for the tensors that change."""
    tensors: dict[str, NDArray[np.generic]] = {"rows": rows(2), "vectors": vectors(2)}
    tensors |= {"vector_rows": np.arange(2)} | changes
    said = metadata(format_version="2", references="2", name="Alice")
    (folder / "x.safetensors").write_bytes(safetensors.numpy.save(tensors, said))
    return folder / "x.safetensors"


def metadata(**changes: str) -> dict[str, str]:
    good = {"format": "dmdnet-specific-dictionary", "format_version": "1", "layout": LAYOUT}
    good |= {"weights_sha256": WEIGHTS, "references": "1", "dtype": "float32"}
    return good | changes


def test_round_trip(tmp_path: Path) -> None:
    alice = SpecificDictionary(rows(3), LAYOUT, WEIGHTS)
    alice.save(tmp_path / "alice.safetensors")
    again = SpecificDictionary.load(tmp_path / "alice.safetensors")
    assert (again.rows == alice.rows).all()
    assert (again.layout, again.weights_sha256, len(again)) == (LAYOUT, WEIGHTS, 3)
    assert not again.rows.flags.writeable


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    SpecificDictionary(rows(2), LAYOUT, WEIGHTS).save(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert sorted(file.keys()) == ["rows", "vector_rows", "vectors"]
        assert file.metadata() == metadata(references="2", format_version="2", name="")


def test_who_the_person_is(tmp_path: Path) -> None:
    """Of three references the second was blurred."""
    alice = SpecificDictionary(rows(3), LAYOUT, WEIGHTS, "Alice Ä.", vectors(2), (0, 2))
    alice.save(tmp_path / "alice.safetensors")
    again = SpecificDictionary.load(tmp_path / "alice.safetensors")
    assert (again.name, again.vector_rows) == ("Alice Ä.", (0, 2))
    assert (again.vectors == vectors(2)).all()
    assert again.vectors.dtype == np.float32
    assert not again.vectors.flags.writeable
    assert (again.rows == rows(3)).all()
    assert SpecificDictionary.load(written(tmp_path)).vector_rows == (0, 1)
    nobody = SpecificDictionary(rows(3), LAYOUT, WEIGHTS)
    assert (nobody.name, nobody.vectors.shape, nobody.vector_rows) == ("", (0, 128), ())
    first = SpecificDictionary(rows(3), LAYOUT, WEIGHTS, vectors=vectors(2))
    assert first.vector_rows == (0, 1)


def test_vectors_stay_with_their_references() -> None:
    """A reference that is taken out takes its vector with it."""
    alice = SpecificDictionary(rows(4), LAYOUT, WEIGHTS, "Alice", vectors(3), (0, 2, 3))
    some = alice[[3, 1, 0]]
    assert (some.name, some.vector_rows) == ("Alice", (0, 2))
    assert (some.vectors == vectors(3)[[2, 0]]).all()
    assert (alice[1:3].vector_rows, len(alice[[1]].vectors)) == ((1,), 0)
    assert (alice[[-1]].vectors == vectors(3)[2]).all()
    assert (alice[[True, False, True, False]].vectors == vectors(3)[:2]).all()

    nobody = SpecificDictionary(rows(1), LAYOUT, WEIGHTS)
    both = nobody.merge(alice, SpecificDictionary(rows(1), LAYOUT, WEIGHTS, "A.", vectors(1)))
    assert (both.name, both.vector_rows) == ("Alice", (1, 3, 4, 5))
    assert (both.vectors == np.concatenate([vectors(3), vectors(1)])).all()


def test_what_is_printed_of_a_person_holds_no_number() -> None:
    alice = SpecificDictionary(rows(1), LAYOUT, WEIGHTS, "Alice", vectors(1))
    for number in [*alice.rows[0], *alice.vectors[0]]:
        assert f"{abs(number):.3f}" not in repr(alice)
    assert "array" not in repr(alice)
    assert "'Alice'" in repr(alice)


def test_a_file_of_an_older_release(tmp_path: Path) -> None:
    """It is read as before, and Python's own filter says once that it recognises nobody."""
    file = tmp_path / "old.safetensors"
    file.write_bytes(safetensors.numpy.save({"rows": rows(2)}, metadata(references="2")))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        old = SpecificDictionary.load(file)
        SpecificDictionary.load(file)
    (only,) = heard
    assert only.category is DmdnetWarning
    assert str(only.message).startswith(f"{file}: of an older release")
    assert str(only.message).endswith("enrol again for recognition")
    assert (old.rows == rows(2)).all()
    assert (old.name, old.vectors.shape) == ("", (0, 128))
    old.save(file)
    assert SpecificDictionary.load(file).vectors.shape == (0, 128)  # without a warning from now on


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.full((2, 128), np.nan, np.float32), "not finite or too large"),
        (np.full((2, 128), -np.inf, np.float32), "not finite or too large"),
        (np.full((2, 128), 3e38, np.float32), "not finite or too large"),
        (vectors(2)[:, :127], r"float32 array \(R, 128\)"),
        (vectors(2)[:, :0], r"float32 array \(R, 128\)"),
        (vectors(2)[0], r"float32 array \(R, 128\)"),
        (vectors(2).astype(np.float64), r"float32 array \(R, 128\)"),
        (vectors(2).astype(np.float16), r"float32 array \(R, 128\)"),
        (vectors(3), "3 vectors of 2 references"),
        (vectors(1), "1 vectors of 2 references"),
    ],
    ids=range(10),
)
def test_corrupt_vectors(wrong: NDArray[np.float32], says: str, tmp_path: Path) -> None:
    file = written(tmp_path, vectors=wrong)
    with pytest.raises(DictionaryError, match=f"x.safetensors: .*{says}.*; enrol again$") as error:
        SpecificDictionary.load(file)
    assert "\n" not in str(error.value)
    with pytest.raises(DictionaryError, match=says):
        SpecificDictionary(rows(2), LAYOUT, WEIGHTS, "", wrong, (0, 1))


@pytest.mark.parametrize(
    "wrong", [[1, 0], [0, 0], [0, 2], [-1, 0], [0], [0, 2**62], [[0, 1]], [0.0, 1.0]]
)
def test_corrupt_rows_of_vectors(wrong: list[float], tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"x.safetensors: .*vectors of a face.*; enrol again"):
        SpecificDictionary.load(written(tmp_path, vector_rows=np.array(wrong)))


@pytest.mark.parametrize("wrong", [("a", "b"), 5, (0.0, 1.0)])
def test_rows_of_vectors_that_are_no_numbers(wrong: Any) -> None:
    vectors = np.zeros((2, 128), np.float32)
    with pytest.raises(DictionaryError, match="must be whole numbers"):
        SpecificDictionary(rows(2), LAYOUT, WEIGHTS, "Alice", vectors, wrong)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "\u202e", "\udcff", "x" * 256, 7, " Al"])
def test_names_that_no_person_has(name: str, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="one line of 255 characters") as error:
        SpecificDictionary(rows(1), LAYOUT, WEIGHTS, name)
    assert str(error.value).isprintable()


def test_merge_and_selection() -> None:
    first, second = (SpecificDictionary(rows(2, seed), LAYOUT, WEIGHTS) for seed in (0, 1))
    both = first.merge(second)
    assert (both.rows == np.concatenate([rows(2, 0), rows(2, 1)])).all()
    assert (both[[3, 0]].rows == both.rows[[3, 0]]).all()
    assert (both[1:].rows == both.rows[1:]).all()
    with pytest.raises(DictionaryError, match="no such references"):
        both[[4]]
    with pytest.raises(DictionaryError, match="no such references"):
        both[[[0, 1]]]  # type: ignore[list-item]
    with pytest.raises(DictionaryError, match="K > 0"):
        both[4:]


def test_merge_refuses_strangers() -> None:
    alice = SpecificDictionary(rows(1), LAYOUT, WEIGHTS)
    with pytest.raises(DictionaryError, match=r"a{64}.*b{64}"):
        alice.merge(SpecificDictionary(rows(1), LAYOUT, "b" * 64))
    with pytest.raises(DictionaryError, match="float16"):
        alice.merge(SpecificDictionary(rows(1).astype(np.float16), LAYOUT, WEIGHTS))


def test_other_weights_are_refused_with_both_hashes() -> None:
    alice = SpecificDictionary(rows(1), LAYOUT, WEIGHTS)
    with pytest.raises(DictionaryError, match=r"a{64}.*b{64}; enrol the person again"):
        alice.rows_for(LAYOUT, "b" * 64, np.dtype(np.float32))
    with pytest.raises(DictionaryError, match="layout"):
        alice.rows_for("256.le.key:2x3x3", WEIGHTS, np.dtype(np.float32))


def test_precisions_are_exchanged_where_they_fit() -> None:
    alice = SpecificDictionary(rows(1), LAYOUT, WEIGHTS)
    half = alice.rows_for(LAYOUT, WEIGHTS, np.dtype(np.float16))
    assert half.dtype == np.float16
    assert np.abs(half - alice.rows).max() < 2e-3
    largest = SpecificDictionary(np.full((1, 54), -LARGEST, np.float32), LAYOUT, WEIGHTS)
    assert (largest.rows_for(LAYOUT, WEIGHTS, half.dtype) == -LARGEST).all()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-np.inf, "not finite"),
        (3e38, "to 3e[+]38, and 65504 is the largest"),
        (-65536, "from -65536 to .*, and 65504 is the largest"),
    ],
)
def test_numbers_are_checked_wherever_a_dictionary_is_made(
    number: float, says: str, tmp_path: Path
) -> None:
    wrong, file = rows(2), tmp_path / "x.safetensors"
    wrong[1, 7] = number
    with pytest.raises(DictionaryError, match=says):
        SpecificDictionary(wrong, LAYOUT, WEIGHTS)
    file.write_bytes(safetensors.numpy.save({"rows": wrong}, metadata(references="2")))
    with pytest.raises(DictionaryError, match=f"x.safetensors: .*{says}"):
        SpecificDictionary.load(file)


@pytest.mark.parametrize(
    ("array", "layout"),
    [
        (rows(1)[0], LAYOUT),
        (rows(1).astype(np.float64), LAYOUT),
        (rows(1)[:, :50], LAYOUT),
        (rows(1)[:0], LAYOUT),
        (rows(1)[:, :0], "256.le.key:0x3x3"),
        (rows(1), "nonsense"),
        (rows(1), ""),
    ],
)
def test_wrong_contents(array: NDArray[np.floating], layout: str) -> None:
    with pytest.raises(DictionaryError):
        SpecificDictionary(array, layout, WEIGHTS)


@pytest.mark.parametrize(
    ("tensors", "changes", "says"),
    [
        ({"rows": rows(1)}, {"format": "other"}, "not of a specific dictionary"),
        ({"weight": rows(1)}, {}, "not of a specific dictionary"),
        ({"rows": rows(1)}, {"format_version": "9"}, "version 9.* reads versions 1 and 2"),
        ({"rows": rows(1)}, {"format_version": "2"}, "not of a specific dictionary"),
        ({"rows": rows(1)}, {"references": "2"}, "metadata"),
        ({"rows": rows(1)}, {"dtype": "float16"}, "metadata"),
        ({"rows": rows(1)}, {"layout": "256.le.key:2x3x3"}, "shape"),
        ({"rows": rows(1)}, {"layout": "256.le.key:-2x-27x1"}, "not a dictionary layout"),
        ({"rows": rows(1)}, {"layout": "256.le.key:10**9x1x1"}, "not a dictionary layout"),
        ({"rows": rows(1)}, {"layout": f"256.le.key:{'9' * 5000}x1x1"}, "not a dictionary layout"),
        ({"rows": rows(1)}, {"layout": f"{LAYOUT} " * 99}, "not a dictionary layout: 199 parts"),
        ({"rows": rows(1)}, {"layout": "256.le.key:\u0665\u0664x1x1"}, "not a dictionary layout"),
        ({"rows": rows(1)}, {"weights_sha256": "a" * 63}, "not the SHA-256 of weights"),
        ({"rows": rows(1)}, {"weights_sha256": ""}, "not the SHA-256 of weights"),
        ({"rows": rows(1)}, {"references": "9" * 10_000}, r"numbers: \('9{90,98}$"),
    ],
    ids=range(15),
)
def test_wrong_files(
    tmp_path: Path, tensors: dict[str, NDArray[np.float32]], changes: dict[str, str], says: str
) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(safetensors.numpy.save(tensors, metadata(**changes)))
    with pytest.raises(DictionaryError, match=says) as error:
        SpecificDictionary.load(file)
    assert str(file) in str(error.value)


def test_damaged_files(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    with pytest.raises(DictionaryError, match="no such"):
        SpecificDictionary.load(file)
    with pytest.raises(DictionaryError, match=str(tmp_path)):
        SpecificDictionary.load(tmp_path)
    SpecificDictionary(rows(1), LAYOUT, WEIGHTS).save(file)
    whole = file.read_bytes()
    for wrong in (b"", b"text", whole[:-1], whole[:40]):
        file.write_bytes(wrong)
        with pytest.raises(DictionaryError, match="not a dictionary file"):
            SpecificDictionary.load(file)
    with file.open("wb") as large:
        large.truncate((4 << 30) + 1)  # no byte of it is on the disk
    with pytest.raises(DictionaryError, match="4096 MiB; a dictionary has 4096 MiB at most"):
        SpecificDictionary.load(file)
    os.mkfifo(tmp_path / "pipe")
    for strange in ("pipe", "nul\0", "x" * 300):
        with pytest.raises(DictionaryError):
            SpecificDictionary.load(tmp_path / strange)


def test_types_of_numbers_that_numpy_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    for name, nbytes in (("BF16", 108), ("F8_E4M3", 54), ("F64", 432), ("I8", 54), ("C64", 432)):
        header: dict[str, object] = {"rows": {"dtype": name, "shape": [1, 54]}}
        header["rows"] |= {"data_offsets": [0, nbytes]}  # type: ignore[operator]
        header["__metadata__"] = metadata()
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(nbytes))
        with pytest.raises(DictionaryError, match=str(file)):
            SpecificDictionary.load(file)


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="cannot be written"):
        SpecificDictionary(rows(1), LAYOUT, WEIGHTS).save(tmp_path / "none" / "x.safetensors")
