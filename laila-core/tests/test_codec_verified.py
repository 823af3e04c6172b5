"""What would not come back is refused when it is memorized, with its place; nothing else is."""

from __future__ import annotations

import argparse
import collections
import contextvars
import copy
import copyreg
import dataclasses
import functools
import itertools
import operator
import re
import sys
import threading
import types
import weakref
from typing import Any, ClassVar

import numpy as np
import pytest

import laila
from laila.codec import decode, encode, register_codec, register_type, registry, tags
from laila.codec.graphs import difference
from laila.codec.parts import path_to
from laila.errors import CorruptEntryError, PayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


def refused(payload: Any, path: str, match: str, **options: Any) -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        encode(payload, key=KEY, **options)
    assert caught.value.path == path


class Tag:
    """A key whose equality can be changed from outside."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Raises:
    """Has a way of its own to fail."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class State(Raises):
    __reduce__ = object.__reduce__

    def __getstate__(self) -> Any:
        raise self.error


class Hashes:
    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def __hash__(self) -> int:
        if self.broken:
            raise ValueError("no hash any more")
        return 1


class Loses(dict[str, Any]):
    """Gives back a part of what it holds."""

    def __reduce__(self) -> Any:
        return Loses, (dict(list(self.items())[:1]),)


class Became:
    def __reduce__(self) -> Any:
        return list, ()


class Rebuilt:
    """A class that makes something else of its state."""

    def __init__(self) -> None:
        self.value: Any = 1

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class Coded:
    def __init__(self, value: Any) -> None:
        self.value = value


register_codec(
    Coded,
    name="test.verified.coded",
    encode=lambda coded: coded.value,
    decode=lambda state: Coded(int(state)),
)


@register_type
@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


class Unit(np.ndarray[Any, Any]):
    unit: str


def test_keys_that_became_equal() -> None:
    one, two = Tag("a"), Tag("b")
    payloads: list[Any] = [{one: 1, two: 2}, {one, two}, frozenset({one, two})]
    for payload in [*payloads, collections.OrderedDict(payloads[0])]:
        two.name = "b"
        assert len(decode(encode(payload, key=KEY))) == 2  # type: ignore[arg-type]
        rebuilt: Any = payload.copy()
        two.name = "a"
        refused([{"in": rebuilt}], "payload[0]['in']", "cannot be stored")


@pytest.mark.parametrize(
    "error",
    [TypeError("no"), ValueError("no"), RuntimeError("no"), OSError("no"), StopIteration(), KeyError(1)],
)
def test_what_a_class_raises_is_told_with_its_place(error: Exception) -> None:
    for broken in (Raises(error), State(error)):
        for payload, path in (
            ({"a": [broken]}, "payload['a'][0]"),
            (Point(1, broken), "payload.y"),
            (np.array([None, broken], dtype=object), "payload.flat[1]"),
        ):
            refused(payload, path, type(error).__name__)


def test_interrupts_and_want_of_memory_are_not_the_payloads() -> None:
    for error in (KeyboardInterrupt(), SystemExit(), MemoryError()):
        with pytest.raises(type(error)):
            encode([Raises(error)], key=KEY)


def test_hashes_that_fail() -> None:
    member = Hashes()
    payload = {"set": {member}, "other": {member: 1}}
    member.broken = True
    refused(payload, "payload['set']", "no hash any more")


def test_what_comes_back_as_something_else() -> None:
    refused({"x": Became()}, "payload['x']", "came back as a list")
    refused([Loses(a=1, b=2)], "payload[0]", "2 keys came back as 1")
    refused([Coded(1.5)], "payload[0].value", "a float came back as an? int")
    refused([Coded("text")], "payload[0]", "could not be read again.*invalid literal")
    assert decode(encode([Coded(3)], key=KEY))[0].value == 3  # type: ignore[index]


