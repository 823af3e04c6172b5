"""Two graphs of objects, walked side by side: what was given, and what was read back.

:func:`difference` compares types, contents, attributes, slots and sharing, however deep, and knows the place
of what differs. It looks at objects from outside: no ``__eq__`` of a user's class runs, and none of the
encoder's own code, so that a fault of one is not a fault of both. Where a class says itself how it is copied
(a ``__reduce__`` or ``__getstate__`` of its own), :mod:`laila.codec.leftout` says what it may leave out.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from fractions import Fraction
from functools import lru_cache
from gc import get_referents
from itertools import chain
from operator import is_
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)

from laila.codec.leftout import is_of_standard, may_be_left_out, parts_of_copy
from laila.codec.plain import ATOMS, pack_object
from laila.codec.registry import PARTS
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Trail = tuple["Trail | None", object] | None

__all__ = [
    "SHARED_ATTRIBUTES",
    "Comparison",
    "dict_of",
    "difference",
    "equal_flat",
    "parts_of",
    "path_to",
    "plan_of",
    "slots_of",
]

FLAT = ATOMS - {bytes}
_getstate_of_object = object.__getstate__
_EXACT = frozenset({str, type(None)})  # equal values of these types are interchangeable
_FEW = 8
_BY_NAME = (type, BuiltinFunctionType, ModuleType)
_UNSHARED = (tuple, frozenset, FunctionType, MethodType, CodeType, *_BY_NAME)
MERGED = frozenset({list, dict, set, bytearray, deque})
_WITH_ATTRIBUTES = frozenset({SimpleNamespace, OrderedDict, Counter})
MISSING = object()
SHARED_ATTRIBUTES = "its __dict__ is shared with something else, and came back apart"
"""What :func:`difference` says of an object whose ``__dict__`` something else has, too."""
_BY_ITSELF = "the class says by a method how it is copied, and that does not keep it"
NOTHING = (None, None, False, False)
_VALUES: tuple[Any, ...] = (str, bytes, bytearray, int, float, complex)
_CONTENTS: tuple[tuple[Any, str], ...] = (
    (dict, "_mapping"),
    ((list, tuple, deque), "_sequence"),
    ((set, frozenset), "_members"),
    (_VALUES, "_values"),
)


def difference(given: object, read: object, *, deep: bool = False) -> tuple[str, str] | None:
    """Where, and how, ``read`` differs from ``given``; None where it does not.

    ``deep`` compares the contents of arrays and tensors too, which their codecs are otherwise trusted with.
    """
    return Comparison(deep).run(given, read)


def path_to(root: object, wanted: object) -> str | None:
    """The place of ``wanted`` inside ``root``, such as ``payload['a'].b``; None where it is not found."""
    seen = {id(root)}
    todo: deque[tuple[object, Trail]] = deque([(root, None)])
    while todo:
        obj, trail = todo.popleft()
        if obj is wanted:
            return _shown(trail)
        try:
            parts = list(parts_of(obj))
        except Exception:  # noqa: BLE001, S112 - what cannot be looked into holds nothing that can be found
            continue
        for step, part in parts:
            if id(part) not in seen and type(part) not in FLAT:
                seen.add(id(part))
                todo.append((part, (trail, step)))
    return None


def _shown(trail: Trail) -> str:
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
        for number, item in enumerate(list(_items(obj))):
            yield f"[{number}]", item
    elif isinstance(obj, (set, frozenset)):
        for item in list(_items(obj)):
            yield ".{member}", item
    elif type(obj) is MethodType:
        yield ".__self__", obj.__self__
    elif type(obj) is FunctionType:
        for number, cell in enumerate(obj.__closure__ or ()):
            yield f".__closure__[{number}]", cell.cell_contents
    elif _is_array(obj) and obj.dtype.hasobject and obj.dtype.names is None:
        for number, item in enumerate(obj.ravel().tolist()):
            yield f".flat[{number}]", item
    if not isinstance(obj, _BY_NAME):
        for name, value in _attributes(obj).items():
            yield f".{name}", value


def _items(obj: Any) -> Iterable[object]:
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
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__slots__" in base.__dict__:
            for name, slot in base.__dict__.items():
                if type(slot) is MemberDescriptorType:
                    found[name if name not in found else f"{name} of {base.__qualname__}"] = slot
    return tuple(found.items())


@lru_cache(maxsize=4096)
def dict_of(kind: type) -> Any:
    """Return the ``__dict__`` descriptor of a class, past a property of that name; None if it has none."""
    for base in kind.__mro__:
        held = base.__dict__.get("__dict__")
        if isinstance(held, (GetSetDescriptorType, MemberDescriptorType)):
            return held.__get__
    return _hidden_dict if kind.__dictoffset__ else None


def _hidden_dict(obj: Any) -> dict[str, object]:
    """A copy of the ``__dict__`` of an instance whose class has put something else in that place."""
    state: Any = _getstate_of_object(obj)
    found = state[0] if type(state) is tuple else state
    return {} if found is None else dict(found)


def _attributes(obj: object) -> dict[str, object]:
    """The attributes of an instance: its ``__dict__`` and the slots that are set."""
    kind: Any = type(obj)
    give = dict_of(kind)
    try:
        found: dict[str, object] = {} if give is None else give(obj)
    except AttributeError:
        found = {}
    slots = slots_of(kind)
    if not slots:
        return found
    found = dict(found)
    for name, slot in slots:
        try:
            found[name] = slot.__get__(obj)
        except AttributeError:
            continue
    return found


def _is_array(obj: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and hasattr(numpy, "ndarray") and isinstance(obj, numpy.ndarray)


@lru_cache(maxsize=4096)
def _is_default(kind: Any) -> bool:
    """Whether copies of a ``kind`` are its attributes and contents, with no word of the class's own."""
    from laila.codec.classkinds import copies_by_default

    return copies_by_default(kind, new_args=True)


