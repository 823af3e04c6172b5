"""Classes that changed since their instances were stored, and slots that hide each other."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from collections import namedtuple
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import attrs
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type, registry, tags
from laila.errors import LailaError, PayloadError, UntrustedPayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")
    for table in ("_names", "_types", "_changes"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a module's text, as if the module were changed and imported by the next process."""

    def run(text: str) -> Any:
        for table in ("_names", "_types", "_changes"):
            monkeypatch.setattr(registry, table, {})
        module: Any = types.ModuleType("changing")
        monkeypatch.setitem(sys.modules, "changing", module)
        exec(HEAD + text, module.__dict__)  # this is how a class gets another definition
        return module

    return run


HEAD = (
    "import dataclasses, attrs, enum\n"
    "from dataclasses import dataclass, field\n"
    "from typing import NamedTuple, ClassVar\n"
    "from laila.codec import register_type\n"
)
KINDS = {
    "dataclass": "@register_type\n@dataclass\nclass Job:\n",
    "slots": "@register_type\n@dataclass(slots=True)\nclass Job:\n",
    "frozen": "@register_type\n@dataclass(frozen=True, slots=True)\nclass Job:\n",
    "attrs": "@register_type\n@attrs.define\nclass Job:\n",
    "attrs dict": "@register_type\n@attrs.frozen(slots=False)\nclass Job:\n",
    "tuple": "@register_type\nclass Job(NamedTuple):\n",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signed", [False, True])
def test_fields_that_change(kind: str, signed: bool, write: Any) -> None:
    head = KINDS[kind]
    function: list[Any] = [len] if signed else []  # what must be signed beside it changes nothing

    def later(text: str, before: str = "    a: int\n    b: int\n") -> Any:
        module = write(head + before)
        blob = encode([module.Job(1, 2), *function], key=KEY, pickle=signed)
        assert (blob.signature is not None) is signed
        write(text)
        return decode(blob)[0]  # type: ignore[index]

    found = later(head + "    a: int\n    b: int\n    c: int = 7\n")
    assert (found.a, found.b, found.c) == (1, 2, 7)
    if kind != "tuple":
        make = "attrs.field(factory=list)" if "attrs" in kind else "field(default_factory=list)"
        found = later(head + f"    a: int\n    b: int\n    c: list = {make}\n")
        assert found.c == []
        assert found.c is not later(head + f"    a: int\n    b: int\n    c: list = {make}\n").c
    with pytest.raises(PayloadError, match=r"without the field 'c'.*defaults=\{'c'"):
        later(head + "    a: int\n    b: int\n    c: int\n")
    with pytest.raises(PayloadError, match=r"the field 'b', which is no field.*removed=\['b'\]"):
        later(head + "    a: int\n")
    plain = head.replace("@register_type\n", "")
    found = later(plain + "    a: int\n    b: int\n    c: int\nregister_type(Job, defaults={'c': 5})\n")
    assert found.c == 5
    found = later(plain + "    a: int\n    b: int\n    c: list\nregister_type(Job, defaults={'c': list})\n")
    assert found.c == []
    found = later(plain + "    a: int\nregister_type(Job, removed=['b'])\n")
    assert found.a == 1
    assert not hasattr(found, "b")
    found = later(plain + "    b: int\n    z: int\nregister_type(Job, renamed_from={'z': 'a'})\n")
    assert (found.z, found.b) == (1, 2)
    other = plain.replace("Job", "Work") + "    a: int\n    b: int\nregister_type(Work, renamed_from={})\n"
    for former in ("'Job'", "'changing:Job'", "['x:Y', 'Job']"):
        found = later(other.format(former))
        assert (type(found).__name__, found.a, found.b) == ("Work", 1, 2)
    found = later(
        plain.replace("Job", "Work") + "    x: int\n    y: int\n"
        "register_type(Work, renamed_from=['Job', {'x': 'a', 'y': 'b'}])\n"
    )
    assert (found.x, found.y) == (1, 2)


def test_a_factory_that_takes_the_instance(write: Any) -> None:
    head = KINDS["attrs"]
    module = write(head + "    a: int\n")
    blob = encode(module.Job(4), key=KEY)
    write(
        head + "    a: int\n    b: int = attrs.field(default=attrs.Factory(lambda self: self.a + 1, "
        "takes_self=True))\n"
    )
    found: Any = decode(blob)
    assert (found.a, found.b) == (4, 5)


def test_plain_classes_that_change(write: Any) -> None:
    def later(before: str, after: str) -> Any:
        module = write("@register_type\nclass Job:\n" + before)
        job = module.Job()
        job.a = 1
        blob = encode(job, key=KEY, pickle=False)
        write(after)
        return decode(blob)

    found = later("    a: int\n", "@register_type\nclass Job:\n    a: int\n    b: int = 3\n")
    assert (found.a, found.b) == (1, 3)
    with pytest.raises(PayloadError, match="without the field 'b'"):
        later("    a: int\n", "@register_type\nclass Job:\n    a: int\n    b: int\n")
    assert later("    a: int\n    b: int\n", "@register_type\nclass Job:\n    a: int\n    b: int\n").a == 1
    slots = "@register_type\nclass Job:\n    __slots__ = ('a', 'b')\n"
    with pytest.raises(PayloadError, match="without the field 'b'"):
        later("    __slots__ = ('a',)\n", slots)
    found = later("    __slots__ = ('a', 'b')\n", slots)
    assert not hasattr(found, "b"), "a slot that was not set stays so"
    found = later(
        "    pass\n", "class Job:\n    __slots__ = ('c',)\nregister_type(Job, renamed_from={'c': 'a'})\n"
    )
    assert found.c == 1
    found = later("    pass\n", "class Job:\n    pass\nregister_type(Job, defaults={'b': dict})\n")
    assert (found.a, found.b) == (1, {})
    with pytest.raises(PayloadError, match="'a', which is no field"):
        later("    pass\n", "@register_type\nclass Job:\n    def a(self): pass\n")


def test_a_decorator_with_arguments() -> None:
    @register_type(name="test:decorated", renamed_from={"b": "a"}, defaults={"c": 3})
    @dataclasses.dataclass
    class Decorated:
        b: int
        c: int

    assert decode(encode(Decorated(1, 2), key=KEY, pickle=False)) == Decorated(1, 2)
    with pytest.raises(TypeError, match="takes a class, not None"):
        register_type(None)  # type: ignore[call-overload]


def test_enums_that_change(write: Any) -> None:
    text = "@register_type\nclass Job(enum.Enum):\n    A = 1\n    B = 2\n"
    blob = encode([*write(text).Job], key=KEY, pickle=False)
    module = write(text + "    C = 3\n")
    assert decode(blob) == [module.Job.A, module.Job.B]
    write(text.replace("    B = 2\n", ""))
    with pytest.raises(PayloadError, match=r"Job\.'B'.*renamed_from"):
        decode(blob)
    module = write(
        text.replace("B", "NEW").replace("@register_type\n", "")
        + "register_type(Job, renamed_from={'NEW': 'B'})"
    )
    assert decode(blob) == [module.Job.A, module.Job.NEW]


def test_signed_classes_that_change(write: Any) -> None:
    """What was never registered is told in the same words."""
    text = "@dataclass\nclass Job:\n    a: int\n    b: int\n"
    blob = encode(write(text).Job(1, 2), key=KEY)
    assert blob.signature is not None
    write(text.replace("    b: int\n", ""))
    with pytest.raises(PayloadError, match="'b', which is no field"):
        decode(blob)
    write(text + "    c: int = 3\n")
    assert decode(blob).c == 3  # type: ignore[attr-defined]
    write(text.replace("Job", "Work") + "register_type(Work, renamed_from='Job')")
    assert type(decode(blob)).__name__ == "Work"


def test_fields_that_were_deleted_stay_so() -> None:
    value = Settings(1)
    del value.rate
    found: Any = decode(encode(value, key=KEY))
    assert vars(found) == vars(value)


def test_what_is_said_of_the_past_must_fit() -> None:
    for changes in (
        {"renamed_from": {"nothing": "rate"}},
        {"defaults": {"nothing": 1}},
        {"removed": ["rate"]},
    ):
        with pytest.raises(ValueError, match="field"):
            register_type(Settings, **changes)
    with pytest.raises(ValueError, match="member"):
        register_type(Colour, renamed_from={"BLUE": "RED"})
    register_type(Settings)
    with pytest.raises(ValueError, match="already registered"):
        register_type(Record, renamed_from=f"{__name__}:Settings")


@dataclasses.dataclass
class Settings:
    rate: int
    kinds: ClassVar[list[str]] = ["a"]
    start: dataclasses.InitVar[int] = 3

    @cached_property
    def twice(self) -> int:
        return self.rate * 2


@attrs.define
class Record:
    a: int


class Colour(enum.Enum):
    RED = 1


class Base:
    __slots__ = ("__own", "x")

    def __init__(self) -> None:
        self.__own = "base"

    def base_own(self) -> object:
        return self.__own


class Twice(Base):
    __slots__ = ("x", "y")


def twin() -> type:
    class Base(globals()["Base"]):  # type: ignore[misc]
        __slots__ = ("__own",)

        def __init__(self) -> None:
            super().__init__()
            self.__own = "derived"

        def own(self) -> object:
            return self.__own

    Base.__qualname__ = "Twin"
    return Base


Twin = twin()


class Hooked(Base):
    """A property over the slot of its base."""

    ran: ClassVar[list[object]] = []

    @property
    def x(self) -> int:
        return 7

    @x.setter
    def x(self, value: object) -> None:
        self.ran.append(value)


def test_slots_declared_again() -> None:
    value: Any = Twice()
    value.x, value.y = 1, [2]
    found: Any = decode(encode(value, key=KEY))
    assert (found.x, found.y, found.base_own()) == (1, [2], "base")
    value = Twin()
    found = decode(encode(value, key=KEY))
    assert (found.own(), found.base_own()) == (value.own(), value.base_own())
    value = Twice()
    value.x = 1
    Base.x.__set__(value, 2)  # type: ignore[attr-defined]
    with pytest.raises(PayloadError, match="hidden by the one"):
        encode(value, key=KEY)


def test_a_property_over_a_slot_does_not_run() -> None:
    register_type(Hooked)
    value = Hooked()
    Base.x.__set__(value, [1])  # type: ignore[attr-defined]
    blob = encode(value, key=KEY, pickle=False)
    found: Any = decode(blob)
    assert Base.x.__get__(found) == [1]  # type: ignore[attr-defined]
    assert Hooked.ran == []


def forged(*rows: list[Any]) -> Blob:
    import msgpack

    return Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows)))


