"""Values between policies: plain JSON, and blobs beside it. Any protocol packs and unpacks by this module.

Values that JSON gives back exactly stay JSON. Every other value is a blob beside the tree, and the tree
refers to it by its number:

    {"$entry": n}   an Entry                {"$value": n}   any other value
    {"$blob": n}    a blob, not decoded     {"$error": {…}} an error that is a value, as in a list of outcomes

A blob that arrives obeys the rule for blobs from pools: its checksums are verified, and decoding runs no code
that was not signed with a key of this side. An error arrives as one of laila's own classes, one of a few
built-in ones, or a :class:`~laila.errors.RemoteError`; never by a name that the peer chose.
"""

from __future__ import annotations

import builtins
import re
from contextlib import suppress
from json import dumps

from laila import errors
from laila.blob.blob import Blob
from laila.errors import LailaError, PeerError, RemoteError
from laila.showing import escaped, said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = [
    "MAX_DEPTH",
    "check_depth",
    "pack",
    "pack_call",
    "pack_error",
    "unpack",
    "unpack_call",
    "unpack_error",
]

MAX_DEPTH = 64
"""How deep a tree may nest."""
POSITIONAL = "*"
"""The name that positional arguments have among named ones: no keyword can be called so."""

_LARGEST_INT = 2**53 - 1
_LONGEST_MESSAGE = 4096
_MOST_NODES = 100_000
"""Values of more items go as a blob: its rows say what is shared, and are quicker to read."""
_VALUE_KEY = "value"  # what a blob that is no entry is filed under
_ATOMS = frozenset((str, bool, type(None)))
# Errors that functions often raise, and that their callers catch.
_NAMES = """ArithmeticError AssertionError AttributeError BufferError ConnectionError EOFError FileExistsError
    FileNotFoundError FloatingPointError IndexError IsADirectoryError KeyError LookupError MemoryError
    NotADirectoryError NotImplementedError OSError OverflowError PermissionError RecursionError
    RuntimeError StopIteration TimeoutError TypeError ValueError ZeroDivisionError"""
_BUILTINS = frozenset(re.findall(r"\w+", _NAMES))


def pack(value: object) -> tuple[object, list[Blob]]:
    """Return ``value`` as a tree of plain JSON, and the blobs that the tree refers to.

    Raises :class:`~laila.errors.PayloadError` for a value that would not come back exactly.
    """
    blobs = _Beside()
    return _pack(value, blobs), blobs


