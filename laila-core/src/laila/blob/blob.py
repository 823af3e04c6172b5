"""Blob: the one stored form of an entry, for pools, peers and files.

A blob in memory is a tree (MessagePack) and a tuple of buffers; it turns into bytes when it leaves the
process: a prefix, a MessagePack header, the tree, then each buffer at an offset that is a multiple of 64.
Checksums and the content digest are made at that moment and verified when a blob enters, so that damage
anywhere is a :class:`~laila.errors.CorruptEntryError`, never wrong data. ``docs/reference/blob-format.md``
gives every byte.

This module knows the form, not the meaning: what a tree says is the business of :mod:`laila.codec`.
"""

from __future__ import annotations

from laila.blob.buffer import Buffer, byte_view
from laila.blob.buffers import content_digest, cut, is_same_buffer, pack_table, table_of, without_padding
from laila.blob.head import (
    CHECKSUM,
    FIXED,
    FORMAT_VERSION,
    MAGIC,
    PREFIX_BYTES,
    ZEROS,
    BlobHead,
    check_notes,
    corrupt,
    gap,
    head_checksum,
    metadata_of,
    unpack_checked,
)
from laila.blob.parsing import head_nbytes, parse_head, read_plain
from laila.blob.pieces import DIGEST_BYTES, PIECE, count_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from laila.blob.head import Meta

__all__ = ["FORMAT_VERSION", "MAGIC", "Blob", "BlobHead", "BytesLike", "metadata_of", "unpack_checked"]


BytesLike = bytes | bytearray | memoryview

_NO_HASH = bytes(DIGEST_BYTES)
SHORT_BYTES = 64 * 1024
"""Up to this size a blob of the most common kind is read in one go: copying it costs less than views."""
# From this size on a buffer does not stay in the processor's cache between being verified and being copied.
_LARGE = PIECE


