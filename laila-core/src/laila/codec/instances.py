"""The attributes of an instance: taken into a row, and set again without calling ``__init__``."""

from __future__ import annotations

from itertools import chain

from laila.codec import registry
from laila.codec.changes import conform, fill
from laila.codec.classkinds import is_enum
from laila.codec.decoder import Decoder, expect
from laila.codec.fields import shape_of
from laila.errors import PayloadError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.fields import Shape

    Row = list[object]

__all__ = ["TEXT", "dict_of", "fields_of", "registered_fields", "set_fields"]

TEXT = frozenset({str})
_ITSELF = True
_KEPT = 4096


# -- the fields of an instance


def registered_fields(value: Any) -> Iterable[object] | None:
    """The values of the attributes of an instance of a registered class; None for any other value."""
    kind: type = type(value)
    if registry.known_name(kind) is None or is_enum(kind):
        return None
    shape = shape_of(kind)
    return [field for _, field in chain(_slots_of(value, shape), dict_of(value, shape).items())]


def _slots_of(value: Any, shape: Shape) -> list[tuple[str, object]]:
    result: list[tuple[str, object]] = []
    for name, slot in shape.slots.items():
        try:
            # Past __getattr__ and __getattribute__: a slot that is not set stays so.
            result.append((name, slot.__get__(value)))
        except AttributeError:
            continue
    return result


def dict_of(value: object, shape: Shape) -> dict[Any, object]:
    """Return the ``__dict__`` of an instance itself; an empty dict where its class has none."""
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


def set_fields(instance: object, shape: Shape, odd: object, pairs: Row, name: str, decoder: Decoder) -> None:
    """Give ``instance`` the attributes that :func:`fields_of` took, as its class has them now."""
    names: tuple[Any, ...] = tuple(pairs[::2])
    values = pairs[1::2]
    if len(names) != len(values):
        raise ValueError("an attribute without a value")
    if not TEXT.issuperset(map(type, names)):  # before they are hashed
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
            _set_dict(instance, shape, whole, name, decoder)
    if not names and not later:
        return
    slots, attributes = shape.slots, None if shape.dict is None else shape.dict.__get__(instance)
    if not slots and attributes is not None:
        attributes.update(zip(known, values, strict=True))
    else:
        for text, value in zip(known, values, strict=True):
            if text in slots:
                slots[text].__set__(instance, value)
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
        fill(instance, shape, later, name, decoder)


def _odd(odd: object, decoder: Decoder) -> tuple[tuple[str, ...], tuple[str, ...], object]:
    if odd is None:
        return (), (), None
    unset, extra, whole = expect(odd, tuple)
    for names in (unset, extra):
        decoder.again("names", names, 10 * len(names or ()))
        if names is not None and not {str}.issuperset(map(type, expect(names, tuple))):
            raise TypeError("not names")
    return unset or (), extra or (), whole


def _set_dict(instance: object, shape: Shape, whole: object, name: str, decoder: Decoder) -> None:
    if whole is not _ITSELF:
        decoder.demand_trust(f"a __dict__ of its own for {name}", registrable=False)
    if shape.dict is None or not isinstance(instance if whole is _ITSELF else whole, dict):
        raise ValueError("a __dict__ where none belongs")
    if whole is _ITSELF and not decoder.trusted:
        for key in instance:  # type: ignore[attr-defined]  # a dict, as was seen
            if type(key) is str and not shape.is_field(key):
                decoder.demand_trust(f"attributes that are no fields of {name}", registrable=False)
    shape.dict.__set__(instance, instance if whole is _ITSELF else whole)
