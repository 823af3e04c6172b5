"""The layout of the file, apart from what HDF5 itself decides.

- The user block (the first 4096 bytes, which HDF5 leaves to applications) holds the :class:`Header`.
- ``/laila/index/<n>`` are byte datasets that hold the log of the index: blocks of rows, in the order of
  their commits.
- ``/laila/data/<n>`` are byte datasets that hold small blobs, and the heads of large ones, packed.
- ``/entries/<name>`` is a large blob's only buffer as a dataset, or a group of its buffers ``0``, ``1``, …
- ``/laila/deleted/<n>`` keeps what was deleted from ``/entries``: its bytes stay in place for those who are
  just reading them, until compaction.

So the bytes of a committed entry never change in a file: they can be read without any lock.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import msgpack
from xxhash import xxh3_64_intdigest

from laila.errors import CorruptEntryError, PoolFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from laila.pool.hdf5.storage import Storage

__all__ = ["USER_BLOCK", "Header", "Row", "decode_blocks", "encode_block", "entry_name", "superblock_end"]

USER_BLOCK = 4096

Row = tuple[str | None] | tuple[str, int, int] | tuple[str, int, int, tuple[tuple[int, int, bool], ...]]
"""One row of the index log: ``(key, offset, length)`` is a packed blob; with a fourth member the blob's
head, and for each buffer ``(offset, length, transposed)``; ``(key,)`` deletes, ``(None,)`` everything."""

Entry = tuple[str, int, int] | tuple[str, int, int, tuple[tuple[int, int, bool], ...]]
"""A row that says where the bytes of an entry are."""


class Header:
    """The user block: which file this is, how often it was committed, and where its logs stand.

    Offsets count from the start of the file. ``generation`` grows with every commit and ``moved`` is set when
    compaction has put another file in this one's place: both stand alone, to be read at a glance. A log's
    segment is ``(offset, size, used)``; ``serial`` numbers what needs a name in ``/laila``.
    """

    __slots__ = ("data", "file_id", "generation", "index", "serial")

    MAGIC: ClassVar[bytes] = b"\x93LAILA5\n"
    VERSION: ClassVar[int] = 1
    _FORM: ClassVar[Struct] = Struct("<8sII16sQQQ6Q")
    _CHECKSUM: ClassVar[Struct] = Struct("<Q")
    _MOVED_AT: ClassVar[int] = 40
    _GLANCE: ClassVar[Struct] = Struct("<16sQQ")
    _GLANCE_AT: ClassVar[int] = 16
    _OPENED_AT: ClassVar[int] = 128  # outside of the header proper, as it says nothing about the entries

    def __init__(self, file_id: bytes) -> None:
        self.file_id = file_id
        self.generation = 0
        self.serial = 0
        self.index = (0, 0, 0)
        self.data = (0, 0, 0)

    def copy(self) -> Header:
        """Return a copy of the header."""
        other = Header(self.file_id)
        other.generation, other.serial, other.index, other.data = (
            self.generation,
            self.serial,
            self.index,
            self.data,
        )
        return other

    def encode(self) -> bytes:
        """Return the bytes of the header, ``moved`` unset."""
        form = self._FORM.pack(
            self.MAGIC,
            self.VERSION,
            0,
            self.file_id,
            self.generation,
            0,
            self.serial,
            *self.index,
            *self.data,
        )
        return form + self._CHECKSUM.pack(xxh3_64_intdigest(form))

    @classmethod
    def read(cls, storage: Storage, path: str) -> Self:
        """Read the header. Raises :class:`PoolFormatError` for a file that is not a pool."""
        raw = cls.identify(storage, path)
        if not cls._is_whole(raw):
            raise PoolFormatError(
                f"the header of {path} is damaged; restore the file from a backup (h5py still opens it)",
                pool=path,
            )
        _, _, _, file_id, generation, _, serial, *segments = cls._FORM.unpack_from(raw)
        header = cls(file_id)
        header.generation, header.serial = generation, serial
        header.index = (segments[0], segments[1], segments[2])
        header.data = (segments[3], segments[4], segments[5])
        return header

    @classmethod
    def identify(cls, storage: Storage, path: str) -> bytes:
        """Return the raw header of a pool of this version, or raise :class:`PoolFormatError`."""
        raw = storage.read(cls._FORM.size + cls._CHECKSUM.size, 0)
        if raw[:8] != cls.MAGIC or len(raw) < cls._FORM.size:
            kind = (
                "an HDF5 file, but no laila pool" if raw[:8] == _SIGNATURE else "no HDF5 file made by laila"
            )
            raise PoolFormatError(
                f"{path} is {kind}; it was left as it is. Give the pool another path",
                pool=path,
            )
        version = int.from_bytes(raw[8:12], "little")
        if version != cls.VERSION:
            raise PoolFormatError(
                f"{path} has format version {version}, not {cls.VERSION}: use a newer laila-pool-hdf5",
                pool=path,
            )
        return raw

    @classmethod
    def file_id_of(cls, raw: bytes) -> bytes:
        """Return the file id from a raw header; it stands in the first sector and never changes."""
        return raw[16:32]

    @classmethod
    def glance(cls, storage: Storage) -> tuple[bytes, int, int]:
        """Read ``(file_id, generation, moved)`` alone."""
        raw = storage.read(cls._GLANCE.size, cls._GLANCE_AT)
        # None if another program has cut the file down to nothing. No header has the generation 0, so the
        # caller reads the header next, and that raises the error.
        file_id, generation, moved = cls._GLANCE.unpack(raw) if len(raw) == cls._GLANCE.size else (b"", 0, 0)
        return file_id, generation, moved

    @classmethod
    def opened_as(cls, storage: Storage) -> int:
        """Return the inode number of the file when it was opened for writing; 0 if nobody noted it."""
        return int.from_bytes(storage.read(8, cls._OPENED_AT), "little")

    @classmethod
    def set_opened(cls, storage: Storage, number: int) -> None:
        """Note the inode number. It tells a copy from the file itself."""
        if cls.opened_as(storage) != number:
            storage.write(cls._CHECKSUM.pack(number), cls._OPENED_AT)

    @classmethod
    def is_next(cls, storage: Storage, runs: Sequence[tuple[int, bytes]]) -> bool:
        """Whether a journal's record makes the header that follows this one, or has begun to.

        If somebody copies a file while it is written, the copy may have the header of one commit, and at its
        end the record of a much later commit. The bytes between them are not in the copy. Then the header
        counts: everything that it leads to was there when it was copied.
        """
        new = next((data for offset, data in runs if offset == 0), b"")
        old = storage.read(cls._FORM.size + cls._CHECKSUM.size, 0)
        if len(new) < len(old) or not cls._is_whole(old):
            # the writer was interrupted in the midst of the header: the record has the whole header
            return True
        before, after = (cls._GLANCE.unpack_from(raw, cls._GLANCE_AT)[1] for raw in (old, new))
        return bool(before in (after - 1, after))

    @classmethod
    def _is_whole(cls, raw: bytes) -> bool:
        size = cls._FORM.size
        # "moved" is set alone, so the checksum covers the header with it unset.
        form = raw[: cls._MOVED_AT] + bytes(8) + raw[cls._MOVED_AT + 8 : size]
        checksum = raw[size : size + cls._CHECKSUM.size]
        return cls._CHECKSUM.pack(xxh3_64_intdigest(form)) == checksum

    @classmethod
    def set_moved(cls, storage: Storage, moved: bool) -> None:
        """Set or clear the mark that another file stands in this file's place."""
        storage.write(cls._CHECKSUM.pack(moved), cls._MOVED_AT)


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# signature, version, size of offsets, size of lengths, flags, base address, extension address, end of file
_SUPERBLOCK = Struct("<8sBBBBQQQ")


