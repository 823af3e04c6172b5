"""Subclasses of builtins, exceptions, types as values, and the data types of the standard library."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import functools
import http
import io
import ipaddress
import json
import logging
import os
import signal
import statistics
import string
import time
import types
import typing
import urllib.parse
import uuid
from typing import Any, Generic, Self, TypeVar

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, exceptions, register_type, registry, tags, trust
from laila.errors import CorruptEntryError, LailaError, PayloadError, UntrustedPayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
T = TypeVar("T")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")
    for table in ("_names", "_types", "_changes"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


def again(payload: Any, **options: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, **options)), key=KEY))


def fail(*_: object) -> Any:
    raise AssertionError("laila ran code of the class")


class Text(str):  # noqa: SLOT000
    def __new__(cls, text: str, note: object) -> Self:
        found = str.__new__(cls, text)
        found.note = note  # type: ignore[attr-defined]
        return found

    __str__ = __repr__ = fail


class Number(int):
    __int__ = __index__ = __repr__ = fail


class Celsius(float):
    __slots__ = ("unit",)
    __float__ = fail


class Complex(complex): ...


class Octets(bytes):
    __bytes__ = fail


class MoreOctets(bytearray): ...


class Items(list[Any]):
    __iter__ = __len__ = append = extend = fail


class Pair(tuple[Any, ...]):
    __slots__ = ()
    __iter__ = __len__ = __getitem__ = fail


class Frozen(frozenset[Any]): ...


class Members(set[Any]):
    __iter__ = add = fail


class Mapping(dict[Any, Any]):
    __setitem__ = __getitem__ = __iter__ = keys = items = update = copy = fail  # type: ignore[assignment]


class AttrDict(dict[Any, Any]):
    """As often written: its items are its attributes."""

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        self.__dict__ = self


class Ordered(collections.OrderedDict[Any, Any]): ...


class Default(collections.defaultdict[Any, Any]): ...


class Count(collections.Counter[Any]): ...


class Line(collections.deque[Any]):
    __iter__ = fail


class Day(dt.date): ...


class Moment(dt.datetime): ...


class Clock(dt.time): ...


class Span(dt.timedelta): ...


class Money(decimal.Decimal): ...


class Ratio(fractions.Fraction): ...


class Ident(uuid.UUID): ...


class Space(types.SimpleNamespace): ...


class Loose(collections.namedtuple("Loose", "a b")):  # noqa: PYI024, SLOT002
    pass


def base_value(given: Any) -> Any:
    """The value of the builtin below, past what the subclass overrides."""
    value: Any = given
    base: Any
    for base in (str, int, float, complex, bytes, bytearray, list, tuple, frozenset, dict):
        if isinstance(value, base):
            if base in (list, tuple):
                return base.__getitem__(value, slice(None))
            if isinstance(value, collections.OrderedDict):
                return list(collections.OrderedDict.items(value))
            if base is dict:
                return list(dict.items(value))
            return base.__repr__(value)
    return None if isinstance(value, collections.deque) else value


def with_attributes(value: Any, **attributes: Any) -> Any:
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


def subclasses() -> list[Any]:
    ordered = with_attributes(Ordered(a=1, b=2), x=[1])
    ordered.move_to_end("a")
    return [
        Text("a", [1]),
        Number(2**80),
        with_attributes(Celsius(1.5), unit="K"),
        Complex(1j),
        Octets(b"x"),
        MoreOctets(b"yz"),
        Items([1, (2,)]),
        Pair([1, [2]]),
        with_attributes(Frozen([1, (2, 3), (4, 5)]), a=1),
        with_attributes(Mapping({1: [2]}), a=1),
        AttrDict(x=1, y=[2]),
        ordered,
        Default(list, {1: [2]}),
        with_attributes(Count("aab"), a=1),
        Count({"a": 1.5, "b": "x"}),
        Line([1, 2, 3], 2),
        Day(2020, 1, 1),
        Moment(2020, 1, 1, 2, fold=1, tzinfo=dt.UTC),
        Clock(3, 4, fold=1),
        Span(3, 4, 5),
        Money("1.50"),
        Ratio(1, 3),
        Ident(int=5),
        Space(a=1, b=[2]),
        with_attributes(Loose(1, 2), note=[3]),
    ]


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("number", range(len(subclasses())))
def test_subclasses_of_builtins(number: int, registered: bool) -> None:
    value = subclasses()[number]
    if registered:
        register_type(type(value))
    blob = encode([value, (value,)], key=KEY, pickle=not registered)
    assert (blob.signature is None) is registered
    both: Any = decode(Blob.from_bytes(bytes(blob)))
    first, second = both[0], both[1][0]
    assert first is second
    assert type(first) is type(value)
    assert base_value(first) == base_value(value)
    if hasattr(value, "__dict__"):
        assert dict(first.__dict__) == dict(value.__dict__)
    if type(value) is Celsius:
        assert first.unit == "K"
    if type(value) is AttrDict:
        assert first.__dict__ is first
        assert first.x == 1
    if isinstance(value, (dt.datetime, dt.time)):
        assert first.fold == 1
        assert first.tzinfo == value.tzinfo
    if isinstance(value, collections.deque):
        assert (first.maxlen, list(collections.deque.__iter__(first))) == (2, [2, 3])
    if isinstance(value, collections.defaultdict):
        assert first.default_factory is list


def test_a_set_of_ones_own() -> None:
    found = again(Members([1, 2, (3, 4), (5, 6)]))
    assert type(found) is Members
    assert set().union(set.__iter__(found)) == {1, 2, (3, 4), (5, 6)}


def test_a_changed_base_is_no_instance() -> None:
    """A registered subclass of one builtin is not filled with the value of another."""
    register_type(Items)
    name = f"{__name__}:Items"

    def forged(*rows: Any) -> Blob:
        return Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows)))

    ref = msgpack.ExtType(0, b"\0")
    for rows in (
        [[tags.SUBCLASS, name, None, 1]],
        [[tags.DICT, 1, 2], [tags.SUBCLASS, name, None, ref]],
        [[tags.LIST], [tags.SUBCLASS, name, None, ref, "append", 1]],
        [[tags.LIST], [tags.SUBCLASS, name, None, ref, "a"]],
        [[tags.LIST], [tags.SUBCLASS, name]],
        [[tags.TUPLE, None, None, True], [tags.SUBCLASS, name, ref, 1]],
        [[tags.LIST], [tags.OBJECT, name, "a", 1]],
        [[tags.LIST], [tags.SUBCLASS, "builtins:list", None, ref]],
    ):
        with pytest.raises(LailaError):
            decode(forged(*rows))
    register_type(AttrDict)
    name = f"{__name__}:AttrDict"
    for key in ("copy", "__class__"):
        rows = [
            [tags.DICT, key, 1],
            [tags.TUPLE, None, None, True],
            [tags.SUBCLASS, name, msgpack.ExtType(0, b"\1"), ref],
        ]
        with pytest.raises(UntrustedPayloadError):
            decode(forged(*rows))
    with pytest.raises(PayloadError, match="'copy' is no field"):
        encode(AttrDict(copy=1), key=KEY, pickle=False)
    assert again(AttrDict(copy=1)) == {"copy": 1}


# -- exceptions


class OwnError(Exception):
    """Its constructor takes other arguments than it hands on: a classic that does not unpickle."""

    def __init__(self, a: int, *, b: int) -> None:
        super().__init__(f"{a} and {b}")
        self.a, self.b = a, b


class WithSlots(ValueError):
    __slots__ = ("place",)


class Reduced(OSError):
    def __reduce__(self) -> Any:
        return Reduced, (1, "x")


def errors() -> list[Any]:
    lines = ("file", 1, 2, "text")
    return [
        ValueError("x", [1]),
        KeyError("k"),
        OSError(2, "none", "file", None, "other"),
        OSError(),
        FileNotFoundError(2, "none", "file"),
        BlockingIOError(11, "again", 3),
        UnicodeDecodeError("utf8", b"\xff", 0, 1, "bad"),
        UnicodeEncodeError("ascii", "é", 0, 1, "bad"),
        UnicodeTranslateError("é", 0, 1, "bad"),
        UnicodeError("x"),
        StopIteration([5]),
        SystemExit(3),
        SyntaxError("m", lines),
        ImportError("x", name="n", path="p"),
        ModuleNotFoundError("x", name="n"),
        NameError("x", name="n"),
        AttributeError("x", name="n", obj=None),
        ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [KeyError(2)])]),
        BaseExceptionGroup("g", [KeyboardInterrupt()]),
        KeyboardInterrupt(),
        GeneratorExit(),
    ]


def attributes_of(error: BaseException) -> dict[str, Any]:
    names = [name for name in dir(type(error)) if not name.startswith("__") and name != "obj"]
    return {
        name: repr(getattr(error, name))
        for name in names
        if hasattr(error, name) and not callable(getattr(error, name))
    }


@pytest.mark.parametrize("number", range(len(errors())))
def test_builtin_exceptions_are_data(number: int) -> None:
    error = errors()[number]
    error.add_note("a note")
    error.__cause__ = KeyError("cause")
    found = again({"error": error}, pickle=False)["error"]
    assert type(found) is type(error)
    assert repr(found.args) == repr(error.args)
    assert attributes_of(found) == attributes_of(error)
    assert str(found) == str(error)
    assert found.__notes__ == ["a note"]
    assert repr(found.__cause__) == "KeyError('cause')"
    assert found.__suppress_context__


def raised() -> BaseException:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise OwnError(1, b=2) from first
    except OwnError as second:
        second.add_note("more")
        return second


def test_what_led_to_an_exception(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exceptions, "_told", False)
    register_type(OwnError)
    error = raised()
    found = again([error, error.__cause__], pickle=False)
    assert type(found[0]) is OwnError
    assert vars(found[0]) == {"a": 1, "b": 2, "__notes__": ["more"]}
    assert found[0].__cause__ is found[0].__context__ is found[1]
    assert found[0].__traceback__ is None
    assert sum("without their tracebacks" in record.getMessage() for record in caplog.records) == 1
    slots = with_attributes(WithSlots("x"), place=[1])
    found = again(slots)
    assert (found.place, found.args) == ([1], ("x",))


def test_exceptions_forged() -> None:
    def read(*rows: list[Any]) -> Any:
        return decode(Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))))

    empty, state = msgpack.ExtType(0, b"\0"), msgpack.ExtType(0, b"\1")

    def error(
        name: str, state: Any = None, cause: Any = None, suppress: Any = False, args: Any = empty
    ) -> Any:
        return [tags.EXCEPTION, f"builtins:{name}", None, args, state, cause, None, suppress]

    assert repr(read([tags.TUPLE], error("ValueError"))) == "ValueError()"
    # Where start is negative, str() of this one reads memory that is not its own.
    unsafe = [[tags.TUPLE, "utf8", b"x", -5, -4, "r"], [tags.TUPLE, "utf8", "x", 0, 1, "r"]]
    for rows in (
        [[tags.TUPLE], error("eval")],
        [[tags.TUPLE], error("int")],
        [[tags.TUPLE], error("ValueError", cause=1)],
        [[tags.TUPLE], error("ValueError", suppress=1)],
        [[tags.TUPLE], error("ValueError", args=None)],
        [[tags.TUPLE], [tags.TUPLE, 1], error("ValueError", state)],
        [[tags.TUPLE], [tags.TUPLE, 1], error("ExceptionGroup", state)],
        [[tags.TUPLE], error("ExceptionGroup")],
        [[tags.TUPLE], [tags.TUPLE, "m", empty], error("ExceptionGroup", state)],
        *([[tags.TUPLE], bad, error("UnicodeDecodeError", state)] for bad in unsafe),
    ):
        with pytest.raises((CorruptEntryError, UntrustedPayloadError)):
            read(*rows)


# -- data of the standard library, and types as values


@dataclasses.dataclass
class Box(Generic[T]):
    value: T


@pytest.fixture
def boxed() -> None:
    register_type(Box)


def test_generic_aliases(boxed: None) -> None:
    for alias in (
        list[int],
        dict[str, list[int]],
        tuple[int, ...],
        int | None,
        Box[int],
        Box[list[Box[str]]],
    ):
        assert again(alias, pickle=False) == alias
    box = Box[list[int]]([3])
    found = again(box, pickle=False)
    assert found == box
    assert found.__orig_class__ == Box[list[int]]
    array = again(Box[np.ndarray](np.arange(3)), pickle=False)
    assert array.__orig_class__ == Box[np.ndarray]
    for other in (Box[argparse.ArgumentParser], typing.Optional[int], Box[T]):  # type: ignore[valid-type]  # noqa: UP045
        assert again(other) == other


def test_types_as_values(boxed: None) -> None:
    kinds = [
        *(int, type(None), object, dict, ValueError, dt.datetime, decimal.Decimal, collections.deque),
        *(np.float32, np.ndarray, Box, ipaddress.IPv4Address, argparse.Namespace),
    ]
    assert again(kinds, pickle=False) == kinds
    assert again({int: 1, "kind": float, "set": {str, bytes}}, pickle=False) == {
        int: 1,
        "kind": float,
        "set": {str, bytes},
    }
    default = again(collections.defaultdict(collections.Counter, a=collections.Counter("x")), pickle=False)
    assert default["new"] == collections.Counter()
    with pytest.raises(PayloadError, match="It is code"):
        encode([json.JSONEncoder], key=KEY, pickle=False)
    for name in ("os:system", "builtins:eval", "subprocess:Popen", "numpy:load", "json:JSONEncoder", "x", ""):
        with pytest.raises((UntrustedPayloadError, CorruptEntryError)):
            decode(Blob(KEY, tags.ROWS_MARK + msgpack.packb([tags.TYPE, name])))
    factory = Blob(KEY, tags.ROWS_MARK + msgpack.packb([tags.TYPE, f"{__name__}:Box"]))
    factory = Blob(KEY, factory.tree + msgpack.packb([tags.DEFAULT_DICT, msgpack.ExtType(0, b"\0")]))
    with pytest.raises(CorruptEntryError):
        decode(factory)


def library() -> list[Any]:
    return [
        ipaddress.ip_address("1.2.3.4"),
        ipaddress.ip_address("::1"),
        ipaddress.ip_address("fe80::1%eth0"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("2001:db8::/32"),
        ipaddress.ip_interface("10.1.2.3/8"),
        ipaddress.ip_interface("2001:db8::1/32"),
        types.MappingProxyType({"a": [1]}),
        types.MappingProxyType(collections.OrderedDict(b=1, a=2)),
        time.gmtime(0),
        time.localtime(),
        os.stat("/"),
        os.terminal_size((1, 2)),
        collections.ChainMap({1: 2}, {3: 4}),
        collections.UserDict(a=1),
        collections.UserList([1]),
        collections.UserString("x"),
        argparse.Namespace(a=1),
        statistics.NormalDist(1, 2),
        http.HTTPStatus.OK,
        signal.SIGINT,
        urllib.parse.urlparse("http://a/b?c#d"),
        urllib.parse.urlsplit(b"http://a/b?c#d"),
        decimal.Decimal("-3.1").as_tuple(),
        uuid.SafeUUID.unknown,
    ]


@pytest.mark.parametrize(
    "value", [pytest.param(value, id=f"{type(value).__name__} {i}") for i, value in enumerate(library())]
)
def test_data_of_the_standard_library(value: Any) -> None:
    found = again([value, [value]], pickle=False)
    assert found == [value, [value]]
    assert type(found[0]) is type(value)
    assert repr(found[0]) == repr(value)
    if hasattr(value, "__hash__") and type(value).__hash__ is not None and "NormalDist" not in repr(value):
        try:
            hash(value)
        except TypeError:
            return
        assert again({value: 1, "x": {value}}, pickle=False) == {value: 1, "x": {value}}


def test_records_have_all_their_fields() -> None:
    now = time.localtime()
    found = again([now, os.stat("/")], pickle=False)
    assert (found[0].tm_zone, found[0].tm_gmtoff) == (now.tm_zone, now.tm_gmtoff)
    assert found[1].st_mtime_ns == os.stat("/").st_mtime_ns


def test_files_in_memory() -> None:
    octets, text = io.BytesIO(b"abc"), io.StringIO("a\r\nb", newline="")
    octets.read(1)
    found = again([octets, text, octets], pickle=False)
    assert (found[0].read(), found[1].getvalue(), found[2]) == (b"bc", "a\r\nb", found[0])
    octets.close()
    with pytest.raises(PayloadError, match="closed"):
        encode(octets, key=KEY)
    template = again(string.Template("$x"), pickle=False)
    assert template.substitute(x=1) == "1"


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize(
    "written", [("a\r\n",), ("a\r", "\nb"), ("\n", "b"), ("\r\nx\r", "y"), ("a",), ("\r\n\n\r",)]
)
def test_a_text_in_memory_knows_what_ended_its_lines(newline: str | None, written: tuple[str, ...]) -> None:
    text = io.StringIO(newline=newline)
    for piece in written:
        text.write(piece)
    text.seek(1)
    found = again(text, pickle=False)
    assert (found.getvalue(), found.newlines, found.tell()) == (text.getvalue(), text.newlines, 1)
    for file in (found, text):
        file.write("\r\n")
    assert (found.getvalue(), found.newlines) == (text.getvalue(), text.newlines)


def test_a_view_of_a_dict_stays_one() -> None:
    inner = {"a": 1}
    found = again([inner, types.MappingProxyType(inner)], pickle=False)
    found[0]["b"] = 2
    assert found[1] == {"a": 1, "b": 2}


HOSTILE: dict[str, list[Any]] = {
    "address beyond": [tags.IP, 0, 2**32],
    "address of bytes": [tags.IP, 1, b"123"],
    "kind of address": [tags.IP, 9, 1],
    "address written otherwise": [tags.IP, 2, "10.0.0.0/255.0.0.0"],
    "view of a number": [tags.MAPPING_PROXY, 1],
    "record": [tags.RECORD, "os.system", 1, 2],
    "file": [tags.MEMORY_FILE, 1, 2],
    "file before its begin": [tags.MEMORY_FILE, b"x", -1],
    "file of text": [tags.MEMORY_FILE, "x", "bad", 0],
    "file of text with ends": [tags.MEMORY_FILE, "x", "", 0, 8],
    "file of text with no ends": [tags.MEMORY_FILE, "x", "", 0, 0],
    "file of text with ends that it cannot know": [tags.MEMORY_FILE, "x", "\n", 0, 1],
    "file of text with ends twice": [tags.MEMORY_FILE, "x", "", 0, 1, 1],
    "alias": [tags.GENERIC_ALIAS, 0, None, 1],
    "union of nothing": [tags.GENERIC_ALIAS, 2, None],
    "alias of a text": [tags.GENERIC_ALIAS, 1, "x", None],
    "subclass": [tags.SUBCLASS, "os:system", None, 1],
    "exception": [tags.EXCEPTION, "os:system", None, None, None, None, None, False],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rows(name: str) -> None:
    with pytest.raises((CorruptEntryError, UntrustedPayloadError)):
        decode(Blob(KEY, tags.ROWS_MARK + msgpack.packb(HOSTILE[name])))


# -- advice


class Undeclared:
    pass


class Custom:
    def __reduce__(self) -> Any:
        return Custom, ()


def local() -> Any:
    class Local:
        pass

    return Local()


def test_the_advice_is_true(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_told", set())
    caplog.set_level(logging.INFO, "laila.codec")
    for value, advice in (
        (Undeclared(), "laila.register_type makes"),
        (Items([1]), "laila.register_type makes"),
        (OwnError(1, b=2), "laila.register_type makes"),
        (Custom(), "register_codec"),
        (len, "It is code"),
        (functools.partial(int, "1"), "It is code"),
        (json.JSONEncoder, "It is code"),
        (local(), "defined in a function"),
    ):
        caplog.clear()
        encode(value, key=KEY)
        (said,) = [record.getMessage() for record in caplog.records if "is stored" in record.getMessage()]
        assert advice in said
        registrable = "register_type makes" in said
        if registrable:
            register_type(type(value))
            encode(value, key=KEY, pickle=False)
        else:
            with pytest.raises(PayloadError, match=advice):
                encode(value, key=KEY, pickle=False)


def test_an_ordered_dict_that_was_moved_about() -> None:
    """Its order is not that of the dict below it, which reading it again must not compare."""
    ordered = collections.OrderedDict(a=1, b=2, c=3)
    ordered.move_to_end("a")
    assert list(again([ordered, Undeclared()])[0]) == ["b", "c", "a"]


def test_an_exception_that_reduces_in_its_own_way_keeps_what_led_to_it() -> None:
    error = json.JSONDecodeError("bad", "text", 2)
    error.__cause__ = KeyError("cause")
    error.add_note("a note")
    for found in (again(error), again([functools.partial(int, error)])[0].args[0]):
        assert type(found) is json.JSONDecodeError
        assert (found.doc, found.pos, found.__notes__) == ("text", 2, ["a note"])
        assert repr(found.__cause__) == "KeyError('cause')"


def test_long_chains() -> None:
    error: BaseException | None = None
    nested: Any = AttrDict()
    for number in range(5_000):
        error, before = ValueError(number), error
        error.__context__ = before
        nested = AttrDict(inner=nested)
    assert error is not None
    register_type(AttrDict)
    found = again([error, nested], pickle=False)
    count = 0
    while found[0] is not None:
        found = [found[0].__context__, found[1].inner]
        count += 1
    assert count == 5_000
