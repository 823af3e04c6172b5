"""Rows of user classes: a class reference and the fields, each through laila's own codec.

Taken field by field: enums, named tuples, and every class whose instances are nothing but their ``__dict__``
and slots (attrs classes, dataclasses, plain classes) and that does not say otherwise to :mod:`copy` and
pickle. They are rebuilt by setting the fields; ``__init__`` does not run. A class that was not registered
needs a signature, and then its name is looked up; without one nothing is looked up. Everything else is for
:mod:`laila.codec.signed`.
"""

from __future__ import annotations

import copyreg
import sys
from functools import cached_property, lru_cache

from laila.codec import registry, tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.limits import shown
from laila.codec.registry import DECODERS
from laila.errors import PayloadError, PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.registry import EncodeFunction

    Row = list[object]

__all__ = ["check_registrable", "encoder_of_class", "registered_fields"]

_POINTER = 8 if sys.maxsize > 1 << 32 else 4
_getstate_of_object = object.__getstate__


def encoder_of_class(kind: type) -> EncodeFunction:
    """The function that makes the rows of a class that is not in the tables."""
    if registry.codec_of(kind) is not None:
        return _encode_extension
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.ndarray, numpy.generic, numpy.dtype)):
        from laila.codec.arrays import encode_subclass

        return encode_subclass
    encode = _encoder_by_fields(kind)
    if encode is not None and (registry.registered_name(kind) is not None or _is_importable(kind)):
        return encode
    from laila.codec.signed import encode_pickled

    return encode_pickled


def _encoder_by_fields(kind: type) -> EncodeFunction | None:
    if _is_enum(kind):
        return _encode_enum
    if _is_named_tuple(kind):
        return _encode_named_tuple
    if _is_plain_class(kind):
        return _encode_object
    return None


def check_registrable(cls: type) -> None:
    """Raise ``TypeError`` for a class whose instances cannot be rebuilt from their fields."""
    if cls in registry.ENCODERS or _encoder_by_fields(cls) is None:
        raise TypeError(
            f"{registry.type_name(cls)} cannot be registered: laila rebuilds enums, named tuples and "
            "classes whose "
            "instances are their __dict__ and slots, with no __reduce__, __getstate__ or __new__ of their "
            "own; "
            "use laila.codec.register_codec for it"
        )


def _is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def _is_named_tuple(kind: type) -> bool:
    fields = getattr(kind, "_fields", None)
    return (
        issubclass(kind, tuple)
        and kind is not tuple
        and type(fields) is tuple
        and all(type(name) is str for name in fields)
        and _copies_by_default(kind, new_args=True)
        and all(
            base.__module__ == "builtins" or "_fields" in dir(base) or not _has_slots(base)
            for base in kind.__mro__
        )
    )


def _has_slots(kind: type) -> bool:
    return bool(copyreg._slotnames(kind))  # type: ignore[attr-defined]  # what pickle itself uses


def _copies_by_default(kind: type, *, new_args: bool) -> bool:
    """Whether ``copy`` and pickle would take an instance by its fields, without code of the class's own."""
    if any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__")):
        return False
    if kind in copyreg.dispatch_table:
        return False
    if not new_args and (hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__")):
        return False
    for name in ("__getstate__", "__setstate__"):
        method = getattr(kind, name, None)
        if method is None or method is _getstate_of_object:
            continue
        # dataclasses and attrs write these for classes with slots; they say nothing but "the fields".
        if getattr(method, "__module__", None) != "dataclasses" and not (
            hasattr(kind, "__attrs_attrs__") and method.__name__ in ("slots_getstate", "slots_setstate")
        ):
            return False
    return True


def _is_plain_class(kind: type) -> bool:
    """Whether an instance is its ``__dict__`` and its slots and nothing in C besides."""
    new: object = kind.__new__
    if new is not object.__new__ or not _copies_by_default(kind, new_args=False):
        return False
    if isinstance(kind.__dict__.get("__module__"), str) is False or issubclass(kind, type):
        return False
    pointers = len(copyreg._slotnames(kind))  # type: ignore[attr-defined]
    pointers += (kind.__weakrefoffset__ > 0) + (kind.__dictoffset__ > 0)
    return kind.__basicsize__ <= object.__basicsize__ + _POINTER * pointers and not kind.__itemsize__


def _is_importable(kind: type) -> bool:
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _name_of(kind: type, encoder: Encoder) -> str:
    """How the blob calls ``kind``; noted as in need of a signature unless it was registered."""
    name = registry.registered_name(kind)
    if name is None:
        encoder.sign(kind, "by its fields")
        name = registry.class_path(kind)
    return name


def _class_named(name: object, decoder: Decoder, check: Callable[[type], bool]) -> type:
    """The class that a blob names: a registered one, or one looked up because the signature verified."""
    text = expect(name, str)
    found = registry.registered_type(text)
    if found is None:
        decoder.demand_trust(text, registrable=True)
        found = _look_up(text, decoder)
    if not check(found):
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {text}, which is another kind of class "
            "by now; "
            "register the class that takes its place: laila.register_type(cls, name=…)",
            path=text,
        )
    return found


