"""Encoder and decoder never disagree: what is made of odd parts is written so that it is read, or is refused.

The parts are what others put where Python's own types are expected: numpy's numbers and texts, members of
enums, instances of subclasses of int, float and str.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import enum
import fractions
import http
import io
import ipaddress
import pathlib
import pickle
import time
import types
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from laila.blob.blob import Blob
from laila.codec import decode, encode, tags
from laila.codec.invariants import FIELDS, fields_of_row, is_doubtful
from laila.codec.registry import DECODERS
from laila.errors import PayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


class Whole(int):
    pass


class Real(float):
    pass


class Text(str):
    __slots__ = ()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 200


class Amount(decimal.Decimal):
    pass


class Share(fractions.Fraction):
    pass


class Plane(complex):
    pass


class Moment(dt.datetime):
    pass


class Day(dt.date):
    pass


class Span(dt.timedelta):
    pass


class Window(collections.deque[Any]):
    pass


class Bag(collections.Counter[Any]):
    pass


small = st.integers(0, 12)
wholes = st.one_of(
    small,
    small.map(Whole),
    st.booleans(),
    st.sampled_from(Level),
    st.sampled_from([np.int8, np.uint16, np.int64, np.uint64, np.longlong, np.bool_]).flatmap(
        lambda kind: st.integers(0, 1).map(kind) if kind is np.bool_ else small.map(kind)
    ),
    st.integers(-(1 << 70), 1 << 70),
)
reals = st.one_of(
    wholes,
    st.floats(),
    st.floats().map(Real),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.sampled_from([fractions.Fraction(1, 3), decimal.Decimal("1.50")]),
)
texts = st.one_of(
    st.sampled_from(
        ["", "a", "10.0.0.1", "::1", "fe80::1%a", "é\ud800", "UTC", "1.5", "NaN12", "a/../b", "c:x"]
    ),
    st.sampled_from(["a", "UTC", "2.50"]).map(Text),
    st.sampled_from(["a", "UTC", "7"]).map(np.str_),
)
anything = st.one_of(wholes, reals, texts, st.none())
zones = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.just(zoneinfo.ZoneInfo("Europe/Berlin")),
    st.builds(dt.timezone, st.just(dt.timedelta(hours=1)), texts),
)

MAKERS: tuple[tuple[Any, tuple[Any, ...], dict[str, Any]], ...] = (
    *((kind, (reals, reals), {}) for kind in (complex, Plane)),
    *((kind, (wholes,) * 3, {}) for kind in (range, dt.date, Day, dt.timedelta, Span)),
    (slice, (anything,) * 3, {}),
    (dt.timedelta, (reals, reals), {}),
    *((kind, (wholes,) * 4, {"fold": wholes, "tzinfo": zones}) for kind in (dt.datetime, Moment)),
    (dt.time, (wholes, wholes), {"fold": wholes, "tzinfo": zones}),
    (dt.timezone, (st.builds(dt.timedelta, hours=small), texts), {}),
    *((kind, (st.one_of(reals, texts),), {}) for kind in (decimal.Decimal, Amount)),
    *((kind, (st.one_of(wholes, texts), wholes), {}) for kind in (fractions.Fraction, Share)),
    (fractions.Fraction, (reals,), {}),
    (uuid.UUID, (), {"int": wholes, "is_safe": st.sampled_from(uuid.SafeUUID)}),
    *(
        (kind, (st.one_of(wholes, texts),), {})
        for kind in (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.ip_network,
            ipaddress.ip_interface,
        )
    ),
    *((kind, (texts, texts), {}) for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.Path)),
    *((kind, (st.lists(anything), st.integers(0, 3)), {}) for kind in (collections.deque, Window)),
    *((kind, (st.dictionaries(texts, anything),), {}) for kind in (collections.Counter, Bag)),
    (collections.OrderedDict, (st.dictionaries(anything, anything),), {}),
    (
        collections.defaultdict,
        (st.sampled_from([int, list, None, Text]), st.dictionaries(texts, anything)),
        {},
    ),
    (types.SimpleNamespace, (), {"a": anything, "b": anything}),
    (types.MappingProxyType, (st.dictionaries(anything, anything),), {}),
    (time.struct_time, (st.tuples(*[anything] * 9),), {}),
    (array.array, (st.sampled_from("bBhHiIlLqQfd"), st.lists(reals)), {}),
    (array.array, (st.just("u"), texts), {}),
    (io.StringIO, (texts,), {"newline": st.sampled_from([None, "", "\n", "\r", "\r\n"])}),
    (io.BytesIO, (st.binary(),), {}),
    (zoneinfo.ZoneInfo, (texts,), {}),
    (zoneinfo.ZoneInfo.no_cache, (texts,), {}),
    (
        lambda value: value,
        (st.one_of(wholes, reals, texts, st.just(...), st.binary(), st.just(bytearray(b"x"))),),
        {},
    ),
)


@st.composite
def odd_values(draw: st.DrawFn) -> Any:
    """What one of the constructors makes of odd parts."""
    make, arguments, named = draw(st.sampled_from(MAKERS))
    given = [draw(part) for part in arguments]
    keywords = {name: draw(part) for name, part in named.items()}
    try:
        return make(*given, **keywords)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError, Warning):
        assume(False)  # it takes no such parts


def told(value: Any) -> Any:
    """What can be seen of a value: its type, what it says, and its parts."""
    kind = type(value)
    seen: list[Any] = [kind, repr(value) if " at 0x" not in repr(value) else None]
    if isinstance(value, dict):
        return [*seen, [(told(key), told(item)) for key, item in dict.items(value)]]
    if isinstance(value, (list, tuple, collections.deque)):
        return [*seen, [told(item) for item in value]]
    for name in (
        *("real", "imag", "start", "stop", "step", "numerator", "denominator", "tzinfo", "fold", "int"),
        *("typecode", "maxlen", "newlines", "key", "parts", "scope_id", "network", "default_factory"),
    ):
        part = getattr(value, name, None)
        if part is not None and not callable(part) and part is not value:
            seen.append((name, type(part), repr(part)))
    if isinstance(value, (dt.datetime, dt.time)) and value.tzinfo is not None:
        seen.append((type(value.tzname()), value.tzname(), value.utcoffset()))
    if isinstance(value, (io.StringIO, io.BytesIO)):
        seen.append((value.getvalue(), value.tell()))
    return seen


def wrapped(value: Any) -> list[Any]:
    """Payloads with ``value`` in places that different parts of the encoder take care of."""
    items = np.empty(2, object)
    items[0] = value
    payloads = [value, [value, "x"], [[value], [value]], {"a": (value, 1)}, [value] * 40, items]
    try:
        hash(value)
    except TypeError:
        return payloads
    return [*payloads, {value: 1}, {value, "x"}, collections.OrderedDict({value: value})]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(odd_values(), st.integers(0, 8))
def test_what_is_written_of_odd_values_is_read_or_refused(value: Any, number: int) -> None:
    payloads = wrapped(value)
    payload = payloads[number % len(payloads)]
    try:
        raw = bytes(encode(payload, key=KEY))
    except PayloadError as error:
        assert error.path.startswith("payload")  # noqa: PT017 - either is right
        return
    found = decode(Blob.from_bytes(raw, key=KEY))
    if isinstance(payload, np.ndarray):
        payload, found = payload.tolist(), found.tolist()  # type: ignore[attr-defined]
    if isinstance(payload, set):
        payload, found = sorted(payload, key=repr), sorted(found, key=repr)  # type: ignore[call-overload]
    assert told(found) == told(payload)


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(odd_values())
def test_many_of_one_kind_are_read_too(value: Any) -> None:
    """Many values of one kind are written in columns."""
    try:
        payload = [value, *(pickle.loads(pickle.dumps(value)) for _ in range(40))]
    except Exception:  # noqa: BLE001 - it is not pickled
        assume(False)
    try:
        raw = bytes(encode(payload, key=KEY))
    except PayloadError as error:
        assert error.path.startswith("payload")  # noqa: PT017 - either is right
        return
    assert told(decode(Blob.from_bytes(raw, key=KEY))) == told(payload)


SAMPLES: tuple[Any, ...] = (
    *(
        ...,
        1 << 70,
        1j,
        bytes(1 << 17),
        bytearray(3),
        range(3),
        dt.date(2024, 1, 1),
        dt.time(1),
        dt.timedelta(1),
    ),
    *(dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), zoneinfo.ZoneInfo.no_cache("Europe/Berlin")),
    *(dt.timezone(dt.timedelta(1 / 24), "x"), decimal.Decimal(1), fractions.Fraction(1, 2), uuid.UUID(int=1)),
    *(pathlib.PurePath("a"), ipaddress.ip_address("::1"), http.HTTPStatus.OK),
)


def test_the_table_has_every_row_of_a_scalar_and_holds_both_sides_to_it() -> None:
    written: dict[int, list[Any]] = {}
    for sample in SAMPLES:
        unpacked = encode([sample], key=KEY).tree
        import msgpack

        unpacker = msgpack.Unpacker(unicode_errors="surrogatepass")
        unpacker.feed(unpacked[1:])
        for row in unpacker:
            written.setdefault(row[0], row)
    assert written.keys() >= FIELDS.keys()
    for tag in FIELDS:
        row = written[tag]
        assert not is_doubtful(row)
        for place in range(1, len(row)):
            if tag in (tags.TIME, tags.DATETIME, tags.TIMEZONE) and place == len(row) - 1:
                continue
            for other in (Whole(1), Text("a"), np.int64(1), 1.5j, [1]):
                odd = [*row[:place], other, *row[place + 1 :]]
                assert is_doubtful(odd)
                with pytest.raises((TypeError, ValueError)):
                    fields_of_row(odd)
        for wrong in (row[:-1], [*row, 1]):
            with pytest.raises((TypeError, ValueError)):
                fields_of_row(wrong)


def test_what_no_decoder_was_held_to_is_read_before_it_is_stored() -> None:
    """Rows beside those of scalars, plain containers, arrays and tensors are doubtful; so are new ones."""
    for tag in set(DECODERS) - FIELDS.keys():
        name = next(name for name, value in vars(tags).items() if value == tag and type(value) is int)
        sure = not is_doubtful([tag])
        assert sure == (
            name
            in (
                *("LIST", "TUPLE", "DICT", "SET", "FROZENSET", "DEQUE", "DEFAULT_DICT", "SLICE", "PART"),
                *("ARRAY_ARRAY", "NDARRAY", "STRUCTURED", "OBJECT_ARRAY", "SCALAR", "NUMPY_TEXT", "DTYPE"),
                *("VIEW", "TENSOR", "DEVICE", "TORCH_CONSTANT"),
                *("PANDAS_CONSTANT", "TIMESTAMP", "PANDAS_TIMEDELTA"),
            )
        ), name
    assert is_doubtful([255])


@pytest.mark.parametrize("code", ["longlong", "ulonglong", "long", ">q", "clongdouble"])
def test_a_dtype_says_the_same_when_it_comes_back(code: str) -> None:
    dtype: np.dtype[Any] = np.dtype(code)
    found: Any = decode(encode([dtype, np.zeros(2, dtype)], key=KEY))
    for back in (found[0], found[1].dtype):
        assert (repr(back), back.num, back.byteorder) == (repr(dtype), dtype.num, dtype.byteorder)


def test_a_library_that_breaks_while_it_is_loaded_is_no_error_of_a_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from laila.codec import registry

    class Frame:
        """Looks like a class of pandas."""

    Frame.__module__ = "pandas.broken"

    def broken(module: str) -> None:
        raise AttributeError("module 'pandas' has no attribute 'core'")

    monkeypatch.setattr(registry, "_load", broken)
    registry.family_of.cache_clear()
    with pytest.raises(PayloadError) as caught:
        encode([Frame()], key=KEY, pickle=False)
    assert caught.value.path == "payload[0]"
