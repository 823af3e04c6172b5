"""Two graphs of objects, walked side by side: what was given, and what was read back.

:func:`difference` compares types, contents, attributes, slots and sharing, however deep, and knows the place
of what differs. It looks at objects from outside: no ``__eq__`` of a user's class runs, and none of the
encoder's own code, so that a fault of one is not a fault of both. Where a class says itself how it is copied
(a ``__reduce__`` or ``__getstate__`` of its own), :mod:`laila.codec.leftout` says what it may leave out.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from gc import get_referents
from itertools import chain

from laila.codec.equality import different_tensors, equal_arrays, equal_flat, equal_sets, is_other_memory
from laila.codec.leftout import may_be_left_out, parts_of_copy
from laila.codec.matching import MERGED, NOTHING, VALUES, plan_of
from laila.codec.parts import FLAT, attributes_of, dict_of, hidden_dict, items_of, shown_trail, slots_of
from laila.codec.plain import ATOMS
from laila.codec.registry import PARTS
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Trail = tuple["Trail | None", object] | None

__all__ = ["SHARED_ATTRIBUTES", "Comparison", "difference"]

_FEW = 8
MISSING = object()
SHARED_ATTRIBUTES = "its __dict__ is shared with something else, and came back apart"
"""What :func:`difference` says of an object whose ``__dict__`` something else has, too."""
_BY_ITSELF = "the class says by a method how it is copied, and that does not keep it"


def difference(given: object, read: object, *, deep: bool = False) -> tuple[str, str] | None:
    """Where, and how, ``read`` differs from ``given``; None where it does not.

    ``deep`` compares the contents of arrays and tensors too, which their codecs are otherwise trusted with.
    """
    return Comparison(deep).run(given, read)


class Comparison:
    """One comparison: what was met on both sides, and what is still to be compared.

    ``by_recipes`` says whether objects of libraries were taken apart by recipes, or pickled as they are.
    """

    def __init__(self, deep: bool, *, by_recipes: bool = True) -> None:
        self._deep = deep
        self._by_recipes = by_recipes
        self._there: dict[int, object] = {}
        self._back: dict[int, object] = {}
        self._alive: list[object] = []
        self._dicts: set[int] = set()
        self._todo: list[tuple[Any, Any, Trail]] = []
        self._doubtful: list[tuple[Any, Any, Trail, Any, Any, str]] = []
        self.left_out: list[tuple[type, str]] = []
        """Attributes that classes leave out of their copies, as they say."""

    def run(self, given: object, read: object) -> tuple[str, str] | None:
        """Where, and how, ``read`` differs from ``given``; None where it does not."""
        place = self._walk(given, read, None)
        while place is None and self._doubtful:
            value, other, trail, owner, copy, name = self._doubtful.pop()
            if other is MISSING:
                place = shown_trail(trail), f"its attribute {shown(name)} did not come back: {_BY_ITSELF}"
            else:
                place = self._walk(value, other, (trail, f".{name}"))
                self._todo.clear()
            if place is not None and may_be_left_out(owner, copy, name):
                self.left_out.append((type(owner), name))
                place = None
        return place

    def _walk(self, given: object, read: object, trail: Trail) -> tuple[str, str] | None:
        todo, there = self._todo, self._there
        todo.append((given, read, trail))
        while todo:
            a, b, trail = todo.pop()
            if a is b or there.get(id(a), MISSING) is b:
                continue
            kind: Any = type(a)
            plan = plan_of(kind)
            if plan is NOTHING and type(b) is kind:
                continue
            reason = self._compare(a, b, kind, plan, trail)
            if reason is not None:
                return shown_trail(trail), reason
        return None

    def _compare(
        self, a: Any, b: Any, kind: type, plan: tuple[str | None, str | None, bool, bool], trail: Trail
    ) -> str | None:
        """How ``a`` and ``b`` differ by themselves; what they consist of is put on the stack."""
        other = type(b)
        if kind is not other and not (
            kind.__qualname__ == other.__qualname__ and kind.__module__ == other.__module__
        ):
            return f"a {_name(kind)} came back as a {_name(other)}"
        content, state, counts, shared = plan
        if shared:
            known = self._there.get(id(a), MISSING)
            if known is b:
                return None
            if known is not MISSING and id(a) in self._dicts:
                return SHARED_ATTRIBUTES
            if known is not MISSING:
                return f"one {_name(kind)} came back as two" if counts else None
            if kind in MERGED and self._back.setdefault(id(b), a) is not a:
                return f"two objects of {_name(kind)} came back as one"
        # Also of those whose identity nobody misses: a tuple may hold another twice, and so on down, and a
        # function may hold itself.
        self._there[id(a)] = b
        self._alive.append((a, b))
        reason: str | None = None
        if content is not None:
            reason = getattr(self, content)(a, b, trail)
        if reason is None and state is not None:
            reason = getattr(self, state)(a, b, trail)
        return reason

    def _values(self, a: Any, b: Any, trail: Trail) -> str | None:
        base = next(base for base in VALUES if isinstance(a, base))
        # The repr of a float tells its sign, and a NaN from a number.
        same = base.__repr__(a) == base.__repr__(b) if base in (float, complex) else base.__eq__(a, b)
        return None if same else f"{_short(a)} came back as {_short(b)}"

    def _rebuilt(self, a: Any, b: Any, trail: Trail) -> str | None:
        if not self._by_recipes:
            return self._kept(a, b, trail)
        mine, its = PARTS[type(a)](a), PARTS[type(a)](b)
        if mine is None or its is None:  # it was pickled, since there is more to it
            return self._kept(a, b, trail) if mine is its else "more, or less, came back than its class keeps"
        self._todo += [(part, its[number], (trail, f".<{number}>")) for number, part in enumerate(mine)]
        # The library may have computed them anew from what was read.
        changed = any(is_other_memory(part, other) for part, other in zip(mine, its, strict=True))
        return "the numbers in it came back changed" if changed else None

    def _methods(self, a: Any, b: Any, trail: Trail) -> str | None:
        self._todo.append((a.__self__, b.__self__, (trail, ".__self__")))
        return None if a.__name__ == b.__name__ else "a method came back as another"

    def _names(self, a: Any, b: Any, trail: Trail) -> str | None:
        names = [(getattr(x, "__module__", None), getattr(x, "__qualname__", x.__name__)) for x in (a, b)]
        return None if names[0] == names[1] else f"{names[0][1]} came back as {names[1][1]}"

    def _exceptions(self, a: Any, b: Any, trail: Trail) -> str | None:
        for name in ("args", "__cause__", "__context__", "__suppress_context__"):
            self._todo.append((getattr(a, name), getattr(b, name), (trail, f".{name}")))
        return None

    def _parts_of_fraction(self, a: Any, b: Any, trail: Trail) -> str | None:
        self._todo.append((a.numerator, b.numerator, (trail, ".numerator")))
        self._todo.append((a.denominator, b.denominator, (trail, ".denominator")))
        return None

    def _behind(self, a: Any, b: Any, trail: Trail) -> str | None:
        self._todo.append((get_referents(a)[0], get_referents(b)[0], trail))
        return None

    def _copied(self, a: Any, b: Any, trail: Trail) -> str | None:
        """Return the copy form of an object of the standard library."""
        mine, its = parts_of_copy(a), parts_of_copy(b)
        if mine is None or its is None or len(mine) != len(its):
            return None if mine is its else "it came back with other parts"
        self._alive.append((mine, its))
        self._todo.extend((part, other, (trail, "")) for part, other in zip(mine, its, strict=True))
        return None

    def _kept(self, a: Any, b: Any, trail: Trail) -> str | None:
        """Attributes of an object whose class says itself how it is copied."""
        mine, there = attributes_of(a), attributes_of(b)
        if not mine or mine is a:
            return None
        for name, value in mine.items():
            if type(name) is not str or name == "__orig_class__":
                continue
            other = there.get(name, MISSING)
            if other is value or (value is None and other is MISSING):
                continue
            if type(other) is not type(value) or not equal_flat([value], [other]):
                self._doubtful.append((value, other, trail, a, b, name))
        return None

    def _fields(self, a: Any, b: Any, trail: Trail) -> str | None:
        mine, its = attributes_of(a), attributes_of(b)
        if not mine and not its:
            return None
        kind: Any = type(a)
        if type(mine) is dict and not slots_of(kind) and mine is not a and dict_of(kind) is not hidden_dict:
            self._dicts.add(id(mine))
            known = self._there.setdefault(id(mine), its)
            if known is not its or self._back.setdefault(id(its), mine) is not mine:
                return SHARED_ATTRIBUTES
        if "_attrs_cached_hash" in mine:  # texts hash otherwise in the next process, so it is forgotten
            its = {**its, "_attrs_cached_hash": mine["_attrs_cached_hash"]}
        if len(mine) != len(its) or mine.keys() != its.keys():
            names = ", ".join(sorted(map(str, mine.keys() ^ its.keys())))[:200]
            return f"it came back with other attributes ({names})"
        if mine is a or its is b:
            return None if mine is a and its is b else "its attributes came back apart from its contents"
        values, others = [*mine.values()], [its[name] for name in mine]
        if not equal_flat(values, others):
            self._todo.extend(
                (value, other, (trail, f".{name}"))
                for name, value, other in zip(mine, values, others, strict=True)
            )
        return None

    def _mapping(self, a: Any, b: Any, trail: Trail) -> str | None:
        base: Any = OrderedDict if isinstance(a, OrderedDict) else dict  # each has an order of its own
        keys, others = [*base.keys(a)], [*base.keys(b)]
        if len(keys) != len(others):
            return (
                f"{len(keys)} keys came back as {len(others)}; did some become equal after they were put in?"
            )
        values, its = [*base.values(a)], [*base.values(b)]
        if type(a).__iter__ is not base.__iter__ and keys != others:
            # It keeps an order of its own, such as a sorted one; that of the dict below it is nobody's.
            if not FLAT.issuperset(map(type, chain(keys, others))):
                return None
            places = {key: number for number, key in enumerate(others)}
            if places.keys() != set(keys):
                return "its keys came back changed"
            others, its = [others[places[key]] for key in keys], [its[places[key]] for key in keys]
        if not equal_flat(keys, others):
            self._several(keys, others, trail, ".keys()[%d]")
        if not equal_flat(values, its):
            self._several(values, its, trail, keys)
        if isinstance(a, defaultdict):  # others may make a value of whatever they are asked for
            slot: Any = defaultdict.__dict__["default_factory"]
            self._todo.append((slot.__get__(a), slot.__get__(b), (trail, ".default_factory")))
        return None

    def _sequence(self, a: Any, b: Any, trail: Trail) -> str | None:
        mine, its = [*items_of(a)], [*items_of(b)]
        if len(mine) != len(its):
            return f"{len(mine)} items came back as {len(its)}"
        if isinstance(a, deque) and a.maxlen != b.maxlen:
            return "a deque came back with another limit"
        if not equal_flat(mine, its):
            self._several(mine, its, trail, "[%d]")
        return None

    def _several(self, mine: list[Any], its: list[Any], trail: Trail, steps: Any) -> None:
        """Put pairs on the stack, but those that are surely alike.

        ``steps`` is a text that takes the number of a pair, or the keys of a mapping.
        """
        if len(mine) < _FEW:
            for number, item in enumerate(mine):
                if item is not its[number]:
                    self._todo.append((item, its[number], (trail, (steps, number))))
            return
        quiet = {kind for kind in set(map(type, mine)) if plan_of(kind) is NOTHING}
        if quiet:
            pairs = [
                (number, item, other)
                for number, (item, other) in enumerate(zip(mine, its, strict=True))
                if type(item) not in quiet or type(other) is not type(item)
            ]
        else:
            pairs = list(zip(range(len(mine)), mine, its, strict=True))
        self._todo.extend(
            (item, other, (trail, (steps, number))) for number, item, other in pairs if item is not other
        )

    def _members(self, a: Any, b: Any, trail: Trail) -> str | None:
        mine, its = [*items_of(a)], [*items_of(b)]
        if len(mine) != len(its):
            return (
                f"{len(mine)} members came back as {len(its)}; did some become equal after they were put in?"
            )
        left: dict[object, list[object]] = {}
        for item in its:
            left.setdefault(_class_of(item), []).append(item)
        for item in mine:
            same = left.get(_class_of(item))
            if not same:
                return f"a member of type {_name(type(item))} did not come back"
            kind = type(item)
            if kind in ATOMS or len(same) > 1:
                continue  # which of several is the same one, only their class could say
            self._todo.append((item, same[0], (trail, ".{member}")))
        if all(type(item) in FLAT for item in mine) and not equal_sets(mine, its):
            return "its members came back changed"
        return None

    def _arrays(self, a: Any, b: Any, trail: Trail) -> str | None:
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"an array of {a.dtype} and shape {a.shape} came back as one of {b.dtype} and {b.shape}"
        if a.dtype.hasobject:
            if a.dtype.names is None:
                self._several(a.ravel().tolist(), b.ravel().tolist(), trail, ".flat[%d]")
        elif self._deep and not equal_arrays(a, b):
            return "the items of an array came back changed"
        return None

    def _tensors(self, a: Any, b: Any, trail: Trail) -> str | None:
        return different_tensors(a, b) if self._deep else None

    def _functions(self, a: Any, b: Any, trail: Trail) -> str | None:
        if a.__code__ != b.__code__ or a.__name__ != b.__name__:
            return "a function came back as another"
        self._todo.append((a.__defaults__, b.__defaults__, (trail, ".__defaults__")))
        self._todo.append((a.__kwdefaults__, b.__kwdefaults__, (trail, ".__kwdefaults__")))
        for number, (x, y) in enumerate(zip(a.__closure__ or (), b.__closure__ or (), strict=False)):
            try:
                self._todo.append((x.cell_contents, y.cell_contents, (trail, f".__closure__[{number}]")))
            except ValueError:
                continue  # a cell that is empty yet
        return None


def _class_of(obj: object) -> tuple[str, str]:
    return type(obj).__module__, type(obj).__qualname__


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _short(value: object) -> str:
    kind = next((base for base in VALUES if isinstance(value, base)), None)
    if kind is None:
        return f"<{type(value).__name__}>"
    if kind is int and int.bit_length(value) > 64:  # type: ignore[arg-type]
        return "<a large int>"
    return str(kind.__repr__(value[:40] if kind in (str, bytes) else value))[:80]  # type: ignore[index]
