"""Old blobs stay readable: each file of the corpus gives the value written here, of the same types."""

from __future__ import annotations

import datetime as dt
import os
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode
from laila.testing.payloads import assert_same
from laila.transform import TransformationSequence

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
SECRET = "golden-golden-golden-golden-golden"  # it protects nothing
CORPUS = Path(__file__).parent / "corpus"

SHARED = [1]


def _views() -> list[Any]:
    """Arrays that share memory: one that owns it, and some of which none shows all."""
    line, square = np.arange(6, dtype="<i4"), np.arange(20, dtype="<f8").reshape(4, 5)
    fields = np.array([(1, 2.5)] * 3, np.dtype("i1,<f8", align=True))
    return [line, line[:2], line[::-1], square[:, :2], square[1, 1:], fields, fields["f1"]]


def _objects() -> list[Any]:
    """Structures with objects in them, attributes, a structured scalar, a wide structure, metadata."""
    noted: Any = np.ma.masked_array(np.zeros(2, "<f4"), mask=[True, False], fill_value=3)
    noted.note = "n"
    mixed = np.array([(1, "a")], [("i", "<i4"), ("o", "O")])
    wide = np.zeros(2, [(f"f{n}", "<f4") for n in range(20)])
    text = np.array(["a"], np.dtype("O", metadata={"vlen": str}))
    return [noted, mixed, np.array([(1, 2)], "<i4,<i2")[0], wide, text]


def values() -> dict[str, Any]:
    """File name to payload."""
    array_f = np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3))
    structured = np.zeros(
        2, np.dtype([("id", "<i4"), ("pos", ">f8", (2,)), (("title", "t"), "S3")], align=True)
    )
    structured["id"] = [1, 2]
    structured["t"] = b"ab"
    return {
        "plain": {
            "a": [None, True, -1, 2**64 - 1, 1.5, "é", b"\0"],
            3: {},
            None: [],
            2.5: "x",
            False: float("-inf"),
        },
        "containers": [
            (1, (2,)),
            {3, 1, (2, 2)},
            frozenset({"a"}),
            {(1, 2): []},
            SHARED,
            SHARED,
            ...,
            NotImplemented,
        ],
        "numbers": [
            2**100,
            -(2**63) - 1,
            1 - 2j,
            range(0, 10**20, 3),
            slice(1, None, (2,)),
            Fraction(-3, 7),
            Decimal("-0.10"),
        ],
        "collections": [
            OrderedDict(b=1, a=2),
            defaultdict(list, {1: [2]}),
            Counter("aab"),
            deque([1, 2], 5),
            SimpleNamespace(a=SHARED, b=SHARED),
            bytearray(b"xyz"),
            array("d", [0.5]),
        ],
        "times": [
            dt.date(2020, 2, 29),
            dt.time(1, 2, 3, 4, fold=1),
            dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
            dt.datetime(1, 1, 1),  # noqa: DTZ001  # a naive one is a type of its own
            dt.timedelta(-1, 2, 3),
            dt.UTC,
            dt.timezone(dt.timedelta(hours=-3), "named"),
        ],
        "names": [UUID(int=5), PurePosixPath("/a/b"), PureWindowsPath("c:/x"), "lone \ud800 surrogate"],
        "buffers": [
            b"x" * 65_536,
            bytearray(65_536),
            np.arange(3.0),
            array_f,
            np.array(5, "<u1"),
            np.zeros((0, 2), "<f4"),
        ],
        "numpy": [
            np.array(["2020-01-01", "NaT"], "<M8[D]"),
            np.array(["a", "bc"], "<U2"),
            structured,
            np.ma.masked_array([1, 2, 3], mask=[True, False, False], fill_value=9, dtype="<i8"),
            np.array([None, [1], (2,)], dtype=object),
            np.float32(1.5),
            np.datetime64("2020-01-01"),
            np.str_("x"),
            np.dtype("<f4"),
            structured.copy().view(np.recarray),  # a view of the other would share its memory
        ],
        "views": [*_views(), *_objects()],
        "runs": [
            *(part for n in range(40) for part in ([n, None], {"a": n, "b": (n // 2, "x")}, 2**64 + n % 9)),
            *(part for n in range(40) for part in ({n, str(n)}, bytearray([n]), {n: b"k"}, (n, (n % 3,)))),
            *(part for n in range(40) for part in (dt.date(2020, 1, 1 + n % 9), OrderedDict(a=n), {(n, 1)})),
        ],
        "signed": Path,
        "pieces": [np.arange(2**20 + 1, dtype="<u1")],
    }


NOTED = {"notes": {"Kept": b"as it is", "Empty": b""}}
"""Header fields that no version knows, by the file that has them."""
SEQUENCES = {"zlib": ["zlib"], "zstd": ["zstd"], "base64": ["base64"], "aes-gcm": ["zstd", "aes-gcm"]}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", SECRET)
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", SECRET)


def make(name: str) -> bytes:
    """The bytes of a golden blob, as this version writes it."""
    os.environ["LAILA_SECRET_KEY"] = os.environ["LAILA_ENCRYPTION_KEY"] = SECRET
    if name in NOTED:
        plain = encode(values()["plain"], key=KEY, nickname="golden")
        return bytes(Blob(KEY, plain.tree, (), "golden", plain._meta, notes=NOTED[name]))
    if name in SEQUENCES:
        plain = encode(values()["plain"], key=KEY, nickname="golden")
        return bytes(TransformationSequence(SEQUENCES[name]).apply(plain))
    return bytes(encode(values()[name], key=KEY, nickname="golden", user_metadata={"made": "once"}))


@pytest.mark.parametrize("name", sorted(values()))
def test_golden_blob(name: str) -> None:
    raw = (CORPUS / f"{name}.laila").read_bytes()
    blob = Blob.from_bytes(raw, key=KEY)
    assert blob.nickname == "golden"
    assert blob.metadata["user"] == {"made": "once"}
    assert_same(values()[name], decode(blob))


@pytest.mark.parametrize("name", sorted(set(values()) - {"signed"}))
def test_content_digest_is_for_ever(name: str) -> None:
    """Equal content has the digest it always had: else an old constant would look changed."""
    head = Blob.read_head((CORPUS / f"{name}.laila").read_bytes())
    assert encode(values()[name], key=KEY).digest == head.digest


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_golden_transformed_blob(name: str) -> None:
    blob = Blob.from_bytes((CORPUS / f"{name}.laila").read_bytes(), key=KEY)
    assert [step for step, _ in blob.transformations] == SEQUENCES[name]
    inner = TransformationSequence(()).invert(blob)
    assert inner.nickname == "golden"
    assert_same(values()["plain"], decode(inner))


@pytest.mark.parametrize("name", sorted(NOTED))
def test_golden_notes(name: str) -> None:
    raw = (CORPUS / f"{name}.laila").read_bytes()
    blob = Blob.from_bytes(raw, key=KEY)
    assert blob.notes == NOTED[name]
    assert bytes(blob) == raw
    assert_same(values()["plain"], decode(blob))


def test_every_file_is_tested() -> None:
    assert {path.stem for path in CORPUS.glob("*.laila")} == {*values(), *SEQUENCES, *NOTED}
