"""Constants that are told apart by identity, such as ``dataclasses.MISSING``: they come back as themselves.

A copy of such an object would be another one to ``is``. It is pickled as the name that its module has for it.
"""

from __future__ import annotations

import sys
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["constants_of", "reduce_constant"]


@lru_cache(maxsize=4096)
def constants_of(kind: Any) -> dict[int, str]:
    """By id: the names of the instances of ``kind`` that its module has; empty unless they are constants.

    They are where the class says nothing but how it is shown and copied, so that instances have no state, and
    where the names are written as those of constants are.
    """
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ in ("builtins", "__main__") or kind.__bases__ != (object,):
        return {}
    if kind.__eq__ is not object.__eq__ or not all(name[:2] == name[-2:] == "__" for name in vars(kind)):
        return {}
    if "__init__" in vars(kind) or "__getattr__" in vars(kind) or "__reduce__" in vars(kind):
        return {}
    return {
        id(held): name
        for name, held in list(vars(module).items())
        if type(held) is kind and name.isupper() and not getattr(held, "__dict__", None)
    }


def reduce_constant(obj: object) -> str | None:
    """What pickle makes of a constant: its name; None for all else."""
    kind: Any = type(obj)
    name = constants_of(kind).get(id(obj))
    return name if name is not None and not getattr(obj, "__dict__", None) else None
