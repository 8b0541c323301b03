"""Text from outside, such as file names and servers' answers, made fit for a terminal."""

import unicodedata

_LONGEST = 500  # characters of somebody else's message


def shown(text: str) -> str:
    r"""The text as one line that is safe to print on a terminal.

    Line breaks, control characters, escape sequences, signs that change the direction of writing
    or are invisible, and halves of surrogate pairs become escapes as Python writes them, for
    example `\n` and `\x1b`. Text that was made safe before stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(sign if _harmless(sign) else _escaped(sign) for sign in text)


def squeezed(text: str) -> str:
    """Somebody else's message, often of many lines, as one line of at most 500 characters."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _harmless(sign: str) -> bool:
    # wide and narrow spaces, which Python calls unprintable, stand in many file names
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
