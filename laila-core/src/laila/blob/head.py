"""The head of a blob: the prefix and the header that say what the rest is, read from bytes of any origin.

Every length is checked against what is there before it is used. What the bytes mean is written down in
``docs/reference/blob-format.md``; :mod:`laila.blob.blob` has the whole.
"""

from __future__ import annotations

import re
from struct import Struct
from types import MappingProxyType

import msgpack
from xxhash import xxh3_64_intdigest

from laila.blob.pieces import DIGEST_BYTES
from laila.errors import CorruptEntryError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    BytesLike = bytes | bytearray | memoryview
    Meta = tuple[float, str, int, str, bytes | None]
    T = TypeVar("T")

__all__ = [
    "CHECKSUM",
    "DIGEST_BYTES",
    "FIXED",
    "FORMAT_VERSION",
    "MAGIC",
    "NOTE_BYTES",
    "PREFIX_BYTES",
    "ZEROS",
    "BlobHead",
    "check_notes",
    "corrupt",
    "gap",
    "head_checksum",
    "metadata_of",
    "unknown",
    "unpack_checked",
]


MAGIC = b"\x93LAILA\r\n"
"""The first eight bytes of every blob: no text, and changed by what changes line ends."""
FORMAT_VERSION = 1
ALIGNMENT = 64

# magic, version, reserved (0), header bytes, tree bytes, total bytes; then the checksum of the head without
# itself.
FIXED = Struct("<8sHHIQQ")
CHECKSUM = Struct("<Q")
PREFIX = Struct("<8sHHIQQQ")
# The same for a quick look: what every blob of this version begins with, then the lengths and the checksum.
BEGINNING = FIXED.pack(MAGIC, FORMAT_VERSION, 0, 0, 0, 0)[:12]
PREFIX_BYTES = FIXED.size + CHECKSUM.size
ZEROS = bytes(ALIGNMENT)
# Up to this size a MessagePack object is unpacked without a look at its structure first; see unpack_checked.
UNCHECKED_BYTES = 4096


def _no_ext(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} has no place here")


def unpack_checked(data: BytesLike) -> object:
    """Unpack one MessagePack object that may come from anywhere.

    A hostile object can announce nested arrays that are not there, and MessagePack's unpacker allocates what
    is announced; so anything but a small object is first walked without building it. Raises ``ValueError``
    (of several kinds) for what is not exactly one object.
    """
    if len(data) > UNCHECKED_BYTES:
        walker = msgpack.Unpacker(None, max_buffer_size=len(data))
        walker.feed(data)
        try:
            walker.skip()
        except msgpack.OutOfData:
            raise ValueError("it is cut short") from None
        if walker.tell() != len(data):
            raise ValueError("something follows it")
    try:
        return msgpack.unpackb(data, strict_map_key=False, max_ext_len=0, ext_hook=_no_ext)
    except UnicodeDecodeError:
        # A text with lone surrogates, which strict UTF-8 refuses: other texts do not pay for this.
        return msgpack.unpackb(
            data, strict_map_key=False, max_ext_len=0, ext_hook=_no_ext, unicode_errors="surrogatepass"
        )


def gap(offset: int) -> int:
    """The bytes of padding between ``offset`` and the next multiple of 64."""
    return -offset % ALIGNMENT


def corrupt(key: str | None, what: str) -> CorruptEntryError:
    """The error for damage to the blob filed under ``key``."""
    name = "a blob" if key is None else f"the blob of {key}"
    return CorruptEntryError(
        f"{name} is damaged: {what}. Restore it from another tier or a backup, or forget it", key=key
    )


def unknown(key: str | None, what: str) -> CorruptEntryError:
    """The error for a blob that needs something which only a later version may know."""
    name = "a blob" if key is None else f"the blob of {key}"
    return CorruptEntryError(
        f"{name} needs {what}: a newer laila may be able to read it; if none wrote it, it is damaged", key=key
    )


class BlobHead:
    """What the head of a blob says, without the buffers: enough to compare, list and route.

    ``table`` has one ``(nbytes, dtype, shape, order, checksum)`` per buffer, ``pieces`` the checksums of its
    pieces (:mod:`laila.blob.pieces`), joined, where it has several, else nothing.

    ``nbytes`` is the size of the whole blob and ``head_nbytes`` that of its head, padding included. ``notes``
    are the header fields that a reader may skip, known here or not. Read-only by convention, safe between
    threads.
    """

    __slots__ = (
        "_meta",
        "digest",
        "head_nbytes",
        "key",
        "nbytes",
        "nickname",
        "notes",
        "pieces",
        "signature",
        "table",
        "transformations",
        "tree",
        "tree_span",
    )

    key: str
    nickname: str | None
    digest: bytes
    transformations: tuple[tuple[str, Mapping[str, object]], ...]
    signature: tuple[str, bytes] | None
    notes: Mapping[str, bytes]
    table: tuple[tuple[int, str | None, tuple[int, ...], str, bytes], ...]
    pieces: tuple[bytes, ...]
    nbytes: int
    head_nbytes: int
    tree: bytes
    tree_span: tuple[int, int]
    _meta: Meta | None

    @property
    def metadata(self) -> Mapping[str, object]:
        """Created (seconds since the epoch), type, size (bytes), codec and user, as in :class:`Blob`."""
        return metadata_of(self._meta, self.key)

    def offsets(self) -> list[int]:
        """Return where each buffer starts, counted from the first byte of the blob.

        Returns:
            The offset of each buffer, in bytes.
        """
        found, offset = [], self.head_nbytes
        for nbytes, *_ in self.table:
            offset += gap(offset)
            found.append(offset)
            offset += nbytes
        return found


def metadata_of(meta: Meta | None, key: str | None) -> Mapping[str, object]:
    """The metadata of the blob filed under ``key`` as people see it. Raises :class:`CorruptEntryError`."""
    if meta is None:
        return MappingProxyType({})
    created, kind, size, codec, packed = meta
    user: object = {}
    if packed is not None:
        try:
            user = unpack_checked(packed)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise corrupt(key, f"its metadata cannot be read ({said(error, 200)})") from error
        if type(user) is not dict:
            raise corrupt(key, "its metadata is no map")
    return MappingProxyType({"created": created, "type": kind, "size": size, "codec": codec, "user": user})


def head_checksum(fixed: bytes | memoryview, rest: bytes | memoryview) -> int:
    """The checksum of a head: of its first 32 bytes, and of what follows the checksum itself."""
    # Seeding one hash with the other covers both without copying the second.
    return xxh3_64_intdigest(rest, seed=xxh3_64_intdigest(fixed))


NOTE_BYTES = 64 * 1024
"""The most bytes of one note, a header field that a reader may skip."""
MOST_NOTES = 16
is_field = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII).fullmatch


def check_notes(notes: Mapping[str, bytes]) -> None:
    """Raise ValueError or TypeError for notes that no header may have."""
    if len(notes) > MOST_NOTES:
        raise ValueError(f"more than {MOST_NOTES} fields that may be skipped")
    for name, value in notes.items():
        if not is_field(name) or not name[0].isupper():
            raise ValueError("a field that may be skipped begins with a capital letter")
        if len(expect(value, bytes)) > NOTE_BYTES:
            raise ValueError(f"a field of more than {NOTE_BYTES} bytes")


def expect(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value
