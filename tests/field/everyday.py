"""Objects of the standard library, and of libraries of containers, dates and configuration."""

from __future__ import annotations

from typing import Any

from field.registry import library


@library
def python() -> dict[str, Any]:
    import array
    import collections
    import datetime as dt
    import decimal
    import enum
    import fractions
    import functools
    import ipaddress
    import operator
    import pathlib
    import random
    import re
    import types
    import uuid
    import zoneinfo

    shared = [1, 2]
    chained = ValueError("outer")
    chained.__cause__ = KeyError("inner")
    chained.add_note("a note")
    return {
        "None": None,
        "a long int": -(10**400),
        "floats": [0.1, -0.0, float("inf"), float("nan"), 5e-324],
        "complex": complex(-0.0, float("nan")),
        "lone surrogate": "a\ud800b",
        "bytes": bytes(range(256)) * 10,
        "bytearray": bytearray(b"abc"),
        "shared list": {"a": shared, "b": shared},
        "keys of many types": {1: "a", "1": "b", (1,): "c", None: "d", 2.5: "e", b"1": "f"},
        "nested": [[[[[]]]], {"a": {"b": {"c": ()}}}],
        "set": {1, "a", (2, 3), frozenset({4})},
        "range": range(0, 10**30, 7),
        "slice": slice(None, 5, -1),
        "Ellipsis": [..., NotImplemented],
        "date": dt.date(1, 1, 1),
        "time with fold": dt.time(1, 2, 3, 4, fold=1),
        "aware datetime": dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        "utc datetime": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "timedelta": dt.timedelta(days=-3, microseconds=7),
        "Decimal": decimal.Decimal("-0.1000E-30"),
        "Fraction": fractions.Fraction(-3, 7),
        "UUID": uuid.UUID(int=7),
        "PurePosixPath": pathlib.PurePosixPath("a/b"),
        "OrderedDict": collections.OrderedDict(b=1, a=2),
        "defaultdict": collections.defaultdict(list, {"a": [1]}),
        "Counter": collections.Counter("abracadabra"),
        "deque": collections.deque([1, 2, 3], maxlen=5),
        "ChainMap": collections.ChainMap({"a": 1}, {"b": 2}),
        "UserDict": collections.UserDict({"a": 1}),
        "UserList": collections.UserList([1, 2]),
        "UserString": collections.UserString("abc"),
        "array": array.array("d", [1.0, float("nan")]),
        "SimpleNamespace": types.SimpleNamespace(a=1, b=[2]),
        "mappingproxy": types.MappingProxyType({"a": 1}),
        "IPv4Address": ipaddress.ip_address("10.0.0.1"),
        "IPv6Network": ipaddress.ip_network("2001:db8::/32"),
        "pattern": re.compile(r"a(?P<b>\d+)", re.IGNORECASE),
        "partial": functools.partial(int, base=2),
        "itemgetter": operator.itemgetter(1, 3),
        "random.Random": random.Random(7),
        "exception": ValueError("a", 3),
        "chained exception": chained,
        "exception group": ExceptionGroup("many", [ValueError(1), TypeError("x")]),
        "flag": re.IGNORECASE | re.MULTILINE,
        "enum member": enum.EnumCheck.UNIQUE,
        "builtin function": len,
        "class": int,
        "generic alias": list[int],
        "memory of StringIO": __import__("io").StringIO("text"),
    }


@library
def attrs() -> dict[str, Any]:
    from field.shapes import Frozen, Point, Slotted

    return {"class": Point(1, [2]), "slots": Slotted(1, 2), "frozen": Frozen(3)}


@library
def dataclasses() -> dict[str, Any]:
    from field.shapes import Box, Colour, Derived, FrozenBox, Pair, Plain, SlottedBox

    return {
        "dataclass": Box(1, ["a"]),
        "slots": SlottedBox(1, 2),
        "frozen": FrozenBox(3),
        "derived": Derived(1, ["b"], 3.5),
        "named tuple": Pair(1, "x"),
        "enum": [Colour.RED, Colour.RED | Colour.BLUE],
        "plain class": Plain(1),
        "as keys": {FrozenBox(1): "a", Pair(1, "x"): "b"},
    }


@library
def pydantic() -> dict[str, Any]:
    from field.shapes import Config, Nested

    return {
        "model": Config(name="a", rate=0.5),
        "nested": Nested(configs=[Config(name="b", rate=1)], tags={"x"}),
        "fields set": Config.model_construct(name="c"),
    }


@library
def msgspec() -> dict[str, Any]:
    from field.shapes import Message

    return {"struct": Message(1, "x"), "list of structs": [Message(2, "y"), Message(3, "z")]}