def superblock_end(storage: Storage, path: str) -> int:
    """Return where HDF5's file ends, from its superblock (version 2 or 3, as this pool creates it)."""
    raw = storage.read(_SUPERBLOCK.size, USER_BLOCK)
    if len(raw) == _SUPERBLOCK.size:
        signature, version, offsets, lengths, _, base, _, end = _SUPERBLOCK.unpack(raw)
        if signature == _SIGNATURE and version in (2, 3) and (offsets, lengths, base) == (8, 8, USER_BLOCK):
            if end <= storage.size():
                return int(end)
            raise PoolFormatError(
                f"{path} is cut short: {storage.size()} bytes of {end}; restore it from a backup", pool=path
            )
    raise PoolFormatError(f"{path} has no readable HDF5 superblock; restore it from a backup", pool=path)


# Every segment of the index log begins with the offset of the one before it and the bytes used there (0:
# none), and the checksum of the two.
_SEGMENT_HEAD = Struct("<QQ")
SEGMENT_HEAD_BYTES = _SEGMENT_HEAD.size + 8


def encode_segment_head(offset: int, used: int) -> bytes:
    """Return the first bytes of a segment that follows a segment at ``offset`` with ``used`` bytes."""
    head = _SEGMENT_HEAD.pack(offset, used)
    return head + xxh3_64_intdigest(head).to_bytes(8, "little")


