"""Rows of types that are values, such as ``{"dtype": float}``, and of generic aliases, such as ``list[int]``.

Only what laila knows is data: the builtin types, those of which it stores instances, and registered classes.
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
    found = _type_named(text)
    if found is None:
        decoder.demand_trust(text, registrable=True)
        raise ValueError("a type that is none")
    return found


def _is_part(value: object) -> bool:
    """Whether ``value`` may stand in a generic alias that is data."""
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        return _name_of(value) is not None
    return value is None or value is Ellipsis or _parts_of(value) is not None


def _parts_of(alias: Any) -> tuple[int, object, tuple[object, ...]] | None:
    kind = type(alias)
    if kind is types.GenericAlias:
        found = (_BUILTIN, alias.__origin__, alias.__args__)
    elif kind is types.UnionType:
        found = (_UNION, None, alias.__args__)
    else:
        typing = sys.modules.get("typing")
        if typing is None or kind is not typing._GenericAlias or not _is_generic(alias.__origin__):
            return None
        found = (_GENERIC, alias.__origin__, alias.__args__)
    return found if all(map(_is_part, found[2])) and (found[1] is None or _is_part(found[1])) else None


def _is_generic(kind: object) -> bool:
    """Whether subscribing ``kind`` runs typing's own code alone."""
    typing = sys.modules["typing"]
    method = getattr(kind, "__class_getitem__", None)
    own = typing.Generic.__class_getitem__.__func__
    return isinstance(kind, type) and getattr(method, "__func__", None) is own


def encode_alias(value: object, encoder: Encoder) -> Row:
    """The row of a generic alias or a union of types."""
    parts = _parts_of(value)
    if parts is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    kind, origin, args = parts
    return [tags.GENERIC_ALIAS, kind, origin, *args]


def _decode_alias(row: Row, decoder: Decoder) -> object:
    _, kind, origin, *args = row
    if len(args) > _MOST or not all(map(_is_part, args)):
        raise TypeError("a generic alias of what is no type")
    if kind == _UNION and origin is None and args:
        found: object = reduce(or_, args)
    elif kind == _BUILTIN and isinstance(origin, type):
        found = types.GenericAlias(origin, tuple(args))
    elif kind == _GENERIC and isinstance(origin, type):
        import typing  # noqa: F401 - what follows looks into it

        if not _is_generic(origin):
            raise TypeError("a generic alias of a class that is not generic")
        found = origin[tuple(args)]  # type: ignore[index]
    else:
        raise ValueError("an unknown kind of generic alias")
    parts = _parts_of(found)
    if parts is None or parts[2] != tuple(args):
        raise ValueError("a generic alias that is another one")
    return found


_MOST = 100
ENCODERS[type] = encode_type
ENCODERS[types.GenericAlias] = ENCODERS[types.UnionType] = encode_alias
DECODERS.update({tags.TYPE: _decode_type, tags.GENERIC_ALIAS: _decode_alias})
