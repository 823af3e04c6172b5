"""Rows of user classes: a class reference and the fields, each through laila's own codec.

Taken field by field: enums, named tuples, and every class whose instances are nothing but their ``__dict__``
and slots (attrs classes, dataclasses, pydantic models, plain classes) and that does not say otherwise to
:mod:`copy` and pickle; subclasses of builtins and exceptions are in modules of their own. They are rebuilt by
setting the fields; ``__init__`` does not run. A class that was not registered needs a signature, and then its
name is looked up; without one nothing is looked up. Everything else is for :mod:`laila.codec.signed`.
"""

from __future__ import annotations

import copyreg
import sys
from functools import lru_cache
from itertools import chain

from laila.codec import registry, tags
from laila.codec.advice import BY_FIELDS, BY_VALUE
from laila.codec.changes import conform, conform_tuple, fill
from laila.codec.constants import constants_of
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.fields import shape_of
from laila.codec.known import name_of_known
from laila.codec.registry import DECODERS, QUICK
from laila.errors import PayloadError, PluginError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.fields import Shape
    from laila.codec.registry import Changes, EncodeFunction

    Row = list[object]

__all__ = [
    "check_changes",
    "check_registrable",
    "class_from_row",
    "class_named",
    "class_of_row",
    "copies_by_default",
    "encoder_of_class",
    "fields_of",
    "is_importable",
    "is_registrable",
    "name_of",
    "registered_fields",
    "set_fields",
]

_getstate_of_object = object.__getstate__
_TEXT = frozenset({str})
_ITSELF = True
_KEPT = 4096


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
    if _is_metaclass(kind):
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
    if _is_enum(kind):
        return _encode_enum
    if _is_named_tuple(kind):
        return _encode_named_tuple
    if is_plain_class(kind):
        return encode_object
    if _is_exception(kind):
        from laila.codec.exceptions import encode_exception, is_exception

        return encode_exception if is_exception(kind) else None
    from laila.codec.subclasses import base_of, encode_subclass

    return encode_subclass if base_of(kind) is not None else None


def check_registrable(cls: type) -> None:
    """Raise ``TypeError`` for a class whose instances cannot be rebuilt from their fields."""
    for cached in (encoder_by_fields, is_plain_class, shape_of):
        cached.cache_clear()  # a decorator may have changed it since
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
    if _is_enum(cls):
        names = set(cls._member_map_)  # type: ignore[attr-defined]
    elif _is_named_tuple(cls):
        names = set(cls._fields)  # type: ignore[attr-defined]
    else:
        shape = shape_of(cls)
        names = set(shape.expected)
        if shape.declared is None:
            names.update(
                name for name in (*changes.renamed.values(), *changes.defaults) if shape.is_field(name)
            )
    what = "member" if _is_enum(cls) else "field"
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
        and copies_by_default(kind, tuple, new_args=True)
        and not shape_of(kind, tuple).slots
    )


def copies_by_default(kind: type, base: type = object, *, new_args: bool = False) -> bool:
    """Whether ``copy`` and pickle would take an instance by its fields, without code of the class's own.

    ``new_args`` allows the class to say what its constructor is given, which is not asked.
    """
    if any(getattr(kind, name) is not getattr(base, name) for name in ("__reduce_ex__", "__reduce__")):
        return False
    reducer = copyreg.dispatch_table.get(kind)
    # Importing `distributed` has tblib register all exceptions; it adds what laila stores anyway.
    if reducer is not None and getattr(reducer, "__module__", "").partition(".")[0] != "tblib":
        return False
    if not new_args and any(map(_has_own_new_args, kind.__mro__)):
        return False
    for name in ("__getstate__", "__setstate__"):
        method = getattr(kind, name, None)
        if method is None or method is _getstate_of_object or method is getattr(base, name, None):
            continue
        # Libraries write these for classes with slots; they say nothing but "the fields".
        if getattr(method, "__module__", None) not in ("dataclasses", "pydantic.main") and not (
            hasattr(kind, "__attrs_attrs__") and method.__name__ in ("slots_getstate", "slots_setstate")
        ):
            return False
    return True


def _has_own_new_args(owner: type) -> bool:
    """Whether ``owner`` itself says what its constructor is given; UserString says no more than its field."""
    own = vars(owner)
    return ("__getnewargs__" in own or "__getnewargs_ex__" in own) and name_of_known(owner) is None


