"""Rows of types that are values, such as ``{"dtype": float}``, and of generic aliases, such as ``list[int]``.

Only known types are data: the builtin types, the types whose instances laila stores, and registered classes.
Every other class is code, by its name: it is for :mod:`laila.codec.signed`.
"""

from __future__ import annotations

import builtins
import sys
import types
from functools import reduce
from operator import or_

from laila.codec import registry, tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["encode_alias", "encode_type"]

_TYPES = {
    f"builtins:{held.__name__}": held for held in (type(None), type(Ellipsis), type(NotImplemented))
} | {f"builtins:{name}": held for name, held in vars(builtins).items() if isinstance(held, type)}
_BUILTIN, _GENERIC, _UNION = range(3)


def _name_of(kind: type) -> str | None:
    name = registry.class_path(kind)
    if _TYPES.get(name) is kind or _of_library(name) is kind:
        return name
    return registry.known_name(kind)


def _type_named(name: str) -> type | None:
    return _TYPES.get(name) or registry.known_type(name) or _of_library(name)


def _of_library(name: str) -> type | None:
    """A type of a library whose instances laila stores, where that library is imported here."""
    module, _, qualname = name.partition(":")
    registry.load_for(module)
    if module == "numpy":
        numpy = sys.modules.get("numpy")
        held = getattr(numpy, qualname, None) if numpy is not None else None
        if numpy is not None and isinstance(held, type) and issubclass(held, (numpy.generic, numpy.ndarray)):
            return held
    return next((kind for kind in ENCODERS if registry.class_path(kind) == name), None)


def encode_type(value: type, encoder: Encoder) -> Row:
    """The row of a class that is itself a value."""
    name = _name_of(value)
    if name is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    return [tags.TYPE, name]


def _decode_type(row: Row, decoder: Decoder) -> object:
    (name,) = only(row, 1)
    text = expect(name, str)
    result = _type_named(text)
    if result is None:
        decoder.demand_trust(text, registrable=True)
        raise ValueError("not a type")
    return result


def _is_part(value: object) -> bool:
    """Whether ``value`` may stand in a generic alias that is data."""
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        return _name_of(value) is not None
    return value is None or value is Ellipsis or _parts_of(value) is not None


def _size_of(alias: object, left: int) -> int:
    """How many of ``left`` parts are left after those of ``alias``; less than 0 where it has more."""
    left -= 1
    for part in getattr(alias, "__args__", ()) if type(alias).__name__ in _ALIASES else ():
        if left < 0:
            break
        left = _size_of(part, left)
    return left


def _parts_of(alias: Any) -> tuple[int, object, tuple[object, ...]] | None:
    kind = type(alias)
    if kind is types.GenericAlias:
        result = (_BUILTIN, alias.__origin__, alias.__args__)
    elif kind is types.UnionType:
        result = (_UNION, None, alias.__args__)
    else:
        typing = sys.modules.get("typing")
        if typing is None or kind is not typing._GenericAlias or not _is_generic(alias.__origin__):
            return None
        result = (_GENERIC, alias.__origin__, alias.__args__)
    return result if all(map(_is_part, result[2])) and (result[1] is None or _is_part(result[1])) else None


def _is_generic(kind: object) -> bool:
    """Whether subscribing ``kind`` runs typing's own code alone."""
    typing = sys.modules["typing"]
    method = getattr(kind, "__class_getitem__", None)
    own = typing.Generic.__class_getitem__.__func__
    return isinstance(kind, type) and getattr(method, "__func__", None) is own


def encode_alias(value: object, encoder: Encoder) -> Row:
    """The row of a generic alias or a union of types."""
    parts = None if _size_of(value, _MOST_PARTS) < 0 else _parts_of(value)
    if parts is None or len(parts[2]) > _MOST:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    kind, origin, args = parts
    return [tags.GENERIC_ALIAS, kind, origin, *args]


def _decode_alias(row: Row, decoder: Decoder) -> object:
    _, kind, origin, *args = row
    expect(kind, int)
    if len(args) > _MOST or not all(map(_is_simple, args)):
        raise TypeError("a generic alias of what is no type")
    # Aliases are compared and hashed part by part, and they may share parts.
    sizes: Any = decoder.shared.setdefault(("alias", "sizes"), {})
    size = 1 + sum(sizes.get(id(arg), 1) for arg in args)
    if size > _MOST_PARTS:
        raise ValueError(f"a generic alias of more than {_MOST_PARTS} parts")
    decoder.spend(size)
    if kind == _UNION and origin is None and args:
        result: object = reduce(or_, args)
    elif kind == _BUILTIN and isinstance(origin, type):
        result = types.GenericAlias(origin, tuple(args))
    elif kind == _GENERIC and isinstance(origin, type):
        import typing  # noqa: F401 - what follows looks into it

        if not _is_generic(origin):
            raise TypeError("a generic alias of a class that is not generic")
        result = origin[tuple(args)]  # type: ignore[index]
    else:
        raise ValueError("an unknown kind of generic alias")
    if type(result).__name__ not in _ALIASES or getattr(result, "__args__", None) != tuple(args):
        raise ValueError("a generic alias that is another one")
    sizes[id(result)] = size
    return result


def _is_simple(value: object) -> bool:
    """Whether ``value``, out of a row, may stand in an alias: an alias was looked at when it was read."""
    if type(value).__name__ in _ALIASES:
        return True
    return value is None or value is Ellipsis or (isinstance(value, type) and _name_of(value) is not None)


_ALIASES = frozenset({"GenericAlias", "UnionType", "Union", "_GenericAlias"})
_MOST, _MOST_PARTS = 100, 1000
ENCODERS[type] = encode_type
ENCODERS[types.GenericAlias] = ENCODERS[types.UnionType] = encode_alias
DECODERS.update({tags.TYPE: _decode_type, tags.GENERIC_ALIAS: _decode_alias})
