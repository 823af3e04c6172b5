"""The slow path, writing: any payload as rows.

Every container, and every value that MessagePack lacks, is one row ``[tag, field, …]``, written after the
rows it refers to; a field is an atom or a reference to an earlier row. So nothing is nested in anything
else's bytes, depth costs no recursion, and an object met twice is a second reference. The walk keeps its own
stack, which is also how a cycle is found and how an error knows its place inside the payload.

Rows cannot say that something contains itself. Where a cycle passes through an object of a class, the
outermost object on the way that is in it becomes a pickle, which can (:mod:`laila.codec.signed`); a cycle of
plain containers alone is refused. What a pickle holds is remembered, so that whatever else refers to it is a
reference to that place in the pickle: sharing is found in one pass.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from itertools import chain, islice
from types import SimpleNamespace

from msgpack import ExtType

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import registry, tags
from laila.codec.invariants import is_doubtful
from laila.codec.limits import CHEAP, KeyBudget, work_allowed
from laila.codec.places import place
from laila.codec.plain import ATOMS, INLINE_BYTES, pack_each, pack_object, sort_packed
from laila.codec.references import MANY, compact_known
from laila.codec.rows import RowWriter, has_nan, pack_row, reference, referred
from laila.codec.together import Boxed, Known, Together
from laila.errors import LailaError, PayloadCycleError, PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn, Protocol, TypeVar

    from laila.codec.registry import EncodeFunction
    from laila.codec.rows import Row
    from laila.codec.signed import Pickled

    class Collector(Protocol):
        def finish(self, encoder: Encoder, rows: RowWriter) -> None: ...

    C = TypeVar("C", bound=Collector)

__all__ = ["Cycle", "Encoder", "Known", "NotALeaf", "encode_rows"]

_FIELDS = ATOMS | {ExtType}
_SHORT = ATOMS - {bytes}
_SHORT_OR_TUPLE = _SHORT | {tuple}
_SMALL: dict[type, int] = {list: tags.LIST, tuple: tags.TUPLE, dict: tags.DICT}
_KEYED = tags.SETS | tags.MAPPINGS.keys()
_CONTAINERS: frozenset[Any] = frozenset(
    {list, tuple, dict, set, frozenset, OrderedDict, Counter, defaultdict, deque, SimpleNamespace}
)
_SMALL_LEVELS = 3
_FEW = 4
_AHEAD = 4000
_FIRST = 200
_MOST_AT_ONCE = 512
_ATTEMPTS = 4
_RESERVED = Buffer(memoryview(b""))
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class _KeepRows(Exception):
    """A set of several rows was met: its members must be ordered by content, which needs all rows kept."""


class Cycle(Exception):
    """What is being encoded refers to an object above it: that one, at ``position``, must be pickled."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class NotALeaf(Exception):
    """What was to be a row in the midst of a pickle needs a pickle itself, or holds containers."""


_SHORT_OR_KNOWN = _SHORT | {Known}


class _Frame:
    __slots__ = ("careful", "depth", "known", "numbers", "obj", "position", "row", "todo")

    def __init__(self, obj: object, row: Row, position: int) -> None:
        self.obj = obj
        self.row = row
        self.position = position
        self.depth = 0  # the most rows on one path below it that are freed by recursion
        self.careful = False  # set once the packer found an int beyond 64 bits
        # Of a wide row: the rows of its fields, by id; and the positions not looked at yet, last first.
        self.known: dict[int, int] | None = None
        self.todo: list[int] = []
        self.numbers: list[int] | None = None
        """The ids of the fields of a wide row."""

    def widen(self, known: dict[int, int], unique: dict[int, Any]) -> None:
        """Look at each object in the row once, however often it stands there; see :meth:`narrow`.

        ``unique`` are the fields by id, and ``known`` the rows of some.
        """
        row = self.row
        self.known = known
        if _SHORT.issuperset(map(type, map(unique.__getitem__, unique.keys() - known.keys()))):
            self.position = len(row)
            return
        # From the last to the first, so that the first place of each object is what remains.
        places = dict(zip(map(id, reversed(row)), range(len(row) - 1, 0, -1), strict=False))
        self.todo = [
            position
            for number, position in places.items()
            if number not in known
            and type(row[position]) not in _SHORT
            and (type(row[position]) is not bytes or _is_long(row[position]))
        ]
        self.todo.sort(reverse=True)

    def narrow(self) -> None:
        """Put references into a wide row, as other rows have them."""
        known, self.known = self.known, None
        if known is not None:
            numbers = map(known.get, map(id, self.row))
            self.row = [
                field if number is None else reference(number)
                for field, number in zip(self.row, numbers, strict=True)
            ]