@lru_cache(maxsize=4096)
def is_plain_class(kind: type) -> bool:
    """Whether an instance is its ``__dict__`` and its slots and nothing in C besides."""
    new: object = kind.__new__
    if new is not object.__new__ or not (name_of_known(kind) is not None or copies_by_default(kind)):
        return False
    if type(kind.__dict__.get("__module__")) is not str or _is_metaclass(kind):
        return False
    return shape_of(kind).is_whole


def _is_exception(kind: type) -> bool:
    return issubclass(kind, BaseException)


def _is_metaclass(kind: type) -> bool:
    return issubclass(kind, type)


def is_importable(kind: type) -> bool:
    """Whether another process finds the class by its name."""
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind or (
        kind.__module__ == "__main__" and _of_submitter(registry.class_path(kind)) is kind
    )


def _of_submitter(path: str) -> type | None:
    """The class of that name in the script of the process whose task runs here."""
    visiting = sys.modules.get("laila.codec.visiting")
    if visiting is None or not visiting.is_visited():
        return None
    from laila.codec.dynamic import class_of_submitter

    return class_of_submitter(path)


def name_of(kind: type, encoder: Encoder) -> str:
    """How the blob calls ``kind``; noted as in need of a signature unless it was registered."""
    name = encoder.names.get(kind)
    if name is None:
        name = registry.known_name(kind)
        if name is None:
            encoder.sign(kind, BY_FIELDS)
            name = registry.class_path(kind)
        encoder.names[kind] = name
    return name


def class_of_row(kind: type, encoder: Encoder) -> object:
    """``kind`` as a row names it: by name, or itself (pickled by value) where no import finds it."""
    if registry.known_name(kind) is None and not is_importable(kind):
        return kind
    return name_of(kind, encoder)


def class_from_row(found: object, decoder: Decoder, check: Callable[[type], bool]) -> type:
    """The class that :func:`class_of_row` put into a row; ``check`` says whether it is of the right kind."""
    if not isinstance(found, type):
        return class_named(found, decoder, check)
    decoder.demand_trust(registry.type_name(found), registrable=False)
    if not check(found):
        raise TypeError(f"{shown(found)} where another kind of class belongs")
    return found


def class_named(name: object, decoder: Decoder, check: Callable[[type], bool]) -> type:
    """The class that a blob names: a registered one, or one looked up because the signature verified."""
    text = expect(name, str)
    found = decoder.classes.get((text, check))
    if found is not None:
        return found
    found = registry.known_type(text)
    if found is None:
        decoder.demand_trust(text, registrable=True)
        found = _look_up(text, decoder)
    if not check(found):
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {shown(text)}, which is another kind of "
            "class by now; "
            "register the class that takes its place: laila.register_type(cls, renamed_from=…)",
            path=text,
        )
    decoder.classes[text, check] = found
    return found


def _look_up(text: str, decoder: Decoder) -> type:
    from importlib import import_module

    module, _, qualname = text.partition(":")
    try:
        found: object = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        if module == "__main__":
            known = _of_submitter(text)
            if known is not None:
                return known
            raise PayloadError(
                f"the payload of {decoder.blob.key} holds instances of {text}, a class that a script or a "
                "notebook defined, and this program has not. Define it here, too, before; or move it into a "
                f"module and register it there: laila.register_type(cls, renamed_from={shown(text)}). Tasks "
                "in other processes know the classes that their submitter has registered",
                path=text,
            ) from error
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds instances of {text}, which is not there any more "
            f"({said(error)}). If the "
            "class was moved or renamed, register it under its old name too: laila.register_type(cls, "
            f"renamed_from={shown(text)})",
            path=text,
        ) from error
    if not isinstance(found, type):
        raise PayloadError(
            f"{text}, which the payload of {decoder.blob.key} names as a class, is none", path=text
        )
    return found


# -- the fields of an instance


def registered_fields(value: Any) -> Iterable[object] | None:
    """The values of the attributes of an instance of a registered class; None for any other value."""
    kind: type = type(value)
    if registry.known_name(kind) is None or _is_enum(kind):
        return None
    shape = shape_of(kind)
    return [field for _, field in chain(_slots_of(value, shape), _dict_of(value, shape).items())]


