"""Hides the passwords and tokens of URLs in messages and reports."""

import re

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)", re.DOTALL)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\S*)")
_AFTER = ":;,.)]'\""  # belongs to the sentence around a URL
# there `?` and `#` may be part of an object's name, and `container@account` is no secret
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_HIDDEN = "***"


def public_name(name: str) -> str:
    """A picture's name for messages: a URL's user, password, query and fragment become `***`.

    Any parameter of a query may be a secret that grants access, so none is shown. Of an object
    store's URL only a password and a query of the form `name=value` are hidden. Paths stay.
    """
    return _NAME.sub(_redacted, name) if _NAME.match(name) else name


def without_secrets(text: str) -> str:
    """A message in which every URL, up to the next space, is replaced by its `public_name`."""
    return _URL.sub(_redacted, text)


def _redacted(url: re.Match[str]) -> str:
    scheme, rest = url[1], url[2]
    strict = scheme.lower() not in _OBJECT_STORES
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    rest = rest[len(authority) :]
    user, at, host = authority.rpartition("@")
    if at and (strict or ":" in user):
        authority = f"{_HIDDEN}@{host}"
    elif not at and "@" in rest and _is_no_host(authority, rest):  # of a password with a / or ?
        authority, rest = "", f"{_HIDDEN}@{rest.rpartition('@')[2]}"
    end = next((index for index, sign in enumerate(rest) if sign in "?#"), len(rest))
    path, query = _URL.sub(_redacted, rest[:end]), rest[end:]
    if query[1:] and (strict or "=" in query):
        query = query[0] + _HIDDEN + query[len(query.rstrip(_AFTER)) :]
    return f"{scheme}://{authority}{path}{query}"


def _is_no_host(authority: str, rest: str) -> bool:
    """Whether what should be `host:port` has another port than a number, or is one more scheme."""
    if authority.endswith("]"):
        return False
    _, colon, port = authority.rpartition(":")
    nested = colon and not port and rest.startswith("//")
    chained = "::" in authority and "[" not in authority
    return bool(nested or chained or (port and colon and not port.isdecimal()))