class Encoder:
    """One walk over one payload. Not safe to share between threads; used once."""

    def __init__(
        self,
        *,
        pickle: bool,
        copy: bool,
        keep: bool = False,
        ordered: bool = False,
        batch: int = 1,
        whole_dicts: bool = False,
        rebuild: bool = True,
    ) -> None:
        self.pickle = pickle
        self.rebuild = rebuild
        """Whether objects of libraries become rows by recipes, not pickles."""
        self.rebuilt = False
        """Whether some did."""
        self.copy = copy
        self.keep = keep
        self.ordered = ordered
        self.buffers: list[Buffer] = []
        self.signed_types: dict[type, str] = {}
        self.pickled: dict[int, Pickled] = {}
        """By id: the pickle that holds an object."""
        self.memo: dict[int, int] = {}
        """By id: the row of an object that has one."""
        self.active: dict[int, int] = {}
        """By id: the position on the stack of an object that is being encoded."""
        self.doubtful = False
        """Whether a row was written that is only known to be readable once it was read."""
        self.notes: dict[object, Any] = {}
        """What the encoders of types note for the rest of the walk."""
        self.names: dict[type, str] = {}
        """How the tree calls the classes that were met."""
        self._encoders: dict[type, EncodeFunction] = {}
        self._ready: dict[int, Row] = {}
        self._rows = RowWriter(keep=keep)
        self._together = Together(self, self._rows)
        self._keys: KeyBudget | None = None
        self._alive: list[object] = []  # ids stay unique only while their objects live
        self._stack: list[_Frame] = []
        self.root: object = None
        """What is encoded."""
        self.roots: dict[int, object] = {}
        """By row: what was pickled."""
        self._kept_out: dict[int, object] = {}
        self._leaves = 0
        self._no_leaves: set[int] = set()
        self._owners: dict[object, int] = {}
        self._counts: dict[object, int] = {}
        self._pickles: dict[type, bool] = {}
        self._mixed: set[int] = set()
        self.batch = batch
        """How many objects are pickled at once, where so many are near."""
        self.together = False
        """Whether some were."""
        self.taken: object = None
        """What a collector was busy with last."""
        self.whole_dicts = whole_dicts
        """Whether the ``__dict__`` of objects are rows of their own, since some are shared."""
        self._collectors: dict[type, Any] = {}
        self._bytes_of_length: dict[int, bytes] = {}
        self._long_bytes: dict[bytes, int] = {}

    # -- for the encoders of single types

    def refuse(self, reason: str, cause: BaseException | None = None, *, below: str = "") -> NoReturn:
        """Raise a :class:`PayloadError` that names the place reached in the payload, and ``below`` it."""
        path = self.path() + below
        raise PayloadError(f"{path} cannot be stored: {reason}", path=path) from cause

    def sign(self, kind: type, how: str, why: str | None = None) -> None:
        """Note that ``kind`` needs a signature, and ``why``; refuse where none may be made."""
        if not self.pickle:
            from laila.codec.advice import remedy

            self.refuse(
                why
                or f"{registry.type_name(kind)} would need a signature, which pickle=False forbids. "
                f"{remedy(kind, how)}"
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

    def ranges_of_arrays(self) -> list[tuple[int, int, object]]:
        """Where the numpy arrays that the walk met lie in memory, and each of them."""
        found = next((kept for kept in self._collectors.values() if hasattr(kept, "ranges")), None)
        return [] if found is None else found.ranges()

    def row_of(self, obj: object) -> int:
        """The index of the row of ``obj``, which the walk has left."""
        return self.memo[id(obj)]

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

    def write(self, row: Row, known: list[int]) -> int:
        """Write a row at once: what ``row`` says, and references to the rows ``known``. Return its index."""
        self.doubtful = self.doubtful or is_doubtful(row)
        depths = self._rows.depths
        depth = max((depths[index] for index in known), default=0) + (row[0] not in tags.UNWOUND)
        row = [*row, *map(reference, known)]
        return self._rows.write(row, pack_row(row), depth, merge=False)

    def part_row(self, obj: object) -> int | None:
        """The row of an object that a pickle holds already, or None where none does."""
        held = self.pickled.get(id(obj))
        number = None if held is None else held.part(obj)
        if held is None or number is None:
            return None
        packed = [tags.PART, reference(held.row), number]
        index = self._rows.write(packed, pack_row(packed), self._rows.depths[held.row], merge=False)
        self.memo[id(obj)] = index
        self._alive.append(obj)
        return index

    def ahead(self, most: int) -> list[object]:
        """Up to ``most`` objects that the walk will meet soon, and that are pickled.

        Looks at no more than a few thousand fields, a few levels down.
        """
        found: list[object] = []
        left = _AHEAD
        for frame in reversed(self._stack[:-1]):
            todo: list[Any] = [islice(frame.row, frame.position + 1, None)]
            while todo and left > 0 and len(found) < most:
                for field in todo[-1]:
                    left -= 1
                    kind = type(field)
                    if kind in _SHORT_OR_KNOWN or kind is ExtType:
                        pass
                    elif kind in _SMALL:
                        if len(todo) < _SMALL_LEVELS and id(field) not in self.memo:
                            todo.append(iter(field if kind is not dict else [*field.values()]))
                            break
                    elif self._is_pickled(kind, field):
                        number = id(field)
                        if number not in self.memo and number not in self.pickled:
                            found.append(field)
                            if len(found) == most:
                                break
                    if left <= 0:
                        break
                else:
                    todo.pop()
            if left <= 0 or len(found) >= most:
                break
        return found

    def _whole(self, container: Any) -> set[type] | None:
        """The types of what is pickled in ``container``, where it holds some of that and else only atoms.

        A container that is pickled as a whole costs less than one with a row for each pickle in it. Looks a
        few levels down, and gives up where the first fields are of other kinds.
        """
        for field in container if type(container) is not dict else container.values():
            kind = type(field)
            if kind in _SHORT:
                continue
            if kind in _SMALL or self._is_pickled(kind, field):
                break
            return None
        else:
            return None
        kinds: set[type] = set()
        seen: set[int] = set()
        count = 0
        left = _FIRST
        todo: list[Any] = [_fields(container)]
        while todo:
            for field in todo[-1]:
                left -= 1
                kind = type(field)
                if kind in _SHORT:
                    pass
                elif kind in _SMALL and len(todo) < _SMALL_LEVELS and id(field) not in self._mixed:
                    todo.append(_fields(field))
                    break
                elif kind in kinds or (kind not in _SMALL and self._is_pickled(kind, field)):
                    kinds.add(kind)
                    if id(field) not in seen:
                        seen.add(id(field))
                        count += 1
                else:
                    count, left = 0, 0
                if left <= 0 and not count:
                    self._mixed.add(id(container))
                    self._alive.append(container)
                    return None
            else:
                todo.pop()
        return kinds if count >= _FEW else None

    def _is_pickled(self, kind: type, obj: object) -> bool:
        """Whether a ``kind`` is always pickled."""
        try:
            known = self._pickles.get(kind)
            if known is None:
                # Known by its name, since the module that has it loads much that others do not need.
                encode = registry.encoder_for(obj)
                known = self._pickles[kind] = getattr(encode, "__name__", "") == "encode_pickled"
        except Exception:  # noqa: BLE001 - a class that cannot be looked at: it is told when its turn comes
            return False
        return known

    @property
    def position(self) -> int:
        """The position on the stack of what is being encoded."""
        return len(self._stack) - 1

    @property
    def in_leaf(self) -> bool:
        """Whether a row is being written in the midst of a pickle; see :meth:`leaf`."""
        return bool(self._leaves)

    def leaf(self, obj: object) -> int | None:
        """Write the row of ``obj``, such as an array, in the midst of a pickle that holds it.

        Returns its index, or None where it must stay in the pickle, since it holds what that may hold too.
        """
        if id(obj) in self._no_leaves:
            return None
        base = len(self._stack)
        self._leaves += 1
        try:
            return self._walk(obj)
        except NotALeaf:
            self._unwind(base)
            self._no_leaves.add(id(obj))
            self._alive.append(obj)
            return None
        finally:
            self._leaves -= 1

    def leaves(self) -> dict[int, object]:
        """By row as the tree numbers them: the arrays and other objects that are buffers, read-only."""
        numbers = self._rows.numbers
        return {
            index if numbers is None else numbers[index]: _read_only(obj)
            for index, obj in self._kept_out.items()
            if numbers is None or index in numbers
        }

    def object_of(self, row: int) -> tuple[object, int | None]:
        """The object whose row is ``row``, as the tree numbers them, and its tag where it was pickled."""
        numbers = self._rows.numbers
        if numbers is not None:
            row = next((old for old, new in numbers.items() if new == row), row)
        if row in self.roots:
            return self.roots[row], tags.PICKLED
        return next((obj for obj in self._alive if self.memo.get(id(obj)) == row), None), None

    def path(self) -> str:
        """The place reached, such as ``payload['a'][3].b``."""
        steps = []
        for frame in self._stack:
            try:
                steps.append(place(frame.obj, frame.row, frame.position))
            except Exception:  # noqa: BLE001 - a class that hides its parts; the place above it is told
                break
        return "payload" + "".join(steps)

    # -- the walk

    def run(self, root: object) -> bytes:
        """Write ``root`` and everything below it; return the tree.

        Whatever a class of the user's raises on the way is told as a :class:`PayloadError` with the place.
        """
        self.root = root
        try:
            self._walk(root)
            for collector in self._collectors.values():
                collector.finish(self, self._rows)
        except (LailaError, _KeepRows, MemoryError):
            raise
        except RecursionError as error:
            self.refuse(
                f"{self._kind()} nests too deep for what must recurse into it; store flatter data",
                error,
            )
        except Exception as error:  # noqa: BLE001 - a class may raise anything; it is told as the cause
            from laila.codec.advice import INSTEAD

            if not self._stack and self.taken is not None:
                from laila.codec.graphs import path_to

                below = (path_to(root, self.taken) or "payload").removeprefix("payload")
                name = registry.type_name(type(self.taken))
                self.refuse(
                    f"{name} raised {type(error).__name__}: {said(error)}; {INSTEAD}", error, below=below
                )
            self.refuse(f"{self._kind()} raised {type(error).__name__}: {said(error)}; {INSTEAD}", error)
        tree, self.buffers = self._rows.tree(self.buffers)
        return tree

    def _kind(self) -> str:
        return registry.type_name(type(self._stack[-1].obj)) if self._stack else "it"

    def _walk(self, root: object) -> int:
        """Write ``root`` and everything below it; return the index of its row."""
        stack = self._stack
        memo = self.memo
        active = self.active
        base = len(stack)
        pending: object = root
        while True:
            # Enter ``pending``: an object without a row of its own yet.
            number = id(pending)
            if number in active:
                pending, row = self._close(active[number])
            else:
                active[number] = len(stack)
                stack.append(_Frame(pending, [None], 1))
                try:
                    row = self._row_of(pending)
                except Cycle as cycle:
                    pending, row = self._from_above(cycle.position)
            depth = 0
            kinds = set(map(type, row))
            wide = len(row) > MANY
            if Known in kinds:
                depths = self._rows.depths
                depth = max(depths[field.index] for field in row if type(field) is Known)
                if not wide:
                    row = [reference(field.index) if type(field) is Known else field for field in row]
                    kinds.discard(Known)
            if row[0] in _KEYED and Known not in kinds:  # else they were checked when they were written
                self._check_keys(row)
            tuples = self._tuples(row) if tuple in kinds and kinds <= _SHORT_OR_TUPLE else None
            if tuples is not None:
                kinds.discard(tuple)
            simple = kinds <= ATOMS and not (bytes in kinds and any(_is_long(field) for field in row))
            stack.pop()
            frame = _Frame(pending, row, len(row) if simple else 1)
            frame.depth = depth
            stack.append(frame)
            if tuples is not None:
                frame.known = tuples
                if not wide:
                    frame.narrow()
            elif wide and not simple and ExtType not in kinds:
                self._widen(frame)
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
                del active[id(frame.obj)]
                if len(stack) == base:
                    return index
                above = stack[-1]
                if above.known is None:
                    above.row[above.position] = reference(index)
                    above.position += 1
                else:
                    above.known[id(above.row[above.position])] = index
                    above.todo.pop()
                above.depth = max(above.depth, self._rows.depths[index])

    def _row_of(self, pending: object) -> Row:
        """The row of the object on top of the stack, as the encoder of its type makes it."""
        held = self.pickled.get(id(pending))
        if held is not None and (number := held.part(pending)) is not None:
            return [tags.PART, Known(held.row), number]
        boxed = type(pending) is Boxed
        source = pending.value if boxed else pending  # type: ignore[attr-defined]
        if self._leaves and not _is_in_leaves(type(source)):
            raise NotALeaf
        if type(source) in _SMALL and self.batch > 1 and (kinds := self._whole(source)):
            from laila.codec.signed import encode_whole

            whole = encode_whole(source, kinds, self)
            if whole is not None:
                return whole
        ready = self._ready.pop(id(source), None)
        if ready is not None:
            return ready
        row = self.encoder_of(source)(source, self)
        if ExtType in map(type, row):
            row = [Boxed(field) if type(field) is ExtType else field for field in row]
        return row

    def encoder_of(self, source: object) -> EncodeFunction:
        """The function that makes the rows of objects of that type."""
        encode = self._encoders.get(type(source))
        if encode is None:
            encode = self._encoders[type(source)] = registry.encoder_for(source)
        return encode

    def _close(self, position: int) -> tuple[object, Row]:
        """A cycle: what is at ``position`` contains itself. Have it pickled, unless only containers do."""
        if all(_is_container(frame.obj) for frame in self._stack[position:]):
            path = self.path()
            raise PayloadCycleError(
                f"{path} cannot be stored: it is a {type(self._stack[position].obj).__name__} that contains "
                "itself",
                path=path,
            )
        return self._from_above(position)

    def _from_above(self, position: int) -> tuple[object, Row]:
        """Drop what is below ``position`` on the stack, and pickle what is there, cycles and all."""
        from laila.codec.signed import encode_cycle

        if self._leaves:
            raise NotALeaf
        if not self.pickle:
            path = self.path()
            raise PayloadCycleError(
                f"{path} cannot be stored: it closes a cycle, which only a pickle carries; that would need a "
                "signature, which pickle=False forbids",
                path=path,
            )
        while True:
            self._unwind(position + 1)
            obj = self._stack[position].obj
            self._stack[position] = _Frame(obj, [None], 1)
            try:
                return obj, encode_cycle(obj, self)
            except Cycle as cycle:
                position = cycle.position

    def _unwind(self, length: int) -> None:
        """Forget the frames from ``length`` on."""
        for frame in self._stack[length:]:
            self.active.pop(id(frame.obj), None)
        del self._stack[length:]

    def _next(self, frame: _Frame) -> object | None:
        """The next field of ``frame`` that needs a row of its own.

        Known ones become references on the way.
        """
        if frame.known is not None:
            return self._next_of_wide(frame, frame.known)
        row, position, memo, pickled = frame.row, frame.position, self.memo, self.pickled
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
                if pickled and id(field) in pickled:
                    index = self.part_row(field)
                elif not self._leaves:
                    frame.position = position
                    index = self._small(field, kind, 1) if kind in _SMALL else self._quick(field, kind)
                if index is None:
                    frame.position = position
                    found: object = field
                    return found
            row[position] = reference(index)
            if depths[index] > frame.depth:  # noqa: PLR1730 - met for every reference, and max is a call
                frame.depth = depths[index]
        return None

    def _widen(self, frame: _Frame) -> None:
        """Write what stands in a wide row together, as far as that can be."""
        row = frame.row
        frame.numbers = list(map(id, row))
        unique = dict(zip(frame.numbers, row, strict=True))
        if self._leaves:
            known = {id(field): field.index for field in row if type(field) is Known}
        else:
            known = self._together.write(row, unique=unique)
        frame.widen(known, unique)
        frame.depth = max(frame.depth, *map(self._rows.depths.__getitem__, known.values()), 0)

    def _next_of_wide(self, frame: _Frame, known: dict[int, int]) -> object | None:
        """:meth:`_next` of a wide row, whose fields stay what they are until it is packed."""
        row, todo, memo, pickled, depths = frame.row, frame.todo, self.memo, self.pickled, self._rows.depths
        while todo:
            position = todo[-1]
            field = row[position]
            index = memo.get(id(field))
            if index is None:
                kind = type(field)
                frame.position = position
                if pickled and id(field) in pickled:
                    index = self.part_row(field)
                elif not self._leaves:
                    index = self._small(field, kind, 1) if kind in _SMALL else self._quick(field, kind)
                if index is None:
                    found: object = field
                    return found
            known[id(field)] = index
            todo.pop()
            if depths[index] > frame.depth:  # noqa: PLR1730 - met for every reference, and max is a call
                frame.depth = depths[index]
        return None

    def _tuples(self, row: Row) -> dict[int, int] | None:
        """Write all tuples in ``row``, whose other fields are atoms, if these hold nothing but short atoms.

        Returns their rows by id; None, and nothing is done, where one holds something else. This is what most
        tuples come to: they are taken at once, since a step in Python for each costs more than packing it.
        """
        found = [field for field in row if type(field) is tuple]
        unique = dict(zip(map(id, found), found, strict=True))
        if len(unique) < len(found):
            found = [*unique.values()]
        elif len(found) < _FEW:
            return None
        fields = set(map(type, chain.from_iterable(found)))
        if not fields <= _SHORT or (float in fields and any(x != x for x in chain.from_iterable(found))):
            return None
        try:
            rows: list[Row] = [[tags.TUPLE, *value] for value in found]
            indexes = self._rows.write_merged(rows, pack_each(rows), [True] * len(rows), [0] * len(rows), {})
            known = dict(zip(unique, indexes, strict=True))
        except OverflowError:
            return None
        self.memo.update(known)
        self._alive.append(found)
        return known

    def _small(self, value: Any, kind: type, level: int) -> int | None:
        """Write a list, tuple or dict of atoms, or of a few levels of such, without frames.

        None for any other, and then what was written is what frames would have written first.
        """
        if id(value) in self.pickled or id(value) in self.active:
            return None
        tag = _SMALL[kind]
        row: Row = [tag, *(value if tag != tags.DICT else chain.from_iterable(list(value.items())))]
        depth = 0
        if not _SHORT.issuperset(map(type, row)):
            if level == _SMALL_LEVELS:
                return None
            if tag == tags.DICT and not _SHORT.issuperset(map(type, row[1::2])):
                try:
                    self._check_keys(row)
                except PayloadError:
                    return None  # its frame knows the place
            memo, depths = self.memo, self._rows.depths
            if len(row) > _FEW and _SHORT_OR_TUPLE.issuperset(map(type, row)):
                self._tuples(row)  # which are known from then on
            for position, field in enumerate(row):
                kind = type(field)
                if kind in _SHORT:
                    continue
                index = memo.get(id(field))
                if index is None:
                    if kind in _SMALL:
                        index = self._small(field, kind, level + 1)
                    elif kind is not ExtType and kind is not bytes:
                        index = self._quick(field, kind, level + 1)
                    if index is None:
                        return None
                row[position] = reference(index)
                depth = max(depth, depths[index])
        merge = tag == tags.TUPLE
        if merge and float in map(type, row) and any(field != field for field in row):
            return None
        try:
            packed = pack_row(row)
        except OverflowError:
            return None
        index = self.memo[id(value)] = self._rows.write(row, packed, depth, merge=merge)
        self._alive.append(value)
        return index

    def _quick(self, value: Any, kind: type, level: int = 1) -> int | None:
        """Write an object whose fields are atoms, known, or small containers of atoms, without a frame.

        None for any other; its row, if it was made, is kept for the frame.
        """
        if kind is Boxed:
            return None
        encode = self.encoder_of(value)
        number = id(value)
        if encode not in registry.QUICK or number in self.pickled or number in self.active:
            return None
        try:
            row = self._ready.pop(number, None) or encode(value, self)
            if row[0] in tags.MAPPINGS:
                self._check_keys(row)
        except (MemoryError, _KeepRows):
            raise
        except Exception:
            if level == 1:
                raise
            return None  # its frame knows the place
        tag = row[0]
        depth = 0
        if not _SHORT.issuperset(map(type, row)):
            memo, depths = self.memo, self._rows.depths
            known: list[tuple[int, int]] = []
            for position, field in enumerate(row):
                kind = type(field)
                if kind in _SHORT or (kind is bytes and not _is_long(field)):
                    continue
                index = field.index if isinstance(field, Known) else memo.get(id(field))
                if index is None:
                    if kind in _SMALL:
                        index = self._small(field, kind, level + 1) if level < _SMALL_LEVELS else None
                    elif tag == tags.SUBCLASS and position == tags.ATTRIBUTES[tag] - 1:
                        index = self._quick(field, kind, level)  # the base's part of the value
                    if index is None:
                        row = [Boxed(field) if type(field) is ExtType else field for field in row]
                        for position, index in known:
                            row[position] = Known(index)
                        self._ready[number] = row
                        return None
                known.append((position, index))
                depth = max(depth, depths[index])
            for position, index in known:
                row[position] = reference(index)
        merge = tag in tags.MERGED and not has_nan(row, value)
        try:
            packed = pack_row(row)
        except OverflowError:
            return None
        self.doubtful = self.doubtful or is_doubtful(row)
        index = self.memo[number] = self._rows.write(
            row, packed, depth + (tag not in tags.UNWOUND), merge=merge
        )
        self._alive.append(value)
        return index

    def _check_keys(self, row: Row) -> None:
        tag = row[0]
        self.check_keys(row[1:] if tag in tags.SETS else row[tags.MAPPINGS[tag] :: 2])

    def check_keys(self, keys: Sequence[object]) -> None:
        """Refuse keys and members that reading would refuse, since they take too long to hash."""
        if not CHEAP.issuperset(map(type, keys)):
            self.check_each([keys])

    def check_each(self, rows: Sequence[Sequence[object]]) -> None:
        """:meth:`check_keys` of many mappings and sets."""
        if self._keys is None:
            from laila.codec.objects import registered_fields

            self._keys = KeyBudget(registered_fields)
        try:
            self._keys.check_each(rows)
        except ValueError as error:
            self.refuse(f"it has {said(error)}", error)

    def members(self, sets: Sequence[Any], every: list[Any]) -> list[Row] | None:
        """See :meth:`Together.members`."""
        return self._together.members(sets, every)

    def keep_alive(self, held: object) -> None:
        """Keep ``held``, so that the ids of what is in it stay theirs."""
        self._alive.append(held)

    def check_work(self, nbytes: int) -> None:
        """Refuse a payload whose keys take longer to hash than reading ``nbytes`` may."""
        if self._keys is not None and self._keys.spent > work_allowed(nbytes) and not self.signed_types:
            self.refuse("its keys take too long to hash or to compare")

    def _finish(self, frame: _Frame) -> int | None:
        if self.keep:
            frame.narrow()
        try:
            packed = self._packed(frame)
        except OverflowError:
            known = self._together.ints(frame.row)
            frame.known = {**(frame.known or {}), **known}
            frame.depth = max(frame.depth, *map(self._rows.depths.__getitem__, known.values()), 0)
            try:
                packed = self._packed(frame)
            except OverflowError:  # one so long that it is a buffer
                frame.narrow()
                frame.careful = True
                frame.position = 1
                return None
            if self.keep:
                frame.narrow()
        row = frame.row
        if self.keep and row[0] in tags.SETS:
            # One order for equal sets, so that they merge; the order by content comes at the end.
            refs = sorted((field for field in row if type(field) is ExtType), key=referred)
            row[len(row) - len(refs) :] = refs
            packed = pack_row(row)
        self.doubtful = self.doubtful or is_doubtful(row)
        depth = frame.depth + (row[0] not in tags.UNWOUND)
        index = self._rows.write(
            row, packed, depth, merge=row[0] in tags.MERGED and not has_nan(row, frame.obj)
        )
        if row[0] in tags.LEAVES:
            self._kept_out[index] = frame.obj
        return index

    def _packed(self, frame: _Frame) -> bytes:
        if frame.known is not None:
            row = frame.row
            wide = compact_known(row, list(map(frame.known.get, frame.numbers or map(id, row))))
            if wide is not None:
                return pack_object(wide)
            frame.narrow()
        return pack_row(frame.row)

    def set_row(self, tag: int, members: set[object] | frozenset[object]) -> Row:
        """The row of a set: atoms in the order of their bytes.

        Then what has rows (ordered by content at the end).
        """
        if _SHORT.issuperset(map(type, members)):
            try:
                return [tag, *sort_packed([*members])]
            except OverflowError:
                pass
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
        if len(others) > 1:
            if not self.keep:
                self.check_keys(others)
                found = self.members([others], others)
                if found is None:
                    raise _KeepRows
                others = found[0]
            if self.ordered:
                from laila.codec.signed import order_key

                others.sort(key=order_key)
        return [tag, *_in_order(atoms), *others]


def _in_order(members: list[tuple[bytes, object]]) -> list[object]:
    members.sort(key=lambda pair: pair[0])
    return [member for _, member in members]


def _read_only(obj: Any) -> object:
    """What nobody can change ``obj`` by, as far as its type allows."""
    if type(obj).__module__ == "laila.codec.extension":
        obj = obj.value  # an array that is held inside a pandas object
    if type(obj).__module__ == "numpy":
        obj = obj.view()
        obj.flags.writeable = False
    return obj


def _is_in_leaves(kind: type) -> bool:
    """Whether a row in the midst of a pickle may refer to a ``kind``."""
    return kind is tuple or (kind in registry.ENCODERS and kind not in _CONTAINERS)


def _fields(container: Any) -> Iterator[object]:
    return iter(container if type(container) is not dict else [*chain.from_iterable(list(container.items()))])


def _is_container(obj: object) -> bool:
    kind = type(obj)
    return kind in _CONTAINERS or (kind.__module__ == "numpy" and kind.__name__ == "ndarray")


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
    verify: bool = False,
) -> Blob:
    """Encode what is not plain; see :func:`laila.codec.encode`."""

    def build(batch: int) -> tuple[Blob, Encoder]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return _build(
                    payload, key, nickname, user, pickle, copy, created, batch, whole_dicts, rebuild
                )
            except PayloadError as error:
                # Another thread added to a container while it was walked.
                if type(error.__cause__) is not RuntimeError or "changed size" not in str(error.__cause__):
                    raise
        return _build(payload, key, nickname, user, pickle, copy, created, batch, whole_dicts, rebuild)

    whole_dicts, rebuild = False, True
    blob, encoder = build(_MOST_AT_ONCE)
    if encoder.doubtful or verify:
        from laila.codec import verified

        if encoder.rebuilt and pickle and not verified.is_sound(blob, payload, encoder, deep=verify):
            rebuild = False  # what its recipe cannot make again, its own pickle may
            blob, encoder = build(_MOST_AT_ONCE)
        try:
            place = verified.verify(blob, payload, encoder, deep=verify)
        except PayloadError:
            if not encoder.together:
                raise
            blob, encoder = build(1)  # each by itself, so that the one at fault is known
            place = verified.verify(blob, payload, encoder, deep=verify)
        if place is not None and place[1] == verified.SHARED_ATTRIBUTES:
            whole_dicts = True
            blob, encoder = build(1)
            place = verified.verify(blob, payload, encoder, deep=verify)
        if place is not None:
            # Another thread, or a class that computes what it keeps when it is asked, may have changed it.
            first = blob.tree
            blob, encoder = build(_MOST_AT_ONCE if encoder.together else 1)
            place = verified.verify(blob, payload, encoder, deep=verify)
            if place is not None and (verify or blob.tree == first):
                verified.refuse(place)
    if encoder.signed_types:
        from laila.codec.trust import sign_blob

        sign_blob(blob, encoder.signed_types)
    return blob


def _build(
    payload: object,
    key: str,
    nickname: str | None,
    user: bytes | None,
    pickle: bool,
    copy: bool,
    created: float,
    batch: int,
    whole_dicts: bool,
    rebuild: bool,
) -> tuple[Blob, Encoder]:
    make = partial(Encoder, pickle=pickle, copy=copy, batch=batch, whole_dicts=whole_dicts, rebuild=rebuild)
    encoder = make()
    try:
        tree = encoder.run(payload)
    except _KeepRows:
        encoder = make(keep=True)
        tree = encoder.run(payload)
        if encoder.pickled:
            # Which pickle holds what is shared depends on the order in which a set is walked, too.
            encoder = make(keep=True, ordered=True)
            tree = encoder.run(payload)
    size = len(tree) + sum(buffer.nbytes for buffer in encoder.buffers)
    encoder.check_work(size)
    codec = "signed" if encoder.signed_types else "rows"
    meta = (created, registry.type_name(type(payload)), size, codec, user)
    return Blob(key, tree, tuple(encoder.buffers), nickname, meta), encoder
