"""The bytes of a head, read and checked: every length in them is compared with what is there."""

from __future__ import annotations

from struct import Struct
from types import MappingProxyType

import msgpack
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from laila.blob.head import (
    BEGINNING,
    FIXED,
    FORMAT_VERSION,
    MAGIC,
    PREFIX,
    PREFIX_BYTES,
    UNCHECKED_BYTES,
    BlobHead,
    check_notes,
    corrupt,
    expect,
    gap,
    head_checksum,
    is_field,
    unknown,
    unpack_checked,
)
from laila.blob.pieces import DIGEST_BYTES, PIECE, count_of
from laila.errors import CorruptEntryError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    Meta = tuple[float, str, int, str, bytes | None]
    T = TypeVar("T")

__all__ = ["head_nbytes", "parse_head", "read_plain"]

_QUICK = Struct("<12sIQQQ")
_MAX_DIMENSIONS = 64
_MAX_SIZE = 1 << 62


def head_nbytes(start: bytes | memoryview) -> int:
    """Return how many bytes the head of a blob takes, as the blob's first bytes announce it.

    Args:
        start: The first bytes of a stored blob: the more of them a pool reads at once, the better.

    Returns:
        The size of the head in bytes, or 0 where ``start`` is shorter than a prefix. Nothing is verified:
        the writer of the blob chose the number.
    """
    if len(start) < PREFIX_BYTES:
        return 0
    _, _, _, header_bytes, tree_bytes, _ = FIXED.unpack_from(start)
    size = PREFIX_BYTES + header_bytes + tree_bytes
    return int(size + gap(size))


def parse_head(view: memoryview, key: str | None, verify: bool) -> BlobHead:
    """Read the head at the beginning of ``view``, whatever follows it.

    ``key`` is the key it was read under, if known; ``verify=False`` skips the checksum. Raises
    :class:`CorruptEntryError`.
    """
    if view.nbytes < PREFIX_BYTES:
        raise corrupt(key, f"{view.nbytes} bytes are less than its prefix of {PREFIX_BYTES}")
    magic, version, reserved, header_bytes, tree_bytes, total, checksum = PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise corrupt(key, "it does not begin as a laila blob does")
    if version != FORMAT_VERSION or reserved:
        raise unknown(key, f"format version {version}, and this one knows {FORMAT_VERSION}")
    tree_start = PREFIX_BYTES + header_bytes
    tree_stop = tree_start + tree_bytes
    if tree_stop > total or view.nbytes < tree_stop:
        raise corrupt(key, f"{view.nbytes} bytes are less than its head of {tree_stop}")
    # Only a blob with buffers pads its head, and only such a blob is longer than header and tree.
    head_bytes = tree_stop if total == tree_stop else tree_stop + gap(tree_stop)
    if view.nbytes < head_bytes:
        raise corrupt(key, f"{view.nbytes} bytes are less than its head of {head_bytes}")
    if verify and head_checksum(view[: FIXED.size], view[PREFIX_BYTES:head_bytes]) != checksum:
        raise corrupt(key, "its head does not match its checksum")
    try:
        header = unpack_checked(view[PREFIX_BYTES:tree_start])
        strange = _needed(header)
        if strange:
            raise unknown(
                key, f"the header {'fields' if len(strange) > 1 else 'field'} {shown(strange, 200)}"
            )
        head = _read_header(header, verify)
        if _count(view[PREFIX_BYTES:tree_start]) != len(header):  # type: ignore[arg-type]  # it is a map
            raise ValueError("a field that is there twice")
    except CorruptEntryError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as error:
        raise corrupt(key, f"its header cannot be read ({said(error, 200)})") from error
    head.nbytes = total
    head.tree_span = (tree_start, tree_stop)
    head.tree = bytes(view[tree_start:tree_stop]) if tree_bytes <= UNCHECKED_BYTES else b""
    head.head_nbytes = size = head_bytes if head.table else tree_stop
    for nbytes, *_ in head.table:
        size += gap(size) + nbytes
    if size != total or (head.table and head_bytes != tree_stop + gap(tree_stop)):
        raise corrupt(key, f"its parts add up to {size} bytes, not {total}")
    if key is not None and head.key != key:
        raise corrupt(key, f"it bears the id {shown(head.key)}")
    return head


def read_plain(data: bytes, key: str | None, make: Callable[..., T]) -> T | None:
    """Read the most common of blobs whole: plain, without buffers, with metadata and no nickname.

    Gives what ``make``, which is :class:`~laila.blob.blob.Blob`, makes of its parts, all verified as
    :func:`parse_head` and its caller do; None for any other blob and for one that is damaged, which they then
    tell of.
    """
    if len(data) < PREFIX_BYTES:
        return None
    beginning, header_bytes, tree_bytes, total, checksum = _QUICK.unpack_from(data)
    if (
        beginning != BEGINNING
        or not PREFIX_BYTES + header_bytes + tree_bytes == total == len(data)
        or header_bytes > UNCHECKED_BYTES
    ):
        return None
    rest = data[PREFIX_BYTES:]
    if rest[:1] != b"\x83":  # a map of three
        return None
    if xxh3_64_intdigest(rest, xxh3_64_intdigest(data[: FIXED.size])) != checksum:
        return None
    try:
        header = msgpack.unpackb(rest[:header_bytes])
        name, digest, _, meta = _first_fields(header)
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException):
        return None
    tree = rest[header_bytes:]
    if (
        tuple(header) != ("id", "digest", "meta")
        or meta is None
        or xxh3_128_digest(b"\x90" + tree) != digest
        or (key is not None and name != key)
    ):
        return None
    return make(name, tree, (), None, meta, (), None, digest)


