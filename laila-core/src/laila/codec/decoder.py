"""The slow path, reading: rows back into a payload.

One loop over the rows. A reference is replaced by the value of an earlier row while MessagePack unpacks, and
each row is rebuilt by the function of its tag. Whatever is wrong with a row is a
:class:`~laila.errors.CorruptEntryError`; nothing that the blob names is imported, looked up or called unless
the signature was verified before the first row.
"""

from __future__ import annotations

import msgpack

from laila.codec import registry, tags
from laila.codec.limits import CHEAP, MAX_NESTING, KeyBudget, work_allowed
from laila.codec.references import expand, split
from laila.codec.runs import read_run
from laila.errors import CorruptEntryError, LailaError, PayloadError, UntrustedPayloadError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    from laila.blob.blob import Blob
    from laila.blob.buffer import Buffer

    T = TypeVar("T")

__all__ = ["WORK_OF_ATTRIBUTE", "Decoder", "decode_rows", "expect", "one_of", "read_rows"]

_UNCHECKED = 4096
WORK_OF_ATTRIBUTE = 200
"""The work of setting one attribute, with the memory that it takes."""
_SHORT = 64  # bytes that are not worth a note
_PART_WORK = 100  # of a part of a dtype


def expect(value: object, kind: type[T]) -> T:
    """Return ``value`` if it is exactly a ``kind``.

    Otherwise raise ``TypeError``, which makes the blob corrupt.
    """
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def one_of(value: object, *choices: str) -> bool:
    """Whether ``value`` is one of those texts.

    Other values are not asked whether they are equal: arrays would compare all their items, and hashing
    nested tuples may take for ever.
    """
    return type(value) is str and value in choices


