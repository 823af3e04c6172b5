"""The kinds of classes: enums, named tuples, plain classes, and classes that say how they are copied."""

from __future__ import annotations

import copyreg
import sys
from functools import lru_cache

from laila.codec.fields import shape_of
from laila.codec.known import name_of_known
from laila.codec.registry import module_of

__all__ = ["copies_by_default", "is_enum", "is_metaclass", "is_named_tuple", "is_plain_class"]

_getstate_of_object = object.__getstate__


def is_enum(kind: type) -> bool:
    """Whether ``kind`` is an enum; no module is imported for it."""
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def is_named_tuple(kind: type) -> bool:
    """Whether an instance is a tuple with a name for each item, and nothing besides."""
    fields = getattr(kind, "_fields", None)
    return (
        issubclass(kind, tuple)
        and kind is not tuple
        and type(fields) is tuple
        and all(type(name) is str for name in fields)
        and copies_by_default(kind, tuple, new_args=True)
        and not shape_of(kind, tuple).slots
    )


def copies_by_default(kind: type, base: type = object, *, new_args: bool = False) -> bool:
    """Whether ``copy`` and pickle would take an instance by its fields, without code of the class's own.

    ``new_args`` allows the class to say what its constructor is given, which is not asked.
    """
    if any(getattr(kind, name) is not getattr(base, name) for name in ("__reduce_ex__", "__reduce__")):
        return False
    reducer = copyreg.dispatch_table.get(kind)
    # Importing `distributed` has tblib register all exceptions; it adds what laila stores anyway.
    if reducer is not None and module_of(reducer).partition(".")[0] != "tblib":
        return False
    if not new_args and any(map(_has_own_new_args, kind.__mro__)):
        return False
    for name in ("__getstate__", "__setstate__"):
        method = getattr(kind, name, None)
        if method is None or method is _getstate_of_object or method is getattr(base, name, None):
            continue
        # Libraries write these for classes with slots; they say nothing but "the fields".
        if getattr(method, "__module__", None) not in ("dataclasses", "pydantic.main") and not (
            hasattr(kind, "__attrs_attrs__") and method.__name__ in ("slots_getstate", "slots_setstate")
        ):
            return False
    return True


def _has_own_new_args(owner: type) -> bool:
    """Whether ``owner`` itself says what its constructor is given; UserString says no more than its field."""
    own = vars(owner)
    return ("__getnewargs__" in own or "__getnewargs_ex__" in own) and name_of_known(owner) is None


@lru_cache(maxsize=4096)
def is_plain_class(kind: type) -> bool:
    """Whether an instance is its ``__dict__`` and its slots and nothing in C besides."""
    new: object = kind.__new__
    if new is not object.__new__ or not (name_of_known(kind) is not None or copies_by_default(kind)):
        return False
    if type(kind.__dict__.get("__module__")) is not str or is_metaclass(kind):
        return False
    return shape_of(kind).is_whole


def is_metaclass(kind: type) -> bool:
    """Whether instances of ``kind`` are classes."""
    return issubclass(kind, type)