class Blob:
    """One payload in its stored form.

    Immutable by convention and safe to share between threads. Made by :func:`laila.codec.encode`, read back
    by :meth:`from_bytes` or :meth:`from_parts`; a pool that keeps Python objects may keep the blob itself.

    ``key`` is the global id, ``tree`` the MessagePack rows, ``buffers`` the out-of-band pieces, ``nickname``
    the entry's name or None, ``signature`` a key id and its HMAC or None, and ``transformations`` what was
    applied (name and public parameters, outermost last). ``notes`` are header fields whose names begin with a
    capital letter, each up to 64 KiB: a reader that does not know one keeps it and does without it.

    A transformed blob has an empty tree and one buffer, which holds the transformed bytes of the whole inner
    blob; its nickname, metadata, notes and signature are in there.
    """

    __slots__ = (
        "_digest",
        "_meta",
        "buffers",
        "key",
        "nickname",
        "notes",
        "signature",
        "transformations",
        "tree",
        "undone",
    )

    def __init__(
        self,
        key: str,
        tree: bytes,
        buffers: tuple[Buffer, ...] = (),
        nickname: str | None = None,
        meta: Meta | None = None,
        transformations: tuple[tuple[str, Mapping[str, object]], ...] = (),
        signature: tuple[str, bytes] | None = None,
        digest: bytes | None = None,
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        if notes:
            check_notes(notes)
        self.key = key
        self.tree = tree
        self.buffers = buffers
        self.nickname = nickname
        self._meta = meta
        self.transformations = transformations
        self.signature = signature
        self._digest = digest
        self.notes = notes  # None where there are none: most blobs have none, and this is the shortest way
        self.undone: tuple[str, ...] = ()  # the names of transformations that were undone on the way here

    @property
    def metadata(self) -> Mapping[str, object]:
        """A read-only mapping: ``created`` (seconds since the epoch).

        ``type``, ``size`` (bytes), ``codec`` and ``user``.

        Built anew at each use. Empty for a transformed blob, whose metadata is inside.
        """
        return metadata_of(self._meta, self.key)

    @property
    def digest(self) -> bytes:
        """The content digest, 16 bytes: equal for equal content, whatever its metadata and transformations.

        XXH3-128 over the buffer table and the tree, computed at first use; keyed where a transformation
        encrypts. It tells contents apart, it does not resist somebody who makes two contents collide.
        """
        if self._digest is None:
            self._digest = content_digest(self.tree, table_of(self.buffers))
        return self._digest

    def has_content_of(self, other: Blob) -> bool:
        """Whether both, as plain blobs, have the same content byte by byte; metadata do not count.

        :attr:`digest` cannot say that if somebody made two contents collide.

        Args:
            other: The other blob.

        Returns:
            True if the contents are equal.
        """
        return (
            self.tree == other.tree
            and len(self.buffers) == len(other.buffers)
            and all(map(is_same_buffer, self.buffers, other.buffers))
        )

    def _header(self, digest: bytes, table: list[list[object]], pieces: list[bytes]) -> bytes:
        header: dict[str, object] = {"id": self.key, "digest": digest}
        if self.nickname is not None:
            header["nick"] = self.nickname
        if self._meta is not None:
            header["meta"] = self._meta
        if table:
            header["buffers"] = table
        if pieces:
            header["pieces"] = pieces
        if self.transformations:
            header["trans"] = [[name, dict(params)] for name, params in self.transformations]
        if self.signature is not None:
            header["sig"] = self.signature
        if self.notes:
            header.update(self.notes)
        return pack_table(header)

    def _sizes(self, header_bytes: int) -> tuple[int, int]:
        """The bytes of padding after the tree, and of the whole blob."""
        size = PREFIX_BYTES + header_bytes + len(self.tree)
        if not self.buffers:
            return 0, size
        padding = gap(size)
        size += padding
        for buffer in self.buffers:
            size += gap(size) + buffer.data.nbytes
        return padding, size

    @property
    def nbytes(self) -> int:
        """``len(bytes(blob))``, found without hashing anything."""
        table = [[b.nbytes, b.dtype, b.shape, b.order, _NO_HASH] for b in self.buffers]
        pieces = [bytes(DIGEST_BYTES * count_of(b.nbytes)) for b in self.buffers if b.nbytes > PIECE]
        return self._sizes(len(self._header(_NO_HASH, table, pieces)))[1]  # type: ignore[arg-type]

    @property
    def content_nbytes(self) -> int:
        """The bytes of tree and buffers, without the head that tells of them."""
        size = len(self.tree)
        for buffer in self.buffers:
            size += buffer.nbytes
        return size

    @property
    def head(self) -> bytes:
        """Prefix, header, tree and the padding to the first buffer, with the checksums of everything.

        Built anew.
        """
        tree = self.tree
        pieces = [b.pieces for b in self.buffers if b.data.nbytes > PIECE] if self.buffers else []
        header = self._header(self.digest, table_of(self.buffers), pieces)
        padding, total = self._sizes(len(header))
        fixed = FIXED.pack(MAGIC, FORMAT_VERSION, 0, len(header), len(tree), total)
        rest = b"".join((header, tree, ZEROS[:padding])) if padding else header + tree
        return b"".join((fixed, CHECKSUM.pack(head_checksum(fixed, rest)), rest))

    @property
    def parts(self) -> list[memoryview | bytes]:
        """The pieces to write one after the other: the head, then buffers and the padding between them."""
        head = self.head
        parts: list[memoryview | bytes] = [head]
        offset = len(head)
        for buffer in self.buffers:
            padding = gap(offset)
            if padding:
                parts.append(ZEROS[:padding])
            parts.append(buffer.data)
            offset += padding + buffer.data.nbytes
        return parts

    def ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of some ranges of ``bytes(blob)``, without joining the rest.

        Args:
            ranges: Pairs of first byte and the one after the last.

        Returns:
            The bytes of each; fewer where the blob ends before.
        """
        return cut(self.parts, ranges)

    def __bytes__(self) -> bytes:
        return b"".join(self.parts) if self.buffers else self.head

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Blob.from_bytes, (bytes(self),)

    def __repr__(self) -> str:
        how = "".join(f" {name}" for name, _ in self.transformations)
        return f"<Blob {self.key} {len(self.tree)} bytes and {len(self.buffers)} buffers{how}>"

    def signed_parts(self, key_id: str) -> list[memoryview | bytes]:
        """Return the parts that a signature covers, each after its length.

        Key id, global id, header with its notes, tree, all buffers.

        Args:
            key_id: The id of the signing key.

        Returns:
            The parts, to be signed one after the other.
        """
        table = [[b.nbytes, b.dtype, b.shape, b.order] for b in self.buffers]
        described: list[object] = [key_id, self.key, self.nickname, self._meta, table]
        if self.notes:
            described.append(dict(self.notes))
        header = pack_table(described)
        parts: list[memoryview | bytes] = []
        covered: list[memoryview | bytes] = [header, self.tree, *(b.data for b in self.buffers)]
        for part in covered:
            parts += (CHECKSUM.pack(memoryview(part).nbytes), part)
        return parts

    @classmethod
    def from_bytes(
        cls,
        data: BytesLike,
        *,
        key: str | None = None,
        verify: bool = True,
        owned: bool = False,
        deferred: bool = False,
    ) -> Self:
        """Read a whole blob, its buffers as views of ``data`` without copying.

        ``data`` must not change while the blob is in use. ``key`` is the key that it was read under: a blob
        with another id is refused. ``verify=False`` skips the checksums, never the checks of structure.
        ``owned=True`` gives writable ``data`` away: an array may keep this memory, instead of a copy.
        ``deferred=True`` leaves the checksums of large buffers to :func:`laila.codec.decode`, which verifies
        them while it copies.

        Args:
            data: All bytes of the blob.
            key: The key that it was read under.
            verify: Whether to check the checksums.
            owned: Whether an array may keep writable ``data``.
            deferred: Whether the decoder checks large buffers.

        Raises:
            CorruptEntryError: for anything that is not exactly what was written.
        """
        if type(data) is bytes and len(data) <= SHORT_BYTES:
            short = read_plain(data, key, cls)
            if short is not None:
                return short
        view = byte_view(data)
        head = parse_head(view, key, verify)
        if head.nbytes != view.nbytes:
            raise corrupt(
                key, f"{view.nbytes} bytes where it says {head.nbytes}: it was cut or something was appended"
            )
        if not head.table:
            return cls._assemble(head, view, (), key, verify, deferred)
        pieces = []
        end = head.head_nbytes
        for start, (nbytes, *_) in zip(head.offsets(), head.table, strict=True):
            if view[end:start].tobytes().strip(b"\0"):
                raise corrupt(key, "the padding between two buffers is not zero")
            end = start + nbytes
            pieces.append(view[start:end])
        blob = cls._assemble(head, view, pieces, key, verify, deferred)
        if owned and not memoryview(data).readonly:
            for start, buffer in zip(head.offsets(), blob.buffers, strict=True):
                # A small part of a large blob would keep the whole of it in memory.
                if 2 * buffer.nbytes >= head.nbytes:
                    buffer.owned = memoryview(data)[start : start + buffer.nbytes]
        return blob

    @classmethod
    def from_parts(
        cls,
        parts: Sequence[object],
        *,
        key: str | None = None,
        verify: bool = True,
        owned: bool = False,
        deferred: bool = False,
    ) -> Self:
        """Read a blob from pieces: its head and one piece per buffer, or any split of ``bytes(blob)``.

        ``[head, *buffers]`` (unpadded; any contiguous buffers, numpy arrays too) and :attr:`parts` as it
        stands are taken without copying; any other split is joined first. Options and errors are those of
        :meth:`from_bytes`.

        Args:
            parts: The head and the buffers, or other pieces of the blob.
            key: The key that it was read under.
            verify: Whether to check the checksums.
            owned: Whether an array may keep a writable piece.
            deferred: Whether the decoder checks large buffers.

        Raises:
            CorruptEntryError: the pieces are not a blob that was written.
        """
        if not parts:
            raise corrupt(key, "it has no parts")
        views = [byte_view(part) for part in parts]
        if len(views) == 1:
            return cls.from_bytes(views[0], key=key, verify=verify, deferred=deferred)
        if 0 < head_nbytes(views[0]) == len(views[0]):
            head = parse_head(views[0], key, verify)
            sizes = [row[0] for row in head.table]
            given = [view.nbytes for view in views[1:]]
            if given == sizes:
                blob = cls._assemble(head, views[0], views[1:], key, verify, deferred)
                for part, buffer in zip(parts[1:], blob.buffers, strict=True):
                    if owned and isinstance(part, memoryview) and not part.readonly:
                        buffer.owned = part
                return blob
            pieces = without_padding(head, views[1:])
            if pieces is not None:
                return cls._assemble(head, views[0], pieces, key, verify, deferred)
        return cls.from_bytes(b"".join(views), key=key, verify=verify)

    @classmethod
    def read_head(cls, head: BytesLike, *, key: str | None = None) -> BlobHead:
        """Read and verify the head alone; bytes that follow it in ``head`` are ignored.

        Raises :class:`CorruptEntryError`.

        Args:
            head: The first bytes of the blob, with at least its head.
            key: The key that it was read under.

        Returns:
            The head.
        """
        return parse_head(byte_view(head), key, True)

    @classmethod
    def _assemble(
        cls,
        head: BlobHead,
        view: memoryview,
        pieces: Sequence[memoryview],
        key: str | None,
        verify: bool,
        deferred: bool,
    ) -> Self:
        buffers = []
        for data, row, sums in zip(pieces, head.table, head.pieces, strict=True):
            nbytes, dtype, shape, order, checksum = row
            buffer = Buffer(data, dtype, shape, order, checksum=checksum, pieces=sums)
            if verify:
                buffer.checked = False
                # A transformed buffer is read through before it is decoded.
                if not deferred or nbytes < _LARGE or head.transformations:
                    buffer.check(key or head.key)
            buffers.append(buffer)
        start, stop = head.tree_span
        tree = bytes(view[start:stop])
        if verify and not head.transformations:
            if content_digest(tree, table_of(buffers) if buffers else []) != head.digest:
                raise corrupt(key or head.key, "its content does not match its digest")
        return cls(
            head.key,
            tree,
            tuple(buffers),
            head.nickname,
            head._meta,
            head.transformations,
            head.signature,
            head.digest,
            head.notes or None,
        )