def _look_up(text: str, decoder: Decoder) -> type:
    from importlib import import_module

    module, _, qualname = text.partition(":")
    try:
        found: object = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {text}, which is not there any more "
            f"({error}). If the "
            "class was moved or renamed, register it under its old name: laila.register_type(cls, "
            f"name={text!r})",
            path=text,
        ) from error
    if not isinstance(found, type):
        raise PayloadError(
            f"{text}, which the payload of {decoder.blob.key} names as a class, is none", path=text
        )
    return found


# -- plain classes, attrs classes, dataclasses


def registered_fields(value: object) -> Iterable[object] | None:
    """The values of the attributes of an instance of a registered class; None for any other value."""
    kind = type(value)
    if registry.registered_name(kind) is None or _is_enum(kind):
        return None
    return [field for _, field in _attributes(value)]


def _attributes(value: object) -> list[tuple[str, object]]:
    """The slots that are set, then what is in ``__dict__``: names and values."""
    found: list[tuple[str, object]] = []
    for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]
        try:
            # Past __getattr__ and __getattribute__: a slot that is not set stays so.
            found.append((name, object.__getattribute__(value, name)))
        except AttributeError:
            continue
    return [*found, *getattr(value, "__dict__", {}).copy().items()]


@lru_cache(maxsize=4096)
def _has_fields(kind: type, names: tuple[str, ...]) -> bool:
    """Whether ``names`` are attributes that data may set without a signature.

    The fields that an attrs class or a dataclass declares; of other classes what stands in the way of nothing
    that the class defines. What a cached property keeps is a field, too.
    """
    declared = getattr(kind, "__dataclass_fields__", None)
    if declared is None and hasattr(kind, "__attrs_attrs__"):
        declared = {field.name for field in kind.__attrs_attrs__}
    slots = frozenset(copyreg._slotnames(kind))  # type: ignore[attr-defined]
    return all(name in slots or _is_field(kind, declared, name) for name in names)


def _is_field(kind: type, declared: Iterable[str] | None, name: str) -> bool:
    if declared is not None and name in declared:
        return True
    held = next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)
    if isinstance(held, cached_property):
        return True
    if declared is not None or (name[:2] == "__" and name[-2:] == "__"):
        return False
    return not hasattr(type(held), "__get__")


def _encode_object(value: object, encoder: Encoder) -> Row:
    kind: Any = type(value)
    row: Row = [tags.OBJECT, _name_of(kind, encoder)]
    for name, field in _attributes(value):
        if type(name) is not str:
            encoder.refuse(f"an attribute of {registry.type_name(kind)} is called {name!r}, which is no text")
        row += (name, field)
    names: tuple[Any, ...] = tuple(row[2::2])
    if not _has_fields(kind, names) and kind not in encoder.signed_types:
        extra = next(name for name in names if not _has_fields(kind, (name,)))
        encoder.sign(
            kind,
            "by its fields",
            f"its attribute {extra!r} is no field of the class: that would need a signature, which "
            "pickle=False forbids",
        )
    return row


