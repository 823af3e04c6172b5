"""Classes that changed since their instances were stored: fields renamed, removed or added.

Old names of a class and its fields are mapped to the present ones. A removed field is an error, unless
:func:`laila.register_type` says that its values are dropped. An added field gets its default, or the default
that ``register_type`` got. An added field without a default is an error: nothing comes back half built.
"""

from __future__ import annotations

from laila.codec import registry
from laila.codec.fields import MISSING
from laila.errors import PayloadError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn

    from laila.codec.decoder import Decoder
    from laila.codec.fields import Shape

__all__ = ["conform", "conform_tuple", "fill"]


def conform(
    shape: Shape,
    names: tuple[str, ...],
    values: Sequence[object],
    unset: Iterable[str],
    extra: Iterable[str],
    text: str,
    decoder: Decoder,
) -> tuple[tuple[str, ...], list[object], list[str]]:
    """The names of today, their values, and the names of fields that must be filled in.

    ``unset`` are fields that the stored instance did not have either, ``extra`` attributes that were no
    fields.
    """
    present = _of_today(shape.kind, names, values)
    extra = set(extra)
    for name in present:
        if name not in extra and not shape.is_field(name):
            _gone(shape.kind, name, text, decoder)
    renamed = registry.changes_of(shape.kind).renamed
    without = {renamed.get(name, name) for name in unset}
    later = [
        name
        for name in dict.fromkeys([*shape.expected, *registry.changes_of(shape.kind).defaults])
        if name not in present and name not in without
    ]
    return tuple(present), list(present.values()), later


def conform_tuple(
    cls: type, names: tuple[Any, ...], values: Sequence[object], text: str, decoder: Decoder
) -> list[object]:
    """The values of a named tuple in the order of its fields of today."""
    if len(names) != len(values) or len(set(names)) != len(names):
        raise ValueError("a field twice, or one without a value")
    fields: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]
    defaults = getattr(cls, "_field_defaults", {})
    present = _of_today(cls, names, values)
    for name in present:
        if name not in fields:
            _gone(cls, name, text, decoder)
    for name in fields:
        if name not in present:
            value = _registered_default(cls, name)
            present[name] = value if value is not MISSING else defaults.get(name, MISSING)
            if present[name] is MISSING:
                _without_default(cls, name, text, decoder)
    return [present[name] for name in fields]


def fill(instance: object, shape: Shape, names: Iterable[str], text: str, decoder: Decoder) -> None:
    """Give ``instance`` the fields ``names``, which its class had not when it was stored."""
    attributes = None if shape.dict is None else shape.dict.__get__(instance)
    for name in names:
        value = _registered_default(shape.kind, name)
        if value is MISSING:
            value = shape.default(name, instance)
        if value is MISSING:
            _without_default(shape.kind, name, text, decoder)
        if name in shape.slots:
            shape.slots[name].__set__(instance, value)
        elif attributes is not None:
            attributes[name] = value


def _of_today(cls: type, names: Sequence[str], values: Sequence[object]) -> dict[str, object]:
    """The values by the names of today, without those that are to be dropped."""
    changes = registry.changes_of(cls)
    present = dict(zip(names, values, strict=True))
    for old, new in changes.renamed.items():
        if old in present and new not in present:
            present = {new if name == old else name: value for name, value in present.items()}
    return {name: value for name, value in present.items() if name not in changes.removed}


def _registered_default(cls: type, name: str) -> object:
    value = registry.changes_of(cls).defaults.get(name, MISSING)
    if value is MISSING:
        return value
    if callable(value):
        return value()
    from copy import deepcopy

    return deepcopy(value)


def _gone(cls: type, name: str, text: str, decoder: Decoder) -> NoReturn:
    raise PayloadError(
        f"the payload of {decoder.blob.key} holds a {shown(text)} with the field {shown(name)}, which is "
        f"no field of the class (any more). If it was renamed: laila.register_type({cls.__name__}, "
        f"renamed_from={{'NEW': {shown(name)}}}); to drop such values: removed=[{shown(name)}]",
        path=name,
    )


def _without_default(cls: type, name: str, text: str, decoder: Decoder) -> NoReturn:
    raise PayloadError(
        f"the payload of {decoder.blob.key} holds a {shown(text)} without the field {shown(name)}, which "
        "the class has had only since, and for which it has no default. Give it one, or laila.register_type("
        f"{cls.__name__}, defaults={{{shown(name)}: …}})",
        path=name,
    )
