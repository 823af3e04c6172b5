"""Classes and code that a pickle holds by value: those of scripts and notebooks, and of functions.

cloudpickle gives such a class a random id, so that the same program would write another content each time it
runs; and where it finds the id, it sets the class that is there to what was stored, methods and attributes.
Here the id follows from what the class is, and a class that is there stays as it is.
"""

from __future__ import annotations

import io
import re
import sys
from hashlib import blake2b
from types import CellType, CodeType, FunctionType, MemberDescriptorType
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from laila.codec.constants import reduce_constant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reduced = tuple[Any, ...]

__all__ = ["Classes", "class_of_submitter", "reduce_class", "reduce_code", "reduce_steadily"]

_MODULE = "cloudpickle.cloudpickle"
_PENDING = "0" * 32
_PROTOCOL = 5
_CELL_OF_KERNEL = re.compile(r"(.*ipykernel)_\d+([/\\][^/\\]+)")
_MAKERS = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5, "_make_typevar": 5}
"""The functions of cloudpickle that make such a class, and where the id stands in their arguments."""
_VARYING = frozenset({"__static_attributes__", "__firstlineno__"})
"""Attributes that a class has in another order, or not at all, where it was pickled and made again."""
_SEEN = (list, dict, type, FunctionType, CellType)
_ids: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_kinds: WeakValueDictionary[str, Any] = WeakValueDictionary()


def reduce_class(obj: object) -> Reduced | None:
    """Return the pickle form of a class that is sent with its code, for example a class of a script.

    cloudpickle forgets slots, so instances would differ where the class is made again. It also forgets the
    names of the classes around it. A pickler of cloudpickle calls this function in its ``reducer_override``.

    Args:
        obj: Any object that is about to be pickled.

    Returns:
        What ``__reduce__`` would return; None for all else, which cloudpickle takes as it is.
    """
    theirs = sys.modules.get(_MODULE)
    if theirs is None or not isinstance(obj, type):
        return None
    reduced = theirs._class_reduce(obj)
    if type(reduced) is not tuple or reduced[0].__name__ != "_make_skeleton_class":
        return reduced if type(reduced) is tuple and len(reduced) > 2 else None
    make, args, (attributes, more), *rest = reduced
    original = {**args[3], "__qualname__": obj.__qualname__}
    attributes.pop("__slotnames__", None)  # which copyreg notes when an instance is pickled
    slots = attributes.get("__slots__")
    if type(slots) in (str, tuple, list, dict) and NamedTuple not in args[2]:  # which makes its own
        original["__slots__"] = slots
        attributes = {
            name: held
            for name, held in attributes.items()
            if name != "__slots__" and type(held) is not MemberDescriptorType
        }
    return make, (*args[:3], original, *args[4:]), (attributes, more), *rest


def reduce_steadily(obj: object) -> Reduced | str | None:
    """:func:`reduce_class`, also of a type variable, with an id that is the same in every process.

    A class whose code cannot be pickled goes by its name: libraries keep weak references in some.
    """
    if isinstance(obj, type):
        reduced = reduce_class(obj)
    elif type(obj) is TypeVar and (theirs := sys.modules.get(_MODULE)) is not None:
        reduced = theirs._typevar_reduce(obj)
    else:
        return None
    place = None if reduced is None else _MAKERS.get(reduced[0].__name__)
    if reduced is None or place is None:
        return None
    args = reduced[1]
    number = _steady(obj, reduced)
    if number is None and isinstance(obj, type) and _is_named(obj):
        return obj.__qualname__
    return reduced[0], (*args[:place], number or args[place], *args[place + 1 :]), *reduced[2:]


def _is_named(kind: type) -> bool:
    """Whether the module of a class has it under its name."""
    known: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        known = getattr(known, name, None)
    return known is kind


def _steady(kind: Any, reduced: Reduced | None = None) -> str | None:
    """The id that follows from the definition of ``kind``; None where that is not, or cannot be, pickled."""
    number = _ids.get(kind)
    if number is not None:
        return number
    reduced = reduced or reduce_class(kind)
    if reduced is None:
        return None
    _ids[kind] = _PENDING  # for where the definition refers to itself
    args, place = reduced[1], _MAKERS[reduced[0].__name__]
    try:
        state = reduced[2] if len(reduced) > 2 else ({},)
        held = {name: value for name, value in sorted(state[0].items()) if name not in _VARYING}
        stream = io.BytesIO()
        _pickler(sys.modules[_MODULE])(stream, protocol=_PROTOCOL).dump(
            (args[:place], args[place + 1 :], held)
        )
    except Exception:  # noqa: BLE001 - whatever keeps code from being pickled
        del _ids[kind]
        return None
    _ids[kind] = number = blake2b(stream.getvalue(), digest_size=16).hexdigest()
    _kinds[number] = kind  # of two that are the same, as where a cell is run again, the newer one
    return number


