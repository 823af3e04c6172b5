"""Classes of the standard library that are data: they need neither registration nor signature.

A fixed list. Only its own modules are ever imported, whatever a blob says.
"""

from __future__ import annotations

import builtins
import sys
from functools import lru_cache

__all__ = ["known_class", "name_of_known"]

_EXCEPTIONS = tuple(
    name
    for name, held in vars(builtins).items()
    if isinstance(held, type) and issubclass(held, BaseException)
)
_CLASSES: dict[str, tuple[str, ...]] = {
    "builtins": _EXCEPTIONS,
    "collections": ("ChainMap", "UserDict", "UserList", "UserString"),
    "argparse": ("Namespace",),
    "decimal": (
        *("DecimalTuple", "DecimalException", "InvalidOperation", "DivisionByZero", "Overflow", "Inexact"),
    ),
    "difflib": ("Match",),
    "http": ("HTTPStatus", "HTTPMethod"),
    "re": ("RegexFlag",),
    "signal": ("Signals", "Handlers"),
    "socket": ("AddressFamily", "SocketKind", "gaierror", "herror"),
    "statistics": ("NormalDist", "LinearRegression", "StatisticsError"),
    "string": ("Template",),
    "urllib.parse": (
        *("ParseResult", "ParseResultBytes", "SplitResult", "SplitResultBytes"),
        *("DefragResult", "DefragResultBytes"),
    ),
    "uuid": ("SafeUUID",),
    # exceptions
    "asyncio.exceptions": ("CancelledError", "InvalidStateError"),
    "binascii": ("Error",),
    "concurrent.futures._base": ("CancelledError", "InvalidStateError", "BrokenExecutor"),
    "csv": ("Error",),
    "queue": ("Empty", "Full"),
    "struct": ("error",),
    "subprocess": ("CalledProcessError", "TimeoutExpired"),
    "zlib": ("error",),
    "zipfile": ("BadZipFile",),
}
_MODULES = {f"{module}:{name}": (module, name) for module, names in _CLASSES.items() for name in names}


@lru_cache(maxsize=4096)
def name_of_known(cls: type) -> str | None:
    """How a blob names ``cls``, when it is one of these; else None."""
    place = _MODULES.get(f"{cls.__module__}:{cls.__qualname__}")
    if place is None or getattr(sys.modules.get(place[0]), place[1], None) is not cls:
        return None
    return ":".join(place)


def known_class(name: str) -> type | None:
    """The class of that name, when it is one of these; else None."""
    place = _MODULES.get(name)
    if place is None:
        return None
    __import__(place[0])  # a name of the list above, never one out of a blob
    found = getattr(sys.modules[place[0]], place[1], None)
    return found if isinstance(found, type) else None
