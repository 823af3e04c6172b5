"""Blob: the one stored form of an entry, for pools, peers and files.

A blob in memory is a tree (MessagePack) and a tuple of buffers; it turns into bytes when it leaves the
process:
a prefix, a MessagePack header, the tree, then each buffer at an offset that is a multiple of 64. Checksums
and
the content digest are made at that moment and verified when a blob enters, so that damage anywhere is a
:class:`~laila.errors.CorruptEntryError`, never wrong data. ``docs/reference/blob-format.md`` gives every
byte.

This module knows the form, not the meaning: what a tree says is the business of :mod:`laila.codec`.
"""

from __future__ import annotations

from struct import Struct
from types import MappingProxyType

import msgpack
from xxhash import xxh3_64_intdigest, xxh3_128, xxh3_128_digest

from laila.errors import CorruptEntryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self, TypeVar

    BytesLike = bytes | bytearray | memoryview
    T = TypeVar("T")

__all__ = ["FORMAT_VERSION", "MAGIC", "Blob", "BlobHead", "Buffer", "byte_view", "unpack_checked"]

MAGIC = b"\x93LAILA\r\n"
"""The first eight bytes of every blob: no text, and changed by what changes line ends."""
FORMAT_VERSION = 1
ALIGNMENT = 64
DIGEST_BYTES = 16

# magic, version, reserved (0), header bytes, tree bytes, total bytes; then the checksum of the head without
# itself.
_FIXED = Struct("<8sHHIQQ")
_CHECKSUM = Struct("<Q")
_PREFIX_BYTES = _FIXED.size + _CHECKSUM.size
_ZEROS = bytes(ALIGNMENT)
_NO_HASH = bytes(DIGEST_BYTES)
# Up to this size a MessagePack object is unpacked without a look at its structure first; see unpack_checked.
_UNCHECKED = 4096
_MAX_DIMENSIONS = 64
_MAX_SIZE = 1 << 62


def byte_view(data: object) -> memoryview:
    """Return ``data`` as a read-only, one-dimensional view of its bytes, without copying.

    Takes whatever gives a contiguous buffer (C or Fortran order), numpy arrays of any dtype without objects
    included. Raises ``TypeError`` or ``BufferError`` for anything else.
    """
    if type(data) is bytes:
        return memoryview(data)
    if type(data).__module__ == "numpy":
        import numpy as np

        if isinstance(data, np.ndarray) and not data.dtype.hasobject:
            flat = data if data.flags.c_contiguous else data.T
            if not flat.flags.c_contiguous:
                raise BufferError("a strided array is no contiguous buffer")
            if not flat.nbytes:
                return memoryview(b"")
            data = flat.reshape(-1).view(np.uint8)
    view = memoryview(data)  # type: ignore[arg-type]  # what is no buffer is told so here
    if "O" in view.format:
        raise TypeError("the addresses of Python objects are no content")
    if not view.nbytes:
        return memoryview(b"")
    if not view.c_contiguous:
        raise BufferError("a strided view is no contiguous buffer")
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    return view.toreadonly()


def unpack_checked(data: BytesLike) -> object:
    """Unpack one MessagePack object that may come from anywhere.

    A hostile object can announce nested arrays that are not there, and MessagePack's unpacker allocates what
    is
    announced; so anything but a small object is first walked without building it. Raises ``ValueError`` (of
    several kinds) for what is not exactly one object.
    """
    if len(data) > _UNCHECKED:
        walker = msgpack.Unpacker(None, max_buffer_size=len(data))
        walker.feed(data)
        try:
            walker.skip()
        except msgpack.OutOfData:
            raise ValueError("it is cut short") from None
        if walker.tell() != len(data):
            raise ValueError("something follows it")
    return msgpack.unpackb(
        data, strict_map_key=False, unicode_errors="surrogatepass", max_ext_len=0, ext_hook=_no_ext
    )


def _no_ext(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} has no place here")


