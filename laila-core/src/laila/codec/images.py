"""Rows of Pillow's images: mode, size, pixels, palette and info. Files still open are for a signed pickle."""

from __future__ import annotations

from PIL import Image

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_BITS = {
    "1": 1,
    "L": 8,
    "P": 8,
    "LA": 16,
    "La": 16,
    "PA": 16,
    "I;16": 16,
    "I;16L": 16,
    "I;16B": 16,
    "RGB": 24,
    "YCbCr": 24,
    "LAB": 24,
    "HSV": 24,
    "RGBA": 32,
    "RGBa": 32,
    "RGBX": 32,
    "CMYK": 32,
    "I": 32,
    "F": 32,
}
"""Bits of a pixel in Pillow's raw form of each mode."""
_PALETTES = {"RGB": 3, "RGBA": 4}


def _is_possible(size: tuple[int, int]) -> bool:
    """Whether an image of that size takes memory in proportion to its pixels: each line takes a pointer."""
    return min(size) >= 0 and max(size) < 1 << (31 if min(size) else 16)


def _build(
    mode: str, size: tuple[int, int], data: memoryview, palette: tuple[str, bytes] | None
) -> Image.Image:
    image = Image.frombytes(mode, size, data)  # takes any buffer
    if palette is not None:
        image.putpalette(palette[1], palette[0])
    return image


def _encode_image(value: Image.Image, encoder: Encoder) -> Row:
    palette: tuple[str, bytes] | None = None
    exact = value.mode in _BITS and _is_possible(value.size)
    data = memoryview(value.tobytes() if exact else b"")
    if exact:
        if value.palette is not None:
            mode = value.palette.mode
            exact = mode in _PALETTES
            palette = (mode, bytes(value.getpalette(mode) or b"")) if exact else None
        # A palette has hidden state; what would not come back equal is pickled.
        if palette is not None:
            again = _build(value.mode, value.size, data, palette)
            again.info = value.info
            exact = again == value
    if not exact:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    return [tags.IMAGE, encoder.add_buffer(data), value.mode, *value.size, palette, dict(value.info)]


def _decode_image(row: Row, decoder: Decoder) -> object:
    number, mode, width, height, palette, info = only(row, 6)
    data = decoder.plain_buffer(number, tags.IMAGE)
    bits = _BITS[expect(mode, str)]
    size = (expect(width, int), expect(height, int))
    if not _is_possible(size) or -(-size[0] * bits // 8) * size[1] != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes for an image of another size in mode {mode}")
    colours: tuple[str, bytes] | None = None
    if palette is not None:
        kind, octets = expect(palette, tuple)
        colour = _PALETTES[expect(kind, str)]
        if mode not in ("P", "PA", "L", "LA") or len(expect(octets, bytes)) > 256 * colour:
            raise ValueError("a palette that cannot be")
        colours = (kind, octets)
    image = _build(str(mode), size, data, colours)
    image.info = expect(info, dict)
    return image


ENCODERS[Image.Image] = _encode_image
DECODERS[tags.IMAGE] = _decode_image
