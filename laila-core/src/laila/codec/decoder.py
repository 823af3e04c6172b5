"""The slow path, reading: rows back into a payload.

One loop over the rows. A reference is replaced by the value of an earlier row while MessagePack unpacks, and
each row is rebuilt by the function of its tag. Whatever is wrong with a row is a
:class:`~laila.errors.CorruptEntryError`; nothing that the blob names is imported, looked up or called unless
the
signature was verified before the first row.
"""

from __future__ import annotations

import msgpack

from laila.codec import registry, tags
from laila.errors import CorruptEntryError, LailaError, UntrustedPayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from laila.contract.blob import Blob, Buffer

    T = TypeVar("T")

__all__ = ["Decoder", "decode_rows", "expect"]

_UNCHECKED = 4096


def expect(value: object, kind: type[T]) -> T:
    """Return ``value`` if it is exactly a ``kind``.

    Else raise ``TypeError``, which makes the blob corrupt.
    """
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


class Decoder:
    """One reading of one blob: its buffers, and whether it may use what needs trust."""

    __slots__ = ("blob", "copy", "shared", "trusted")

    def __init__(self, blob: Blob, *, copy: bool, trusted: bool) -> None:
        self.blob = blob
        self.copy = copy
        self.trusted = trusted
        self.shared: dict[int, object] = {}
        """Per buffer number: what several rows share, such as the storage of tensors."""

    def buffer(self, number: object) -> Buffer:
        """Buffer ``number``. Raises ``ValueError`` when there is none."""
        if type(number) is not int or not 0 <= number < len(self.blob.buffers):
            raise ValueError(f"no buffer {number!r}")
        return self.blob.buffers[number]

    def plain_buffer(self, number: object) -> memoryview:
        """The bytes of buffer ``number``, which must be plain bytes."""
        found = self.buffer(number)
        if found.dtype is not None:
            raise ValueError(f"buffer {number} is an array")
        return found.data

    def demand_trust(self, name: str) -> None:
        """Raise :class:`UntrustedPayloadError` unless the blob's signature verified."""
        if self.trusted:
            return
        blob = self.blob
        if blob.signature is None:
            key_id, why = None, "it bears no signature"
            remedy = "write it again from a process that signs"
        else:
            key_id = blob.signature[0]
            why = f"it was signed with the key {key_id}, which is not here"
            remedy = f"run 'laila keys export {key_id}' where it was written and 'laila keys import' here"
        raise UntrustedPayloadError(
            f"the payload of {blob.key} needs {name}, and {why}. Nothing was imported or run. If you trust "
            "where it "
            f"came from, {remedy}; or register the class: laila.register_type",
            key_id=key_id,
            type_name=name,
        )


def decode_rows(blob: Blob, copy: bool) -> object:
    """Decode a tree of rows; see :func:`laila.codec.decode`."""
    trusted = False
    if blob.signature is not None:
        from laila.codec.trust import verify_blob

        trusted = verify_blob(blob)
    decoder = Decoder(blob, copy=copy, trusted=trusted)
    try:
        return _read(decoder, memoryview(blob.tree)[len(tags.ROWS_MARK) :])
    except LailaError:
        raise
    except Exception as error:
        # Whatever a damaged row makes the standard library or numpy raise, the fault is the blob's.
        raise CorruptEntryError(
            f"the blob of {blob.key} is damaged: its rows cannot be read ({type(error).__name__}: {error})",
            key=blob.key,
        ) from error


def _read(decoder: Decoder, rows: memoryview) -> object:
    size = len(rows)
    if size > _UNCHECKED:
        # Walk it once without building anything: what a row announces must be there before it is allocated.
        walker = msgpack.Unpacker(None, max_buffer_size=size)
        walker.feed(rows)
        while walker.tell() < size:
            walker.skip()
    values: list[object] = []
    count = 0

    def resolve(code: int, data: bytes) -> object:
        index = (code << 24) | int.from_bytes(data, "little")
        if code < 0 or index >= count:
            raise ValueError(f"a reference to row {index} in row {count}")
        return values[index]

    unpacker = msgpack.Unpacker(
        None,
        strict_map_key=False,
        unicode_errors="surrogatepass",
        max_buffer_size=size,
        max_ext_len=3,
        ext_hook=resolve,
    )
    unpacker.feed(rows)
    find = registry.DECODERS.get
    key = decoder.blob.key
    for row in unpacker:
        if type(row) is not list or not row:
            raise ValueError(f"row {count} is no row")
        tag = row[0]
        rebuild = (find(tag) if type(tag) is int else None) or registry.decoder_for(tag, key)
        values.append(rebuild(row, decoder))
        count += 1
    if unpacker.tell() != size or not values:
        raise ValueError("its rows are cut short")
    return values[-1]