def _pack(value: object) -> bytes:
    packed: bytes
    try:
        packed = msgpack.packb(value)
    except UnicodeEncodeError:
        packed = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def _padding(offset: int) -> int:
    return -offset % ALIGNMENT


class Buffer:
    """One out-of-band piece of a payload: the bytes of an array, a tensor or a long bytes object.

    ``data`` is a read-only one-dimensional view of exactly ``nbytes`` bytes. ``dtype`` is numpy's
    ``dtype.str``
    for simple types (``'<f8'``, ``'<M8[ns]'``, ``'|b1'``, …), with the ``shape`` and the memory ``order``
    (``'C'``
    or ``'F'``) of the array; None says plain bytes, of shape ``(nbytes,)``. Immutable by convention.
    """

    __slots__ = ("_hash", "data", "dtype", "order", "shape")

    def __init__(
        self,
        data: memoryview,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        order: str = "C",
        *,
        checksum: bytes | None = None,
    ) -> None:
        self.data = data
        self.dtype = dtype
        self.shape = (data.nbytes,) if shape is None else shape
        self.order = order
        self._hash = checksum

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.data.nbytes

    @property
    def checksum(self) -> bytes:
        """The XXH3-128 hash of the bytes, computed at first use."""
        if self._hash is None:
            self._hash = xxh3_128_digest(self.data)
        return self._hash

    def __repr__(self) -> str:
        what = "bytes" if self.dtype is None else f"{self.dtype} {self.shape} {self.order}"
        return f"<Buffer {self.nbytes} bytes: {what}>"


class StoredFacts:
    """What a blob says about its payload besides the payload: kept by an entry after the blob is gone."""

    __slots__ = ("_meta", "_undone")

    def __init__(
        self, meta: tuple[float, str, int, str, bytes | None] | None, undone: tuple[str, ...]
    ) -> None:
        self._meta = meta
        self._undone = undone

    @property
    def created(self) -> float:
        """When the payload came to be, in seconds since the epoch; 0.0 where the blob does not say."""
        return self._meta[0] if self._meta is not None else 0.0

    @property
    def metadata(self) -> Mapping[str, object]:
        """Created, type, size, codec and user.

        As in :class:`Blob`, and the names of the ``transformations``.
        """
        return MappingProxyType({"user": {}, **_metadata(self._meta), "transformations": self._undone})


class BlobHead:
    """What the head of a blob says, without the buffers: enough to compare, list and route.

    ``table`` has one ``(nbytes, dtype, shape, order, checksum)`` per buffer; ``nbytes`` is the size of the
    whole
    blob and ``head_nbytes`` that of its head, padding included. Read-only by convention, safe between
    threads.
    """

    __slots__ = (
        "_meta",
        "digest",
        "head_nbytes",
        "key",
        "nbytes",
        "nickname",
        "signature",
        "table",
        "transformations",
        "tree_span",
    )

    key: str
    nickname: str | None
    digest: bytes
    transformations: tuple[tuple[str, Mapping[str, object]], ...]
    signature: tuple[str, bytes] | None
    table: tuple[tuple[int, str | None, tuple[int, ...], str, bytes], ...]
    nbytes: int
    head_nbytes: int
    tree_span: tuple[int, int]
    _meta: tuple[float, str, int, str, bytes | None] | None

    @property
    def metadata(self) -> Mapping[str, object]:
        """Created (seconds since the epoch), type, size (bytes), codec and user, as in :class:`Blob`."""
        return _metadata(self._meta)

    def offsets(self) -> list[int]:
        """Where each buffer starts, counted from the first byte of the blob."""
        found, offset = [], self.head_nbytes
        for nbytes, *_ in self.table:
            offset += _padding(offset)
            found.append(offset)
            offset += nbytes
        return found


