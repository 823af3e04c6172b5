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
from types import SimpleNamespace

from msgpack import ExtType

from laila.codec import registry, tags
from laila.codec.invariants import is_doubtful
from laila.codec.lookahead import Lookahead
from laila.codec.plain import ATOMS, pack_object
from laila.codec.references import MANY, compact_known
from laila.codec.rows import has_nan, pack_row, reference, referred
from laila.codec.shortcuts import FEW, SHORT, SMALL
from laila.codec.walking import Boxed, Cycle, Frame, KeepRows, Known, NotALeaf, is_long
from laila.errors import LailaError, PayloadCycleError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.rows import Row

__all__ = ["Encoder"]

_FIELDS = ATOMS | {ExtType}
_SHORT_OR_TUPLE = SHORT | {tuple}
_KEYED = tags.SETS | tags.MAPPINGS.keys()
_CONTAINERS: frozenset[Any] = frozenset(
    {list, tuple, dict, set, frozenset, OrderedDict, Counter, defaultdict, deque, SimpleNamespace}
)
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class Encoder(Lookahead):
    """One walk over one payload. Not safe to share between threads; used once."""

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

    def run(self, root: object) -> bytes:
        """Write ``root`` and everything below it; return the tree.

        Whatever a class of the user's raises on the way is told as a :class:`PayloadError` with the place.
        """
        self.root = root
        try:
            self._walk(root)
            for collector in self._collectors.values():
                collector.finish(self, self._rows)
        except (LailaError, KeepRows, MemoryError):
            raise
        except RecursionError as error:
            self.refuse(
                f"{self._kind()} nests too deep for what must recurse into it; store flatter data",
                error,
            )
        except Exception as error:  # noqa: BLE001 - a class may raise anything; it is told as the cause
            from laila.codec.advice import INSTEAD

            if not self._stack and self.taken is not None:
                from laila.codec.parts import path_to

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
                stack.append(Frame(pending, [None], 1))
                try:
                    row = self._row_of(pending)
                except Cycle as cycle:
                    pending, row = self._from_above(cycle.position)
            depth = 0
            kinds = set(map(type, row))
            wide = len(row) > MANY
            if Known in kinds:
                depths = self._rows.depths
                depth = max(map(depths.__getitem__, [field.index for field in row if type(field) is Known]))
                if not wide:
                    row = [reference(field.index) if type(field) is Known else field for field in row]
                    kinds.discard(Known)
            if row[0] in _KEYED and Known not in kinds:  # else they were checked when they were written
                self._check_keys(row)
            tuples = self._tuples(row) if tuple in kinds and kinds <= _SHORT_OR_TUPLE else None
            if tuples is not None:
                kinds.discard(tuple)
            simple = kinds <= ATOMS and not (bytes in kinds and any(is_long(field) for field in row))
            stack.pop()
            frame = Frame(pending, row, len(row) if simple else 1)
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
        if type(source) in SMALL and self.batch > 1 and (kinds := self._whole(source)):
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
            self._stack[position] = Frame(obj, [None], 1)
            try:
                return obj, encode_cycle(obj, self)
            except Cycle as cycle:
                position = cycle.position

    def _unwind(self, length: int) -> None:
        """Forget the frames from ``length`` on."""
        for frame in self._stack[length:]:
            self.active.pop(id(frame.obj), None)
        del self._stack[length:]

    def _next(self, frame: Frame) -> object | None:
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
                if not (kind is bytes and is_long(field)) and not (
                    careful and kind is int and not _INT_MIN <= field <= _INT_MAX
                ):
                    continue
            index = memo.get(id(field))
            if index is None:
                if pickled and id(field) in pickled:
                    index = self.part_row(field)
                elif not self._leaves:
                    frame.position = position
                    index = self._small(field, kind, 1) if kind in SMALL else self._quick(field, kind)
                if index is None:
                    frame.position = position
                    result: object = field
                    return result
            row[position] = reference(index)
            if depths[index] > frame.depth:  # noqa: PLR1730 - met for every reference, and max is a call
                frame.depth = depths[index]
        return None

    def _widen(self, frame: Frame) -> None:
        """Write what stands in a wide row together, as far as that can be."""
        row = frame.row
        frame.numbers = list(map(id, row))
        unique = dict(zip(frame.numbers, row, strict=True))
        if self._leaves:
            known = {id(field): field.index for field in row if type(field) is Known}
        else:
            known = self.write_many(row, unique=unique)
        frame.widen(known, unique)
        frame.left, frame.pickled = len(frame.todo) - 1, len(self.pickled)
        frame.depth = max(frame.depth, *map(self._rows.depths.__getitem__, known.values()), 0)

    def _try_again(self, frame: Frame, known: dict[int, int]) -> None:
        """Write together what is left of a wide row: it may hold only what was pickled in the meantime."""
        row, todo = frame.row, frame.todo
        if not self._leaves:
            known.update(self.write_many([row[position] for position in reversed(todo)]))
            todo[:] = [position for position in todo if id(row[position]) not in known]
            frame.depth = max(frame.depth, *map(self._rows.depths.__getitem__, known.values()), 0)
        frame.left, frame.pickled = len(todo) // 2, len(self.pickled)

    def _next_of_wide(self, frame: Frame, known: dict[int, int]) -> object | None:
        """:meth:`_next` of a wide row, whose fields stay what they are until it is packed."""
        row, todo, memo, pickled, depths = frame.row, frame.todo, self.memo, self.pickled, self._rows.depths
        if FEW < len(todo) <= frame.left and len(pickled) > frame.pickled:
            self._try_again(frame, known)
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
                    index = self._small(field, kind, 1) if kind in SMALL else self._quick(field, kind)
                if index is None:
                    result: object = field
                    return result
            known[id(field)] = index
            todo.pop()
            if depths[index] > frame.depth:  # noqa: PLR1730 - met for every reference, and max is a call
                frame.depth = depths[index]
        return None

    def _finish(self, frame: Frame) -> int | None:
        if self.keep:
            frame.narrow()
        try:
            packed = self._packed(frame)
        except OverflowError:
            known = self._ints(frame.row)
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

    def _packed(self, frame: Frame) -> bytes:
        if frame.known is not None:
            row = frame.row
            wide = compact_known(row, list(map(frame.known.get, frame.numbers or map(id, row))))
            if wide is not None:
                return pack_object(wide)
            frame.narrow()
        return pack_row(frame.row)


def _is_in_leaves(kind: type) -> bool:
    """Whether a row in the midst of a pickle may refer to a ``kind``."""
    return kind is tuple or (kind in registry.ENCODERS and kind not in _CONTAINERS)


def _is_container(obj: object) -> bool:
    kind = type(obj)
    return kind in _CONTAINERS or (kind.__module__ == "numpy" and kind.__name__ == "ndarray")