def test_attributes_that_an_inherited_method_drops() -> None:
    array = np.arange(3).view(Unit)
    assert np.array_equal(decode(encode([array], key=KEY))[0], array)  # type: ignore[index]
    array.unit = "m"
    try:
        blob = encode([array], key=KEY)
    except PayloadError:
        refused([array], "payload[0]", "'unit'")
    else:
        assert decode(blob)[0].unit == "m"  # type: ignore[index]


class Bunch(dict[str, Any]):
    """A dict whose keys are attributes, and which hides the attributes that it has besides."""

    def __init__(self, factory: Any) -> None:
        object.__setattr__(self, "factory", factory)

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return dict(self)

    def __getstate__(self) -> Any:
        return dict(self.items())

    def __setstate__(self, state: Any) -> None:
        self.update(state)


def test_attributes_that_a_class_hides_are_not_lost_in_silence() -> None:
    with pytest.raises(PayloadError, match="'factory' did not come back") as caught:
        encode([1, Bunch(list)], key=KEY)
    assert caught.value.path == "payload[1]"


class Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET, unset = Unset(), Unset()


def test_constants_that_are_told_apart_by_identity_come_back_as_themselves() -> None:
    missing, other, free = dataclasses.MISSING, UNSET, Unset()
    found: Any = decode(encode([missing, {"a": (other, other)}, [other] * 40, free, unset], key=KEY))
    assert found[0] is missing
    assert found[1]["a"][1] is other
    assert all(item is other for item in found[2])
    assert type(found[3]) is Unset
    assert found[3] is not other
    assert found[4] is not other
    field: Any = decode(encode(dataclasses.field(default=1), key=KEY))
    assert field.default_factory is missing


class Guarded:
    """Its code holds what cannot be pickled, as the classes of some libraries do."""

    lock = threading.Lock()

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Guarded, (self.value,)


def test_classes_whose_code_cannot_be_pickled_go_by_their_names() -> None:
    """As classes of a script do, which are pickled by value otherwise."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        blob = encode([Guarded(3)], key=KEY)
        found: Any = decode(blob)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert b"_make_skeleton_class" not in bytes(blob.tree)
    assert type(found[0]) is Guarded
    assert found[0].value == 3


def test_reducers_that_copyreg_knows() -> None:
    class Registered:
        pass

    copyreg.pickle(Registered, lambda obj: (Registered, ()))
    thing = Registered()
    assert type(decode(encode([thing], key=KEY))[0]).__name__ == "Registered"  # type: ignore[index]
    thing.extra = 1  # type: ignore[attr-defined]
    refused([thing], r"payload[0]", "its attribute 'extra' did not come back")


class Amount:
    """Money whose copies forget something."""

    def __init__(self, number: Any, unit: Any = "EUR", note: Any = None) -> None:
        self.number = number
        self.unit = unit
        self.note = note
        self._unit = unit

    def __reduce__(self) -> Any:
        return type(self), (self.number,)


class SlottedAmount(Amount):
    __slots__ = ("rate",)
    rate: Any


class Chosen(Amount):
    """Says which attributes are its state, and which are not."""

    cache: Any

    __reduce__ = object.__reduce__

    def __getstate__(self) -> Any:
        state = {name: value for name, value in vars(self).items() if name not in ("opened", "_unit")}
        return {name: state[name] for name in ("number", "unit", "note")}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state, unit="EUR", _unit="EUR", cache={})


class Equal(Amount):
    """Counts the number alone."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]