@lru_cache(maxsize=4096)
def _is_pickled(kind: Any) -> bool:
    """Whether a ``kind`` has attributes, and says itself how it is copied."""
    if not kind.__dictoffset__ and not slots_of(kind):
        return False
    from laila.codec.objects import encoder_of_class
    from laila.codec.registry import ENCODERS, codec_of

    return kind not in ENCODERS and (
        codec_of(kind) is not None or encoder_of_class(kind).__name__ == "encode_pickled"
    )


@lru_cache(maxsize=4096)
def plan_of(kind: Any) -> tuple[str | None, str | None, bool, bool]:
    """How a ``kind`` is compared: methods for its contents and its state, and what its identity is worth.

    The last two: whether one object that became two would be missed, and whether it is looked at once alone.
    """
    shared = not issubclass(kind, _UNSHARED)
    if kind in PARTS:
        return "_rebuilt", None, False, shared
    if kind is FunctionType:
        return "_functions", None, False, shared
    if kind is MethodType:
        return "_methods", None, False, shared
    if issubclass(kind, _BY_NAME):
        return "_names", None, False, shared
    content = next((name for base, name in _CONTENTS if issubclass(kind, base)), None)
    state: str | None = None
    counts = kind in MERGED or kind in _WITH_ATTRIBUTES
    if issubclass(kind, BaseException):
        content, state = "_exceptions", "_fields"
    elif content is None and _is_library_type(kind, "numpy", "ndarray"):
        content, state = "_arrays", None if kind.__module__ == "numpy" else "_kept"
    elif content is None and _is_library_type(kind, "torch", "Tensor"):
        content = "_tensors"
    elif kind is Fraction:
        content = "_parts_of_fraction"
    elif kind is MappingProxyType:
        content = "_behind"
    elif kind is slice or is_of_standard(kind):
        content = "_copied"
        state = "_kept" if kind.__module__ != "builtins" and _is_pickled(kind) else None
    elif kind.__module__ != "builtins" and not _is_of_tables(kind):
        if kind in _WITH_ATTRIBUTES or _is_default(kind):
            state, counts = "_fields", True
        elif _is_pickled(kind):
            state = "_kept"
    return (content, state, counts, shared) if content or state else NOTHING


def _is_of_tables(kind: type) -> bool:
    """Whether a ``kind`` is pandas' or Arrow's own: they keep caches among their attributes."""
    from laila.codec.registry import ENCODERS

    return kind.__module__.partition(".")[0] in ("pandas", "pyarrow") and kind in ENCODERS