class Decoder:
    """One reading of one blob: its buffers, and whether it may use what needs trust."""

    __slots__ = (
        "_copied",
        "_counts",
        "_keys",
        "_used",
        "blob",
        "classes",
        "consume",
        "copy",
        "fields",
        "given",
        "needed",
        "row",
        "shared",
        "trusted",
    )

    def __init__(self, blob: Blob, *, copy: bool, trusted: bool, consume: bool = False) -> None:
        self.blob = blob
        self.copy = copy
        self.consume = consume
        self.trusted = trusted
        self.shared: dict[tuple[str, object], object] = {}
        """Per library and buffer number: what several rows share, such as the storage of tensors."""
        self.given: dict[int, object] | None = None
        """By row: values that take the place of what the row says."""
        self.needed: frozenset[int] | None = None
        """The rows that are read, where that is not all: the last of them is the value."""
        self.row = 0
        """The row that was read last."""
        self._used: set[tuple[object, int]] = set()
        self._copied = 0
        self._keys: KeyBudget | None = None
        self._counts: dict[object, int] = {}
        self.classes: dict[tuple[str, object], type] = {}
        """The classes of names, with the result of their check."""
        self.fields: dict[tuple[object, tuple[object, ...]], tuple[str, ...]] = {}
        """Per shape of a class and names of attributes: the names, where instances have just these."""

    def count(self, what: object, most: int) -> bool:
        """Count one more of ``what``; whether there are no more than ``most``."""
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what] <= most

    def buffer(self, number: object, tag: object, *, unchecked: bool = False) -> Buffer:
        """Buffer ``number``, for a row of ``tag`` that copies it, and verifies it too where ``unchecked``.

        Raises ``ValueError`` when there is none, or when another row of that tag had it: a short blob could
        ask for copies without end.
        """
        if type(number) is not int or not 0 <= number < len(self.blob.buffers):
            raise ValueError(f"no buffer {shown(number)}")
        use = (tag, number)
        if tag is not None and use in self._used:
            raise ValueError(f"two rows that copy buffer {shown(number)}")
        self._used.add(use)
        result = self.blob.buffers[number]
        if not unchecked:
            result.check(self.blob.key)
        return result

    def plain_buffer(self, number: object, tag: object) -> memoryview:
        """The bytes of buffer ``number``, which must be plain bytes; see :meth:`buffer`."""
        result = self.buffer(number, tag)
        if result.dtype is not None:
            raise ValueError(f"buffer {shown(number)} is an array")
        return result.data

    def check_keys(self, keys: Sequence[object]) -> None:
        """Raise ``ValueError`` for keys or members that would take too long to hash."""
        if self.trusted or CHEAP.issuperset(map(type, keys)):
            return
        self._budget().check(keys)

    def check_each(self, rows: Sequence[Sequence[object]]) -> None:
        """:meth:`check_keys` of the keys of many mappings, or the members of many sets."""
        if not self.trusted:
            self._budget().check_each(rows)

    def spend(self, work: int) -> None:
        """Count work that grows faster than what describes it. Raises ``ValueError`` where it is too much."""
        if work and not self.trusted:
            self._budget().spend(work, "parts of rows that take too long to read for so few bytes")

    def again(self, use: object, value: object, work: int) -> None:
        """Count ``work`` that was done on ``value`` for that ``use`` before.

        The first time costs nothing: ``value`` took bytes itself. But rows of a few bytes can refer to one
        large value without end, and each would look at all of it. Raises ``ValueError`` where it is too much.
        """
        place = ("again", use), id(value)
        if place in self._used:
            self.spend(work)
        else:
            self._used.add(place)

    def each_again(self, use: object, values: Sequence[Any], work: int) -> None:
        """Count a second use of many values, each with ``work`` for each item."""
        places = {(("again", use), id(value)) for value in values}
        if len(places) == len(values) and self._used.isdisjoint(places):
            self._used |= places
            return
        for value in values:
            self.again(use, value, work * len(value))

    def copied(self, data: object) -> bytes:
        """``data``, which must be bytes, for a row that copies them.

        Raises ``ValueError`` when more is copied than the blob has.
        """
        result = expect(data, bytes)
        if len(result) > _SHORT:
            self._copied += len(result)
            if self._copied > self.blob.content_nbytes:
                raise ValueError("rows that copy the same bytes")
        return result

    def each_copied(self, column: list[Any]) -> list[bytes]:
        """:meth:`copied` of each item of a column."""
        if {bytes} == set(map(type, column)) and max(map(len, column)) <= _SHORT:
            return column
        return list(map(self.copied, column))

    def _budget(self) -> KeyBudget:
        if self._keys is None:
            from laila.codec.instances import registered_fields

            self._keys = KeyBudget(registered_fields, work_allowed(self.blob.content_nbytes))
        return self._keys

    def dtype_of(self, description: object) -> Any:
        """The dtype of a description in a row, made once for each row."""
        if type(description) is str:
            from laila.codec.dtypes import dtype_from

            return dtype_from(description)
        place = "dtype", id(description)  # which the rows keep alive
        known = self.shared.get(place)
        if known is None:
            known = self.shared[place] = self.new_dtype(description)
        return known

    def new_dtype(self, description: object, *, objects: bool = False, empty: bool = False) -> Any:
        """The dtype of a description, whose parts are counted: descriptions may share them."""
        from laila.codec.dtypes import MAX_PARTS, dtype_from

        left = [MAX_PARTS]
        result = dtype_from(description, objects=objects, empty=empty, left=left)
        self.spend(_PART_WORK * (MAX_PARTS - left[0] - 1))
        return result

    def demand_trust(self, name: str, *, registrable: bool) -> None:
        """Raise :class:`UntrustedPayloadError` unless the blob's signature verified.

        ``registrable`` says whether registering ``name`` would be another way to read it.
        """
        if self.trusted:
            return
        blob = self.blob
        if blob.signature is None:
            key_id, why = None, "it bears no signature"
            remedy = "memorize it again, which signs it"
        else:
            key_id = blob.signature[0]
            why = f"it was signed with the key {key_id}, which is not here"
            remedy = f"run 'laila keys export {key_id}' where it was written and 'laila keys import' here"
        advice = f"If you trust where the payload came from, {remedy}"
        if registrable:
            register = "Register the class in this program, before: laila.register_type(cls)"
            # Without a signature it was written where the class is registered: signing is not what it lacks.
            advice = register if blob.signature is None else f"{register}. {advice}"
        raise UntrustedPayloadError(
            f"the payload of {blob.key} needs {name[:200]}, and {why}. Nothing was imported or run. {advice}",
            key_id=key_id,
            type_name=name[:200],
        )


