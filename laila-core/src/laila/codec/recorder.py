"""The state of one encoding, and the functions that the encoders of types use."""

from __future__ import annotations

from laila.blob.buffer import Buffer
from laila.codec import registry, tags
from laila.codec.invariants import is_doubtful
from laila.codec.limits import CHEAP, KeyBudget, work_allowed
from laila.codec.places import place
from laila.codec.rows import RowWriter, pack_row, reference
from laila.errors import PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn, Protocol, TypeVar

    from laila.codec.encoder import Encoder
    from laila.codec.registry import EncodeFunction
    from laila.codec.rows import Row
    from laila.codec.signed import Pickled
    from laila.codec.walking import Frame

    class Collector(Protocol):
        def finish(self, encoder: Encoder, rows: RowWriter) -> None: ...

    C = TypeVar("C", bound=Collector)

__all__ = ["Recorder"]

_RESERVED = Buffer(memoryview(b""))


class Recorder:
    """The interface for encoders of types; the walk derives from it."""

    def __init__(
        self,
        *,
        pickle: bool,
        copy: bool,
        borrow: bool = False,
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
        self.borrow = borrow
        """Whether buffers may lie in memory that the payload's owner can change."""
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
        """Notes of the encoders of types for the rest of the walk."""
        self.names: dict[type, str] = {}
        """How the tree calls the classes that were met."""
        self._encoders: dict[type, EncodeFunction] = {}
        self._merging: dict[type, bool] = {}
        self._ready: dict[int, Row] = {}
        self._rows = RowWriter(keep=keep)
        self._keys: KeyBudget | None = None
        self._alive: list[object] = []  # ids stay unique only while their objects live
        self._stack: list[Frame] = []
        self.root: object = None
        """The payload."""
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
        """The object that a collector worked on last."""
        self.whole_dicts = whole_dicts
        """Whether the ``__dict__`` of objects are rows of their own, since some are shared."""
        self._collectors: dict[type, Any] = {}
        self._bytes_of_length: dict[int, bytes] = {}
        self._long_bytes: dict[bytes, int] = {}

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
        known: C | None = self._collectors.get(kind)
        if known is None:
            known = self._collectors[kind] = kind()
        return known

    def ranges_of_arrays(self) -> list[tuple[int, int, object]]:
        """Where the numpy arrays that the walk met lie in memory, and each of them."""
        result = next((kept for kept in self._collectors.values() if hasattr(kept, "ranges")), None)
        return [] if result is None else result.ranges()

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

    @property
    def position(self) -> int:
        """The position on the stack of what is being encoded."""
        return len(self._stack) - 1

    @property
    def in_leaf(self) -> bool:
        """Whether a row is being written in the midst of a pickle; see :meth:`leaf`."""
        return bool(self._leaves)

    def path(self) -> str:
        """The place reached, such as ``payload['a'][3].b``."""
        steps = []
        for frame in self._stack:
            try:
                steps.append(place(frame.obj, frame.row, frame.position))
            except Exception:  # noqa: BLE001 - a class that hides its parts; the place above it is told
                break
        return "payload" + "".join(steps)

    def encoder_of(self, source: object) -> EncodeFunction:
        """The function that makes the rows of objects of that type."""
        encode = self._encoders.get(type(source))
        if encode is None:
            encode = self._encoders[type(source)] = registry.encoder_for(source)
        return encode

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
            from laila.codec.instances import registered_fields

            self._keys = KeyBudget(registered_fields)
        try:
            self._keys.check_each(rows)
        except ValueError as error:
            self.refuse(f"it has {said(error)}", error)

    def keep_alive(self, held: object) -> None:
        """Keep ``held``, so that the ids of what is in it stay theirs."""
        self._alive.append(held)

    def check_work(self, nbytes: int) -> None:
        """Refuse a payload whose keys take longer to hash than reading ``nbytes`` may."""
        if self._keys is not None and self._keys.spent > work_allowed(nbytes) and not self.signed_types:
            self.refuse("its keys take too long to hash or to compare")


def _read_only(obj: Any) -> object:
    """Return ``obj`` in a form that nobody can change, as far as its type allows."""
    if type(obj).__module__ == "laila.codec.heldarrays":
        obj = obj.value  # an array that is held inside a pandas object
    if type(obj).__module__ == "numpy":
        obj = obj.view()
        obj.flags.writeable = False
    return obj
