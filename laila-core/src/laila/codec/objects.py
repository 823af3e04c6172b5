"""Rows of user classes: a class reference and the fields, each through laila's own codec.

Taken field by field: enums, named tuples, and every class whose instances are nothing but their ``__dict__``
and slots (attrs classes, dataclasses, pydantic models, plain classes) and that does not say otherwise to
:mod:`copy` and pickle; subclasses of builtins and exceptions are in modules of their own. They are rebuilt by
setting the fields; ``__init__`` does not run. A class that was not registered needs a signature, and then its
name is looked up; without one nothing is looked up. Everything else is for :mod:`laila.codec.signed`.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import chain

from laila.codec import registry, tags
from laila.codec.advice import BY_VALUE
from laila.codec.changes import conform_tuple
from laila.codec.classkinds import is_enum, is_metaclass, is_named_tuple, is_plain_class
from laila.codec.classnames import class_named, is_importable, name_of
from laila.codec.constants import constants_of
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.fields import shape_of
from laila.codec.instances import TEXT, dict_of, fields_of, set_fields
from laila.codec.known import name_of_known
from laila.codec.registry import DECODERS, QUICK
from laila.errors import PayloadError, PluginError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.registry import Changes, EncodeFunction

    Row = list[object]

__all__ = [
    "check_changes",
    "check_registrable",
    "encode_object",
    "encoder_by_fields",
    "encoder_of_class",
    "is_registrable",
]


def encoder_of_class(kind: type) -> EncodeFunction:
    """The function that makes the rows of a class that is not in the tables."""
    if registry.codec_of(kind) is not None:
        return _encode_extension
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.ndarray, numpy.generic, numpy.dtype)):
        from laila.codec.arrayclasses import encode_subclass

        return encode_subclass
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor") and issubclass(kind, torch.Tensor):
        from laila.codec.tensorkinds import encode_tensor_class

        return encode_tensor_class
    pillow = sys.modules.get("PIL.ImageFile")
    if pillow is not None and hasattr(pillow, "ImageFile") and issubclass(kind, pillow.ImageFile):
        from laila.codec.images import encode_opened

        return encode_opened
    if is_metaclass(kind):
        from laila.codec.typenames import encode_type

        return encode_type
    if kind.__module__ in ("typing", "types"):
        from laila.codec.typenames import encode_alias

        return encode_alias
    family = registry.family_of(kind)
    if family is not None:
        return family
    encode = encoder_by_fields(kind)
    known = registry.known_name(kind) is not None
    if encode is not None and (known or (is_importable(kind) and not constants_of(kind))):
        return encode
    from laila.codec.signed import encode_pickled

    return encode_pickled


@lru_cache(maxsize=4096)
def encoder_by_fields(kind: type) -> EncodeFunction | None:
    """The function that takes instances of ``kind`` field by field; None where that is not all of them."""
    if is_enum(kind):
        return _encode_enum
    if is_named_tuple(kind):
        return _encode_named_tuple
    if is_plain_class(kind):
        return encode_object
    if _is_exception(kind):
        from laila.codec.exceptions import encode_exception, is_exception

        return encode_exception if is_exception(kind) else None
    from laila.codec.subclasses import base_of, encode_subclass

    return encode_subclass if base_of(kind) is not None else None


def _is_exception(kind: type) -> bool:
    return issubclass(kind, BaseException)


def check_registrable(cls: type) -> None:
    """Raise ``TypeError`` for a class whose instances cannot be rebuilt from their fields."""
    encoder_by_fields.cache_clear()  # a decorator may have changed the class since
    is_plain_class.cache_clear()
    shape_of.cache_clear()
    if cls in registry.ENCODERS or name_of_known(cls) is not None:
        raise TypeError(
            f"{registry.type_name(cls)} cannot be registered, and needs not be: laila stores it as it is"
        )
    if not is_registrable(cls):
        raise TypeError(
            f"{registry.type_name(cls)} cannot be registered: laila rebuilds enums, named tuples and "
            "classes whose instances are their __dict__ and slots, and what they are of a builtin, with no "
            "__reduce__ or __getstate__ of their own; use laila.codec.register_codec for it"
        )


def is_registrable(cls: type) -> bool:
    """Whether instances of a class are rebuilt from their fields, or by a library's own form of them."""
    family = registry.family_of(cls)
    if family is not None:
        return registry.rebuilds(family, cls)
    return encoder_by_fields(cls) is not None or _is_array_class(cls)


