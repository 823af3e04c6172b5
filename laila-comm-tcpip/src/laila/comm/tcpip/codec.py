"""Convert values of calls to the form that a session sends, and back: JSON, and blobs one after the other."""

from __future__ import annotations

from typing import NamedTuple

from laila.comm.tcpip.messages import Code
from laila.contract import Blob, wire
from laila.errors import (
    CorruptEntryError,
    FutureCancelledError,
    LailaError,
    PeerError,
    PeerRefusedError,
    PeerTimeoutError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from laila.comm.tcpip.streams import Part

    Data = bytearray | memoryview

__all__ = ["Packed", "error_of", "pack_arguments", "pack_failure", "pack_value", "split"]

_SMALL = 64 * 1024


class Packed(NamedTuple):
    """A value, ready to be sent; or an error in place of ``tree``: its code, message and data."""

    tree: object
    parts: Sequence[Part] = ()
    sizes: Sequence[int] = ()
    error: tuple[int, str, object] | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of all blobs."""
        return sum(self.sizes)


def pack_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> Packed:
    """Return the arguments of a call. Raises :class:`~laila.errors.PayloadError`."""
    return _with_blobs(*wire.pack_call(args, kwargs))


def pack_value(value: object) -> Packed:
    """Return the result of a call. Raises :class:`~laila.errors.PayloadError`."""
    return _with_blobs(*wire.pack(value))


def pack_failure(error: BaseException) -> Packed:
    """Return an error as the outcome of a call."""
    packed = wire.pack_error(error)
    code = Code.REFUSED if isinstance(error, PeerRefusedError) else Code.RAISED
    return Packed(None, error=(code, str(packed["message"]), packed))


def _with_blobs(tree: object, blobs: list[Blob]) -> Packed:
    parts: list[Part] = []
    sizes: list[int] = []
    for blob in blobs:
        of_blob = blob.parts
        parts += of_blob
        sizes.append(sum(map(len, of_blob)))
    return Packed(tree, parts, sizes)


def split(data: Data, sizes: Sequence[int]) -> list[Blob]:
    """Return the verified blobs in ``data``. Raises :class:`~laila.errors.CorruptEntryError`."""
    if not sizes and not data:
        return []
    view = memoryview(data)
    blobs: list[Blob] = []
    start = 0
    for size in sizes:
        piece: bytes | memoryview = view[start : start + size]
        if size <= _SMALL:
            piece = bytes(piece)  # a copy keeps no other blobs alive, and bytes are read fastest
        blobs.append(Blob.from_bytes(piece))
        start += size
    if start != len(view):
        raise CorruptEntryError("the blobs of a message are not of the sizes that it says", key=None)
    return blobs


def error_of(error: object, peer: str) -> Exception:
    """Return the error that an answer holds."""
    if not isinstance(error, dict):
        return PeerError(f"{peer} answered with an error that says nothing", peer=peer)
    code, message = error.get("code"), str(error.get("message", ""))[:2000]
    if isinstance(error.get("data"), dict):
        unpacked = wire.unpack_error(error["data"])
        if isinstance(unpacked, LailaError) and isinstance(unpacked, PeerError):
            unpacked.peer = peer
        return unpacked
    if code == Code.TIMED_OUT:
        return PeerTimeoutError(message, peer=peer)
    if code == Code.CANCELLED:
        return FutureCancelledError(message)
    if code == Code.REFUSED:
        return PeerRefusedError(message, peer=peer)
    return PeerError(f"{peer}: {message}", peer=peer)
