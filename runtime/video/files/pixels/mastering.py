"""HDR metadata of a whole clip, from FFmpeg's structures to the parameters of encoders."""

import struct


def for_x265(mastering: bytes | None, light: bytes | None) -> list[str]:
    """Static HDR metadata as x265 takes them: chromaticities in 1 / 50,000, light in 1 / 10,000."""
    return _static(mastering, light, ("master-display", "max-cll"), "{0:.0f}", 50_000, 10_000)


def for_x264(mastering: bytes | None, light: bytes | None) -> list[str]:
    """The same as x264 takes them."""
    return _static(mastering, light, ("mastering-display", "cll"), "{0:.0f}", 50_000, 10_000)


def for_svt(mastering: bytes | None, light: bytes | None) -> list[str]:
    """The same as SVT-AV1 takes them: plain numbers."""
    return _static(mastering, light, ("mastering-display", "content-light"), "{0:.6f}", 1, 1)


def _static(
    mastering: bytes | None,
    light: bytes | None,
    names: tuple[str, str],
    form: str,
    chroma: int,
    nits: int,
) -> list[str]:
    """The mastering display and the content's light as an encoder's parameters.

    FFmpeg's structures are red, green, blue and white as x, y, the least and the most light, all
    fractions of two numbers, and whether these are set; and the two levels of light.
    """
    made = []
    if mastering is not None and len(mastering) >= 88:
        numbers = struct.unpack_from("22i", mastering)
        if numbers[20] and numbers[21] and all(numbers[1:20:2]):
            values = [numbers[at] / numbers[at + 1] for at in range(0, 20, 2)]
            red, green, blue, white = (
                ",".join(form.format(value * chroma) for value in values[at : at + 2])
                for at in (0, 2, 4, 6)
            )
            least, most = (form.format(value * nits) for value in values[8:10])
            made.append(f"{names[0]}=G({green})B({blue})R({red})WP({white})L({most},{least})")
    if light is not None and len(light) >= 8:
        most, average = struct.unpack_from("2I", light)
        made.append(f"{names[1]}={most},{average}")
    return made