def _is_array_class(cls: type) -> bool:
    """Whether an instance is a numpy array and attributes of its own."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(cls, numpy.ndarray):
        return False
    from laila.codec.arrayclasses import is_plain_subclass

    return is_plain_subclass(cls)


def check_changes(cls: type, changes: Changes) -> None:
    """Raise ``ValueError`` for fields that the class does not have, or has although they are removed."""
    if is_enum(cls):
        names = set(cls._member_map_)  # type: ignore[attr-defined]
    elif is_named_tuple(cls):
        names = set(cls._fields)  # type: ignore[attr-defined]
    else:
        shape = shape_of(cls)
        names = set(shape.expected)
        if shape.declared is None:
            names.update(
                name for name in (*changes.renamed.values(), *changes.defaults) if shape.is_field(name)
            )
    what = "member" if is_enum(cls) else "field"
    for name in (*changes.renamed.values(), *changes.defaults):
        if name not in names:
            raise ValueError(
                f"{registry.type_name(cls)} has no {what} {shown(name)}; renamed_from={{new name: former "
                f"name}} "
                "and defaults={name: value} take those that it has now"
            )
    for name in changes.removed:
        if name in names:
            raise ValueError(
                f"{registry.type_name(cls)} still has the {what} {shown(name)}, which is said to be removed"
            )


# -- plain classes, attrs classes, dataclasses, pydantic models


def encode_object(value: Any, encoder: Encoder) -> Row:
    """Return the row of an instance of a plain class: the name of its class, and its attributes."""
    kind: type = type(value)
    odd, pairs = fields_of(value, shape_of(kind), encoder)
    name = name_of(kind, encoder)
    return [tags.OBJECT, name, *pairs] if odd is None else [tags.ODD_OBJECT, name, odd, *pairs]


def _decode_object(row: Row, decoder: Decoder) -> object:
    return _object(row[1], None, row[2:], decoder)


def _decode_odd_object(row: Row, decoder: Decoder) -> object:
    if row[2] is None:
        raise ValueError("an odd object that is not odd")
    return _object(row[1], row[2], row[3:], decoder)


def _object(name: object, odd: object, pairs: Row, decoder: Decoder) -> object:
    cls: Any = class_named(name, decoder, is_plain_class)
    result: object = object.__new__(cls)
    set_fields(result, shape_of(cls), odd, pairs, expect(name, str), decoder)
    return result


# -- named tuples


def _encode_named_tuple(value: tuple[object, ...], encoder: Encoder) -> Row:
    kind = type(value)
    if dict_of(value, shape_of(kind, tuple)):
        from laila.codec.subclasses import encode_subclass

        return encode_subclass(value, encoder)
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    items = tuple.__getitem__(value, slice(None))
    return [tags.NAMED_TUPLE, name_of(kind, encoder), *chain.from_iterable(zip(fields, items, strict=True))]


def _decode_named_tuple(row: Row, decoder: Decoder) -> object:
    cls: Any = class_named(row[1], decoder, is_named_tuple)
    names, values = tuple(row[2::2]), row[3::2]
    if not TEXT.issuperset(map(type, names)):
        raise ValueError("a field whose name is no text")
    if names != cls._fields:
        values = conform_tuple(cls, names, values, str(row[1]), decoder)
    return tuple.__new__(cls, values)


# -- enums


def _encode_enum(value: Any, encoder: Encoder) -> Row:
    kind = type(value)
    name = value._name_
    if kind._member_map_.get(name) is value:
        if kind not in encoder.names and registry.known_type(name_of(kind, encoder)) is not kind:
            encoder.doubtful = True  # another class may have taken its name
        return [tags.ENUM, name_of(kind, encoder), name, None]
    encoder.doubtful = True
    # A combination of flags has no member of its own; another enum makes such values by code of its own.
    if not _is_combination(kind, value._value_):
        encoder.sign(
            kind,
            BY_VALUE,
            "it is no member of its class: that would need a signature, which pickle=False forbids",
        )
    return [tags.ENUM, name_of(kind, encoder), None, value._value_]


def _is_combination(kind: type, value: object) -> bool:
    return type(value) is int and issubclass(kind, sys.modules["enum"].Flag)


def _decode_enum(row: Row, decoder: Decoder) -> object:
    name, member, value = only(row, 3)
    cls: Any = class_named(name, decoder, is_enum)
    if member is None and not _is_combination(cls, value):
        decoder.demand_trust(f"a value that {name} has no member for", registrable=False)
    try:
        if member is None:
            return cls(value)
        text = expect(member, str)
        if text not in cls._member_map_:
            text = registry.changes_of(cls).renamed.get(text, text)
        return cls._member_map_[text]
    except (KeyError, ValueError) as error:
        remedy = (
            f"; give it that member back, or say which one took its place: laila.register_type("
            f"{cls.__name__}, renamed_from={{'NEW': {shown(member)}}})"
            if member is not None
            else ""
        )
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds {name}.{shown(value if member is None else member)}, "
            f"which the class does not have any more{remedy}",
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
        encoder.refuse(f"the codec {shown(name)} refused it: {said(error)}", error)


def _decode_extension(row: Row, decoder: Decoder) -> object:
    name, state = only(row, 2)
    decode = registry.codec_named(expect(name, str))
    if decode is None:
        raise PluginError(
            f"the payload of {decoder.blob.key} was written by the codec {shown(name)}, which no plugin "
            "registered here",
            plugin=str(name),
            distribution=None,
        )
    return decode(state)


QUICK.update((encode_object, _encode_enum, _encode_named_tuple))
DECODERS.update(
    {
        tags.OBJECT: _decode_object,
        tags.ODD_OBJECT: _decode_odd_object,
        tags.NAMED_TUPLE: _decode_named_tuple,
        tags.ENUM: _decode_enum,
        tags.EXTENSION: _decode_extension,
    }
)
