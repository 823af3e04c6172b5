"""The only place that makes or reads a pickle.

What nothing else carries (functions, instances of C classes, subclasses of builtins, objects that contain
themselves) is pickled by cloudpickle, and the blob is signed. Reading asks :meth:`Decoder.demand_trust`
first: without a verified signature no pickle is opened. The lint rule that forbids pickle elsewhere exempts
this file.

A pickle is one row. Arrays and tensors inside it are rows of their own, out of band, and so is every object
that had a row before the pickle was made. What the pickle holds keeps its number in the pickle's memo: who
refers to it later, from a row or from another pickle, refers to that number. So all objects stay shared, and
each is written once.
"""

from __future__ import annotations

import io
import pickle
import sys
from functools import lru_cache
from types import FunctionType, GeneratorType

from laila.codec import registry, tags
from laila.codec.advice import IN_CYCLE, PICKLED, instead_of
from laila.codec.constants import reduce_constant
from laila.codec.decoder import Decoder, expect
from laila.codec.dynamic import Classes, reduce_code, reduce_steadily
from laila.codec.parts import parts_of, path_to
from laila.codec.plain import INLINE_BYTES
from laila.codec.registry import DECODERS
from laila.codec.walking import Cycle, Known, NotALeaf
from laila.errors import LailaError, PayloadError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["Pickled", "culprit", "encode_cycle", "encode_pickled", "order_key"]

_PROTOCOL = 5
# Types whose values have no identity that anybody could miss.
_ATOMS = frozenset({type(None), bool, int, float, complex, str, type(Ellipsis), type(NotImplemented)})
_ENOUGH = 64
_LONG_TEXT = 100
_MOST_TRIED = 300


def _refusal(kind: type) -> str | None:
    """Why a ``kind`` must not be pickled although cloudpickle might do something with it."""
    if issubclass(kind, io.IOBase) and kind not in (io.BytesIO, io.StringIO):
        name = registry.type_name(kind)
        return f"an open file or stream ({name}) belongs to this process; store its content"
    if issubclass(kind, memoryview):
        return "a memoryview is a window on memory that something else owns; store bytes(view)"
    if issubclass(kind, GeneratorType):
        return "a generator cannot be stored, since where it stands cannot; store list(generator)"
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.memmap):
        return "a numpy.memmap is a window on a file; store numpy.array(memmap)"
    return None


def encode_pickled(value: object, encoder: Encoder) -> Row:
    """The row of a value that only a pickle can carry.

    Raises :class:`PayloadError` where not even that can.
    """
    return _encode(value, encoder, PICKLED)


def encode_cycle(value: object, encoder: Encoder) -> Row:
    """The row of a value that contains itself."""
    return _encode(value, encoder, IN_CYCLE)


def _encode(value: object, encoder: Encoder, how: str) -> Row:
    if encoder.in_leaf:
        raise NotALeaf
    kind = type(value)
    _admit(kind, encoder, how)
    try:
        import cloudpickle
    except ImportError as error:
        encoder.refuse(
            f"{registry.type_name(kind)} needs cloudpickle, which is not installed: "
            "pip install 'laila-core[pickle]'; or store plain data in its place",
            error,
        )
    if how is PICKLED and encoder.batch > 1 and (several := _together(value, encoder)) is not None:
        return several
    stream = io.BytesIO()
    pickler = _pickler(cloudpickle.Pickler)(stream, value, encoder)
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception as error:  # a class may raise anything; it is told as the cause
        if pickler.outermost < encoder.position:
            raise Cycle(pickler.outermost) from error  # the object that contains it may still be picklable
        if isinstance(error, LailaError):
            raise
        # The object that was met last has usually failed; say where it is.
        last = next(reversed(pickler.own.values()), value)
        below = path_to(value, last)
        if below is None:
            last, below = value, "payload"
        name = registry.type_name(type(last))
        encoder.refuse(
            f"{name} cannot be pickled ({_told(error)}); {instead_of(type(last))}",
            error,
            below=below.removeprefix("payload"),
        )
    if pickler.outermost < encoder.position:
        raise Cycle(pickler.outermost)
    row = encoder.write([tags.PICKLED, registry.class_path(kind), stream.getvalue()], pickler.children)
    encoder.roots[row] = value
    encoder.pickled.update(dict.fromkeys(pickler.own, Pickled(row, pickler)))
    return [tags.PART, Known(row), None]