class Asked(Amount):
    """Makes what is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = self.__dict__[name] = f"made {name}"
        return made


def amount(kind: Any = Amount, **attributes: Any) -> Any:
    made = kind(1)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("thing", "path", "reason"),
    [
        (amount(unit="USD"), ".unit", "'USD' came back as 'EUR'"),
        (amount(unit=["USD"]), ".unit", "a list came back as a str"),
        (amount(note={"a": [1]}), ".note", "a dict came back as a NoneType"),
        (amount(more=1), "", "'more' did not come back"),
        (amount(SlottedAmount, rate=2.5), "", "'rate' did not come back"),
        (Amount([amount(unit="USD")]), ".number[0].unit", "came back as"),
        (amount(Chosen, unit="USD"), ".unit", "came back as"),
        (amount(Chosen, more=1), "", "'more' did not come back"),
    ],
)
def test_what_a_reducer_drops_is_refused_with_its_place(thing: Any, path: str, reason: str) -> None:
    for several in ([thing], [Amount(2), thing, Amount(3), Amount(4), Amount(5), Amount(6)]):
        place = several.index(thing)
        refused(several, f"payload[{place}]{path}", reason)
        refused({"k": Point(several)}, f"payload['k'].x[{place}]{path}", reason)


def test_what_python_says_only_to_copies_is_compared() -> None:
    pairs: list[tuple[Any, Any]] = [
        (functools.partial(int, "1"), functools.partial(int, "2")),
        (functools.partial(int, base=2), functools.partial(int, base=3)),
        (operator.itemgetter(1), operator.itemgetter(2)),
        (itertools.count(1), itertools.count(2)),
        (iter([1, 2]), iter([1, 3])),
        (slice(1, 2), slice(1, 3)),
        (types.MappingProxyType({"a": [1]}), types.MappingProxyType({"a": [2]})),
    ]
    for one, other in pairs:
        assert difference([one], [other]) is not None, one
        assert difference([one], [copy.copy(one) if type(one) is not types.MappingProxyType else one]) is None
    noted = functools.partial(int)
    noted.note = 1  # type: ignore[attr-defined]
    assert difference([noted], [functools.partial(int)]) is not None
    assert not hasattr(back([functools.partial(int)])[0], "note")
    refused({"k": vars(Bearer)}, "payload['k']['__dict__']", "came back as a mappingproxy")


def test_what_cannot_be_pickled_says_what_to_store_in_its_place() -> None:
    for thing, advice in (
        (re.match("a", "a"), r"match\.groups\(\)"),
        (weakref.ref(Bearer), "the object that it refers to"),
        (threading.Lock(), "belongs to this process"),
        (contextvars.ContextVar("x"), r"var\.get\(\)"),
        (functools.lru_cache(len), "__wrapped__"),
        (sys.version_info, r"tuple\(sys\.version_info\)"),
        (Raises(ValueError("no")), "plain data in its place"),
    ):
        refused([Holder(thing)], "payload[0].held", advice)


@pytest.mark.parametrize("kind", [types.SimpleNamespace, collections.OrderedDict, collections.Counter])
def test_what_shares_its_attributes_in_a_way_that_cannot_come_back_is_refused(kind: Any) -> None:
    thing = kind()
    thing.note = [1]
    assert back([thing, thing, [vars(thing)["note"]]])[0].note == [1]
    for payload in ([thing, vars(thing)], [vars(thing), thing]):
        with pytest.raises(PayloadError, match=r"payload\[[01]\].*store one of both, or a copy"):
            encode(payload, key=KEY)


def test_what_a_class_leaves_out_on_purpose_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked(1)
    assert asked.anything == "made anything"
    for thing, name in (
        (amount(_unit="USD"), "_unit"),
        (amount(Chosen, cache={1: 2}), "cache"),
        (amount(Chosen, opened=[1]), "opened"),
        (amount(Equal, unit="USD"), "unit"),
        (asked, "anything"),
    ):
        caplog.clear()
        for _ in range(2):
            assert type(decode(encode([thing, thing], key=KEY))[0]) is type(thing)  # type: ignore[index]
        told = [record for record in caplog.records if "does not come back" in record.message]
        assert [repr(name) in record.message for record in told] == [True]


def test_verify_is_for_anything() -> None:
    payloads: list[Any] = [
        {"a": [1, 2.5, None, float("nan"), "x", b"y"]},
        [np.arange(5), np.array([1 + 2j]), np.zeros(3, "i4,f8")],
        {(1, 2): {3, "4"}, "deque": collections.deque([1], 5)},
        Point(Point(1), [Point(2)]),
        "text",
    ]
    for payload in payloads:
        blob = encode(payload, key=KEY, verify=True)
        assert blob.digest == encode(payload, key=KEY).digest


def test_the_comparison_finds_each_kind_of_difference() -> None:
    shared: list[int] = []
    cases: list[tuple[Any, Any]] = [
        (1, True),
        (0.0, -0.0),
        (1, 2),
        ("a", "b"),
        ([1], (1,)),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1}, {2}),
        ({1, "a"}, {1, 2}),
        ([shared, shared], [[], []]),
        ([[], []], [shared, shared]),
        (Point(1), Point(2)),
        (Tag("a"), Tag("b")),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, "f4")),
        (np.array([None]), np.array([1], dtype=object)),
        (collections.deque([1], 2), collections.deque([1], 3)),
        (collections.defaultdict(list), collections.defaultdict(set)),
        (ValueError(1), ValueError(2)),
        (lambda: 1, lambda: 2),
        (2**100, 2**101),
    ]
    for one, other in cases:
        assert difference([one], [other]) is not None, (one, other)
        assert difference([one], [one]) is None
    assert difference(np.zeros(2), np.ones(2), deep=True) is not None
    assert difference([float("nan")], [float("nan")]) is None


def test_places_are_found() -> None:
    wanted = Tag("x")
    for payload, path in (
        ({"a": [0, (wanted,)]}, "payload['a'][1][0]"),
        (Point({"k": wanted}), "payload.x['k']"),
        ({wanted: 1}, "payload.keys()[0]"),
        (wanted.__hash__, "payload.__self__"),
    ):
        assert path_to(payload, wanted) == path
    assert path_to([1], wanted) is None


def test_damage_is_told_apart_from_what_changed() -> None:
    """What bears a valid signature is as it was written."""
    blob = encode([Tag("a")], key=KEY)
    blob.tree = blob.tree.replace(b"name", b"\xa4ame")
    with pytest.raises((CorruptEntryError, PermissionError)):
        decode(blob)


def test_memorize_verifies_what_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one entry, many, manifests, and through a policy's own memory."""
    numbers = np.arange(4)
    manifest = laila.Manifest({"a": laila.constant([numbers]), "b": laila.constant("text")})
    for given in (laila.constant([numbers]), [laila.constant({"x": numbers}), laila.constant(1)], manifest):
        laila.memorize(given, verify=True).wait()
    laila.Manifest({"a": laila.constant([numbers + 1])}).memorize(verify=True).wait()
    # A fault of a codec: what it writes is not what it was given.
    monkeypatch.setitem(registry.ENCODERS, np.ndarray, lambda value, encoder: [tags.LIST, 1])
    broken = laila.constant({"in": [numbers]}, nickname="broken")
    with pytest.raises(PayloadError, match="came back as a list") as caught:
        laila.memorize(broken, verify=True)
    assert caught.value.path == "payload['in'][0]"
    with pytest.raises(PayloadError, match="came back as a list"):
        laila.Manifest({"a": laila.constant([numbers])}).memorize(verify=True)
    with pytest.raises(LookupError):
        laila.remember(nickname="broken").wait()