def decode_rows(blob: Blob, copy: bool, consume: bool = False) -> object:
    """Decode a tree of rows; see :func:`laila.codec.decode`."""
    trusted = False
    if blob.signature is not None:
        from laila.codec.trust import verify_blob

        trusted = verify_blob(blob)
    decoder = Decoder(blob, copy=copy, trusted=trusted, consume=consume)
    try:
        payload = read_rows(decoder)
        for buffer in blob.buffers:
            buffer.check(blob.key)  # no row refers to this buffer
        return payload
    except (LailaError, MemoryError):
        raise  # too little memory says nothing about the blob
    except Exception as error:
        if trusted:
            # What bears a valid signature is as it was written: it is not the bytes that are at fault.
            raise PayloadError(
                f"the payload of {blob.key} cannot be rebuilt here ({type(error).__name__}: "
                f"{said(error, 200)}). Its bytes are as they were written: a class or a library has changed "
                "since, or laila wrote what it cannot read",
                path="payload",
            ) from error
        # Whatever a damaged row makes the standard library or numpy raise, the fault is the blob's.
        raise CorruptEntryError(
            f"the blob of {blob.key} is damaged: its rows cannot be read ({type(error).__name__}: "
            f"{said(error, 200)})",
            key=blob.key,
        ) from error


def read_rows(decoder: Decoder) -> object:
    """The value of the last row. Raises whatever a row that is not as it should be makes its reader raise."""
    rows = memoryview(decoder.blob.tree)[len(tags.ROWS_MARK) :]
    size = len(rows)
    if size > _UNCHECKED:
        # Walk it once without building anything: what a row announces must be there before it is allocated.
        walker = msgpack.Unpacker(None, max_buffer_size=size)
        walker.feed(rows)
        while walker.tell() < size:
            walker.skip()
    values: list[object] = []
    depths: list[int] = []
    count = 0
    deepest = 0  # of all rows that were read
    depth = 0  # of the row being read: the most rows on one path below it that are freed by recursion

    def resolve(code: int, data: bytes) -> object:
        nonlocal depth
        index = (code << 24) | int.from_bytes(data, "little")
        if code < 0 or index >= count:
            raise ValueError(f"a reference to row {index} in row {count}")
        if depths[index] > depth:  # noqa: PLR1730 - this is met for every reference, and max is a call
            depth = depths[index]
        return values[index]

    def find_value(index: int) -> object:
        nonlocal depth
        if deepest and depths[index] > depth:
            depth = depths[index]
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
    supplied = decoder.given
    needed = decoder.needed
    for row in unpacker:
        decoder.row = count
        if type(row) is not list or not row:
            raise ValueError(f"row {count} is no row")
        tag = row[0]
        if tag == tags.REFERENCES:
            indexes, positions, fields = split(row)
            row = expand(positions, list(map(values.__getitem__, indexes)), fields)
            if deepest:
                depth = max(depth, *map(depths.__getitem__, set(indexes)))
            tag = row[0]
        if tag == tags.RUN:
            result = read_run(row, decoder, key, find_value, needed)
            depth += row[2] not in tags.UNWOUND
            if depth > MAX_NESTING:
                raise ValueError(f"it is nested more than {MAX_NESTING} deep")
            values += result
            depths += [depth] * len(result)
            deepest = max(depth, deepest)
            depth = 0
            count += len(result)
            continue
        rebuild = (find(tag) if type(tag) is int else None) or registry.decoder_for(tag, key)
        if tag not in tags.UNWOUND:
            depth += 1
            if depth > MAX_NESTING:
                raise ValueError(f"it is nested more than {MAX_NESTING} deep")
        if needed is not None and count not in needed:
            values.append(None)
        else:
            values.append(
                supplied[count] if supplied is not None and count in supplied else rebuild(row, decoder)
            )
        depths.append(depth)
        if depth:
            deepest = max(depth, deepest)
            depth = 0
        count += 1
    if unpacker.tell() != size or not values:
        raise ValueError("its rows are cut short")
    return values[-1 if needed is None else max(needed)]
