"""What the owner of a class can do so that its instances need no signature: true for that very class."""

from __future__ import annotations

import sys
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)

from laila.codec import registry

__all__ = ["BY_FIELDS", "BY_VALUE", "IN_CYCLE", "PICKLED", "remedy"]

PICKLED = "by pickle"
"""How a type is stored that only a pickle carries."""
IN_CYCLE = "by pickle, since it contains itself"
"""How an object is stored that refers to itself, or to what holds it."""
BY_FIELDS = "by its fields"
BY_VALUE = "by its value"

_CODE = (
    *(BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType),
    *(WrapperDescriptorType, type, property, staticmethod, classmethod),
)


def remedy(kind: type, how: str) -> str:
    """A sentence about ``kind``, which was stored ``how``."""
    if _is_code(kind):
        return "It is code. To store data alone, store its name, and look that up where it is needed" + (
            "; a class that is registered with laila.register_type is data" if issubclass(kind, type) else ""
        )
    if how == BY_VALUE:
        return "Give the class a member of that value"
    if how == IN_CYCLE:
        return "Rows of data cannot say that something contains itself: leave the reference back out"
    if how not in (BY_FIELDS, PICKLED):
        return "Declare the attribute in the class, or leave it out"
    from laila.codec.objects import is_registrable

    if not is_registrable(kind):
        return "laila.codec.register_codec says how to store it as data"
    if "<locals>" in kind.__qualname__:
        return (
            "The class is defined in a function, where no other process will find it: move it to the top "
            "of a "
            "module, and register it there with laila.register_type"
        )
    other = registry.known_type(registry.class_path(kind))
    if other is not None and other is not kind:
        return (
            "Another class was registered under its name: put @laila.register_type above its other "
            "decorators, "
            "or register it again where it is defined anew"
        )
    if kind.__module__ == "__main__":
        return (
            "The class is defined in __main__, where no other process will find it: move it into a module, "
            "and "
            "register it there with laila.register_type"
        )
    if how == PICKLED:
        return (
            f"It cannot be found as {kind.__qualname__} in the module {kind.__module__}: give it the name "
            f"that it "
            "has there, and register it with laila.register_type"
        )
    return "laila.register_type makes the class readable without a signature"


def _is_code(kind: type) -> bool:
    functools = sys.modules.get("functools")
    partial = (functools.partial, functools.partialmethod) if functools is not None else ()
    return issubclass(kind, (*_CODE, *partial))