@library
def bidict() -> dict[str, Any]:
    import bidict

    return {"bidict": bidict.bidict(a=1), "frozen": bidict.frozenbidict(a=1)}


@library
def sortedcontainers() -> dict[str, Any]:
    import sortedcontainers as sc

    return {"dict": sc.SortedDict(b=1, a=2), "list": sc.SortedList([3, 1]), "set": sc.SortedSet("ba")}


@library
def frozendict() -> dict[str, Any]:
    import frozendict

    return {"frozendict": frozendict.frozendict(a=1), "as a key": {frozendict.frozendict(a=1): 2}}


@library
def immutables() -> dict[str, Any]:
    import immutables

    return {"Map": immutables.Map(a=1, b=(2,))}


@library
def pyrsistent() -> dict[str, Any]:
    import pyrsistent as pr

    return {"pmap": pr.pmap({"a": 1}), "pvector": pr.pvector([1, 2]), "pset": pr.pset([1])}


@library
def addict() -> dict[str, Any]:
    import addict

    return {"Dict": addict.Dict(a={"b": 1})}


@library
def box() -> dict[str, Any]:
    import box

    return {"Box": box.Box(a={"b": [1, {"c": 2}]}), "BoxList": box.BoxList([{"a": 1}])}


@library
def munch() -> dict[str, Any]:
    import munch

    return {"Munch": munch.munchify({"a": {"b": 1}})}


@library
def omegaconf() -> dict[str, Any]:
    import omegaconf

    return {"config": omegaconf.OmegaConf.create({"a": {"b": [1, 2]}, "c": "${a.b}"})}


@library
def ruamel() -> dict[str, Any]:
    import io

    import ruamel.yaml

    return {"round trip": ruamel.yaml.YAML().load(io.StringIO("a: 1 # note\nb: [1, 2]\n"))}


@library
def tomlkit() -> dict[str, Any]:
    import tomlkit

    return {"document": tomlkit.parse('a = 1 # note\n[b]\nc = "x"\n')}


@library
def yaml() -> dict[str, Any]:
    import yaml

    return {"loaded": yaml.safe_load("a: [1, 2.5, null, 2024-01-01]")}


@library
def arrow() -> dict[str, Any]:
    import arrow

    return {"Arrow": arrow.get("2024-01-01T00:00:00+01:00")}


@library
def pendulum() -> dict[str, Any]:
    import pendulum

    return {
        "DateTime": pendulum.datetime(2024, 1, 1, tz="Europe/Berlin"),
        "Duration": pendulum.duration(days=3, hours=2),
        "Date": pendulum.date(2024, 1, 1),
    }


@library
def whenever() -> dict[str, Any]:
    import whenever

    return {"Instant": whenever.Instant.from_utc(2024, 1, 1), "Date": whenever.Date(2024, 1, 1)}


@library
def pytz() -> dict[str, Any]:
    import datetime as dt

    import pytz

    zone = pytz.timezone("Europe/Berlin")
    return {"zone": zone, "datetime": zone.localize(dt.datetime(2024, 7, 1)), "utc": pytz.utc}


@library
def dateutil() -> dict[str, Any]:
    import datetime as dt

    from dateutil import relativedelta, rrule, tz

    return {
        "relativedelta": relativedelta.relativedelta(months=+1, days=-2),
        "zone": tz.tzutc(),
        "offset": dt.datetime(2024, 1, 1, tzinfo=tz.tzoffset("x", 3600)),
        "rule": list(rrule.rrule(rrule.DAILY, count=2, dtstart=dt.datetime(2024, 1, 1))),
    }


@library
def multidict() -> dict[str, Any]:
    import multidict

    return {"MultiDict": multidict.MultiDict([("a", 1), ("a", 2)]), "insensitive": multidict.CIMultiDict(A=1)}


@library
def yarl() -> dict[str, Any]:
    import yarl

    return {"URL": yarl.URL("http://a/b?c=1")}


@library
def netaddr() -> dict[str, Any]:
    import netaddr

    return {"address": netaddr.IPAddress("10.0.0.1"), "network": netaddr.IPNetwork("10.0.0.0/8")}


@library
def sqlalchemy() -> dict[str, Any]:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    table = sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True))
    return {"url": sa.make_url("sqlite:///x.db"), "table": table}


@library
def lxml() -> dict[str, Any]:
    from lxml import etree

    return {"text of a tree": etree.tostring(etree.fromstring("<a><b x='1'/>t</a>"))}


@library
def bs4() -> dict[str, Any]:
    import bs4

    return {"soup": bs4.BeautifulSoup("<p>a<b>c</b></p>", "html.parser")}


@library
def jsonschema() -> dict[str, Any]:
    import jsonschema

    return {"error": jsonschema.ValidationError("wrong", path=["a"])}
