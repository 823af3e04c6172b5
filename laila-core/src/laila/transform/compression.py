"""zlib, zstd and base64."""

from __future__ import annotations

import zlib

from laila.errors import TransformationError
from laila.showing import said, shown
from laila.transform.base import (
    Transformation,
    corrupt,
    register_transformation,
    stated_size,
    unavailable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar

    BytesLike = bytes | bytearray | memoryview

__all__ = ["Base64", "Zlib", "Zstd"]

_ZLIB_RATIO = 1032
_ZSTD_RATIO = (128 << 10) // 4


def _level(level: object, name: str, lowest: int, highest: int) -> int:
    if type(level) is not int or not lowest <= level <= highest:
        raise TransformationError(
            f"{name} takes a level from {lowest} to {highest}, not "
            + (shown(level) if type(level) is int else f"a {type(level).__name__}"),
            name=name,
        )
    return level


@register_transformation
class Zlib(Transformation):
    """Deflate in the zlib format (RFC 1950); ``level`` from 0 (fast) to 9 (small)."""

    name: ClassVar[str] = "zlib"

    def __init__(self, level: int = 6) -> None:
        self._level = _level(level, self.name, 0, 9)

    def options(self) -> dict[str, object]:
        """List the constructor arguments that make an equal transformation."""
        return {"level": self._level}

    def apply(self, data: BytesLike, *, key: str) -> bytes:
        """Compress the bytes of an entry."""
        return zlib.compress(data, self._level)

    def invert(self, data: BytesLike, *, key: str, params: Mapping[str, object]) -> bytes:
        """Decompress; a result of another size is a :class:`CorruptEntryError`."""
        size = stated_size(params, key, self.name)
        # Deflate makes at most 1,032 bytes from one byte: a larger claim is refused before anything is
        # unfolded.
        if size > _ZLIB_RATIO * memoryview(data).nbytes + _ZLIB_RATIO:
            raise corrupt(key, self.name, f"is not exactly {size} bytes")
        inflater = zlib.decompressobj()
        try:
            # One byte too many reveals a bomb; the output grows with the data, not with the announced size.
            unfolded = inflater.decompress(data, size + 1)
        except zlib.error as error:
            raise corrupt(key, self.name, f"cannot be inflated ({error})") from error
        if len(unfolded) != size or not inflater.eof or inflater.unused_data:
            raise corrupt(key, self.name, f"is not exactly {size} bytes")
        return unfolded


@register_transformation
class Zstd(Transformation):
    """Zstandard (RFC 8878); ``level`` from 1 (fast) to 22 (small). Needs the extra ``zstd``."""

    name: ClassVar[str] = "zstd"

    def __init__(self, level: int = 3) -> None:
        self._level = _level(level, self.name, 1, 22)

    def options(self) -> dict[str, object]:
        """List the constructor arguments that make an equal transformation."""
        return {"level": self._level}

    def apply(self, data: BytesLike, *, key: str) -> bytes:
        """Compress the bytes of an entry."""
        try:
            import zstandard
        except ImportError as error:
            raise unavailable(self.name, "zstandard", "zstd", error) from error
        return zstandard.ZstdCompressor(level=self._level).compress(data)

    def invert(self, data: BytesLike, *, key: str, params: Mapping[str, object]) -> bytes:
        """Decompress; a result of another size is a :class:`CorruptEntryError`."""
        try:
            import zstandard
        except ImportError as error:
            raise unavailable(self.name, "zstandard", "zstd", error) from error
        size = stated_size(params, key, self.name)
        try:
            # Four bytes unfold to 128 KiB at most: a larger claim is refused before memory is allocated.
            if size > _ZSTD_RATIO * len(data) or zstandard.frame_content_size(data) != size:
                raise corrupt(key, self.name, f"is not exactly {size} bytes")
            unfolded = zstandard.ZstdDecompressor().decompress(
                data, max_output_size=size, allow_extra_data=False
            )
        except (zstandard.ZstdError, MemoryError) as error:
            raise corrupt(key, self.name, f"cannot be decompressed ({error})") from error
        if len(unfolded) != size:
            raise corrupt(key, self.name, f"is not exactly {size} bytes")
        return unfolded


@register_transformation
class Base64(Transformation):
    """Base64 (RFC 4648, standard alphabet, no line ends): a blob as text, a third larger."""

    name: ClassVar[str] = "base64"

    def apply(self, data: BytesLike, *, key: str) -> bytes:
        """Encode the bytes of an entry as text."""
        from binascii import b2a_base64

        return b2a_base64(data, newline=False)

    def invert(self, data: BytesLike, *, key: str, params: Mapping[str, object]) -> bytes:
        """Decode; a result of another size is a :class:`CorruptEntryError`."""
        from binascii import Error, a2b_base64

        size = stated_size(params, key, self.name)
        try:
            decoded = a2b_base64(data, strict_mode=True)
        except (Error, ValueError) as error:
            raise corrupt(key, self.name, f"is no base64 ({said(error)})") from error
        if len(decoded) != size:
            raise corrupt(key, self.name, f"is not exactly {size} bytes")
        return decoded