class Blob:
    """One payload in its stored form.

    Immutable by convention and safe to share between threads. Made by :func:`laila.codec.encode`, read back
    by
    :meth:`from_bytes` or :meth:`from_parts`; a pool that keeps Python objects may keep the blob itself.

    ``key`` is the global id, ``tree`` the MessagePack rows, ``buffers`` the out-of-band pieces, ``nickname``
    the
    entry's name or None, ``signature`` a key id and its HMAC or None, and ``transformations`` what was
    applied
    (name and public parameters, outermost last). A transformed blob has an empty tree and one buffer, which
    holds the transformed bytes of the whole inner blob; its nickname, metadata and signature are in there.
    """

    __slots__ = (
        "_digest",
        "_meta",
        "buffers",
        "key",
        "nickname",
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
        meta: tuple[float, str, int, str, bytes | None] | None = None,
        transformations: tuple[tuple[str, Mapping[str, object]], ...] = (),
        signature: tuple[str, bytes] | None = None,
        digest: bytes | None = None,
    ) -> None:
        self.key = key
        self.tree = tree
        self.buffers = buffers
        self.nickname = nickname
        self._meta = meta
        self.transformations = transformations
        self.signature = signature
        self._digest = digest
        self.undone: tuple[str, ...] = ()  # the names of transformations that were undone on the way here

    @property
    def metadata(self) -> Mapping[str, object]:
        """A read-only mapping: ``created`` (seconds since the epoch).

        ``type``, ``size`` (bytes), ``codec`` and ``user``.

        Built anew at each use. Empty for a transformed blob, whose metadata is inside.
        """
        return _metadata(self._meta)

    @property
    def digest(self) -> bytes:
        """The content digest, 16 bytes: equal for equal content, whatever its metadata and transformations.

        XXH3-128 over the buffer table and the tree, computed at first use; keyed where a transformation
        encrypts. It tells contents apart, it does not resist somebody who makes two contents collide.
        """
        if self._digest is None:
            self._digest = _content_digest(self.tree, _table(self.buffers))
        return self._digest

    def stored_facts(self) -> StoredFacts:
        """Return what the blob says about its payload, without holding on to its bytes."""
        return StoredFacts(self._meta, self.undone)

    def _header(self, digest: bytes, table: list[list[object]]) -> bytes:
        header: dict[str, object] = {"id": self.key, "digest": digest}
        if self.nickname is not None:
            header["nick"] = self.nickname
        if self._meta is not None:
            header["meta"] = self._meta
        if table:
            header["buffers"] = table
        if self.transformations:
            header["trans"] = [[name, dict(params)] for name, params in self.transformations]
        if self.signature is not None:
            header["sig"] = self.signature
        return _pack(header)

    def _sizes(self, header_bytes: int) -> tuple[int, int]:
        """The bytes of padding after the tree, and of the whole blob."""
        size = _PREFIX_BYTES + header_bytes + len(self.tree)
        if not self.buffers:
            return 0, size
        padding = _padding(size)
        size += padding
        for buffer in self.buffers:
            size += _padding(size) + buffer.data.nbytes
        return padding, size

    @property
    def nbytes(self) -> int:
        """``len(bytes(blob))``, found without hashing anything."""
        table = [[b.nbytes, b.dtype, b.shape, b.order, _NO_HASH] for b in self.buffers]
        return self._sizes(len(self._header(_NO_HASH, table)))[1]  # type: ignore[arg-type]

    @property
    def head(self) -> bytes:
        """Prefix, header, tree and the padding to the first buffer, with the checksums of everything.

        Built anew.
        """
        tree = self.tree
        header = self._header(self.digest, _table(self.buffers))
        padding, total = self._sizes(len(header))
        fixed = _FIXED.pack(MAGIC, FORMAT_VERSION, 0, len(header), len(tree), total)
        rest = b"".join((header, tree, _ZEROS[:padding])) if padding else header + tree
        return b"".join((fixed, _CHECKSUM.pack(_head_checksum(fixed, rest)), rest))

    @property
    def parts(self) -> list[memoryview | bytes]:
        """The pieces to write one after the other: the head, then buffers and the padding between them."""
        head = self.head
        parts: list[memoryview | bytes] = [head]
        offset = len(head)
        for buffer in self.buffers:
            padding = _padding(offset)
            if padding:
                parts.append(_ZEROS[:padding])
            parts.append(buffer.data)
            offset += padding + buffer.data.nbytes
        return parts

    def __bytes__(self) -> bytes:
        return b"".join(self.parts) if self.buffers else self.head

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Blob.from_bytes, (bytes(self),)

    def __repr__(self) -> str:
        how = "".join(f" {name}" for name, _ in self.transformations)
        return f"<Blob {self.key} {len(self.tree)} bytes and {len(self.buffers)} buffers{how}>"

    def signed_parts(self, key_id: str) -> list[memoryview | bytes]:
        """What a signature covers, each part preceded by its length.

        Key id, global id, header, tree, all buffers.
        """
        table = [[b.nbytes, b.dtype, b.shape, b.order] for b in self.buffers]
        header = _pack([key_id, self.key, self.nickname, self._meta, table])
        parts: list[memoryview | bytes] = []
        covered: list[memoryview | bytes] = [header, self.tree, *(b.data for b in self.buffers)]
        for part in covered:
            parts += (_CHECKSUM.pack(memoryview(part).nbytes), part)
        return parts

    @classmethod
    def from_bytes(cls, data: BytesLike, *, key: str | None = None, verify: bool = True) -> Self:
        """Read a whole blob, its buffers as views of ``data`` without copying.

        ``data`` must not change while the blob is in use. ``key`` is the key it was read under: a blob that
        bears another id is refused. ``verify=False`` skips the checksums, never the checks of structure.

        Raises:
            CorruptEntryError: for anything that is not exactly what was written.
        """
        view = byte_view(data)
        head = _parse_head(view, key, verify)
        if head.nbytes != view.nbytes:
            raise _corrupt(
                key, f"{view.nbytes} bytes where it says {head.nbytes}: it was cut or something was appended"
            )
        pieces = []
        end = head.head_nbytes
        for start, (nbytes, *_) in zip(head.offsets(), head.table, strict=True):
            if view[end:start].tobytes().strip(b"\0"):
                raise _corrupt(key, "the padding between two buffers is not zero")
            end = start + nbytes
            pieces.append(view[start:end])
        return cls._assemble(head, view, pieces, key, verify)

    @classmethod
    def from_parts(cls, parts: Sequence[object], *, key: str | None = None, verify: bool = True) -> Self:
        """Read a blob from pieces: its head and one piece per buffer, or any split of ``bytes(blob)``.

        ``[head, *buffers]`` (unpadded; any contiguous buffers, numpy arrays too) and :attr:`parts` as it
        stands
        are taken without copying; any other split is joined first. Raises as :meth:`from_bytes` does.
        """
        if not parts:
            raise _corrupt(key, "it has no parts")
        views = [byte_view(part) for part in parts]
        if len(views) == 1:
            return cls.from_bytes(views[0], key=key, verify=verify)
        if len(views[0]) >= _PREFIX_BYTES and _head_bytes(views[0]) == len(views[0]):
            head = _parse_head(views[0], key, verify)
            sizes = [row[0] for row in head.table]
            given = [view.nbytes for view in views[1:]]
            if given == sizes:
                return cls._assemble(head, views[0], views[1:], key, verify)
            pieces = _without_padding(head, views[1:])
            if pieces is not None:
                return cls._assemble(head, views[0], pieces, key, verify)
        return cls.from_bytes(b"".join(views), key=key, verify=verify)

    @classmethod
    def read_head(cls, head: BytesLike, *, key: str | None = None) -> BlobHead:
        """Read and verify the head alone; whatever follows it in ``head`` is left alone.

        Raises :class:`CorruptEntryError`.
        """
        return _parse_head(byte_view(head), key, True)

    @classmethod
    def _assemble(
        cls, head: BlobHead, view: memoryview, pieces: list[memoryview], key: str | None, verify: bool
    ) -> Self:
        buffers = []
        for number, (piece, (_, dtype, shape, order, checksum)) in enumerate(
            zip(pieces, head.table, strict=True)
        ):
            if verify and xxh3_128_digest(piece) != checksum:
                raise _corrupt(key or head.key, f"buffer {number} does not match its checksum")
            buffers.append(Buffer(piece, dtype, shape, order, checksum=checksum))
        start, stop = head.tree_span
        tree = bytes(view[start:stop])
        if (
            verify
            and not head.transformations
            and _content_digest(tree, _table(tuple(buffers))) != head.digest
        ):
            raise _corrupt(key or head.key, "its content does not match its digest")
        return cls(
            head.key,
            tree,
            tuple(buffers),
            head.nickname,
            head._meta,
            head.transformations,
            head.signature,
            head.digest,
        )