def _decode_object(row: Row, decoder: Decoder) -> object:
    cls = _class_named(row[1], decoder, _is_plain_class)
    names: tuple[Any, ...] = tuple(expect(name, str) for name in row[2::2])
    if len(row) % 2 or len(set(names)) != len(names):
        raise ValueError("an attribute twice, or one without a value")
    if not decoder.trusted and not _has_fields(cls, names):
        decoder.demand_trust(f"attributes that are no fields of {row[1]}", registrable=False)
    slots = frozenset(copyreg._slotnames(cls))  # type: ignore[attr-defined]
    found: object = object.__new__(cls)
    for text, field in zip(names, row[3::2], strict=True):
        if text in slots:
            object.__setattr__(found, text, field)
            continue
        attributes = getattr(found, "__dict__", None)
        if attributes is None:
            raise PayloadError(
                f"the payload of {decoder.blob.key} sets {text!r} on {row[1]}, which has no such slot any "
                "more",
                path=text,
            )
        attributes[text] = field
    return found


# -- named tuples


def _encode_named_tuple(value: tuple[object, ...], encoder: Encoder) -> Row:
    if getattr(value, "__dict__", None):
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    row: Row = [tags.NAMED_TUPLE, _name_of(type(value), encoder)]
    for name, field in zip(type(value)._fields, value, strict=True):  # type: ignore[attr-defined]
        row += (name, field)
    return row


def _decode_named_tuple(row: Row, decoder: Decoder) -> object:
    cls = _class_named(row[1], decoder, _is_named_tuple)
    if tuple(row[2::2]) != cls._fields:  # type: ignore[attr-defined]
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds a {row[1]} with the fields "
            f"{', '.join(map(shown, row[2::2]))}, and the class now has "
            f"{list(cls._fields)!r}",  # type: ignore[attr-defined]
            path=str(row[1]),
        )
    return tuple.__new__(cls, row[3::2])


# -- enums


def _encode_enum(value: Any, encoder: Encoder) -> Row:
    kind = type(value)
    name = value.name
    if kind.__members__.get(name) is value:
        return [tags.ENUM, _name_of(kind, encoder), name, None]
    # A combination of flags has no member of its own; another enum makes such values by code of its own.
    if not _is_combination(kind, value.value):
        encoder.sign(
            kind,
            "by its value",
            "it is no member of its class: that would need a signature, which pickle=False forbids",
        )
    return [tags.ENUM, _name_of(kind, encoder), None, value.value]


def _is_combination(kind: type, value: object) -> bool:
    return type(value) is int and issubclass(kind, sys.modules["enum"].Flag)


def _decode_enum(row: Row, decoder: Decoder) -> object:
    name, member, value = only(row, 3)
    cls = _class_named(name, decoder, _is_enum)
    if member is None and not _is_combination(cls, value):
        decoder.demand_trust(f"a value that {name} has no member for", registrable=False)
    try:
        return cls.__members__[expect(member, str)] if member is not None else cls(value)  # type: ignore[attr-defined]
    except (KeyError, ValueError) as error:
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds {name}.{shown(member or value)}, which the class "
            "does not have any more",
            path=str(name),
        ) from error


# -- codecs that plugins registered


def _encode_extension(value: object, encoder: Encoder) -> Row:
    known = registry.codec_of(type(value))
    assert known is not None
    name, encode = known
    try:
        return [tags.EXTENSION, name, encode(value)]
    except (TypeError, ValueError) as error:
        encoder.refuse(f"the codec {name!r} refused it: {error}", error)


def _decode_extension(row: Row, decoder: Decoder) -> object:
    name, state = only(row, 2)
    decode = registry.codec_named(expect(name, str))
    if decode is None:
        raise PluginError(
            f"the payload of {decoder.blob.key} was written by the codec {name!r}, which no plugin "
            "registered here",
            plugin=str(name),
            distribution=None,
        )
    return decode(state)


DECODERS.update(
    {
        tags.OBJECT: _decode_object,
        tags.NAMED_TUPLE: _decode_named_tuple,
        tags.ENUM: _decode_enum,
        tags.EXTENSION: _decode_extension,
    }
)
