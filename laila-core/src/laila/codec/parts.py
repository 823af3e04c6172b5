"""The parts of an object, seen from outside, and the place of one object inside another.

No code of a user's class runs: attributes, slots and items are read past what a class makes of them.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import lru_cache
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from laila.codec.plain import ATOMS
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Trail = tuple["Trail | None", object] | None

__all__ = [
    "BY_NAME",
    "FLAT",
    "attributes_of",
    "dict_of",
    "hidden_dict",
    "is_array",
    "items_of",
    "parts_of",
    "path_to",
    "shown_trail",
    "slots_of",
]

FLAT = ATOMS - {bytes}
_getstate_of_object = object.__getstate__
BY_NAME = (type, BuiltinFunctionType, ModuleType)


def path_to(root: object, wanted: object) -> str | None:
    """The place of ``wanted`` inside ``root``, such as ``payload['a'].b``; None where it is not found."""
    seen = {id(root)}
    todo: deque[tuple[object, Trail]] = deque([(root, None)])
    while todo:
        obj, trail = todo.popleft()
        if obj is wanted:
            return shown_trail(trail)
        try:
            parts = list(parts_of(obj))
        except Exception:  # noqa: BLE001, S112 - what cannot be looked into holds nothing that can be found
            continue
        for step, part in parts:
            if id(part) not in seen and type(part) not in FLAT:
                seen.add(id(part))
                todo.append((part, (trail, step)))
    return None


def shown_trail(trail: Trail) -> str:
    """Return the place that a trail leads to, such as ``payload['a'].b``."""
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        if type(step) is tuple:
            several, number = step
            step = several % number if type(several) is str else _key(several[number])
        steps.append(str(step))
    return "payload" + "".join(reversed(steps))


def _key(key: object) -> str:
    return f"[{shown(key, 80)}]"


def parts_of(obj: Any) -> Iterator[tuple[str, object]]:
    """The steps into ``obj``, and what is there."""
    if isinstance(obj, dict):
        for number, (key, value) in enumerate(list(dict.items(obj))):
            yield f".keys()[{number}]", key
            yield _key(key), value
    elif isinstance(obj, (list, tuple, deque)):
        for number, item in enumerate(list(items_of(obj))):
            yield f"[{number}]", item
    elif isinstance(obj, (set, frozenset)):
        for item in list(items_of(obj)):
            yield ".{member}", item
    elif type(obj) is MethodType:
        yield ".__self__", obj.__self__
    elif type(obj) is FunctionType:
        for number, cell in enumerate(obj.__closure__ or ()):
            yield f".__closure__[{number}]", cell.cell_contents
    elif is_array(obj) and obj.dtype.hasobject and obj.dtype.names is None:
        for number, item in enumerate(obj.ravel().tolist()):
            yield f".flat[{number}]", item
    if not isinstance(obj, BY_NAME):
        for name, value in attributes_of(obj).items():
            yield f".{name}", value


def items_of(obj: Any) -> Iterable[object]:
    """The items of a container, past what a subclass makes of ``__iter__``."""
    bases: tuple[Any, ...] = (list, tuple, deque, set, frozenset)
    for base in bases:
        if isinstance(obj, base):
            items: Iterable[object] = base.__iter__(obj)
            return items
    return ()


@lru_cache(maxsize=4096)
def slots_of(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The slots of a class and its bases, each under a name of its own: two may have the same."""
    result: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__slots__" in base.__dict__:
            for name, slot in base.__dict__.items():
                if type(slot) is MemberDescriptorType:
                    result[name if name not in result else f"{name} of {base.__qualname__}"] = slot
    return tuple(result.items())


@lru_cache(maxsize=4096)
def dict_of(kind: type) -> Any:
    """Return the ``__dict__`` descriptor of a class, past a property of that name; None if it has none."""
    for base in kind.__mro__:
        held = base.__dict__.get("__dict__")
        if isinstance(held, (GetSetDescriptorType, MemberDescriptorType)):
            return held.__get__
    return hidden_dict if kind.__dictoffset__ else None


def hidden_dict(obj: Any) -> dict[str, object]:
    """A copy of the ``__dict__`` of an instance whose class has put something else in that place."""
    state: Any = _getstate_of_object(obj)
    result = state[0] if type(state) is tuple else state
    return {} if result is None else dict(result)


def attributes_of(obj: object) -> dict[str, object]:
    """The attributes of an instance: its ``__dict__`` and the slots that are set."""
    kind: Any = type(obj)
    give = dict_of(kind)
    try:
        result: dict[str, object] = {} if give is None else give(obj)
    except AttributeError:
        result = {}
    slots = slots_of(kind)
    if not slots:
        return result
    result = dict(result)
    for name, slot in slots:
        try:
            result[name] = slot.__get__(obj)
        except AttributeError:
            continue
    return result


def is_array(obj: object) -> bool:
    """Whether ``obj`` is a numpy array; numpy is not imported for it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and hasattr(numpy, "ndarray") and isinstance(obj, numpy.ndarray)
