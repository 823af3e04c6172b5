"""Rows of Pillow's images, those that ``Image.open`` gave included.

An image of one's own is its mode, size, pixels, palette, info and attributes. An opened one is the bytes of
its file, as long as these are at hand and show what the image shows, and comes back as if it were opened
anew, at the same frame: with all its frames, texts, tags, Exif and color profile. Where its pixels were
changed, or the file is gone, it is its pixels, its info and what its class noted about the file. The name of
the file is not kept. Pillow's readers are used for a short list of formats, none of which runs a program.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageFile

from laila.codec import tags
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["encode_opened"]

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


def _pixels(value: Image.Image) -> tuple[memoryview, tuple[str, bytes] | None] | None:
    """The raw pixels and the palette of an image; None for what would not come back equal."""
    if value.mode not in _BITS or not _is_possible(value.size):
        return None
    data = memoryview(value.tobytes())
    if value.palette is None:
        return data, None
    mode = value.palette.mode
    if mode not in _PALETTES:
        return None
    palette = (mode, bytes(value.getpalette(mode) or b""))
    # A palette has hidden state.
    again = _build(value.mode, value.size, data, palette)
    again.load()  # which is when it gets its colors
    same = again.im.getpalette(mode, mode) == value.im.getpalette(mode, mode) and again.tobytes() == data
    return (data, palette) if same else None


def _encode_image(value: Image.Image, encoder: Encoder) -> Row:
    _check_closed(value, encoder)
    result = _pixels(value)
    if result is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    data, palette = result
    _check_exif(value, encoder)
    attributes = {name: held for name, held in vars(value).items() if name not in _OWN}
    sign_attributes(Image.Image, attributes, encoder)
    number = encoder.add_buffer(data)
    row: Row = [tags.IMAGE, number, value.mode, *value.size, palette, dict(value.info)]
    return [*row, attributes] if attributes else row


def _check_exif(value: Image.Image, encoder: Encoder) -> None:
    """Refuse Exif data that was changed since it was read: it is nowhere but in an object of Pillow's."""
    exif = vars(value).get("_exif")
    if exif is None or hasattr(value, "tag_v2"):
        return
    fresh = Image.new("1", (1, 1))
    fresh.info = value.info
    if dict(fresh.getexif()) != dict(exif):
        encoder.refuse(
            "an image whose Exif was changed; put it into the image first: "
            "image.info['exif'] = image.getexif().tobytes()"
        )


def _decode_image(row: Row, decoder: Decoder) -> object:
    image = Image.Image()
    _fill(image, row[:7], tags.IMAGE, decoder)
    if len(row) > 7:
        (attributes,) = row[7:]
        set_attributes(image, attributes, decoder, own=_OWN)
    return image


def _fill(image: Image.Image, row: Row, tag: int, decoder: Decoder) -> None:
    """Give an image its pixels, palette and info."""
    number, mode, width, height, palette, info = only(row, 6)
    data = decoder.plain_buffer(number, tag)
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
    built = _build(str(mode), size, data, colours)
    image.im, image._mode, image._size = built.im, built.mode, built.size
    image.palette, image.info = built.palette, expect(info, dict)


# -- opened images

_FORMATS = frozenset(
    {
        *("PNG", "JPEG", "MPO", "GIF", "TIFF", "WEBP", "AVIF", "BMP", "DIB", "PPM", "ICO", "ICNS", "TGA"),
        *("JPEG2000", "PCX", "SGI", "DDS", "QOI", "XBM", "MSP", "CUR", "FLI", "PSD", "SPIDER", "IM"),
    }
)
_OWN = frozenset(vars(Image.new("1", (1, 1)))) | {"_exif", "_readonly", "_category", "pyaccess", "readonly"}
"""Names that Pillow keeps in the ``__dict__`` of every image."""
_OF_FILES = _OWN | {
    *("fp", "_fp", "filename", "tile", "map", "decoderconfig", "decodermaxblock", "_exclusive_fp", "png"),
    *("_min_frame", "_exif_offset", "_decoder", "rawmode", "_close_exclusive_fp_after_loading", "icclist"),
    *("_frame_palette", "_frame_transparency", "dispose", "dispose_extent", "disposal_method", "_n_frames"),
    *("global_palette", "_prev_im", "codec", "_reduce"),
}
"""Names that Pillow keeps in the ``__dict__`` of an opened image, to read its file."""
_NOTES = frozenset(
    {
        *("_text", "n_frames", "is_animated", "default_image", "private_chunks", "custom_mimetype"),
        *("bits", "layers", "layer", "_huffman_dc", "_huffman_ac", "quantization", "app", "applist"),
    }
)
"""Names of Pillow's plain notes about the file."""
_MAX_WORK = 1 << 31
_LEAST_NOTES, _MOST_OF_NOTES = 1 << 16, 100
"""How long texts and profiles of a file may be: so many bytes, and so many for each of the file's."""