def _pickler(theirs: Any) -> Any:
    class Pickler(theirs.Pickler):  # type: ignore[misc]  # it has no types
        """A pickler whose output depends on contents, not on which equal texts are one object."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.fast = True
            self._seen: dict[int, tuple[int, object]] = {}

        def persistent_id(self, obj: object) -> object:
            if type(obj) is set or type(obj) is frozenset:
                return repr(sorted(map(repr, obj)))  # in an order that is the same in every process
            if not isinstance(obj, _SEEN):
                return None
            known = self._seen.get(id(obj))
            if known is None:
                self._seen[id(obj)] = len(self._seen), obj
                return None
            return known[0]

        def reducer_override(self, obj: object) -> Any:
            return (
                reduce_steadily(obj)
                or reduce_code(obj)
                or reduce_constant(obj)
                or super().reducer_override(obj)
            )

    return Pickler


def reduce_code(obj: object) -> tuple[object, ...] | None:
    """Reduce code so that the same program gives the same bytes in every process; None for all else.

    The path of a notebook's cell is without the number of the kernel's process, and sets are in order.
    """
    reduce = getattr(sys.modules.get(_MODULE), "_code_reduce", None)
    if type(obj) is not CodeType or reduce is None:
        return None
    cell = _CELL_OF_KERNEL.fullmatch(obj.co_filename)
    if cell is not None:
        obj = obj.replace(co_filename="".join(cell.groups()))
    make, parts = reduce(obj)
    return make, tuple(
        tuple(_InOrder(item) if type(item) is frozenset else item for item in part)
        if type(part) is tuple
        else part
        for part in parts
    )


class _InOrder:
    """Stands for a set of constants, and is pickled as one whose members are in order."""

    def __init__(self, members: frozenset[object]) -> None:
        self.members = sorted(members, key=lambda member: (type(member).__name__, repr(member)))

    def __reduce__(self) -> tuple[type, tuple[list[object]]]:
        return frozenset, (self.members,)


def _made(make: Callable[..., Any], *args: Any) -> Any:
    """A class or type variable that is not here yet, which keeps its id."""
    kind = make(*args)
    number = args[_MAKERS[make.__name__]]
    _ids[kind] = number
    _kinds.setdefault(number, kind)
    return kind


class Classes:
    """The handling of classes that were pickled by value, for one reader of pickles."""

    def __init__(self) -> None:
        self._kept: set[type] = set()

    def find(self, module: str, name: str) -> Callable[..., Any] | None:
        """Return what stands for a function of cloudpickle's, or None."""
        if module != _MODULE or name not in _REPLACED:
            return None
        __import__(_MODULE)
        theirs = getattr(sys.modules[_MODULE], name)
        if name == "_class_setstate":
            return lambda kind, state: kind if kind in self._kept else theirs(kind, state)
        return lambda *args: self._known(name, args) or _made(theirs, *args)

    def _known(self, name: str, args: tuple[Any, ...]) -> object | None:
        """What of this id is here: read before, pickled, or in the module that defines it."""
        place = _MAKERS[name]
        if len(args) <= place:
            return None
        number = args[place]
        kind = _kinds.get(number)
        if kind is None:
            kind = getattr(sys.modules[_MODULE], "_DYNAMIC_CLASS_TRACKER_BY_ID", {}).get(number)
        if kind is None and name != "_make_typevar":
            enum = name == "_make_skeleton_enum"
            module = args[4] if enum else args[3].get("__module__")
            here = getattr(sys.modules.get(module), args[1], None)
            if isinstance(here, type) and _steady(here) == number:
                kind = here
        if isinstance(kind, type):
            self._kept.add(kind)
        return kind


def class_of_submitter(path: str) -> type | None:
    """The class ``__main__:NAME`` of the script that submitted the task which runs here; else None."""
    kinds = getattr(sys.modules.get(_MODULE), "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
    module, _, name = path.partition(":")
    for kind in reversed(list(kinds)):  # the youngest one first
        if isinstance(kind, type) and (kind.__module__, kind.__qualname__) == (module, name):
            return kind
    return None


_REPLACED = frozenset({*_MAKERS, "_class_setstate"})