def _admit(kind: type, encoder: Encoder, how: str) -> None:
    if kind not in encoder.signed_types:
        reason = _refusal(kind)
        if reason is not None:
            encoder.refuse(reason)
        encoder.sign(kind, how)


def encode_whole(container: object, kinds: set[type], encoder: Encoder) -> Row | None:
    """The row of a container that is pickled with all that is in it; None where it must be taken apart."""
    if encoder.in_leaf or not encoder.pickle or any(map(_refusal, kinds - encoder.signed_types.keys())):
        return None
    for kind in kinds:
        _admit(kind, encoder, PICKLED)
    import cloudpickle

    stream = io.BytesIO()
    pickler = _pickler(cloudpickle.Pickler)(stream, container, encoder)
    return _write(container, container, stream, pickler, encoder)


def _together(value: object, encoder: Encoder) -> Row | None:
    """Pickle ``value`` with those that come soon: a pickle for each costs more than what is in it.

    None where there are none, or where one of them needs a pickle of its own: its error must name its place,
    and the way back to what holds it must be found from it alone.
    """
    import cloudpickle

    several = [value, *encoder.ahead(encoder.batch - 1)]
    if len(several) == 1:
        return None
    stream = io.BytesIO()
    pickler = _pickler(cloudpickle.Pickler)(stream, several, encoder)
    for kind in set(map(type, several)):
        if kind not in encoder.signed_types and _refusal(kind):
            return None
    pickler.own[id(value)] = value
    made = _write(value, several, stream, pickler, encoder)
    if made is not None:
        for kind in set(map(type, several)):
            _admit(kind, encoder, PICKLED)
    return made


def _write(value: object, several: object, stream: io.BytesIO, pickler: Any, encoder: Encoder) -> Row | None:
    """Pickle ``several`` at once; return the row of ``value``, which is in them. None where that fails."""
    try:
        pickler.dump(several)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - it is told when its turn comes
        encoder.batch //= 2
        return None
    if pickler.outermost < encoder.position:
        encoder.batch //= 2
        return None
    row = encoder.write([tags.PICKLED, registry.class_path(type(value)), stream.getvalue()], pickler.children)
    encoder.roots[row] = several
    encoder.together = True
    held = Pickled(row, pickler)
    encoder.pickled.update(dict.fromkeys(pickler.own, held))
    number = None if several is value else held.part(value)
    return [tags.PART, Known(row), number]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {said(error)}"


class Pickled:
    """A pickle that was written, and the numbers of the objects that it holds."""

    __slots__ = ("_numbers", "_pickler", "row")

    def __init__(self, row: int, pickler: Any) -> None:
        self.row = row
        self._pickler = pickler
        self._numbers: dict[int, tuple[int, object]] | None = None

    def part(self, obj: object) -> int | None:
        """The number of ``obj``, or None where the pickle cannot be asked for it."""
        if self._numbers is None:
            self._numbers = self._pickler.memo.copy()
        known = self._numbers.get(id(obj))
        return None if known is None else known[0]