_KNOWN = frozenset({"id", "digest", "nick", "meta", "buffers", "pieces", "trans", "sig"})
_NO_NOTES: Mapping[str, bytes] = MappingProxyType({})


def _count(packed: memoryview) -> int:
    """Return the number of pairs that a MessagePack map announces; equal keys count, too."""
    if packed[0] >> 4 == 0x8:
        return packed[0] & 0xF
    return int.from_bytes(packed[1:3], "big") if packed[0] == 0xDE else -1


def _needed(header: object) -> str:
    """The names of fields that a reader must understand, and that this one does not."""
    if type(header) is not dict or header.keys() <= _KNOWN:
        return ""
    names = header.keys() - _KNOWN
    return ", ".join(sorted(n for n in names if type(n) is str and is_field(n) and n[0].islower()))


_META_TYPES = frozenset({(float, str, int, str, type(None)), (float, str, int, str, bytes)})


def _first_fields(header: object) -> tuple[str, bytes, str | None, Meta | None]:
    """Check the fields that most headers have alone: id, digest, nickname and metadata, which it returns.

    Raises ValueError, TypeError or KeyError for a wrong one.
    """
    if type(header) is not dict:
        raise TypeError("it is no map")
    key, digest = header["id"], header["digest"]
    if type(key) is not str or type(digest) is not bytes:
        raise TypeError("an id or a digest of another type")
    if len(digest) != DIGEST_BYTES:
        raise ValueError("a digest of the wrong size")
    nickname, meta = header.get("nick"), header.get("meta")
    if nickname is not None:
        expect(nickname, str)
    if meta is None:
        return key, digest, nickname, None
    if type(meta) is not list or tuple(map(type, meta)) not in _META_TYPES:
        raise TypeError("metadata of other types")
    return key, digest, nickname, tuple(meta)


def _read_header(header: object, verify: bool) -> BlobHead:
    """Check every field of a header; raises ValueError, TypeError or KeyError for a wrong one."""
    head = BlobHead()
    head.key, head.digest, head.nickname, head._meta = _first_fields(header)
    head.table = head.pieces = head.transformations = ()
    head.signature = None
    head.notes = _NO_NOTES
    first = 2 + (head.nickname is not None) + (head._meta is not None)
    if len(header) > first:  # type: ignore[arg-type]  # it is a map; most often there is nothing else
        _read_rest(header, head, verify)  # type: ignore[arg-type]
    return head


def _read_rest(header: dict[str, object], head: BlobHead, verify: bool) -> None:
    head.table = tuple(_table_row(*expect(row, list)) for row in expect(header.get("buffers", []), list))
    head.pieces = _read_pieces(header, head, verify)
    steps = []
    for step in expect(header.get("trans", []), list):
        name, params = expect(step, list)
        steps.append((expect(name, str), MappingProxyType(expect(params, dict))))
    head.transformations = tuple(steps)
    signature = header.get("sig")
    if signature is not None:
        key_id, mac = expect(signature, list)
        head.signature = (expect(key_id, str), expect(mac, bytes))
    notes = {expect(name, str): value for name, value in header.items() if name not in _KNOWN}
    if notes:
        check_notes(notes)  # type: ignore[arg-type]  # which is what this checks
        head.notes = MappingProxyType(notes)  # type: ignore[arg-type]


def _read_pieces(header: dict[str, object], head: BlobHead, verify: bool) -> tuple[bytes, ...]:
    """The checksums of the pieces of each buffer, which are there for those that have several."""
    large = sum(row[0] > PIECE for row in head.table)
    given = expect(header.get("pieces", []), list)
    if len(given) != large or ("pieces" in header) != (large > 0):
        raise ValueError(f"checksums of pieces for {len(given)} buffers, of which {large} have several")
    rest = iter(given)
    found = []
    for nbytes, _, _, _, checksum in head.table:
        sums = expect(next(rest), bytes) if nbytes > PIECE else b""
        if nbytes > PIECE:
            if len(sums) != DIGEST_BYTES * count_of(nbytes):
                raise ValueError(f"{len(sums)} bytes of checksums for {count_of(nbytes)} pieces")
            if verify and xxh3_128_digest(sums) != checksum:
                raise ValueError("checksums of pieces that are not those of the buffer")
        found.append(sums)
    return tuple(found)


def _table_row(
    nbytes: object, dtype: object, shape: object, order: object, checksum: object
) -> tuple[int, str | None, tuple[int, ...], str, bytes]:
    size = expect(nbytes, int)
    dimensions = tuple(expect(n, int) for n in expect(shape, list))
    if not 0 <= size <= _MAX_SIZE or len(dimensions) > _MAX_DIMENSIONS or any(n < 0 for n in dimensions):
        raise ValueError("a buffer of an impossible size")
    if order != "C" and order != "F":
        raise ValueError("an unknown memory order")
    if dtype is None:
        if dimensions != (size,):
            raise ValueError("plain bytes whose shape is not their size")
    else:
        expect(dtype, str)
    hashed = expect(checksum, bytes)
    if len(hashed) != DIGEST_BYTES:
        raise ValueError("a checksum of the wrong size")
    return size, dtype, dimensions, order, hashed  # type: ignore[return-value]  # narrowed above