def _is_library_type(kind: type, library: str, name: str) -> bool:
    base = getattr(sys.modules.get(library), name, None)
    return isinstance(base, type) and issubclass(kind, base)


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
                place = _shown(trail), f"its attribute {shown(name)} did not come back: {_BY_ITSELF}"
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
                return _shown(trail), reason
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
        base = next(base for base in _VALUES if isinstance(a, base))
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
        changed = any(_is_other_memory(part, other) for part, other in zip(mine, its, strict=True))
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
        mine, there = _attributes(a), _attributes(b)
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
        mine, its = _attributes(a), _attributes(b)
        if not mine and not its:
            return None
        kind: Any = type(a)
        if type(mine) is dict and not slots_of(kind) and mine is not a and dict_of(kind) is not _hidden_dict:
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
        mine, its = [*_items(a)], [*_items(b)]
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
        mine, its = [*_items(a)], [*_items(b)]
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
        if all(type(item) in FLAT for item in mine) and not _equal_sets(mine, its):
            return "its members came back changed"
        return None

    def _arrays(self, a: Any, b: Any, trail: Trail) -> str | None:
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"an array of {a.dtype} and shape {a.shape} came back as one of {b.dtype} and {b.shape}"
        if a.dtype.hasobject:
            if a.dtype.names is None:
                self._several(a.ravel().tolist(), b.ravel().tolist(), trail, ".flat[%d]")
        elif self._deep and not _equal_arrays(a, b):
            return "the items of an array came back changed"
        return None

    def _tensors(self, a: Any, b: Any, trail: Trail) -> str | None:
        return _different_tensors(a, b) if self._deep else None

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
    kind = next((base for base in _VALUES if isinstance(value, base)), None)
    if kind is None:
        return f"<{type(value).__name__}>"
    if kind is int and int.bit_length(value) > 64:  # type: ignore[arg-type]
        return "<a large int>"
    return str(kind.__repr__(value[:40] if kind in (str, bytes) else value))[:80]  # type: ignore[index]


def equal_flat(mine: list[Any], its: list[Any]) -> bool:
    """Whether both are the same atoms, bit by bit; False says nothing."""
    kinds = set(map(type, mine))
    if kinds <= _EXACT:
        return mine == its and set(map(type, its)) == kinds
    if not kinds <= FLAT or not FLAT.issuperset(map(type, its)):
        # Members of enums, types and their like are the very same objects.
        same = list(map(is_, mine, its))
        if all(same):
            return True
        if kinds.isdisjoint(FLAT):
            return False
        mine = [a for a, known in zip(mine, same, strict=True) if not known]
        its = [b for b, known in zip(its, same, strict=True) if not known]
        if not FLAT.issuperset(map(type, mine)) or not FLAT.issuperset(map(type, its)):
            return False
    try:
        return pack_object(mine) == pack_object(its)
    except (OverflowError, ValueError):
        return False


def _equal_sets(mine: list[Any], its: list[Any]) -> bool:
    nans = [sum(item != item for item in items) for items in (mine, its)]
    return nans[0] == nans[1] and {x for x in mine if x == x} == {y for y in its if y == y}


def _is_other_memory(a: Any, b: Any) -> bool:
    """Whether two arrays hold different numbers, each in memory of its own."""
    if not _is_array(a) or not _is_array(b) or a.dtype.hasobject or a.ctypes.data == b.ctypes.data:
        return False
    return a.dtype == b.dtype and a.shape == b.shape and not _equal_arrays(a, b)


def _equal_arrays(a: Any, b: Any) -> bool:
    numpy = sys.modules["numpy"]
    a, b = numpy.ma.getdata(a).view(numpy.ndarray), numpy.ma.getdata(b).view(numpy.ndarray)
    if a.dtype.names is not None:
        return all(_equal_arrays(a[name], b[name]) for name in a.dtype.names)
    return bool(a.tobytes() == b.tobytes())


def _different_tensors(a: Any, b: Any) -> str | None:
    torch = sys.modules["torch"]
    if a.shape != b.shape or a.dtype != b.dtype or a.requires_grad != b.requires_grad:
        mine, its = (f"{t.dtype} and shape {tuple(t.shape)}" for t in (a, b))
        return f"a tensor of {mine} came back as one of {its}"
    if a.layout != torch.strided or a.is_quantized or a.is_meta:
        return None
    mine, its = (t.detach().cpu().resolve_conj().resolve_neg().contiguous() for t in (a, b))
    same = mine.view(-1).view(torch.uint8).equal(its.view(-1).view(torch.uint8)) if mine.numel() else True
    return None if same else "the items of a tensor came back changed"
