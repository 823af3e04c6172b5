"""Types one by one: what is exact, what is shared, what is refused and where."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import enum
import functools
import io
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import types
import zoneinfo
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import attrs
import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_codec, register_type, registry
from laila.errors import PayloadCycleError, PayloadError, PluginError, UntrustedPayloadError
from laila.testing.payloads import assert_same

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
T = TypeVar("T")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


def again(payload: Any, **options: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, **options)), key=KEY))


# -- numbers and texts


def test_nan_payloads_and_zeros() -> None:
    for bits in (0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0x7FF0000000000001, 0x8000000000000000):
        number = struct.unpack("<d", struct.pack("<Q", bits))[0]
        for payload in (
            number,
            [number],
            (number,),
            {"a": number},
            complex(number, number),
            np.float64(number),
        ):
            assert_same(payload, again(payload))


def test_ints_of_any_size() -> None:
    for power in (0, 7, 8, 31, 32, 62, 63, 64, 65, 1000, 600_000):
        for number in (2**power, -(2**power), 2**power - 1, -(2**power) - 1):
            assert again([number, {number: number}, (number,)]) == [number, {number: number}, (number,)]


def test_lone_surrogates_everywhere() -> None:
    text = "a\ud800b\udfff\U0001f600"
    assert again({text: [text, (text,), {text}]}) == {text: [text, (text,), {text}]}
    pair = "\ud83d" + "\ude00"
    assert again(pair) == pair
    assert again([pair, "\U0001f600"]) == [pair, "\U0001f600"]


def test_nan_in_sets_stays_apart() -> None:
    one, two = float("nan"), float("nan")
    for payload in (
        {one, two},
        {(one,), (two,)},
        {complex(one, 0), complex(two, 0)},
        {np.float64("nan"), np.float64("nan")},
    ):
        assert len(again(payload)) == 2


# -- containers


def test_order_of_a_dict_is_content() -> None:
    for payload in ({"b": 1, "a": 2}, {"b": (), "a": 2}, collections.OrderedDict(b=1, a=2)):
        assert list(again(payload)) == ["b", "a"]


def test_shared_objects_come_back_shared() -> None:
    array, inner, octets = np.arange(3), [1], bytearray(b"x")
    found = again({"a": [array, inner, octets], "b": (array, inner, octets), "c": {"inner": inner}})
    assert found["a"][0] is found["b"][0]
    assert found["a"][1] is found["b"][1] is found["c"]["inner"]
    assert found["a"][2] is found["b"][2]
    plain = again([inner, inner, [1]])
    assert plain[0] is plain[1] is not plain[2]


def test_a_web_of_shared_tuples_stays_small() -> None:
    web: Any = ()
    for _ in range(200):
        web = (web, web)
    assert len(encode(web, key=KEY).tree) < 3000


def test_equal_immutables_have_equal_content_however_they_share() -> None:
    long = b"z" * 70_000
    for make in (
        lambda: (1, "a"),
        lambda: 2**100,
        lambda: frozenset({(1,), (2,)}),
        lambda: bytes(bytearray(long)),
    ):
        one = make()
        assert encode([one, one], key=KEY).digest == encode([make(), make()], key=KEY).digest
    # … but a mutable object twice is another content than two equal ones.
    inner = [1]
    assert encode([inner, inner], key=KEY).digest != encode([[1], [1]], key=KEY).digest


def test_sets_are_deterministic_in_every_process() -> None:
    code = (
        "from laila.codec import encode; import uuid\n"
        "names = ['x%d' % i for i in range(50)]\n"
        "payload = {'s': set(names), 't': {(n, frozenset({(n,), (n, 1)})) for n in names}, 'u': "
        "{uuid.UUID(int=i) for i in range(9)}}\n"
        "print(encode(payload, key='k').digest.hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(found) == 1


@pytest.mark.parametrize("depth", [99, 100, 101, 500, 20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_depth(depth: int) -> None:
    makes: list[Callable[[Any], Any]] = [
        lambda x: [x],
        lambda x: (x,),
        lambda x: {"a": x},
        lambda x: frozenset({x}),
    ]
    for make in makes:
        payload: Any = 1
        for _ in range(depth):
            payload = make(payload)
            if depth > 500 and isinstance(payload, frozenset):
                break  # CPython hashes a frozenset by recursion
        found = again(payload)
        for _ in range(depth):
            assert type(found) is type(payload)
            if isinstance(payload, frozenset) and depth > 500:
                break
            payload, found = (
                next(iter(payload.values() if isinstance(payload, dict) else payload)),
                next(iter(found.values() if isinstance(found, dict) else found)),
            )


def test_a_million_elements() -> None:
    numbers = list(range(1_000_000))
    assert again(numbers) == numbers
    mixed: list[Any] = [*numbers, (1,)]
    assert again(mixed) == mixed


def test_cycles_are_refused_with_their_place() -> None:
    payload: dict[str, Any] = {"a": [0, 1, 2, types.SimpleNamespace(b=None)]}
    payload["a"][3].b = payload
    with pytest.raises(PayloadCycleError) as caught:
        encode(payload, key=KEY)
    assert caught.value.path == "payload['a'][3].b"
    assert "payload['a'][3].b" in str(caught.value)
    array = np.empty(2, object)
    array[1] = array
    with pytest.raises(PayloadCycleError):
        encode(array, key=KEY)


def test_attributes_of_containers() -> None:
    payload = collections.OrderedDict(a=1)
    payload.version = [1]  # type: ignore[attr-defined]
    found = again(payload, pickle=False)
    assert found == payload
    assert found.version == [1]


def test_msgpack_types_of_the_user_are_no_references() -> None:
    payload = [(1, 2), msgpack.ExtType(0, b"\0"), [msgpack.ExtType(1, b"\0")]]
    found = again(payload)
    assert found == payload
    assert type(found[1]) is msgpack.ExtType


def test_fractions_of_other_integers() -> None:
    numbers: list[tuple[Any, Any]] = [(np.int64(3), 2), (np.uint8(1), np.int16(3))]
    for value in (Fraction(*pair) for pair in numbers):
        found = again([value])
        assert found == [value]
        assert type(found[0].numerator) is type(value.numerator)
    odd = Fraction(2)
    odd._numerator = Number.ONE  # type: ignore[attr-defined]
    assert again([odd])[0].numerator is Number.ONE
    odd._numerator = 1.5  # type: ignore[attr-defined]
    with pytest.raises(PayloadError) as caught:
        encode([odd], key=KEY)
    assert caught.value.path.startswith("payload[0]")


def test_time_zones_of_ones_own(tmp_path: Path) -> None:
    """Datetimes in one zone object are subtracted by the clock on the wall, in two by the time between."""
    name = "Africa/Lagos"
    common, own, other = ZoneInfo(name), ZoneInfo.no_cache(name), ZoneInfo.no_cache(name)
    found = again({common: 1, own: 2, other: 3, "twice": [own, own]}, pickle=False)
    assert list(found.values())[:3] == [1, 2, 3]
    zones = list(found)
    assert zones[0] is common
    assert found["twice"][0] is found["twice"][1] is zones[1] is not zones[0]
    days = [dt.datetime(1919, 8, 30, 12, tzinfo=common), dt.datetime(1919, 9, 1, 12, tzinfo=own)]
    again_days = again(days)
    assert days[1] - days[0] == again_days[1] - again_days[0] != dt.timedelta(days=2)
    ZoneInfo.clear_cache(only_keys=[name])
    newer = ZoneInfo(name)
    found = again({common: 1, newer: 2})
    assert [zone is newer for zone in found] == [True, False]
    paths = [path for folder in zoneinfo.TZPATH if (path := Path(folder, name)).exists()]
    if not paths:
        pytest.skip("this system has no files of zones")
    with paths[0].open("rb") as file:
        from_file = ZoneInfo.from_file(file, key=name)
    for zone in (from_file, [dt.datetime(2020, 1, 1, tzinfo=from_file)]):
        with pytest.raises(PayloadError, match="use ZoneInfo"):
            encode(zone, key=KEY)


# -- what is refused


def _generator() -> Iterator[int]:
    yield 1


async def _coroutine() -> None: ...


def test_what_cannot_come_back_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    coroutine = _coroutine()
    with (tmp_path / "file").open() as text, (tmp_path / "file").open("rb") as raw, socket.socket() as sock:
        things: list[Any] = [
            text,
            raw,
            sock,
            threading.Lock(),
            _generator(),
            coroutine,
            memoryview(b"x"),
            iter([1]).__iter__,
        ]
        for thing in things[:-1]:
            places = {
                "payload": thing,
                "payload['a'][1]": {"a": [0, thing]},
                "payload.x": types.SimpleNamespace(x=thing),
                "payload[(1, 2)]": {(1, 2): thing},
                "payload.field": Plain(field=thing),
                "payload.flat[1]": np.array([0, thing, 2], dtype=object),
            }
            for place, payload in places.items():
                with pytest.raises(PayloadError, match="cannot be stored") as caught:
                    encode(payload, key=KEY)
                assert caught.value.path == place
    coroutine.close()
    with pytest.raises(PayloadError, match="open file"):
        encode(Items([io.BufferedReader(io.BytesIO())]), key=KEY)
    with pytest.raises(PayloadError, match="memmap"):
        encode(np.memmap(tmp_path / "file", "u1", "r"), key=KEY)
    with pytest.raises(PayloadError):
        encode(asyncio.Event, key=KEY, pickle=False)


class Unloadable:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


def test_what_pickles_but_does_not_unpickle_is_refused() -> None:
    with pytest.raises(PayloadError, match="does not unpickle"):
        encode([Unloadable()], key=KEY)


def test_bad_metadata_is_refused() -> None:
    bad: list[Any] = [{"a": object()}, {1: 2}, {"a": (1,)}, {"a": 2**70}]
    for metadata in bad:
        with pytest.raises(PayloadError, match="metadata"):
            encode(1, key=KEY, user_metadata=metadata)


# -- classes


class Items(list[Any]):
    """A subclass of a builtin must never come back as the builtin."""


class Mapping(dict[str, Any]):
    extra = None


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


class Slots:
    __slots__ = ("__private", "b", "unset")

    def __init__(self) -> None:
        self.__private = 1
        self.b = [2]

    def private(self) -> int:
        return self.__private


class MoreSlots(Slots):
    __slots__ = ("c",)


class Both(Slots):
    """Slots of its base, and a dict."""


@dataclasses.dataclass
class Base:
    a: int


@dataclasses.dataclass
class Inherited(Base):
    b: Any = None
    c: Any = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        assert self.a != -1, "rebuilding must not run it"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: Any
    b: Any = ()


@attrs.frozen
class FrozenRecord:
    a: Any = attrs.field(validator=attrs.validators.instance_of(dict))


@attrs.define
class SlotRecord:
    a: Any
    _b: Any = 1


@attrs.define(slots=False)
class DictRecord:
    a: Any


class Colour(enum.Enum):
    RED = "r"
    CRIMSON = "r"  # noqa: PIE796  # an alias


class Number(enum.IntEnum):
    ONE = 1


class Right(enum.Flag):
    R = 1
    W = 2


class Pair(NamedTuple):
    a: Any
    b: Any = 2


class NamedPair(collections.namedtuple("NamedPair", "a b")):  # noqa: PYI024
    __slots__ = ()


class LoosePair(collections.namedtuple("LoosePair", "a b")):  # noqa: PYI024, SLOT002
    pass


@dataclasses.dataclass
class Box(Generic[T]):
    value: T


def instances() -> list[Any]:
    shared = [1]
    loose = LoosePair(1, 2)
    loose.note = "x"  # type: ignore[attr-defined]
    both = Both()
    both.d = 1  # type: ignore[attr-defined]
    return [
        Items([1, [2]]),
        Mapping(a=1),
        Plain(a=1, b=shared, c=shared),
        Inherited(1, Frozen(1)),
        Frozen([1, np.int8(2)]),
        FrozenRecord({"a": (1,)}),
        SlotRecord(1),
        DictRecord(1),
        Colour.RED,
        Colour.CRIMSON,
        Number.ONE,
        Right.R | Right.W,
        Right(0),
        Pair(1),
        NamedPair(1, [2]),
        LoosePair(1, 2),
        Box(1),
        functools.partial(max, 1).func,
        collections.UserDict(a=1),
        math.sin,
        int,
        ValueError("x", 1),
        io.BytesIO(b"abc").getvalue(),
        types.MappingProxyType,
    ]


def test_instances() -> None:
    for payload in instances():
        for found in (again(payload), again([payload])[0], again({"a": (payload,)})["a"][0]):
            assert type(found) is type(payload)
            assert found == payload or repr(found) == repr(payload)


def test_slots_and_dicts_come_back_as_they_were() -> None:
    found = again(MoreSlots())
    assert found.private() == 1
    assert found.b == [2]
    assert not hasattr(found, "unset")
    assert not hasattr(found, "c")
    both = Both()
    both.d = both.b  # type: ignore[attr-defined]
    found = again(both)
    assert found.d is found.b
    assert found.private() == 1
    loose = LoosePair(1, 2)
    loose.note = "x"  # type: ignore[attr-defined]
    assert again(loose).note == "x"


def test_init_does_not_run() -> None:
    payload = Inherited(0)
    payload.a = -1
    assert again(payload).a == -1


def test_objects_share_with_what_is_around_them() -> None:
    shared = [1]
    found = again([Plain(a=shared), shared, Items([shared]), Items([shared])])
    assert found[0].a is found[1] is found[2][0] is found[3][0]
    found = again([Items([shared]), Items([shared])])
    assert found[0][0] is found[1][0]
    array = np.arange(100_000)
    blob = encode([Items([array]), array], key=KEY)
    assert len(blob.buffers) == 1
    assert len(blob.tree) < 2000
    found = decode(blob)
    assert found[0][0] is found[1]  # type: ignore[index]


def test_classes_defined_in_a_function_are_pickled_by_value() -> None:
    @dataclasses.dataclass
    class Local:
        a: int

    found = again([Local(1), lambda x: x + 1])
    assert found[0].a == 1
    assert type(found[0]).__name__ == "Local"
    assert found[1](1) == 2


def test_classes_that_name_no_module() -> None:
    class Nowhere:
        def __init__(self) -> None:
            self.a = 1

    class Items(list[int]):
        pass

    for kind in (Nowhere, Items):
        kind.__module__ = None  # type: ignore[assignment]
    found = again([Nowhere(), Items([1])])
    assert found[0].a == 1
    assert list(found[1]) == [1]


def test_registered_classes_need_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    @register_type
    @dataclasses.dataclass
    class Settings:
        a: int

    for cls in (Frozen, Colour, Pair, SlotRecord):
        monkeypatch.setattr(registry, "_names", dict(registry._names))
        monkeypatch.setattr(registry, "_types", dict(registry._types))
        register_type(cls)
    blob = encode([Settings(1), Frozen(1), Colour.RED, Pair(1), SlotRecord(1)], key=KEY, pickle=False)
    assert blob.signature is None
    assert blob.metadata["codec"] == "rows"
    assert decode(blob) == [Settings(1), Frozen(1), Colour.RED, Pair(1), SlotRecord(1)]
    monkeypatch.setattr(registry, "_types", {})
    with pytest.raises(UntrustedPayloadError, match="register_type"):
        decode(blob)


def test_a_renamed_class_under_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_names", {})
    monkeypatch.setattr(registry, "_types", {})
    register_type(Base, name="project:Old")
    blob = encode(Base(1), key=KEY)
    assert b"project:Old" in blob.tree
    assert decode(blob) == Base(1)
    with pytest.raises(ValueError, match="already registered"):
        register_type(Frozen, name="project:Old")


def test_what_cannot_be_registered() -> None:
    for cls in (Unloadable, int, list, dict, ValueError, Event, threading.Lock, Path):
        with pytest.raises(TypeError, match=r"cannot be registered|takes a class"):
            register_type(cls)
    with pytest.raises(TypeError):
        register_type(3)  # type: ignore[call-overload]


class Event(threading.Thread):
    def __getstate__(self) -> object:
        return None


class Celsius(float):
    """For a codec of its own."""


def test_a_codec_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_codecs_by_type", {})
    monkeypatch.setattr(registry, "_codecs_by_name", {})
    register_codec(
        Celsius,
        name="test.celsius",
        encode=lambda value: [float(value)],
        decode=lambda state: Celsius(state[0]),
    )
    blob = encode([Celsius(3)], key=KEY, pickle=False)
    assert type(decode(blob)[0]) is Celsius  # type: ignore[index]
    with pytest.raises(ValueError, match="already"):
        register_codec(Celsius, name="other", encode=float, decode=float)
    with pytest.raises(ValueError, match="already"):
        register_codec(list, name="other", encode=list, decode=list)
    monkeypatch.setattr(registry, "_codecs_by_name", {})
    with pytest.raises(PluginError, match=r"test\.celsius"):
        decode(blob)


# -- arrays


def test_snapshot() -> None:
    inner = [1]
    payload: dict[str, Any] = {
        "a": np.zeros(3),
        "b": inner,
        "c": bytearray(100_000),
        "d": np.ma.masked_array([1, 2]),
    }
    blob = encode(payload, key=KEY)
    payload["a"][:] = 1
    inner.append(2)
    payload["c"][0] = 1
    payload["d"][0] = 9
    found: Any = decode(blob)
    assert not found["a"].any()
    assert found["b"] == [1]
    assert not any(found["c"])
    assert found["d"][0] == 1
    found["a"][:] = 5
    assert not decode(blob)["a"].any()  # type: ignore[index]


def test_first_use_by_many_threads_at_once() -> None:
    """The module that knows a library is imported at first sight; nobody may see it half imported."""
    code = (
        "import threading, numpy; from laila.codec import encode\n"
        "found, barrier = [], threading.Barrier(8)\n"
        "def run():\n"
        "    barrier.wait()\n"
        "    found.append(encode([numpy.zeros(2), {1: (2, 3)}], key='k', pickle=False).digest)\n"
        "threads = [threading.Thread(target=run) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(found) == 8 and len(set(found)) == 1, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_copy_false() -> None:
    array = np.arange(1000.0)
    for payload in (array, [array[10:]], array.reshape(10, 100).T):
        with pytest.raises(ValueError, match="copy=False"):
            encode(payload, key=KEY, copy=False)
    view = array[:]
    view.setflags(write=False)
    with pytest.raises(ValueError, match="writable"):
        encode(view, key=KEY, copy=False)
    array.setflags(write=False)
    blob = encode(view, key=KEY, copy=False)
    assert np.shares_memory(np.frombuffer(blob.buffers[0].data), array)
    found: Any = decode(blob, copy=False)
    assert np.shares_memory(found, array)
    assert not found.flags.writeable
    found = decode(blob)
    assert found.flags.writeable
    assert not np.shares_memory(found, array)


def test_one_copy_each_way() -> None:
    import tracemalloc

    array = np.zeros(1 << 20)
    tracemalloc.start()
    try:
        blob = encode(array, key=KEY)
        assert tracemalloc.get_traced_memory()[1] < array.nbytes * 1.1
        tracemalloc.reset_peak()
        found = decode(blob)
        assert tracemalloc.get_traced_memory()[1] < array.nbytes * 2.1
        assert (blob._digest, blob.buffers[0]._hash) == (None, None), "nothing is hashed on the way"
        assert_same(array, found)
    finally:
        tracemalloc.stop()


def test_arrays_that_numpy_makes_difficult() -> None:
    zero_dimensional = np.array(5)
    objects = np.empty(3, object)
    objects[0], objects[1], objects[2] = zero_dimensional, [1, 2], (np.arange(2), None)
    cases: list[Any] = [
        objects,
        objects.reshape(3, 1)[:, ::-1],
        np.array([[1, 2], [3, 4]], dtype=object).T,
        np.empty((0, 3), object),
        np.array(None),
        np.array([(1, [2.0, 3.0])], dtype=[("a", "i1"), ("b", ">f8", (2,))]),
        np.zeros(
            2, np.dtype({"names": ["x", "y"], "formats": ["i4", "u1"], "offsets": [8, 0], "itemsize": 16})
        ),
        np.zeros(2, np.dtype([(("a title", "x"), "f4")])),
        np.rec.array([(1, "a")], dtype=[("n", "i4"), ("s", "U3")]),
        np.rec.array([(1, "a")], dtype=[("n", "i4"), ("s", "U3")])[0],
        np.zeros(2, np.dtype((np.record, [("a", "i4")]))),
        np.array([(1, 2)], dtype="i4,i4")[0],
        np.arange(4).reshape(2, 2).view(np.matrix),
        np.ma.masked,
        np.ma.masked_array([1, 2], mask=[True, False], fill_value=7, hard_mask=True),
        np.ma.masked_array([(1, 2.0)], mask=[(True, False)], dtype=[("a", "i4"), ("b", "f8")]),
        np.ma.masked_array(np.zeros((2, 2)).T),
        np.array(["2020", "NaT"], "M8[ns]"),
        np.array([1, -1], "m8[25s]"),
        np.array([1, 2], "q"),
        np.array([1, 2], ">Q"),
        np.array([1.5], np.longdouble),
        np.array([b"a\0b", b""], "S4"),
        np.array(["é", ""], ">U2"),
        np.array([b"abc"], "V3"),
        np.void(b"xyz"),
        np.dtype("<f4"),
        np.dtype([("a", "i4")]),
        np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        np.broadcast_to(np.arange(3), (4, 3)),
    ]
    for case in cases:
        assert_same(case, again(case, pickle=False))
        assert_same([case, (case,)], again([case, (case,)], pickle=False))


def test_arrays_that_need_a_signature() -> None:
    class Own(np.ndarray[Any, Any]):
        pass

    cases: list[Any] = [
        np.zeros(2).view(Own),
        np.zeros(2, np.dtype("f8", metadata={"a": Own})),
        np.zeros(2, "V0"),
    ]
    for case in cases:
        blob = encode(case, key=KEY)
        assert blob.signature is not None
        found: Any = decode(blob)
        assert found.dtype == case.dtype
        assert type(found).__name__ == type(case).__name__
        assert found.tolist() == case.tolist()


def test_gaps_between_fields_are_no_content() -> None:
    dtype = np.dtype("i1,f8", align=True)
    one, two = np.zeros(3, dtype), np.full(3 * dtype.itemsize, 0xFF, "u1").view(dtype)
    two["f0"], two["f1"] = 0, 0
    assert one.tobytes() != two.tobytes()
    assert encode(one, key=KEY).digest == encode(two, key=KEY).digest


# -- libraries


def test_images() -> None:
    image_module = pytest.importorskip("PIL.Image")
    for mode in (
        "1",
        "L",
        "P",
        "LA",
        "PA",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "I",
        "F",
        "I;16",
    ):
        image = image_module.effect_noise((7, 5), 50).convert(
            "RGB" if mode in ("LAB", "HSV", "PA", "I;16") else mode
        )
        image = (
            image.convert(mode)
            if mode in ("HSV", "LAB")
            else image_module.new(mode, (7, 5))
            if mode in ("PA", "I;16")
            else image
        )
        image.info["dpi"] = (72, 72)
        found = again(image, pickle=False)
        assert found == image
        assert found.info == image.info
        assert type(found) is type(image)
    colours = image_module.effect_noise((9, 9), 90).quantize(5)
    assert again([colours], pickle=False)[0] == colours
    file = io.BytesIO()
    image_module.new("L", (2, 2), 7).save(file, "png")
    opened = image_module.open(io.BytesIO(file.getvalue()))
    opened.load()
    found = again(opened)
    assert type(found) is type(opened)
    assert found == opened


def test_tables() -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    table = pa.table(
        {
            "a": [1, None, 3],
            "b": ["x", None, "z"],
            "c": pa.array(["u", "v", "u"]).dictionary_encode(),
            "d": [[1], None, [2, 3]],
            "e": [{"p": 1}, None, {"p": 2}],
        },
        metadata={"k": "v"},
    )
    assert again(table, pickle=False).equals(table, check_metadata=True)
    frame = pd.DataFrame(
        {
            "a": [1, 2],
            "b": ["x", None],
            "c": [1.5, np.nan],
            "d": pd.to_datetime(["2020-01-01", None]),
            "e": pd.Categorical(["q", "r"]),
            "f": pd.array([1, None], dtype="Int64"),
        },
        index=pd.Index([5, 6], name="i"),
    )
    pd.testing.assert_frame_equal(again(frame, pickle=False), frame)
    pd.testing.assert_series_equal(again(frame["c"], pickle=False), frame["c"])


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob with arrays, read where numpy is missing, says what to install."""
    blob = bytes(encode([np.zeros(2)], key=KEY))
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from laila.codec import decode; from laila.blob.blob import Blob\n"
        "try: decode(Blob.from_bytes(sys.stdin.buffer.read()))\n"
        "except ImportError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], input=blob, capture_output=True, check=True
    ).stdout.decode()
    assert "pip install 'laila-core[numpy]'" in found
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(PayloadError, match=r"pip install 'laila-core\[pickle\]'"):
        encode([len], key=KEY)


def test_small_payloads_load_nothing_heavy() -> None:
    code = (
        "import sys; from laila.codec import decode, encode\n"
        "from laila.blob.blob import Blob\n"
        "decode(Blob.from_bytes(bytes(encode({'a': [1, 2.5, None], 'b': (1, 2)}, key='k'))))\n"
        "heavy = 'numpy torch PIL pandas attrs cattrs pluggy logging asyncio concurrent.futures "
        "cryptography dataclasses "
        "inspect decimal uuid pathlib hmac pickle'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert found.strip() == "[]"
