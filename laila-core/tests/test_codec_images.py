"""Pillow's images: modes, palettes, attributes; opened files with frames, texts, tags and Exif."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode
from laila.errors import CorruptEntryError, PayloadError, UntrustedPayloadError

if TYPE_CHECKING:
    from pathlib import Path

image_module: Any = pytest.importorskip("PIL.Image")
KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def back(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False))))


def picture(mode: str = "RGB") -> Any:
    return image_module.effect_noise((9, 7), 90).convert(mode)


def opened(kind: str, image: Any, **options: Any) -> Any:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return image_module.open(io.BytesIO(stream.getvalue()))


def test_attributes_and_palettes() -> None:
    image = picture("P")
    image.note = ["kept"]
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"):
        one = picture(mode)
        assert back(one) == one
    found = back([image, image.note])
    assert found[0] == image
    assert found[0].note is found[1]
    palette = picture("L").quantize(5)
    assert back(palette) == palette
    assert back(palette).convert("RGB") == palette.convert("RGB")
    seen_through = picture("RGBA").quantize(7)
    assert back(seen_through).convert("RGBA") == seen_through.convert("RGBA")


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP", "ICO", "TGA", "PCX", "JPEG2000"]
)
def test_opened_images(kind: str, loaded: bool) -> None:
    try:
        image = opened(kind, picture())
    except (KeyError, OSError):
        pytest.skip(f"Pillow writes no {kind} here")
    if loaded:
        image.load()
    found = back({"image": image})["image"]
    assert type(found) is type(image)
    assert found.format == image.format
    found.load()
    image.load()
    assert found == image
    assert found.info == image.info


def test_what_a_file_has_besides_its_pixels(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    frames = [picture("L").point(lambda x, n=n: (x + 60 * n) % 256) for n in range(3)]
    note = PngInfo()
    note.add_text("author", "Ada")
    exif = image_module.Exif()
    exif[0x010E] = "a title"
    gif = opened("GIF", frames[0], save_all=True, append_images=frames[1:], duration=40)
    gif.seek(2)
    found = back(gif)
    assert (found.n_frames, found.tell()) == (3, 2)
    assert found.convert("L") == gif.convert("L")
    found.seek(1)
    assert back(opened("PNG", frames[0], pnginfo=note)).text == {"author": "Ada"}
    tiff = opened("TIFF", frames[0], save_all=True, append_images=frames[1:])
    assert back(tiff).n_frames == 3
    assert dict(back(tiff).tag_v2) == dict(tiff.tag_v2)
    jpeg = opened("JPEG", picture(), exif=exif, icc_profile=b"a profile")
    assert back(jpeg).getexif()[0x010E] == "a title"
    assert back(jpeg).info["icc_profile"] == b"a profile"
    path = tmp_path / "x.png"
    picture().save(path, pnginfo=note)
    with image_module.open(path) as image:
        image.load()
        image.note = 5
        found = back(image)
    assert (found.text, found.note) == ({"author": "Ada"}, 5)
    assert found.filename == ""  # a name out of a blob would be a file that Pillow opens


def test_changed_and_lost_files() -> None:
    png = opened("PNG", picture())
    png.load()
    png.putpixel((0, 0), (1, 2, 3))
    found = back(png)
    assert type(found) is type(png)
    assert found.getpixel((0, 0)) == (1, 2, 3)
    assert found.text == {}
    assert found.tell() == 0
    frames = [picture("RGB"), picture("RGB").rotate(90)]
    several = opened("MPO", frames[0], save_all=True, append_images=frames[1:])
    found = back(several)
    assert (type(found), found.format, found.n_frames) == (type(several), "MPO", 2)
    jpeg = opened("JPEG", picture(), quality=77)
    jpeg.load()  # after which Pillow lets go of the file
    found = back(jpeg)
    assert found == jpeg
    assert found.format == "JPEG"
    assert found.quantization == jpeg.quantization
    assert found.copy() == jpeg.copy()
    frames = [picture("L"), picture("L").rotate(90)]
    gif = opened("GIF", frames[0], save_all=True, append_images=frames[1:])
    gif.load()
    gif.putpixel((0, 0), 3)
    for image in (gif, opened("TIFF", picture())):
        image.load()
        image.putpixel((0, 0), 7 if image is gif else (7, 7, 7))
        with pytest.raises(PayloadError, match="copy") as caught:
            back({"a": [image]})
        assert caught.value.path == "payload['a'][0]"


def test_refused_with_a_place() -> None:
    closed = opened("PNG", picture())
    closed.close()
    own = picture()
    own.close()
    exif = opened("JPEG", picture())
    exif.getexif()[0x010E] = "changed"
    eps = io.BytesIO()
    picture().save(eps, "EPS")
    for image in (closed, own, exif, image_module.open(io.BytesIO(eps.getvalue()))):
        with pytest.raises(PayloadError) as caught:
            back({"a": [image]})
        assert caught.value.path == "payload['a'][0]"


def test_hostile_files() -> None:
    blob = encode(opened("PNG", picture()), key=KEY)
    eps = io.BytesIO()
    picture().save(eps, "EPS")
    for tree, data in (
        (blob.tree, eps.getvalue()),
        (blob.tree, b""),
        (blob.tree, bytes(blob.buffers[0].data)[:20]),
        (blob.tree.replace(b"\xa3PNG", b"\xa3EPS"), eps.getvalue()),
        (blob.tree.replace(b"\xa3PNG\x00", b"\xa3PNG\x07"), bytes(blob.buffers[0].data)),
    ):
        with pytest.raises(CorruptEntryError):
            decode(Blob(KEY, tree, (Buffer(memoryview(data)),)))
    image = opened("PNG", picture())
    image.note = 1
    blob = encode(image, key=KEY)
    for name in (b"load", b"tile"):
        with pytest.raises(UntrustedPayloadError):
            decode(Blob(KEY, blob.tree.replace(b"note", name), blob.buffers))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
def test_a_closed_image_is_refused_with_a_remedy(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    image_module.new("RGB", (3, 2)).save(path, kind)
    closed = [image_module.open(path), image_module.open(path), image_module.new("L", (1, 1))]
    closed[1].load()
    for image in closed:
        image.close()
        with pytest.raises(PayloadError, match="before it is closed, or the bytes of its file") as caught:
            encode({"image": image}, key=KEY)
        assert caught.value.path == "payload['image']"
    with path.open("rb") as stream:
        cut_off = image_module.open(stream)
    with pytest.raises(PayloadError, match="or the bytes of the file") as caught:
        encode({"image": cut_off}, key=KEY)
    assert caught.value.path == "payload['image']"