def decode_segment_head(segment: bytes, path: str) -> tuple[int, int]:
    """Return offset and used bytes of the segment before ``segment``, or raise for a damaged one."""
    head = segment[: _SEGMENT_HEAD.size]
    if segment[len(head) : SEGMENT_HEAD_BYTES] != xxh3_64_intdigest(head).to_bytes(8, "little"):
        raise damaged_index(path)
    offset, used = _SEGMENT_HEAD.unpack(head)
    return offset, used


def damaged_index(path: str) -> CorruptEntryError:
    """Return the error for an index whose bytes are not the written ones."""
    return CorruptEntryError(
        f"the index of {path} is damaged; restore the file from a backup", key=None, pool=path
    )


# Bytes of the rows, their checksum; then the rows, one MessagePack array.
_BLOCK = Struct("<QQ")


def encode_block(rows: Sequence[Row]) -> bytes:
    """Return the block of the index log that holds ``rows``."""
    body: bytes = msgpack.packb(rows)
    return _BLOCK.pack(len(body), xxh3_64_intdigest(body)) + body


def decode_blocks(data: bytes, path: str) -> list[Row]:
    """Return the rows of adjacent blocks, in order. Raises :class:`CorruptEntryError` for a damaged one."""
    rows: list[Row] = []
    position = 0
    while position < len(data):
        start = position + _BLOCK.size
        length, checksum = _BLOCK.unpack_from(data, position) if start <= len(data) else (len(data), 0)
        body = data[start : start + length]
        if len(body) != length or xxh3_64_intdigest(body) != checksum:
            raise damaged_index(path)
        rows.extend(_rows(body, path))
        position = start + length
    return rows


_MOST = 1 << 62  # files are shorter; the system's calls refuse larger numbers


def _rows(body: bytes, path: str) -> tuple[Row, ...]:
    """Read rows and check the form of each: the author of the file may have written anything."""
    try:
        # MessagePack's unpacker makes room for announced lengths; a walk over the bytes first does not.
        walker = msgpack.Unpacker(None, max_buffer_size=max(len(body), 1))
        walker.feed(body)
        walker.skip()
        if walker.tell() == len(body):
            rows = msgpack.unpackb(body, use_list=False, max_map_len=0, max_ext_len=0)
            if type(rows) is tuple and all(map(_is_row, rows)):
                return rows
    except (ValueError, TypeError, LookupError, RecursionError, msgpack.UnpackException) as error:
        raise damaged_index(path) from error
    raise damaged_index(path)


def _is_row(row: object) -> bool:
    if type(row) is not tuple:
        return False
    if len(row) == 1:
        return row[0] is None or type(row[0]) is str
    if len(row) not in (3, 4) or type(row[0]) is not str or not _is_place(row[1], row[2]):
        return False
    return len(row) == 3 or (type(row[3]) is tuple and all(map(_is_buffer, row[3])))


def _is_place(offset: object, length: object) -> bool:
    return type(offset) is int and type(length) is int and 0 <= offset < _MOST and 0 <= length < _MOST


def _is_buffer(buffer: object) -> bool:
    return (
        type(buffer) is tuple
        and len(buffer) == 3
        and type(buffer[2]) is bool
        and _is_place(buffer[0], buffer[1])
    )


# Characters that a link in HDF5 cannot hold are written as %XX, and so is the percent itself.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%/")


def entry_name(key: str) -> bytes:
    """Return the name of a key's link in ``/entries``; ``%XX`` quotes what a link cannot hold."""
    name = quote(key, safe=_SAFE)
    return (name.replace(".", "%2E") if name in (".", "..") else name).encode("ascii")