@lru_cache(maxsize=1)
def _pickler(base: type) -> Any:
    """The class of picklers; cloudpickle is imported only when needed."""

    class Pickler(base):  # type: ignore[misc]  # it has no types
        def __init__(self, stream: io.BytesIO, root: object, encoder: Encoder) -> None:
            super().__init__(stream, protocol=_PROTOCOL)
            self.children: list[int] = []
            self.own: dict[int, object] = {}
            self.outermost = encoder.position
            self._root = id(root)
            self._encoder = encoder
            self._rows = encoder.memo
            self._numbers: dict[int, int] = {}
            self._leaves = _leaf_types()
            self._seen: set[type] = set()
            self._texts: dict[str, int] | None = None

        def persistent_id(self, obj: object) -> int | str | None:
            kind = type(obj)
            if kind in _ATOMS:
                if self._texts is None or kind is not str or len(obj) > _LONG_TEXT:  # type: ignore[arg-type]
                    return None
                return self._text(obj)  # type: ignore[arg-type]  # a text, as was seen
            number = id(obj)
            if number in self.own or number == self._root:
                return None
            index = self._rows.get(number)
            if index is None:
                if number in self._encoder.active:
                    # It contains what is being pickled: the pickle must begin there.
                    self.outermost = min(self.outermost, self._encoder.active[number])
                elif number in self._encoder.pickled:
                    index = self._encoder.part_row(obj)
                elif kind in self._leaves and not _holds_objects(obj):
                    index = self._encoder.leaf(obj)
                if index is None:
                    if kind not in self._seen:
                        reason = _refusal(kind)
                        if reason is not None:
                            self.own[number] = obj
                            raise pickle.PicklingError(reason)
                        self._seen.add(kind)
                    self.own[number] = obj
                    return None
            known = self._numbers.get(index)
            if known is None:
                known = self._numbers[index] = len(self.children)
                self.children.append(index)
            return known

        def _text(self, text: str) -> int | str:
            """What stands for a text beside code, such as a name: equal texts are written once.

            Which of them are one object depends on where the code was compiled, or read.
            """
            assert self._texts is not None
            number = self._texts.get(text)
            if number is not None:
                return -1 - number
            self._texts[text] = len(self._texts)
            return "".join((text, "\0"))  # another object than any that is known by its id

        def reducer_override(self, obj: object) -> Any:
            reduced: Any
            if isinstance(obj, BaseException):
                reduced = _reduce_exception(obj)
            elif isinstance(obj, dict) and getattr(obj, "__dict__", None) is obj:
                reduced = _reduce_own_attributes(obj)
            else:
                reduced = reduce_steadily(obj) or reduce_code(obj) or reduce_constant(obj)
                if self._texts is None and (type(reduced) is tuple or type(obj) is FunctionType):
                    self._texts = {}
                if reduced is None:
                    reduced = _reduce_array(obj)
            return super().reducer_override(obj) if reduced is None else reduced

    return Pickler


def _reduce_array(obj: object) -> tuple[object, ...] | None:
    """Return the pickle form of an array or tensor with attributes or a gradient, without losing them."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "ndarray") and isinstance(obj, numpy.ndarray):
        from laila.codec.arrayclasses import reduce_subclass

        return reduce_subclass(obj)
    if torch is not None and hasattr(torch, "Tensor") and isinstance(obj, torch.Tensor):
        from laila.codec.tensorkinds import reduce_tensor

        return reduce_tensor(obj)
    return None


def _leaf_types() -> frozenset[type]:
    """The types that are rows of their own inside a pickle: their bytes keep out of band."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return frozenset(
        (
            bytes,
            *((numpy.ndarray, numpy.ma.MaskedArray) if hasattr(numpy, "ma") else ()),  # type: ignore[union-attr]
            *((torch.Tensor, torch.nn.Parameter) if hasattr(torch, "nn") else ()),  # type: ignore[union-attr]
        )
    )


def _holds_objects(obj: Any) -> bool:
    """Whether a leaf holds Python objects, which the pickle may hold as well, or is too short to be one."""
    if type(obj) is bytes:
        return len(obj) < INLINE_BYTES
    return type(obj).__module__ == "numpy" and bool(obj.dtype.hasobject)


def _reduce_exception(error: BaseException) -> tuple[object, ...] | None:
    """Return the pickle form of an exception with cause, context and notes; None if it needs none."""
    notes = getattr(error, "__notes__", None)  # which a class that reduces in a way of its own leaves out
    links = (error.__cause__, error.__context__, notes)
    if not error.__suppress_context__ and all(link is None for link in links):
        return None
    reduced = error.__reduce_ex__(_PROTOCOL)
    if type(reduced) is not tuple or len(reduced) > 3:
        return None
    state = reduced[2] if len(reduced) == 3 else None
    chain = (error.__cause__, error.__context__, error.__suppress_context__, notes)
    return (*reduced[:2], (state, chain), None, None, _set_exception)


def _set_exception(error: BaseException, state: tuple[Any, tuple[Any, ...]]) -> None:
    """Give an exception that was read what it had: attributes, cause, context and notes."""
    attributes, (cause, context, suppress, *notes) = state
    if attributes is not None:
        error.__setstate__(attributes)
    error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppress
    if notes and notes[0] is not None:
        error.__notes__ = notes[0]