def _check_closed(value: Any, encoder: Encoder) -> None:
    """Refuse a closed image: Pillow has replaced its pixels by an error."""
    held = vars(value).get("_im")
    fp, frames = vars(value).get("fp"), vars(value).get("_fp")
    opened = isinstance(value, ImageFile.ImageFile)
    if type(held).__name__ == "DeferredError" or (opened and held is None and fp is None and frames is None):
        encoder.refuse("a closed image; store it before it is closed, or the bytes of its file")


def encode_opened(value: Any, encoder: Encoder) -> Row:
    """The rows of an image that ``Image.open`` gave."""
    kind: Any = type(value)
    _check_closed(value, encoder)
    if value.format not in _FORMATS or _class_of(value.format) is not kind:
        encoder.refuse(
            f"an opened image of the format {value.format}, which is read by more than Pillow itself; store "
            "image.copy(), or the bytes of its file"
        )
    data = _file_of(value)
    try:
        if data is None:
            value.load()
        _check_exif(value, encoder)
    except (OSError, SyntaxError, ValueError) as error:
        encoder.refuse(
            f"an opened image that cannot be read ({type(error).__name__}: {said(error)}): its file is "
            "closed, gone or damaged; store it while the file is open, or the bytes of the file",
            error,
        )
    frame = value.tell()
    attributes = _attributes(value, _OF_FILES | _NOTES)
    if data is not None and frame * value.size[0] * value.size[1] <= _MAX_WORK:
        fresh = _shows_the_same(value, data, frame)
        if fresh is not None:
            for name in vars(fresh):
                attributes.pop(name, None)
            sign_attributes(type(value), attributes, encoder)
            number = encoder.add_buffer(memoryview(data))
            return [tags.IMAGE_FILE, number, value.format, frame, attributes or None]
    if getattr(value, "n_frames", 1) != 1 or hasattr(value, "tag_v2"):
        encoder.refuse(
            f"an opened {value.format} image whose file is gone, or that was changed: its other frames and "
            "its tags would be lost; store image.copy() for what it shows, or the bytes of its file"
        )
    try:
        result = _pixels(value)
    except (OSError, SyntaxError, ValueError) as error:
        encoder.refuse(
            f"an opened image whose pixels cannot be read ({type(error).__name__}: {said(error)}): its file "
            "is damaged; store the bytes of the file",
            error,
        )
    if result is None:
        encoder.refuse(f"an opened image in mode {value.mode} whose file is gone; store image.copy()")
    pixels, palette = result
    sign_attributes(type(value), attributes, encoder)
    notes = {name: vars(value)[name] for name in sorted(_NOTES & vars(value).keys())}
    image = (value.mode, *value.size, palette, dict(value.info))
    return [tags.LOADED_IMAGE, encoder.add_buffer(pixels), *image, value.format, notes, attributes or None]


def _class_of(name: str) -> object:
    """The class of opened images of a format."""
    if name == "JPEG":  # which Pillow opens by a function, since it may find several images
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if name == "MPO":  # which that function finds
        from PIL.MpoImagePlugin import MpoImageFile

        return MpoImageFile
    if name not in Image.OPEN:
        Image.init()
    return Image.OPEN[name][0] if name in Image.OPEN else None