def test_the_place_inside_a_pickle_is_named() -> None:
    lock = threading.Lock()
    refused(
        [Holder({"a": [1, Holder(lock)]})], "payload[0].held['a'][1].held", "_thread.lock cannot be pickled"
    )
    refused({"x": Holder(letter for letter in "ab")}, "payload['x'].held", "a generator")
    refused([Holder(1), Holder(2), Holder(3), Holder(4), (Holder(lock),)], "payload[4][0].held", "lock")


class Holder:
    """Copied in a way of its own."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Holder, (self.held,)


class WithoutModule:
    __module__ = None  # type: ignore[assignment]


class BadMeta(type):
    def __hash__(cls) -> int:
        raise ValueError("no hash of a class")


class Bad(metaclass=BadMeta):
    pass


class Secretive:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Silent(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")

    __iter__ = keys = __len__ = items


@pytest.mark.parametrize("kind", [WithoutModule, Bad, Secretive, Silent])
def test_classes_that_hide_are_stored_or_refused_with_a_place(kind: Any) -> None:
    thing = kind()
    for payload in ([thing], [thing] * 5, {"k": (thing, 1)}, Holder(thing)):
        try:
            blob = encode(payload, key=KEY)
        except PayloadError as error:
            assert error.path.startswith("payload")  # noqa: PT017 - either is right
        else:
            decode(blob)


# -- graphs that the comparison must get through


class Bearer:
    """Has attributes."""

    def __init__(self, value: object) -> None:
        self.value = value


class Words(list[str]):
    """A list with attributes."""


class Shared:
    """All of one mind: their attributes are one dict."""

    _state: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.__dict__ = Shared._state


def back(payload: Any) -> Any:
    return decode(encode(payload, key=KEY))


def test_functions_that_call_themselves_and_each_other_come_back() -> None:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    found = back([factorial, even, odd])
    assert found[0](5) == 120
    assert found[1](4)
    assert not found[2](4)


def test_a_tuple_that_holds_one_twice_and_so_on_is_compared_once() -> None:
    nested: tuple[Any, ...] = (Bearer(1),)
    for _ in range(60):
        nested = (nested, nested)
    found = back(nested)
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    assert found[0].value == 1


@pytest.mark.parametrize("first", ["object", "dict"])
@pytest.mark.parametrize("make", [Bearer, argparse.Namespace, collections.UserList, ValueError, Words])
def test_a_dict_that_is_the_attributes_of_an_object_too_stays_so(first: str, make: Any) -> None:
    made = make() if make is argparse.Namespace else make("ab")
    made.note = [1]
    pair = {"object": made, "dict": vars(made)}
    found = back({name: pair[name] for name in sorted(pair, reverse=first == "object")})
    assert vars(found["object"]) is found["dict"]
    assert found["object"].note == [1]


def test_objects_that_share_their_attributes_share_them_when_they_come_back() -> None:
    a, b = Shared(), Shared()
    a.x = [1]  # type: ignore[attr-defined]
    found = back([a, b, a])
    assert found[0] is found[2]
    assert vars(found[0]) is vars(found[1])
    with pytest.raises(PayloadError):
        encode([a, b], key=KEY, pickle=False)


class Sorted(dict[Any, Any]):
    """Gives its keys in their order, and is copied in it, whatever the order of the dict below."""

    def __iter__(self) -> Any:
        return iter(sorted(dict.keys(self)))

    def __reduce__(self) -> Any:
        return Sorted, ({key: self[key] for key in self},)


class Making(dict[str, Any]):
    """Makes a value of its own kind for any name, as libraries with attributes for keys do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, Making())

    def __reduce__(self) -> Any:
        return Making, (dict(self),)


def test_mappings_that_keep_an_order_of_their_own_come_back() -> None:
    found = back(Sorted({3: [3], 1: [1], 2: [2]}))
    assert [(key, found[key]) for key in found] == [(1, [1]), (2, [2]), (3, [3])]
    lossy = Sorted({3: [3], 1: [1]})
    assert difference(lossy, Sorted({1: [1], 3: [4]})) is not None
    assert difference(lossy, Sorted({1: [1], 4: [3]})) is not None


def test_a_mapping_that_makes_what_it_is_asked_for_is_not_asked() -> None:
    made = Making(a=Making(b=1))
    found = back(made)
    assert type(found["a"]) is Making
    assert made == found == {"a": {"b": 1}}


class Counted(np.ndarray[Any, Any]):
    """Keeps what it computed, beside what only a method of numpy's copies."""

    @functools.cached_property
    def total(self) -> float:
        return float(self.sum())


def test_what_a_property_keeps_may_be_left_out() -> None:
    array = np.arange(3).view(Counted)
    assert array.total == 3
    assert back([array])[0].total == 3