def _corrupt(key: str | None, what: str) -> CorruptEntryError:
    name = "a blob" if key is None else f"the blob of {key}"
    return CorruptEntryError(
        f"{name} is damaged: {what}. Restore it from another tier or a backup, or forget it", key=key
    )


def _table(buffers: tuple[Buffer, ...]) -> list[list[object]]:
    return [[b.data.nbytes, b.dtype, b.shape, b.order, b.checksum] for b in buffers]


def _content_digest(tree: bytes, table: list[list[object]]) -> bytes:
    if not table:
        return xxh3_128_digest(b"\x90" + tree)
    state = xxh3_128(_pack(table))
    state.update(tree)
    return state.digest()


def _head_checksum(fixed: bytes, rest: bytes | memoryview) -> int:
    # Seeding one hash with the other covers both without copying the second.
    return xxh3_64_intdigest(rest, seed=xxh3_64_intdigest(fixed))


def _metadata(meta: tuple[float, str, int, str, bytes | None] | None) -> Mapping[str, object]:
    if meta is None:
        return MappingProxyType({})
    created, kind, size, codec, user = meta
    value = {} if user is None else unpack_checked(user)
    return MappingProxyType({"created": created, "type": kind, "size": size, "codec": codec, "user": value})


def _head_bytes(view: memoryview) -> int:
    """The size of the head that the prefix of a blob with buffers announces; unchecked."""
    _, _, _, header_bytes, tree_bytes, _ = _FIXED.unpack_from(view)
    size = _PREFIX_BYTES + header_bytes + tree_bytes
    return int(size + _padding(size))


