"""Attributes that the copies of a class are without, since its ``__reduce__`` or ``__getstate__`` says so.

Such a class says itself what a copy is. An instance that would come back without a public attribute, or with
another value in it, is refused, unless its class chose that in a ``__getstate__`` or takes both for equal.
What is not refused is told once for each class and attribute, but what a library keeps for itself.
"""

from __future__ import annotations

import copyreg
import os
import sys
from functools import lru_cache
from inspect import getattr_static
from types import CodeType, MethodDescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["is_of_standard", "may_be_left_out", "parts_of_copy", "tell"]

_PROTOCOL = 4
_ATOMS = (bool, int, float, str, bytes)
_METHODS = ("__reduce_ex__", "__reduce__", "__getstate__")
_LIBRARY = os.path.dirname(os.__file__)
_told: set[tuple[type, str]] = set()


def may_be_left_out(owner: Any, copy: Any, name: str) -> bool:
    """Whether ``copy`` still keeps the class's promise although its attribute ``name`` differs."""
    kind: Any = type(owner)
    if name[:1] == "_" or _is_computed(kind, name):
        return True
    if _chooses(kind) and not _is_written(owner, name) and (_has(copy, name) or _is_named(kind, name)):
        return True
    if hasattr(kind, "__getattr__") and _is_made_when_asked(owner, copy, name):
        return True
    return _are_equal(owner, copy)


def tell(left_out: Iterable[tuple[type, str]]) -> None:
    """Say once for each class and attribute that it is not stored, where the user may not know that."""
    for kind, name in left_out:
        if _is_computed(kind, name) or _is_installed(kind) or (name[:1] == "_" and _chooses(kind)):
            continue
        if (kind, name) in _told:
            continue
        _told.add((kind, name))
        from laila.showing import logger, shown

        logger("laila.codec").warning(
            "%s.%s does not come back with its attribute %s as it is: the class says by a method of its own "
            "(__reduce__, __getstate__ or __setstate__) how it is copied, and that leaves it out.",
            kind.__module__,
            kind.__qualname__,
            shown(name),
        )


_PACKAGES = frozenset({"builtins", "functools", "itertools", "operator"})


def is_of_standard(kind: Any) -> bool:
    """Whether a ``kind`` is one of Python's own, in C, that says of what it consists only to be copied."""
    from laila.codec.registry import ENCODERS

    if kind.__module__ not in _PACKAGES or kind in ENCODERS:
        return False
    return kind.__reduce__ is not object.__reduce__ and type(kind.__reduce__) is MethodDescriptorType


def parts_of_copy(obj: Any) -> list[Any] | None:
    """Arguments and state of a copy of ``obj``; None where it is copied by its name, or not at all."""
    try:
        reduced = obj.__reduce_ex__(_PROTOCOL)
    except Exception:  # noqa: BLE001 - it is not copied, so that there is nothing to compare
        return None
    if type(reduced) is not tuple:
        return None
    state = reduced[2] if len(reduced) > 2 else None
    if type(state) is tuple:  # its dict of attributes is None, or empty because somebody looked at it
        state = tuple(None if type(part) is dict and not part else part for part in state)
    return [*reduced[1], state]


def _package(kind: type) -> str:
    from laila.codec.registry import module_of

    return module_of(kind).partition(".")[0]


def _owner(kind: type, *names: str) -> tuple[type, str]:
    """Return the class that gives ``kind`` the first of these methods, and the method's name."""
    return next(
        (
            (base, name)
            for name in names
            for base in kind.__mro__[:-1]
            if name in base.__dict__ and getattr(kind, name) is not getattr(object, name)
        ),
        (object, ""),
    )


@lru_cache(maxsize=4096)
def _chooses(kind: type) -> bool:
    """Whether a ``kind``, or a class of its package, says which of the attributes are the state."""
    owner, name = _owner(kind, *_METHODS)
    return name == "__getstate__" and _package(owner) == _package(kind) and kind not in copyreg.dispatch_table


@lru_cache(maxsize=4096)
def _is_installed(kind: type) -> bool:
    """Whether a ``kind`` is a library's, and so is what it keeps in an attribute."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file or file.startswith(_LIBRARY)


def _has(obj: object, name: str) -> bool:
    """Whether ``obj`` has an attribute of that name, without a word of its class's ``__getattr__``."""
    try:
        object.__getattribute__(obj, name)
    except Exception:  # noqa: BLE001 - a descriptor of the class's own may raise anything
        return False
    return True


def _is_named(kind: type, name: str) -> bool:
    """Whether the ``__getstate__`` of a ``kind`` names the attribute: only then it chose to leave it out."""
    code = getattr(getattr(kind, "__getstate__", None), "__code__", None)
    return code is None or name in _names_in(code)  # None: it is in C


def _names_in(code: CodeType) -> set[object]:
    """The names and the constants in a function and the functions in it."""
    result: set[object] = set(code.co_names)
    for held in code.co_consts:
        if type(held) is CodeType:
            result |= _names_in(held)
        else:
            result.update(held if type(held) is tuple else (held,))
    return result


def _is_computed(kind: type, name: str) -> bool:
    """Whether a descriptor of the class keeps there what it computes, and computes it again."""
    return hasattr(type(getattr_static(kind, name, None)), "__get__") and name not in _slots(kind)


def _slots(kind: type) -> frozenset[str]:
    return frozenset(name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ()))


def _is_written(owner: Any, name: str) -> bool:
    """Whether what pickle is given of ``owner`` has the value of its attribute ``name`` under that name."""
    try:
        state = owner.__getstate__()
        value = getattr(owner, name)
    except Exception:  # noqa: BLE001 - a method of the class's own: no state, so the attribute is not in it
        return False
    parts = state if type(state) is tuple else (state,)
    written = [part[name] for part in parts if type(part) is dict and name in part]
    return any(held is value or (type(held) in _ATOMS and held == value) for held in written)


def _is_made_when_asked(owner: Any, copy: Any, name: str) -> bool:
    """Whether ``copy`` makes its attribute ``name`` when it is asked for it."""
    try:
        return type(getattr(copy, name)) is type(getattr(owner, name))
    except Exception:  # noqa: BLE001 - the class's own code: it makes none
        return False


def _are_equal(owner: Any, copy: Any) -> bool:
    """Whether the class itself, by an ``__eq__`` that its package wrote, takes both for equal."""
    kind = type(owner)
    if _package(_owner(kind, "__eq__")[0]) != _package(kind):
        return False
    try:
        equal = owner == copy
        return equal if isinstance(equal, bool) else bool(equal.all())
    except Exception:  # noqa: BLE001 - an __eq__ of the class's own: it does not say that they are equal
        return False
