"""Rows of instances of subclasses of builtins: the builtin's value, and the attributes that came on top.

``class Celsius(float)``, ``class AttrDict(dict)``: what such an instance is of its base is taken and given
back
by the base's own methods, past whatever the subclass makes of them; its slots and ``__dict__`` are taken as
those of any other class are (:mod:`laila.codec.objects`). No ``__new__`` or ``__init__`` of the subclass
runs.
"""

from __future__ import annotations

from functools import lru_cache

from laila.codec import tags
from laila.codec.classkinds import copies_by_default
from laila.codec.classnames import class_named, name_of
from laila.codec.fields import shape_of
from laila.codec.instances import fields_of, set_fields
from laila.codec.registry import DECODERS, QUICK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["base_of", "encode_subclass"]


class Base:
    """A builtin that can be subclassed: how its value is taken from an instance, and put into a new one."""

    __slots__ = ("give", "kind", "of", "take")

    def __init__(
        self, kind: type, of: type, take: Callable[[Any], Any], give: Callable[[type, Any], Any]
    ) -> None:
        self.kind = kind
        self.of = of
        """The exact type of the value that stands for the base's part."""
        self.take = take
        self.give = give


def _immutable(kind: Any, take: Callable[[Any], Any]) -> Base:
    return Base(kind, kind, take, kind.__new__)


def _items_of(value: Any) -> dict[Any, Any]:
    # dict.copy is faster, and asks a subclass that iterates in a way of its own.
    own = type(value).__iter__ is dict.__iter__
    return dict.copy(value) if own else dict(dict.items(value))


_ALL = slice(None)
_BUILTINS = {
    base.kind: base
    for base in (
        _immutable(str, str.__str__),
        _immutable(bytes, lambda value: bytes.__getitem__(value, _ALL)),
        _immutable(int, int.__int__),
        _immutable(float, float.__float__),
        _immutable(complex, complex.__pos__),
        _immutable(tuple, lambda value: tuple.__getitem__(value, _ALL)),
        _immutable(frozenset, frozenset),
        Base(list, list, list.copy, lambda cls, value: _filled(list, list.extend, cls, value)),
        Base(dict, dict, _items_of, lambda cls, value: _filled(dict, dict.update, cls, value)),
        Base(set, set, set, lambda cls, value: _filled(set, set.update, cls, value)),
        Base(
            bytearray,
            bytearray,
            bytearray,
            lambda cls, value: _filled(bytearray, bytearray.extend, cls, value),
        ),
    )
}


def _filled(kind: Any, fill: Callable[[Any, Any], object], cls: type, value: object) -> object:
    result = kind.__new__(cls)
    fill(result, value)
    return result


def _standard_bases() -> dict[type, Base]:
    """The bases of the standard library; only asked for when a class has one of its modules in its bases."""
    from collections import Counter, OrderedDict, defaultdict, deque
    from datetime import date, datetime, time, timedelta
    from decimal import Decimal
    from fractions import Fraction
    from types import SimpleNamespace
    from uuid import UUID

    def ordered(cls: Any, value: Any) -> object:
        result = OrderedDict.__new__(cls)
        for key in value:
            OrderedDict.__setitem__(result, key, value[key])
        return result

    def default(cls: Any, value: Any) -> object:
        result: Any = defaultdict.__new__(cls)
        found_factory.__set__(result, value.default_factory)
        dict.update(result, value)
        return result

    def bounded(cls: Any, value: Any) -> object:
        result = deque.__new__(cls)
        deque.__init__(result, value, value.maxlen)
        return result

    def by_state(kind: Any) -> Base:
        return Base(
            kind,
            kind,
            lambda value: kind(*kind.__reduce_ex__(value, 4)[1]),
            lambda cls, value: kind.__new__(cls, *kind.__reduce_ex__(value, 4)[1]),
        )

    def by_slots(kind: Any, names: tuple[str, ...]) -> Base:
        slots = [vars(kind)[name] for name in names]

        def copy(cls: Any, value: Any) -> object:
            result = object.__new__(cls)
            for slot in slots:
                slot.__set__(result, slot.__get__(value))
            return result

        return Base(kind, kind, lambda value: copy(kind, value), copy)

    found_factory: Any = vars(defaultdict)["default_factory"]
    factory, limit = found_factory.__get__, vars(deque)["maxlen"].__get__
    bases = (
        Base(OrderedDict, OrderedDict, lambda value: OrderedDict(OrderedDict.items(value)), ordered),
        Base(defaultdict, defaultdict, lambda value: defaultdict(factory(value), _items_of(value)), default),
        Base(Counter, dict, _items_of, lambda cls, value: _filled(dict, dict.update, cls, value)),
        Base(deque, deque, lambda value: deque(deque.__iter__(value), limit(value)), bounded),
        *map(by_state, (date, time, datetime, timedelta)),
        Base(Decimal, Decimal, Decimal, Decimal.__new__),
        by_slots(Fraction, ("_numerator", "_denominator")),
        by_slots(UUID, ("int", "is_safe")),
        Base(
            SimpleNamespace, type(None), lambda value: None, lambda cls, value: SimpleNamespace.__new__(cls)
        ),
    )
    return {base.kind: base for base in bases}


@lru_cache(maxsize=1)
def _all_bases() -> dict[type, Base]:
    return {**_BUILTINS, **_standard_bases()}


@lru_cache(maxsize=4096)
def base_of(kind: type) -> Base | None:
    """The builtin below ``kind``, where instances are its value and their attributes; or None."""
    for owner in kind.__mro__:
        if owner.__module__ == "builtins":
            base = _BUILTINS.get(owner)
        elif owner.__module__ in ("collections", "datetime", "decimal", "fractions", "types", "uuid"):
            base = _all_bases().get(owner)
        else:
            continue
        if base is not None:
            own = kind is not owner and copies_by_default(kind, owner, new_args=True)
            return base if own and shape_of(kind, owner).is_whole else None
    return None


def has_base(kind: type) -> bool:
    return base_of(kind) is not None


def encode_subclass(value: Any, encoder: Encoder) -> Row:
    """The row of an instance of a subclass of a builtin."""
    kind: type = type(value)
    base = base_of(kind)
    assert base is not None
    odd, pairs = fields_of(value, shape_of(kind, base.kind), encoder)
    return [tags.SUBCLASS, name_of(kind, encoder), odd, base.take(value), *pairs]


def _decode_subclass(row: Row, decoder: Decoder) -> object:
    _, name, odd, value, *pairs = row
    cls = class_named(name, decoder, has_base)
    base = base_of(cls)
    if base is None or type(value) is not base.of:
        raise TypeError(f"{type(value).__name__} where the value of a base belongs")
    if hasattr(value, "__len__"):
        from laila.codec.decoder import WORK_OF_ATTRIBUTE

        decoder.again("base", value, WORK_OF_ATTRIBUTE * len(value))
    result: object = base.give(cls, value)
    set_fields(result, shape_of(cls, base.kind), odd, pairs, str(name), decoder)
    return result


QUICK.add(encode_subclass)
DECODERS[tags.SUBCLASS] = _decode_subclass