def _without_padding(head: BlobHead, views: list[memoryview]) -> list[memoryview] | None:
    """Pick the buffers out of ``blob.parts[1:]``, or None where the views are another split."""
    pieces = []
    rest = iter(views)
    offset = head.head_nbytes
    for nbytes, *_ in head.table:
        padding = _padding(offset)
        if padding:
            view = next(rest, None)
            if view is None or view.nbytes != padding or view.tobytes().strip(b"\0"):
                return None
        view = next(rest, None)
        if view is None or view.nbytes != nbytes:
            return None
        pieces.append(view)
        offset += padding + nbytes
    return pieces if next(rest, None) is None else None


def _parse_head(view: memoryview, key: str | None, verify: bool) -> BlobHead:
    if view.nbytes < _PREFIX_BYTES:
        raise _corrupt(key, f"{view.nbytes} bytes are less than its prefix of {_PREFIX_BYTES}")
    magic, version, reserved, header_bytes, tree_bytes, total = _FIXED.unpack_from(view)
    if magic != MAGIC:
        raise _corrupt(key, "it does not begin as a laila blob does")
    if version != FORMAT_VERSION or reserved:
        raise _corrupt(
            key, f"format version {version} is not {FORMAT_VERSION}; a newer laila may be able to read it"
        )
    tree_start = _PREFIX_BYTES + header_bytes
    tree_stop = tree_start + tree_bytes
    if tree_stop > total or view.nbytes < tree_stop:
        raise _corrupt(key, f"{view.nbytes} bytes are less than its head of {tree_stop}")
    # Only a blob with buffers pads its head, and only such a blob is longer than header and tree.
    head_bytes = tree_stop if total == tree_stop else tree_stop + _padding(tree_stop)
    if view.nbytes < head_bytes:
        raise _corrupt(key, f"{view.nbytes} bytes are less than its head of {head_bytes}")
    if verify:
        (checksum,) = _CHECKSUM.unpack_from(view, _FIXED.size)
        if _head_checksum(bytes(view[: _FIXED.size]), view[_PREFIX_BYTES:head_bytes]) != checksum:
            raise _corrupt(key, "its head does not match its checksum")
    try:
        header = unpack_checked(view[_PREFIX_BYTES:tree_start])
        head = _read_header(header)
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as error:
        raise _corrupt(key, f"its header cannot be read ({error})") from error
    head.nbytes = total
    head.head_nbytes = head_bytes if head.table else tree_stop
    head.tree_span = (tree_start, tree_stop)
    size = head.head_nbytes
    for nbytes, *_ in head.table:
        size += _padding(size) + nbytes
    if size != total or (head.table and head_bytes != tree_stop + _padding(tree_stop)):
        raise _corrupt(key, f"its parts add up to {size} bytes, not {total}")
    if key is not None and head.key != key:
        raise _corrupt(key, f"it bears the id {head.key!r}")
    return head