def _slots_of(value: Any, shape: Shape) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, slot in shape.slots.items():
        try:
            # Past __getattr__ and __getattribute__: a slot that is not set stays so.
            found.append((name, slot.__get__(value)))
        except AttributeError:
            continue
    return found


def _dict_of(value: object, shape: Shape) -> dict[Any, object]:
    attributes: Any = {} if shape.dict is None else shape.dict.__get__(value)
    return attributes  # type: ignore[no-any-return]


def fields_of(value: object, shape: Shape, encoder: Encoder) -> tuple[Row | tuple[object, ...] | None, Row]:
    """Return the oddities of the attributes of ``value``, or None; then their names and values in turn.

    Odd is a tuple of three: the names of expected fields that are not set; the names of attributes that are
    no
    fields; and the ``__dict__`` itself, where it is more than a dict (True where it is ``value``).
    """
    kind = shape.kind
    pairs: Row = []
    whole: object = None
    if shape.slots:
        pairs += chain.from_iterable(_slots_of(value, shape))
        for name, slot in shape.hidden:
            if _is_set(slot, value):
                encoder.refuse(
                    f"its slot {shown(name)} of the base {registry.type_name(slot.__objclass__)} is set, and "
                    f"hidden "
                    f"by the one of {registry.type_name(kind)}; give one of them another name"
                )
        if "_attrs_cached_hash" in shape.slots:
            _forget_hash(pairs)
    if shape.dict is not None:
        attributes = shape.dict.__get__(value)
        if attributes is value:
            whole = _ITSELF
            attributes = {}
        elif (
            encoder.whole_dicts
            or type(attributes) is not dict
            or not shape.slots.keys().isdisjoint(attributes)
        ):
            whole = attributes
            attributes = {}
        pairs += chain.from_iterable(list(attributes.items()))
    names = pairs[::2]
    if not names and whole is None and not shape.expected:
        return None, pairs
    if not {str}.issuperset(map(type, names)):
        odd = next(name for name in names if type(name) is not str)
        encoder.refuse(f"an attribute of {registry.type_name(kind)} is called {shown(odd)}, which is no text")
    texts: tuple[Any, ...] = tuple(names)
    if whole is None and shape.is_usual(texts):
        return None, pairs
    unset = tuple(name for name in shape.expected if name not in texts)
    if shape.declared is None:
        extra = tuple(name for name in texts if not shape.is_field(name))
    else:
        extra = shape.adds(texts)
    for name in extra:
        if not shape.is_field(name) and not _is_harmless(name, pairs[2 * texts.index(name) + 1], kind):
            _sign_attribute(kind, name, encoder)
    if whole is _ITSELF:
        for name in value:  # type: ignore[attr-defined]  # a mapping: else it is no __dict__
            if type(name) is str and not shape.is_field(name):
                _sign_attribute(kind, name, encoder)
    elif whole is not None and kind not in encoder.signed_types:
        encoder.sign(
            kind,
            "with a __dict__ of its own",
            "its __dict__ is more than a dict, or shared: that would need a signature, which pickle=False "
            "forbids",
        )
    if not unset and not extra and whole is None:
        return None, pairs
    return (unset or None, extra or None, whole), pairs


def _is_set(slot: Any, value: object) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _forget_hash(pairs: Row) -> None:
    # Texts hash otherwise in the next process; attrs counts None as "not known yet".
    for position in range(0, len(pairs), 2):
        if pairs[position] == "_attrs_cached_hash":
            pairs[position + 1] = None


def _is_harmless(name: str, value: object, kind: type) -> bool:
    """Whether an attribute that is not a field may still be set without a signature.

    It says of what generic alias an instance was made, or is a note on an exception.
    """
    if name == "__orig_class__":
        return getattr(value, "__origin__", None) is kind
    return (
        name == "__notes__"
        and issubclass(kind, BaseException)
        and type(value) is list
        and {str}.issuperset(map(type, value))
    )


def _sign_attribute(kind: type, name: str, encoder: Encoder) -> None:
    if kind not in encoder.signed_types:
        encoder.sign(
            kind,
            f"with the attribute {shown(name)}, which is no field of the class",
            f"its attribute {shown(name)} is no field of the class: that would need a signature, which "
            "pickle=False forbids",
        )