def test_data_sets_no_class_variable() -> None:
    register_type(Settings)
    name = f"{__name__}:Settings"
    for attribute in ("kinds", "start", "__orig_class__", "__dict__", "__notes__"):
        for rows in (
            [[tags.OBJECT, name, "rate", 1, attribute, "a"]],
            [
                [tags.TUPLE, attribute],
                [tags.TUPLE, None, __import__("msgpack").ExtType(0, b"\0"), None],
                [tags.ODD_OBJECT, name, __import__("msgpack").ExtType(0, b"\1"), "rate", 1, attribute, "a"],
            ],
        ):
            with pytest.raises(LailaError):
                decode(forged(*rows))
    value = Settings(1)
    value.kinds = ["mine"]  # type: ignore[misc]
    with pytest.raises(PayloadError, match="'kinds' is no field"):
        encode(value, key=KEY, pickle=False)
    blob = encode(value, key=KEY)
    assert vars(decode(blob)) == {"rate": 1, "kinds": ["mine"]}
    with pytest.raises(UntrustedPayloadError):
        decode(Blob(KEY, blob.tree))
    assert Settings(2).twice == 4
    assert Settings.kinds == ["a"]


class Struct:
    def __init__(self, attributes: Any) -> None:
        self.__dict__ = attributes


class Ordered(dict[str, Any]):
    pass


def test_a_dict_that_is_more_than_a_dict() -> None:
    found: Any = decode(encode(Struct(Ordered(a=1)), key=KEY))
    assert type(found.__dict__) is Ordered
    assert found.a == 1
    register_type(Struct)
    with pytest.raises(PayloadError, match="__dict__"):
        encode(Struct(Ordered(a=1)), key=KEY, pickle=False)
    with pytest.raises(PayloadError, match="no text"):
        encode(Struct({1: 2}), key=KEY)


Point = namedtuple("Point", "x y", defaults=(3,))  # noqa: PYI024


class Fields(NamedTuple):
    a: int


def test_a_hash_that_attrs_keeps_is_forgotten() -> None:
    value = Hashed("text")
    hash(value)
    blob = encode(value, key=KEY)
    found: Any = decode(blob)
    assert object.__getattribute__(found, "_attrs_cached_hash") is None
    assert hash(found) == hash(value)


@attrs.frozen(cache_hash=True)
class Hashed:
    a: str