_KNOWN = frozenset({"id", "digest", "nick", "meta", "buffers", "trans", "sig"})


def _read_header(header: object) -> BlobHead:
    """Check every field of a header; raises ValueError, TypeError or KeyError for one that is wrong."""
    if type(header) is not dict or not header.keys() <= _KNOWN:
        raise ValueError("unknown fields")
    head = BlobHead()
    head.key = _expect(header["id"], str)
    head.digest = _expect(header["digest"], bytes)
    if len(head.digest) != DIGEST_BYTES:
        raise ValueError("a digest of the wrong size")
    nickname = header.get("nick")
    head.nickname = None if nickname is None else _expect(nickname, str)
    meta = header.get("meta")
    head._meta = None
    if meta is not None:
        created, kind, size, codec, user = _expect(meta, list)
        if user is not None:
            _expect(user, bytes)
        head._meta = (
            _expect(created, float),
            _expect(kind, str),
            _expect(size, int),
            _expect(codec, str),
            user,
        )
    head.table = tuple(_table_row(*_expect(row, list)) for row in _expect(header.get("buffers", []), list))
    steps = []
    for step in _expect(header.get("trans", []), list):
        name, params = _expect(step, list)
        steps.append((_expect(name, str), MappingProxyType(_expect(params, dict))))
    head.transformations = tuple(steps)
    signature = header.get("sig")
    head.signature = None
    if signature is not None:
        key_id, mac = _expect(signature, list)
        head.signature = (_expect(key_id, str), _expect(mac, bytes))
    return head


def _expect(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _table_row(
    nbytes: object, dtype: object, shape: object, order: object, checksum: object
) -> tuple[int, str | None, tuple[int, ...], str, bytes]:
    size = _expect(nbytes, int)
    dimensions = tuple(_expect(n, int) for n in _expect(shape, list))
    if not 0 <= size <= _MAX_SIZE or len(dimensions) > _MAX_DIMENSIONS or any(n < 0 for n in dimensions):
        raise ValueError("a buffer of an impossible size")
    if order != "C" and order != "F":
        raise ValueError("an unknown memory order")
    if dtype is None:
        if dimensions != (size,):
            raise ValueError("plain bytes whose shape is not their size")
    else:
        _expect(dtype, str)
    hashed = _expect(checksum, bytes)
    if len(hashed) != DIGEST_BYTES:
        raise ValueError("a checksum of the wrong size")
    return size, dtype, dimensions, order, hashed  # type: ignore[return-value]  # narrowed above
