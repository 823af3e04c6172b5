"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

import sys
from importlib import import_module

from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package (PEP 562) whose names live in other modules.

    Type checkers do not see these names: the package imports them under ``TYPE_CHECKING``, too.

    Args:
        package: The name of the package, its ``__name__``.
        homes: For each name the module that has it, or the module itself where that is what the name means.

    Returns:
        The function. It imports the module of a name, and keeps what it found in the package.
    """

    def find(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package} has no attribute {shown(name)}")
        module = import_module(home)
        value = module if home == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return find