def _reduce_own_attributes(mapping: Any) -> tuple[object, ...] | None:
    """Return the pickle form of a dict that is its own ``__dict__``; pickle would make two dicts."""
    reduced = mapping.__reduce_ex__(_PROTOCOL)
    if type(reduced) is not tuple or len(reduced) != 5 or reduced[2] is not mapping:
        return None
    return (*reduced[:2], True, *reduced[3:], _set_own_attributes)


def _set_own_attributes(mapping: Any, _: object) -> None:
    """Make a dict that was read its own ``__dict__``, as it was."""
    mapping.__dict__ = mapping


class _EnoughError(Exception):
    """An order key is long enough."""


def order_key(member: object) -> list[str]:
    """What orders the members of a set that are pickled: the first types and atoms that a pickle meets.

    The order is equal in every process. Members that it does not distinguish may come in any order.
    """
    import cloudpickle

    result: list[str] = []

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        def persistent_id(self, obj: object) -> str | None:
            if len(result) >= _ENOUGH:
                raise _EnoughError
            kind = type(obj)
            simple = kind in _ATOMS or kind is bytes
            what = shown(obj, _ENOUGH) if simple else getattr(obj, "__qualname__", "")
            result.append(f"{registry.class_path(kind)} {what}")
            return "members" if isinstance(obj, (set, frozenset)) else None

    try:
        Pickler(io.BytesIO(), protocol=_PROTOCOL).dump(member)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - what cannot be pickled is told where it is
        pass
    return result


# -- reading


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, children: Row) -> None:
        super().__init__(io.BytesIO(data))
        self._children = children
        self._classes = Classes()
        self._texts: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        return self._classes.find(module, name) or super().find_class(module, name)

    def persistent_load(self, pid: object) -> object:
        if type(pid) is str:
            self._texts.append(pid[:-1])
            return self._texts[-1]
        number = expect(pid, int)
        return self._children[number] if number >= 0 else self._texts[-1 - number]


class _Opened:
    """A pickle that was read: the object that it is, and those that it holds, by number."""

    __slots__ = ("_memo", "_unpickler", "root")

    def __init__(self, data: bytes, children: Row) -> None:
        self._unpickler = _Unpickler(data, children)
        self._memo: Any = None
        self.root: object = self._unpickler.load()

    def part(self, number: object) -> object:
        if number is None:
            return self.root
        if self._memo is None:
            self._memo = self._unpickler.memo.copy()
        return self._memo[expect(number, int)]


def _decode_pickled(row: Row, decoder: Decoder) -> _Opened:
    if len(row) < 3:
        raise ValueError("a pickle without its bytes")
    name, data = expect(row[1], str), expect(row[2], bytes)
    decoder.demand_trust(f"{name} (pickled)", registrable=False)
    try:
        return _Opened(data, row[3:])
    except MemoryError:
        raise
    except Exception as error:
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds a pickled {name} that cannot be rebuilt here "
            f"({_told(error)}); its class or a library may have changed or be missing",
            path=name,
        ) from error


def _decode_part(row: Row, decoder: Decoder) -> object:
    if len(row) != 3:
        raise ValueError("a part of a pickle without its number")
    return expect(row[1], _Opened).part(row[2])


def culprit(obj: object) -> object:
    """The innermost object in ``obj`` that pickles and does not unpickle, as ``obj`` itself.

    Looks at a few hundred objects.
    """
    left, seen = _MOST_TRIED, {id(obj)}
    while True:
        for _, part in parts_of(obj):
            if type(part) in _ATOMS or id(part) in seen:
                continue
            seen.add(id(part))
            left -= 1
            if left < 0:
                return obj
            if not _unpickles(part):
                obj = part
                break
        else:
            return obj


def _unpickles(obj: object) -> bool:
    import cloudpickle

    try:
        data = cloudpickle.dumps(obj)
    except Exception:  # noqa: BLE001 - a part that is pickled otherwise than by itself is not at fault
        return True
    try:
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - whatever the class raises
        return False
    return True


DECODERS.update(
    {
        tags.PICKLE: lambda row, decoder: _decode_pickled(row, decoder).root,
        tags.PICKLED: _decode_pickled,
        tags.PART: _decode_part,
    }
)
