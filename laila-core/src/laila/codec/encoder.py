"""The slow path, writing: any payload as rows.

Every container, and every value that MessagePack lacks, is one row ``[tag, field, …]``, written after the
rows it refers to; a field is an atom or a reference to an earlier row. So nothing is nested in anything
else's bytes, depth costs no recursion, and an object met twice is a second reference. The walk keeps its own
stack, which is also how a cycle is found and how an error knows its place inside the payload.
"""

from __future__ import annotations

from itertools import chain

from msgpack import ExtType

from laila.codec import registry, tags
from laila.codec.limits import KeyBudget
from laila.codec.places import place
from laila.codec.plain import ATOMS, INLINE_BYTES, pack_object
from laila.codec.rows import RowWriter, reference, referred
from laila.contract.blob import Blob
from laila.contract.buffer import Buffer
from laila.errors import PayloadCycleError, PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol, TypeVar

    from laila.codec.rows import Row

    class Collector(Protocol):
        def finish(self, encoder: Encoder, rows: RowWriter) -> None: ...

    C = TypeVar("C", bound=Collector)

__all__ = ["Encoder", "encode_rows"]

_FIELDS = ATOMS | {ExtType}
_SHORT = ATOMS - {bytes}
_SHORT_OR_TUPLE = _SHORT | {tuple}
_SMALL: dict[type, int] = {list: tags.LIST, tuple: tags.TUPLE, dict: tags.DICT}
_KEYED = tags.SETS | tags.MAPPINGS.keys()
_SMALL_LEVELS = 3
_FEW = 4
_RESERVED = Buffer(memoryview(b""))
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class _Boxed:
    """A user's own ``ExtType``, which must not be taken for a reference."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class _KeepRows(Exception):
    """A set of several rows was met: its members must be ordered by content, which needs all rows kept."""


class Hoist(Exception):
    """An object inside a pickle turned out to be shared with what is outside: begin again, knowing it."""


class _Frame:
    __slots__ = ("careful", "depth", "obj", "position", "row")

    def __init__(self, obj: object, row: Row, position: int) -> None:
        self.obj = obj
        self.row = row
        self.position = position
        self.depth = 0  # the most rows on one path below it that are freed by recursion
        self.careful = False  # set once the packer found an int beyond 64 bits


class Encoder:
    """One walk over one payload. Not safe to share between threads; used once."""

    def __init__(self, *, pickle: bool, copy: bool, keep: bool = False) -> None:
        self.pickle = pickle
        self.copy = copy
        self.keep = keep
        self.buffers: list[Buffer] = []
        self.signed_types: dict[type, str] = {}
        self.hoisted: set[int] = set()
        self.pickled: dict[int, object] = {}
        self._rows = RowWriter(keep=keep)
        self._keys: KeyBudget | None = None
        self._memo: dict[int, int] = {}
        self._alive: list[object] = []  # ids stay unique only while their objects live
        self._stack: list[_Frame] = []
        self._active: set[int] = set()
        self._owners: dict[object, int] = {}
        self._counts: dict[object, int] = {}
        self._collectors: dict[type, Any] = {}
        self._bytes_of_length: dict[int, bytes] = {}
        self._long_bytes: dict[bytes, int] = {}

    def again(self, *, keep: bool) -> Encoder:
        """A fresh walk that knows what this one found out."""
        other = Encoder(pickle=self.pickle, copy=self.copy, keep=keep)
        other.hoisted = self.hoisted
        other.keep_alive(self)  # what was hoisted must stay alive, or its id could name something else
        return other

    # -- for the encoders of single types

    def refuse(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        """Raise a :class:`PayloadError` that names the place reached in the payload."""
        path = self.path()
        raise PayloadError(f"{path} cannot be stored: {reason}", path=path) from cause

    def sign(self, kind: type, how: str, why: str | None = None) -> None:
        """Note that ``kind`` needs a signature, and ``why``; refuse where none may be made."""
        if not self.pickle:
            self.refuse(
                why
                or f"{registry.type_name(kind)} would need a signature, which pickle=False forbids; "
                "register the class with laila.register_type, or store plain data"
            )
        self.signed_types[kind] = how

    def count(self, what: object, most: int) -> bool:
        """Count one more of ``what``; whether there are no more than ``most``. Reading counts the same."""
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what] <= most

    def add_buffer(
        self,
        data: memoryview,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        order: str = "C",
    ) -> int:
        """Add a buffer that nothing else changes any more; return its number."""
        self.buffers.append(Buffer(data, dtype, shape, order))
        return len(self.buffers) - 1

    def reserve_buffer(self) -> int:
        """The number of a buffer that a collector gives when the walk is over."""
        self.buffers.append(_RESERVED)
        return len(self.buffers) - 1

    def collector(self, kind: type[C]) -> C:
        """The one ``kind`` of this walk: what can only be decided when everything has been met.

        Its ``finish`` is called with the encoder and the writer of the rows when the walk is over.
        """
        found: C | None = self._collectors.get(kind)
        if found is None:
            found = self._collectors[kind] = kind()
        return found

    def row_of(self, obj: object) -> int:
        """The index of the row of ``obj``, which the walk has left."""
        return self._memo[id(obj)]

    def shared_buffer(self, owner: object) -> int | None:
        """The number of the buffer noted for ``owner`` (such as a storage's address), or None."""
        return self._owners.get(owner)

    def share_buffer(self, owner: object, number: int) -> None:
        """Note that buffer ``number`` holds ``owner``'s bytes."""
        self._owners[owner] = number

    def keep_alive(self, obj: object) -> None:
        """Hold ``obj`` until the walk ends, so that its id or address names nothing else."""
        self._alive.append(obj)

    def bytes_buffer(self, data: bytes) -> int:
        """The number of the buffer that holds ``data``; equal bytes share one.

        Nothing is hashed while lengths differ.
        """
        first = self._bytes_of_length.setdefault(len(data), data)
        if first is data:
            number = self._owners.get(("bytes", id(data)))
            if number is None:
                number = self._owners["bytes", id(data)] = self.add_buffer(memoryview(data))
            return number
        self._long_bytes.setdefault(first, self._owners["bytes", id(first)])
        known = self._long_bytes.get(data)
        if known is None:
            known = self._long_bytes[data] = self.add_buffer(memoryview(data))
        return known

    def is_outside(self, obj: object) -> bool:
        """Whether ``obj``, met inside a pickle, belongs to the payload outside it and must stay shared."""
        number = id(obj)
        return number in self._memo or number in self._active or number in self.hoisted

    def hoist(self, obj: object) -> NoReturn:
        """Begin again, with ``obj`` as a row of its own: a pickle holds it, and so does something else."""
        self.hoisted.add(id(obj))
        raise Hoist

    def path(self) -> str:
        """The place reached, such as ``payload['a'][3].b``."""
        return "payload" + "".join(place(frame.obj, frame.row, frame.position) for frame in self._stack)

    # -- the walk

    def run(self, root: object) -> bytes:
        """Write ``root`` and everything below it; return the tree."""
        stack = self._stack
        memo = self._memo
        active = self._active
        pending: object = root
        while True:
            # Enter ``pending``: an object without a row of its own yet.
            if id(pending) in active:
                path = self.path()
                raise PayloadCycleError(
                    f"{path} cannot be stored: it is a {type(pending).__name__} that contains itself",
                    path=path,
                )
            if id(pending) in self.pickled:
                self.hoist(pending)
            active.add(id(pending))
            stack.append(_Frame(pending, [None], 1))
            boxed = type(pending) is _Boxed
            source = pending.value if boxed else pending  # type: ignore[attr-defined]
            row = registry.encoder_for(source)(source, self)
            kinds = set(map(type, row))
            if ExtType in kinds:
                row = [_Boxed(field) if type(field) is ExtType else field for field in row]
            if row[0] in _KEYED:
                self._check_keys(row)
            if tuple in kinds and kinds <= _SHORT_OR_TUPLE and self._tuples(row):
                kinds.discard(tuple)
            simple = kinds <= ATOMS and not (bytes in kinds and any(_is_long(field) for field in row))
            stack.pop()
            stack.append(_Frame(pending, row, len(row) if simple else 1))
            # Leave every frame that is complete, until one has a field to enter.
            while True:
                frame = stack[-1]
                child = self._next(frame)
                if child is not None:
                    pending = child
                    break
                index = self._finish(frame)
                if index is None:
                    continue  # an int beyond 64 bits turned up
                stack.pop()
                memo[id(frame.obj)] = index
                self._alive.append(frame.obj)
                active.discard(id(frame.obj))
                if not stack:
                    for collector in self._collectors.values():
                        collector.finish(self, self._rows)
                    tree, self.buffers = self._rows.tree(self.buffers)
                    return tree
                above = stack[-1]
                above.row[above.position] = reference(index)
                above.position += 1
                above.depth = max(above.depth, self._rows.depths[index])

    def _next(self, frame: _Frame) -> object | None:
        """The next field of ``frame`` that needs a row of its own.

        Known ones become references on the way.
        """
        row, position, memo = frame.row, frame.position, self._memo
        careful, depths = frame.careful, self._rows.depths
        for position in range(position, len(row)):  # noqa: B020  # resumes where it stopped
            field = row[position]
            kind = type(field)
            if kind in _FIELDS:
                if not (kind is bytes and _is_long(field)) and not (
                    careful and kind is int and not _INT_MIN <= field <= _INT_MAX
                ):
                    continue
            index = memo.get(id(field))
            if index is None:
                if kind in _SMALL:
                    index = self._small(field, kind, 1)
                if index is None:
                    frame.position = position
                    found: object = field
                    return found
            row[position] = reference(index)
            if depths[index] > frame.depth:  # noqa: PLR1730 - met for every reference, and max is a call
                frame.depth = depths[index]
        return None

    def _tuples(self, row: Row) -> bool:
        """Write all tuples in ``row``, whose other fields are atoms, if these hold nothing but short atoms.

        False, and nothing is done, where one holds something else. This is what most tuples come to: they are
        taken at once, since a step in Python for each costs more than packing it.
        """
        found = [field for field in row if type(field) is tuple]
        if len(found) < _FEW or self.pickled or not _SHORT.issuperset(map(type, chain.from_iterable(found))):
            return False
        if float in map(type, chain.from_iterable(found)) and any(x != x for x in chain.from_iterable(found)):
            return False
        try:
            indexes = self._rows.write_tuples(found)
        except OverflowError:
            return False
        self._memo.update(zip(map(id, found), indexes, strict=True))
        self._alive.append(found)
        references = map(reference, indexes)
        row[:] = [next(references) if type(field) is tuple else field for field in row]
        return True

    def _small(self, value: Any, kind: type, level: int) -> int | None:
        """Write a list, tuple or dict of atoms, or of a few levels of such, without frames.

        None for any other, and then what was written is what frames would have written first.
        """
        if id(value) in self.pickled:
            return None
        tag = _SMALL[kind]
        row: Row = [tag, *(value if tag != tags.DICT else chain.from_iterable(list(value.items())))]
        depth = 0
        if not _SHORT.issuperset(map(type, row)):
            if level == _SMALL_LEVELS or (tag == tags.DICT and not _SHORT.issuperset(map(type, row[1::2]))):
                return None
            memo, depths = self._memo, self._rows.depths
            many = len(row) > _FEW and _SHORT_OR_TUPLE.issuperset(map(type, row)) and self._tuples(row)
            for position, field in enumerate(() if many else row):
                kind = type(field)
                if kind in _SHORT:
                    continue
                index = memo.get(id(field))
                if index is None and kind in _SMALL:
                    index = self._small(field, kind, level + 1)
                if index is None:
                    return None
                row[position] = reference(index)
                depth = max(depth, depths[index])
        merge = tag == tags.TUPLE
        if merge and float in map(type, row) and any(field != field for field in row):
            return None
        try:
            packed = pack_object(row)
        except OverflowError:
            return None
        index = self._memo[id(value)] = self._rows.write(row, packed, depth, merge=merge)
        self._alive.append(value)
        return index

    def _check_keys(self, row: Row) -> None:
        """Refuse keys and members that reading would refuse, since they take too long to hash."""
        tag = row[0]
        keys = row[1:] if tag in tags.SETS else row[tags.MAPPINGS[tag] :: 2]
        if self._keys is None:
            from laila.codec.objects import registered_fields

            self._keys = KeyBudget(registered_fields)
        try:
            self._keys.check(keys)
        except ValueError as error:
            self.refuse(f"it has {said(error)}", error)

    def _finish(self, frame: _Frame) -> int | None:
        row = frame.row
        try:
            packed = pack_object(row)
        except OverflowError:
            frame.careful = True
            frame.position = 1
            return None
        if self.keep and row[0] in tags.SETS:
            # One order for equal sets, so that they merge; the order by content comes at the end.
            refs = sorted((field for field in row if type(field) is ExtType), key=referred)
            row[len(row) - len(refs) :] = refs
            packed = pack_object(row)
        depth = frame.depth + (row[0] not in tags.UNWOUND)
        return self._rows.write(row, packed, depth, merge=row[0] in tags.MERGED and not _has_nan(frame))

    def set_row(self, tag: int, members: set[object] | frozenset[object]) -> Row:
        """The row of a set: atoms in the order of their bytes.

        Then what has rows (ordered by content at the end).
        """
        atoms: list[tuple[bytes, object]] = []
        others: Row = []
        for member in members:
            if type(member) in ATOMS and not _is_long(member):
                try:
                    atoms.append((pack_object(member), member))
                    continue
                except OverflowError:
                    pass
            others.append(member)
        if len(others) > 1 and not self.keep:
            raise _KeepRows
        atoms.sort(key=lambda pair: pair[0])
        return [tag, *(member for _, member in atoms), *others]


def _has_nan(frame: _Frame) -> bool:
    """A NaN is not even equal to itself: two of them must stay two, or a set of them would shrink."""
    if any(type(field) is float and field != field for field in frame.row):
        return True
    tag = frame.row[0]
    if tag == tags.DECIMAL:
        return bool(frame.obj.is_nan())  # type: ignore[attr-defined]
    return tag == tags.SCALAR and bool(frame.obj != frame.obj)


def _is_long(field: object) -> bool:
    return type(field) is bytes and len(field) >= INLINE_BYTES


def encode_rows(
    payload: object,
    key: str,
    nickname: str | None,
    user: bytes | None,
    pickle: bool,
    copy: bool,
    created: float,
) -> Blob:
    """Encode what is not plain; see :func:`laila.codec.encode`."""
    encoder = Encoder(pickle=pickle, copy=copy)
    tree: bytes | None = None
    while tree is None:
        try:
            tree = encoder.run(payload)
        except _KeepRows:
            encoder = encoder.again(keep=True)
        except Hoist:
            encoder = encoder.again(keep=encoder.keep)
    size = len(tree) + sum(buffer.nbytes for buffer in encoder.buffers)
    codec = "signed" if encoder.signed_types else "rows"
    meta = (created, registry.type_name(type(payload)), size, codec, user)
    blob = Blob(key, tree, tuple(encoder.buffers), nickname, meta)
    if encoder.signed_types:
        from laila.codec.trust import sign_blob

        sign_blob(blob, encoder.signed_types)
    return blob