def pack_call(args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[dict[str, object], list[Blob]]:
    """Return the arguments of a call as the members of one object; see :data:`POSITIONAL`."""
    blobs = _Beside()
    tree = {name: _pack(value, blobs) for name, value in kwargs.items()}
    if args:
        tree[POSITIONAL] = [_pack(value, blobs) for value in args]
    return tree, blobs


def _pack(value: object, blobs: _Beside) -> object:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        # A list is taken item by item, so that entries in it stay entries.
        items: list[object] = value  # type: ignore[assignment]
        if _is_plain(items):
            return items
        if any(isinstance(item, (Blob, BaseException)) or _is_entry(item) for item in items):
            return [_pack(item, blobs) for item in items]
    elif isinstance(value, Blob):
        return {"$blob": blobs.number(value)}
    elif isinstance(value, BaseException):
        return {"$error": pack_error(value)}
    elif _is_entry(value):
        from laila.entry import to_blob

        blobs.append(to_blob(value))  # type: ignore[arg-type]  # it was looked at
        return {"$entry": len(blobs) - 1}
    elif _is_plain(value):
        return value
    from laila.codec import encode

    blobs.append(encode(value, key=_VALUE_KEY))
    return {"$value": len(blobs) - 1}


class _Beside(list[Blob]):
    """The blobs beside a tree. A blob that the tree has twice is sent once."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[int, int] = {}

    def number(self, blob: Blob) -> int:
        number = self._numbers.setdefault(id(blob), len(self))
        if number == len(self):
            self.append(blob)
        return number


def _is_entry(value: object) -> bool:
    from laila.entry import Entry

    return isinstance(value, Entry)


def _is_plain(value: object) -> bool:
    """Whether JSON gives ``value`` back exactly, in every language, and in no more nodes than are taken."""
    level: list[object] = [value]
    count = 0
    # A container that is referred to twice is looked at twice, as JSON would write it twice.
    for _ in range(MAX_DEPTH // 2 + 1):
        deeper: list[object] = []
        for node in level:
            kind = type(node)
            if kind in _ATOMS:
                continue
            if kind is int:
                if not -_LARGEST_INT <= node <= _LARGEST_INT:  # type: ignore[operator]  # a number
                    return False
            elif kind is float:
                if node - node != 0:  # type: ignore[operator]  # infinite, or NaN
                    return False
            elif kind is list:
                deeper += node  # type: ignore[arg-type]  # a list
            elif kind is dict:
                if not all(type(name) is str and name[:1] != "$" for name in node):  # type: ignore[attr-defined]
                    return False
                deeper += node.values()  # type: ignore[attr-defined]  # a dict
            else:
                return False
            if count + len(deeper) > _MOST_NODES:
                return False
        if not deeper:
            return True
        count += len(deeper)
        level = deeper
    return False


def _is_short(value: object) -> bool:
    """Whether ``value`` may go with an error: plain, and no longer than the longest message."""
    return _is_plain(value) and len(dumps(value)) <= _LONGEST_MESSAGE


# -- what arrives ------------------------------------------------------------------------------------------


def check_depth(tree: object, limit: int = MAX_DEPTH) -> None:
    """Raise ``ValueError`` for a tree that is nested deeper than ``limit``."""
    level = [tree]
    for _ in range(limit):
        deeper: list[object] = []
        for node in level:
            if type(node) is list:
                deeper += [child for child in node if type(child) in (list, dict)]
            elif type(node) is dict:
                deeper += [child for child in node.values() if type(child) in (list, dict)]
        if not deeper:
            return
        level = deeper
    raise ValueError(f"it is nested deeper than {limit}")


def unpack(tree: object, blobs: Sequence[Blob]) -> Any:
    """Return the value that :func:`pack` made ``tree`` and ``blobs`` of.

    Raises ``ValueError`` for a tree that refers to what is not there, and what decoding raises:
    :class:`~laila.errors.CorruptEntryError`, :class:`~laila.errors.UntrustedPayloadError`.
    """
    return _unpack(tree, blobs, set())


def _unpack(tree: object, blobs: Sequence[Blob], opened: set[int]) -> Any:
    kind = type(tree)
    if kind is dict:
        if len(tree) == 1:  # type: ignore[arg-type]
            ((name, what),) = tree.items()  # type: ignore[attr-defined]
            if name[:1] == "$":
                return _unpack_reference(name, what, blobs, opened)
        return {name: _unpack(value, blobs, opened) for name, value in tree.items()}  # type: ignore[attr-defined]
    if kind is list:
        return [_unpack(item, blobs, opened) for item in tree]  # type: ignore[attr-defined]
    return tree


def _unpack_reference(name: str, what: object, blobs: Sequence[Blob], opened: set[int]) -> object:
    if name == "$error":
        return unpack_error(what)
    if type(what) is not int or not 0 <= what < len(blobs):
        raise ValueError(f"{name[:40]} refers to no blob of this message")
    blob = blobs[what]
    if name == "$blob":
        return blob
    if name not in ("$entry", "$value"):
        raise ValueError(f"{name[:40]} is no kind of value")
    if what in opened:  # a few bytes would have a large blob decoded again and again
        raise ValueError(f"{name} refers to a blob that is another value of this message")
    opened.add(what)
    if name == "$entry":
        from laila.entry import from_blob

        return from_blob(blob)
    from laila.codec import decode

    return decode(blob)


def unpack_call(params: object, blobs: Sequence[Blob]) -> tuple[list[object], dict[str, object]]:
    """Return the positional and the named arguments of a call. Raises as :func:`unpack`."""
    if params is None:
        return [], {}
    opened: set[int] = set()
    if type(params) is list:
        return [_unpack(item, blobs, opened) for item in params], {}
    if type(params) is not dict:
        raise ValueError("params must be an object or an array")
    positional = params.get(POSITIONAL, [])
    if type(positional) is not list:
        raise ValueError(f"{shown(POSITIONAL)} among the params must be an array")
    args = [_unpack(item, blobs, opened) for item in positional]
    named = {name: _unpack(value, blobs, opened) for name, value in params.items() if name != POSITIONAL}
    return args, named


# -- errors ------------------------------------------------------------------------------------------------


def pack_error(error: BaseException) -> dict[str, object]:
    """Return ``error`` as plain JSON: the name of its class, its message, and those parts that JSON has."""
    kind = type(error)
    known = kind.__module__ == errors.__name__ or (
        kind.__module__ == "builtins" and kind.__name__ in _BUILTINS
    )
    message = said(error, _LONGEST_MESSAGE)
    packed: dict[str, object] = {"type": kind.__name__, "message": message}
    if not known:
        packed["type"] = "RemoteError"
        packed["parts"] = {"type_name": f"{kind.__module__}.{kind.__qualname__}"}
    elif isinstance(error, LailaError):
        parts = error.__reduce__()[2]
        packed["parts"] = {
            name: value for name, value in parts.items() if name[:1] != "_" and _is_short(value)
        }
    return packed


def unpack_error(packed: object) -> Exception:
    """Return the error that :func:`pack_error` packed. Never raises: other data becomes a PeerError."""
    if type(packed) is not dict or type(packed.get("type")) is not str:
        return PeerError("the peer answered with an error that says nothing", peer="")
    name, message = packed["type"], packed.get("message", "")
    message = message[:_LONGEST_MESSAGE] if type(message) is str else ""
    if name in errors.__all__:
        kind: type[LailaError] = getattr(errors, name)
        parts = packed.get("parts")
        named = parts if type(parts) is dict else {}
        error = kind(message)
        for part, value in named.items():
            if part.isidentifier() and part[:1] != "_" and part not in _RESERVED:
                # Some are the built-in class's own, and take no value of every type.
                with suppress(AttributeError, TypeError, ValueError):
                    setattr(error, part, value)
        return error
    if name in _BUILTINS:
        built: Exception = getattr(builtins, name)(escaped(message))
        return built
    return RemoteError(message, type_name=name[:200])


_RESERVED = frozenset(("args", "message", "self", "with_traceback", "add_note"))
