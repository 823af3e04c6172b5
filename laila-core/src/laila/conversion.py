"""Checking a value against a declared type, and reading one from text: the rules that all settings share.

Strict on purpose: ``True`` is no number, ``"3"`` is no number, ``3.5`` is no integer. Three harmless
conversions are made: an ``int`` where a ``float`` is asked, text where a path is asked, and back.
Text (environment, terminal, ``.env``, XML) is read by the declared type, so that ``0123`` stays a password
where text is asked and becomes an error where a number is.
"""

from __future__ import annotations

import enum
import json
import os
import types
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["Mismatch", "check_value", "parse_text", "plain", "type_name"]

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"none", "null"})
_SEQUENCES: dict[Any, type] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset,
    Sequence: tuple, MutableSequence: list, Iterable: tuple, AbstractSet: frozenset, MutableSet: set,
}  # fmt: skip
_MAPPINGS = (dict, Mapping, MutableMapping)


class Mismatch(Exception):
    """The value does not fit; the text says why where the type's name does not. Never leaves the package."""


def check_value(value: Any, kind: Any) -> Any:
    """Return ``value`` as type ``kind``, converted only where nothing is lost, or raise :class:`Mismatch`."""
    if kind is Any or kind is object:
        return value
    if kind is None or kind is type(None):
        return _require(value is None, value)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _check_union(value, get_args(kind))
    if origin is Literal:
        # 1 == True: the type must be the same too.
        return _require(
            any(value == choice and type(value) is type(choice) for choice in get_args(kind)), value
        )
    base = origin or kind
    if base in _SEQUENCES:
        return _check_sequence(value, _SEQUENCES[base], get_args(kind))
    if base in _MAPPINGS:
        return _check_mapping(value, get_args(kind))
    if base is bool or base is int:
        return _require(type(value) is base, value)
    if base is float:
        _require(type(value) in (int, float), value)
        return float(value)
    if base is str:
        if isinstance(value, PurePath):
            return os.fspath(value)
        return _require(isinstance(value, str), value)
    if base is Path:
        if isinstance(value, str):
            return Path(value)
        return _require(isinstance(value, Path), value)
    if isinstance(base, type):
        if issubclass(base, enum.Enum) and not isinstance(value, base):
            return _enum_member(value, base)
        return _require(isinstance(value, base), value)
    return value  # a type variable, Annotated or another construct: the validator's business


def parse_text(text: str, kind: Any) -> Any:
    """Read ``text`` as type ``kind``, or raise :class:`Mismatch`."""
    if kind is Any or kind is object or kind is str:
        return text
    if kind is None or kind is type(None):
        if text.strip().lower() in _NONE:
            return None
        raise Mismatch("")
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _parse_union(text, get_args(kind))
    if origin is Literal:
        for choice in get_args(kind):
            if text == choice or (
                not isinstance(choice, str) and text.strip().lower() == str(choice).lower()
            ):
                return choice
        raise Mismatch("")
    base = origin or kind
    if base in _SEQUENCES:
        return _parse_sequence(text, _SEQUENCES[base], get_args(kind))
    if base in _MAPPINGS:
        return check_value(_parse_pairs(text), kind)
    if base is Path:
        return Path(text)
    stripped = text.strip()
    if base is bool:
        if stripped.lower() in _TRUE:
            return True
        if stripped.lower() in _FALSE:
            return False
        raise Mismatch("true or false")
    if base in (int, float):
        try:
            return base(stripped)
        except ValueError:
            raise Mismatch("") from None
    if isinstance(base, type) and issubclass(base, enum.Enum):
        return _enum_member(text, base)
    raise Mismatch("this type cannot be written as text")


def plain(value: object) -> object:
    """Return ``value`` in JSON's types: paths and enums as text, collections as lists, mappings as dicts."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(
        f"{type(value).__name__} cannot be written as JSON: keep it out of the settings, or make it secret"
    )


def type_name(kind: Any) -> str:
    """Return how a type is written in code: ``str | None``, ``list[int]``."""
    if kind is type(None):
        return "None"
    if get_origin(kind) in (Union, types.UnionType):
        return " | ".join(type_name(member) for member in get_args(kind))
    if get_origin(kind) is None and isinstance(kind, type):
        return kind.__name__
    return str(kind).replace("typing.", "").replace("collections.abc.", "").replace("pathlib.", "")


def _require(fits: bool, value: Any) -> Any:
    if not fits:
        raise Mismatch("")
    return value


def _check_union(value: Any, members: tuple[Any, ...]) -> Any:
    # First as it stands, so that a str is no Path in ``Path | str``; then with conversions.
    for member in members:
        if isinstance(member, type) and type(value) is member:
            return value
    for member in members:
        try:
            return check_value(value, member)
        except Mismatch:
            continue
    raise Mismatch("")


def _check_sequence(value: Any, build: type, items: tuple[Any, ...]) -> Any:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (list, tuple, set, frozenset)):
        raise Mismatch("a list is expected" if isinstance(value, str) else "")
    if build is tuple and items and items[-1] is not Ellipsis and len(items) > 1:
        if len(value) != len(items):
            raise Mismatch(f"{len(items)} items are expected")
        return tuple(check_value(item, kind) for item, kind in zip(value, items, strict=True))
    kind = items[0] if items else Any
    return build(check_value(item, kind) for item in value)


def _check_mapping(value: Any, items: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Mismatch("")
    key_kind, item_kind = items or (Any, Any)
    return {check_value(key, key_kind): check_value(item, item_kind) for key, item in value.items()}


def _parse_union(text: str, members: tuple[Any, ...]) -> Any:
    # Text fits str always, hence last.
    for member in sorted(members, key=lambda kind: (kind is str, kind is Path)):
        try:
            return parse_text(text, member)
        except Mismatch:
            continue
    raise Mismatch("")


def _parse_sequence(text: str, build: type, items: tuple[Any, ...]) -> Any:
    if text.lstrip().startswith("["):
        kind = build[items] if items else build  # type: ignore[index]
        return check_value(_parse_json(text), kind)
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    kind = items[0] if items else str
    return build(parse_text(piece, kind) for piece in pieces)


def _parse_pairs(text: str) -> Any:
    """Read ``{"a": 1}`` as JSON and ``a=x,b=y`` as pairs of text."""
    if text.lstrip().startswith("{"):
        return _parse_json(text)
    pairs: dict[str, str] = {}
    for piece in text.split(","):
        if not piece.strip():
            continue
        key, separator, value = piece.partition("=")
        if not separator or not key.strip():
            raise Mismatch("name=value pairs, or JSON, are expected")
        pairs[key.strip()] = value.strip()
    return pairs


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Mismatch("it is no JSON") from None


def _enum_member(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if value == member.value or (isinstance(value, str) and value.lower() == member.name.lower()):
            return member
    raise Mismatch("one of " + ", ".join(member.name.lower() for member in kind))
