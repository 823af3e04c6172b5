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
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Classes", "reduce_code", "steady"]

_MODULE = "cloudpickle.cloudpickle"
_PENDING = "0" * 32
_PROTOCOL = 5
_CELL_OF_KERNEL = re.compile(r"(.*ipykernel)_\d+([/\\][^/\\]+)")


def steady(kind: type) -> None:
    """Give ``kind`` the id that follows from its definition, if it is to be pickled by value and has none."""
    theirs = sys.modules.get(_MODULE)
    by_value = getattr(theirs, "_should_pickle_by_reference", None)
    ids = getattr(theirs, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", None)
    kinds = getattr(theirs, "_DYNAMIC_CLASS_TRACKER_BY_ID", None)
    if by_value is None or ids is None or kinds is None or kind in ids or by_value(kind):
        return
    ids[kind] = _PENDING  # for where the definition refers to itself
    try:
        stream = io.BytesIO()
        _pickler(theirs)(stream, protocol=_PROTOCOL).dump(kind)
    except Exception:  # noqa: BLE001 - it is told when the class itself is pickled
        del ids[kind]
        return
    ids[kind] = number = blake2b(stream.getvalue(), digest_size=16).hexdigest()
    kinds[number] = kind  # of two that are the same, as where a cell is run again, the newer one


def _pickler(theirs: Any) -> Any:
    class Pickler(theirs.Pickler):  # type: ignore[misc]  # it has no types
        def persistent_id(self, obj: object) -> str | None:
            if type(obj) is not set and type(obj) is not frozenset:
                return None
            return repr(sorted(map(repr, obj)))  # in an order that is the same in every process

        def reducer_override(self, obj: object) -> Any:
            if isinstance(obj, type):
                steady(obj)
            return reduce_code(obj) or super().reducer_override(obj)

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
        tuple(_InOrder(one) if type(one) is frozenset else one for one in part)
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


class Classes:
    """What one reader of pickles does about classes that were pickled by value."""

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
        return lambda *args: self._known(name, args) or theirs(*args)

    def _known(self, name: str, args: tuple[Any, ...]) -> type | None:
        """The class of this id that is here: read before, pickled, or in the module that defines it."""
        kinds = getattr(sys.modules[_MODULE], "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
        if len(args) < 6:
            return None
        enum = name == "_make_skeleton_enum"
        called, module, number = (
            (args[1], args[4], args[5]) if enum else (args[1], args[3].get("__module__"), args[4])
        )
        kind = kinds.get(number)
        if kind is None:
            here = getattr(sys.modules.get(module), called, None)
            if isinstance(here, type):
                steady(here)
                kind = kinds.get(number)
        if kind is not None:
            self._kept.add(kind)
        return kind


_REPLACED = frozenset({"_make_skeleton_class", "_make_skeleton_enum", "_class_setstate"})