def set_fields(found: object, shape: Shape, odd: object, pairs: Row, name: str, decoder: Decoder) -> None:
    """Give ``found`` the attributes that :func:`fields_of` took, as its class has them now."""
    names: tuple[Any, ...] = tuple(pairs[::2])
    values = pairs[1::2]
    if len(names) != len(values):
        raise ValueError("an attribute without a value")
    if not _TEXT.issuperset(map(type, names)):  # before they are hashed
        raise ValueError("an attribute whose name is no text")
    known = decoder.fields.get((shape, names)) if odd is None else None
    later: Iterable[str] = ()
    if known is None and odd is None and not registry.changes_of(shape.kind).defaults:
        known = shape.is_complete(names)
        if known is not None and len(decoder.fields) < _KEPT:
            decoder.fields[shape, known] = known
    if known is None:
        if len(set(names)) != len(names):
            raise ValueError("an attribute twice")
        unset, extra, whole = _odd(odd, decoder)
        for text in extra:
            if not decoder.trusted and not shape.is_field(text):
                value = values[names.index(text)]
                if not _is_harmless(text, value, shape.kind):
                    decoder.demand_trust(f"attributes that are no fields of {name}", registrable=False)
        known, values, later = conform(shape, names, values, unset, extra, name, decoder)
        if whole is not None:
            _set_dict(found, shape, whole, name, decoder)
    if not names and not later:
        return
    slots, attributes = shape.slots, None if shape.dict is None else shape.dict.__get__(found)
    if not slots and attributes is not None:
        attributes.update(zip(known, values, strict=True))
    else:
        for text, value in zip(known, values, strict=True):
            if text in slots:
                slots[text].__set__(found, value)
            elif attributes is not None:
                attributes[text] = value
            else:
                raise PayloadError(
                    f"the payload of {decoder.blob.key} sets {shown(text)} on {name}, which has no such "
                    "slot any "
                    "more",
                    path=text,
                )
    if later:
        fill(found, shape, later, name, decoder)


def _odd(odd: object, decoder: Decoder) -> tuple[tuple[str, ...], tuple[str, ...], object]:
    if odd is None:
        return (), (), None
    unset, extra, whole = expect(odd, tuple)
    for names in (unset, extra):
        decoder.again("names", names, 10 * len(names or ()))
        if names is not None and not {str}.issuperset(map(type, expect(names, tuple))):
            raise TypeError("not names")
    return unset or (), extra or (), whole


def _set_dict(found: object, shape: Shape, whole: object, name: str, decoder: Decoder) -> None:
    if whole is not _ITSELF:
        decoder.demand_trust(f"a __dict__ of its own for {name}", registrable=False)
    if shape.dict is None or not isinstance(found if whole is _ITSELF else whole, dict):
        raise ValueError("a __dict__ where none belongs")
    if whole is _ITSELF and not decoder.trusted:
        for key in found:  # type: ignore[attr-defined]  # a dict, as was seen
            if type(key) is str and not shape.is_field(key):
                decoder.demand_trust(f"attributes that are no fields of {name}", registrable=False)
    shape.dict.__set__(found, found if whole is _ITSELF else whole)


# -- plain classes, attrs classes, dataclasses, pydantic models


def encode_object(value: Any, encoder: Encoder) -> Row:
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
    found: object = object.__new__(cls)
    set_fields(found, shape_of(cls), odd, pairs, expect(name, str), decoder)
    return found


# -- named tuples


def _encode_named_tuple(value: tuple[object, ...], encoder: Encoder) -> Row:
    kind = type(value)
    if _dict_of(value, shape_of(kind, tuple)):
        from laila.codec.subclasses import encode_subclass

        return encode_subclass(value, encoder)
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    items = tuple.__getitem__(value, slice(None))
    return [tags.NAMED_TUPLE, name_of(kind, encoder), *chain.from_iterable(zip(fields, items, strict=True))]


def _decode_named_tuple(row: Row, decoder: Decoder) -> object:
    cls: Any = class_named(row[1], decoder, _is_named_tuple)
    names, values = tuple(row[2::2]), row[3::2]
    if not _TEXT.issuperset(map(type, names)):
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
    cls: Any = class_named(name, decoder, _is_enum)
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
