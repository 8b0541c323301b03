import pytest

from runtime import DmdnetError, DmdnetWarning, InvalidImageError
from runtime.errors import error_line
from runtime.text import shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\nb\r\tc.png", r"a\nb\r\tc.png"),
        ("\x1b[31mred\x07\x00\x7f\x9b", r"\x1b[31mred\x07\x00\x7f\x9b"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("\u2066x\u2069\u200f\u061c\u200b\ufeff", r"\u2066x\u2069\u200f\u061c\u200b\ufeff"),
        ("line\u2028paragraph\u2029\x85", r"line\u2028paragraph\u2029\x85"),
        ("latin1-\udce9.png", r"latin1-\udce9.png"),
        ("\ud83d half \U000e0041", r"\ud83d half \U000e0041"),
        ("Grüße 東京\u3000\u00a0 é 😀 c:\\new", "Grüße 東京\u3000\u00a0 é 😀 c:\\new"),
    ],
)
def test_text_from_outside_does_nothing_to_a_terminal(text: str, safe: str) -> None:
    assert shown(text) == safe
    assert shown(safe) == safe
    for kind in (InvalidImageError, DmdnetWarning):
        assert str(kind(f"{text}: bad")) == f"{safe}: bad"
    assert safe.encode("utf-8")


def test_an_error_as_a_line() -> None:
    assert error_line(DmdnetError("x.png: bad")) == "x.png: bad"
    assert error_line(KeyError("x")) == "KeyError: 'x'"
    assert error_line(RuntimeError("one\n  two\x1b")) == r"RuntimeError: one two\x1b"
    assert error_line(StopIteration()) == "StopIteration"
    assert error_line(MemoryError("4 GiB")) == "out of memory"
    assert error_line(FileNotFoundError(2, "No such file", "a\nb")) == r"a\nb: No such file"
    assert error_line(OSError("s3://x: Forbidden")) == "s3://x: Forbidden"
    assert len(error_line(ValueError("x" * 10_000))) < 600


def test_a_password_is_hidden_whatever_stands_in_it() -> None:
    text = "https://user:pass{}word@host/x.png?token=1: bad"
    lines = [str(InvalidImageError(text.format("\n")))]
    lines += [error_line(kind(text.format(""))) for kind in (ValueError, OSError)]
    for line in lines:
        assert "word" not in line
        assert "token" not in line
        assert "host/x.png" in line
