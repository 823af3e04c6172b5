"""What the instances of a class are made of: its slots, its ``__dict__``, and the fields that it declares.

Encoder and decoder share this table, so that what is written of an instance is what can be set again. Values
of slots are read and set by the slots' own descriptors: a property of the same name does not run, and a slot
that a subclass declares again hides that of its base, as it does for everybody.
"""

from __future__ import annotations

import sys
from functools import cached_property, lru_cache
from types import GetSetDescriptorType, MemberDescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = ["MISSING", "Shape", "is_model", "shape_of"]

_KEPT = 64
_POINTER = 8 if sys.maxsize > 1 << 32 else 4
MISSING = object()
"""In place of the default of a field that has none."""


class Shape:
    """The fields of one class. Made once for each, by :func:`shape_of`."""

    def __init__(self, kind: type, base: type) -> None:
        self.kind = kind
        self.slots: dict[str, MemberDescriptorType] = {}
        """The slots, by the names under which an instance has them: private ones with their class's name."""
        self.hidden: list[tuple[str, MemberDescriptorType]] = []
        """Slots of bases whose names a subclass gave to slots of its own."""
        self.dict: GetSetDescriptorType | MemberDescriptorType | None = None
        """The descriptor of the ``__dict__``, if instances have one."""
        for owner in kind.__mro__:
            if owner in base.__mro__:
                continue
            for name, held in vars(owner).items():
                if type(held) is MemberDescriptorType and held.__objclass__ is owner:
                    if name in self.slots:
                        self.hidden.append((name, held))
                    else:
                        self.slots[name] = held
        for owner in kind.__mro__ if kind.__dictoffset__ else ():
            held = vars(owner).get("__dict__")
            if isinstance(held, (GetSetDescriptorType, MemberDescriptorType)):
                self.dict = held
                break
        pointers = len(self.slots) + len(self.hidden)
        pointers += kind.__weakrefoffset__ != base.__weakrefoffset__
        pointers += kind.__dictoffset__ != base.__dictoffset__
        self.is_whole = (
            kind.__basicsize__ <= base.__basicsize__ + _POINTER * pointers
            and kind.__itemsize__ == base.__itemsize__
        )
        """Whether there is nothing in C beside slots, ``__dict__`` and what ``base`` holds."""
        self.declared = _declared(kind)
        """The fields that a dataclass, an attrs class or a pydantic model declares; else None."""
        behind = getattr(kind, "_extra_fields", ()) if issubclass(kind, tuple) else ()
        self.behind: tuple[str, ...] = behind if type(behind) is tuple else ()
        """The fields of scipy's results, each of which is read by a property of its name."""
        self.expected: tuple[str, ...] = tuple(
            self.declared if self.declared is not None else dict.fromkeys([*self.slots, *_annotated(kind)])
        )
        """The fields without which an instance is not whole: it is noted which of them are not set."""
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._usual: dict[tuple[str, ...], bool] = {}

    def is_field(self, name: str) -> bool:
        """Whether ``name`` is an attribute that data may set without a signature.

        The fields that the class declares; of a class that declares none its slots, and what stands in the
        way
        of nothing that the class defines. What a cached property keeps is a field, too; so is what a result
        of scipy keeps behind a property.
        """
        if name in self.slots or (self.declared is not None and name in self.declared):
            return True
        held = next((vars(owner)[name] for owner in self.kind.__mro__ if name in vars(owner)), None)
        if isinstance(held, cached_property) or name in self.behind:
            return True
        if self.declared is not None or (name[:2] == "__" and name[-2:] == "__"):
            return False
        return not hasattr(type(held), "__get__")

    def is_complete(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """The names, as the class spells them, where they are fields and none is missing; else None.

        What was found once is remembered, since most instances of a class have the same names.
        """
        known = self._known.get(names)
        if known is None:
            given = set(names)
            if len(given) == len(names) and given >= set(self.expected) and all(map(self.is_field, names)):
                known = tuple(map(sys.intern, names))
                if len(self._known) < _KEPT and len(names) < _KEPT:
                    self._known[names] = known
        return known

    def is_usual(self, names: tuple[str, ...]) -> bool:
        """Whether the names are the fields that are declared, or any where none are, and none is missing."""
        known = self._usual.get(names)
        if known is None:
            known = self.is_complete(names) is not None and not self.adds(names)
            if len(self._usual) < _KEPT and len(names) < _KEPT:
                self._usual[names] = known
        return known

    def adds(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names beside those that a dataclass and its like declares."""
        declared = self.declared
        if declared is None:
            return ()
        return tuple(name for name in names if name not in declared and name not in self.slots)

    def default(self, name: str, instance: object) -> object:
        """What the class gives to the field ``name`` of an instance that has none; else :data:`MISSING`."""
        return self.declared[name](instance) if self.declared is not None else MISSING


@lru_cache(maxsize=4096)
def shape_of(kind: type, base: type = object) -> Shape:
    """The shape of ``kind``, beside what its instances have of ``base``."""
    return Shape(kind, base)


def _declared(kind: type) -> Mapping[str, Callable[[Any], object]] | None:
    """The declared fields, and for each what makes its default for an instance."""
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        # Not the pseudo-fields that stand for class variables and arguments of __init__.
        return {
            name: _of_dataclass(field)
            for name, field in fields.items()
            if getattr(field._field_type, "name", None) == "_FIELD"
        }
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: _of_attrs(field) for field in kind.__attrs_attrs__}
    if is_model(kind):
        fields = kind.__pydantic_fields__  # type: ignore[attr-defined]
        return {name: _of_model(field) for name, field in fields.items()}
    return None


def is_model(kind: type) -> bool:
    """Whether ``kind`` is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and "BaseModel" in vars(pydantic) and issubclass(kind, pydantic.BaseModel)


def _of_dataclass(field: Any) -> Callable[[object], object]:
    def make(instance: object) -> object:
        missing = sys.modules["dataclasses"].MISSING
        if field.default_factory is not missing:
            return field.default_factory()
        return MISSING if field.default is missing else field.default

    return make


def _of_attrs(field: Any) -> Callable[[object], object]:
    def make(instance: object) -> object:
        attr = sys.modules["attr"]
        default = field.default
        if default is attr.NOTHING:
            return MISSING
        if isinstance(default, attr.Factory):
            return default.factory(instance) if default.takes_self else default.factory()
        return default

    return make


def _of_model(field: Any) -> Callable[[object], object]:
    def make(instance: object) -> object:
        return MISSING if field.is_required() else field.get_default(call_default_factory=True)

    return make


def _annotated(kind: type) -> Iterable[str]:
    """The names that the class and its bases annotate, and give no value anywhere."""
    typing = sys.modules.get("typing")
    for owner in reversed(kind.__mro__):
        annotations = vars(owner).get("__annotations__")
        for name, note in annotations.items() if type(annotations) is dict else ():
            for_class = typing is not None and typing.ClassVar in (note, getattr(note, "__origin__", None))
            if not for_class and not (type(note) is str and "ClassVar" in note) and not _holds(kind, name):
                yield name


def _holds(kind: type, name: str) -> bool:
    return any(name in vars(owner) for owner in kind.__mro__)