def _attributes(value: Any, known: frozenset[str]) -> dict[str, object]:
    own = f"_{type(value).__name__}__"
    return {
        name: held for name, held in vars(value).items() if name not in known and not name.startswith(own)
    }


def _file_of(value: Any) -> bytes | None:
    """The bytes of the file of an opened image, or None where they are not at hand."""
    for name in ("fp", "_fp"):
        stream = vars(value).get(name)
        if stream is None or getattr(stream, "closed", True):
            continue
        try:
            position = stream.tell()
            try:
                stream.seek(0)
                return bytes(stream.read())
            finally:
                stream.seek(position)
        except (OSError, ValueError, AttributeError):
            continue
    try:
        return Path(value.filename).read_bytes() if value.filename else None
    except (OSError, ValueError, TypeError):
        return None


def _shows_the_same(value: Any, data: bytes, frame: int) -> Any | None:
    """The image that the file gives, if it shows what ``value`` shows; else None."""
    try:
        fresh = _open(data, value.format, frame)
        if type(fresh) is not type(value):
            return None
        if vars(value).get("_im") is not None:
            fresh.load()
            if fresh.tobytes() != value.tobytes() or fresh.getpalette() != value.getpalette():
                return None
        same = fresh.mode == value.mode and fresh.size == value.size and bool(fresh.info == value.info)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever Pillow raises for a file, it is not the one of the image
        return None
    return fresh if same else None


def _open(data: bytes, name: str, frame: int) -> Any:
    image = Image.open(io.BytesIO(data), formats=["JPEG" if name == "MPO" else name])
    notes = sum(len(held) for held in image.info.values() if isinstance(held, str | bytes))
    if notes > _LEAST_NOTES + _MOST_OF_NOTES * len(data):
        raise ValueError("an image whose file has notes that are compressed too well")
    if frame:
        image.seek(frame)
    return image


def _decode_file(row: Row, decoder: Decoder) -> object:
    number, name, frame, attributes = only(row, 4)
    data = bytes(decoder.plain_buffer(number, tags.IMAGE_FILE))
    if expect(name, str) not in _FORMATS or not 0 <= expect(frame, int) < _MAX_WORK:
        raise ValueError("an image of a format that is not read here")
    image = _open(data, name, 0)  # type: ignore[arg-type]  # a text, as was seen
    if frame:
        if frame * image.size[0] * image.size[1] > _MAX_WORK:
            raise ValueError("a frame that takes too long to reach")
        decoder.spend(frame * image.size[0] * image.size[1] >> 6)
        image.seek(frame)
    if attributes is not None:
        set_attributes(image, attributes, decoder, own=vars(image))
    return image


def _decode_loaded(row: Row, decoder: Decoder) -> object:
    name, notes, attributes = only(row, 9)[6:]
    if expect(name, str) not in _FORMATS:
        raise ValueError("an image of a format that is not read here")
    kind: Any = _class_of(name)  # type: ignore[arg-type]  # a text, as was seen
    image = kind.__new__(kind)
    Image.Image.__init__(image)
    vars(image).update(tile=[], fp=None, filename="", decoderconfig=(), decodermaxblock=ImageFile.MAXBLOCK)
    vars(image).update(_exclusive_fp=False, _min_frame=0, custom_mimetype=None)
    # Where tell() looks; it has one frame.
    vars(image).update({f"_{kind.__name__}__{place}": 0 for place in ("frame", "logical_frame")})
    _fill(image, row[:7], tags.LOADED_IMAGE, decoder)
    held = expect(notes, dict)
    if not held.keys() <= _NOTES:
        raise ValueError("notes about a file that no image has")
    vars(image).update(held)
    if attributes is not None:
        set_attributes(image, attributes, decoder, own=_OF_FILES | _NOTES)
    return image


ENCODERS[Image.Image] = _encode_image
DECODERS.update({tags.IMAGE: _decode_image, tags.IMAGE_FILE: _decode_file, tags.LOADED_IMAGE: _decode_loaded})
