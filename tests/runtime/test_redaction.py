"""Passwords and tokens of URLs stay out of what is shown."""

import pytest

from runtime.errors import UsageError
from runtime.redaction import public_name, without_secrets


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("https://host/a.jpg", "https://host/a.jpg"),
        ("https://user:secret@host/a.jpg", "https://***@host/a.jpg"),
        ("https://secret@host:80/a.jpg", "https://***@host:80/a.jpg"),
        ("https://user:sec/ret@host/a.jpg", "https://***@host/a.jpg"),
        ("https://user:sec?ret@host/a.jpg", "https://***@host/a.jpg"),
        ("https://h/a.jpg?X-Amz-Signature=secret&w=1", "https://h/a.jpg?***"),
        ("https://h/a.jpg?secret two'\"<", "https://h/a.jpg?***"),
        ("HTTPS://h/a.jpg#access_token=secret", "HTTPS://h/a.jpg#***"),
        ("https://h/https://user:secret@h/a.jpg", "https://h/https://***@h/a.jpg"),
        ("simplecache::https://user:secret@h/a", "simplecache::https://***@h/a"),
        ("http://https://user:secret@h/a", "http://***@h/a"),
        ("zip://a.png::https://user:secret@h/a?secret", "zip://***@h/a?***"),
        ("s3a://key:secret@bucket/a.jpg", "s3a://***@bucket/a.jpg"),
        ("abfss://container@account/a.jpg?sv=1&sig=secret", "abfss://container@account/a.jpg?***"),
        ("s3://bucket/what?#1.jpg", "s3://bucket/what?#1.jpg"),
        ("http://[::1]:80/a@2x.png", "http://[::1]:80/a@2x.png"),
        ("https://host/@name/pkg@1.png", "https://host/@name/pkg@1.png"),
        ("folder/http#1?x=2@3.png", "folder/http#1?x=2@3.png"),
        ("", ""),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert public_name(name) == shown
    assert public_name(shown) == shown


def test_messages() -> None:
    text = "(403, url='https://u:secret@h/a?sig=secret'), see https://h/b?secret, or s3://b/c: no"
    hidden = "(403, url='https://***@h/a?***'), see https://h/b?***, or s3://b/c: no"
    assert without_secrets(text) == hidden
    assert str(UsageError(text)) == hidden
