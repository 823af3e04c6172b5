"""Hostile rows that would hang, crash or exhaust the interpreter, or put in what a class does not have."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import io
import json
import logging
import subprocess
import sys
import threading
import tracemalloc
import zoneinfo
from collections import defaultdict, deque
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, plain, register_type, registry, tags, trust
from laila.codec.limits import MAX_NESTING
from laila.entry import from_blob
from laila.errors import CorruptEntryError, MissingPluginError, PayloadError, UntrustedPayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
MODULUS = 2**61 - 1
"""Ints that differ by this have the same hash."""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")
    for table in ("_names", "_types"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


def ref(index: int) -> msgpack.ExtType:
    return msgpack.ExtType(index >> 24, (index & 0xFFFFFF).to_bytes(3, "little"))


def read(*rows: list[Any], buffers: tuple[bytes, ...] = (), **given: Any) -> Any:
    tree = tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))
    return decode(Blob(KEY, tree, tuple(Buffer(memoryview(data)) for data in buffers), **given))


def web(size: int) -> list[list[Any]]:
    """Tuples that hold the one before twice: 2**size leaves in size rows."""
    return [[tags.TUPLE], *([tags.TUPLE, ref(i), ref(i)] for i in range(size))]


# -- nesting: what is freed or hashed by recursion in C


FRAGILE: dict[str, Any] = {
    "slice": lambda inner: [tags.SLICE, inner, None, None],
    "deque": lambda inner: [tags.DEQUE, None, inner],
    "defaultdict": lambda inner: [tags.DEFAULT_DICT, None, 1, inner],
    "objects": lambda inner: [tags.OBJECT_ARRAY, ref(0), "C", inner],
}
UNWOUND: dict[str, Any] = {
    "list": lambda inner: [tags.LIST, inner],
    "dict": lambda inner: [tags.DICT, 1, inner],
    "ordered": lambda inner: [tags.ORDERED_DICT, None, 1, inner],
    "counter": lambda inner: [tags.COUNTER, None, 1, inner],
    "namespace": lambda inner: [tags.NAMESPACE, "a", inner],
    "frozenset": lambda inner: [tags.FROZENSET, inner],
}


@pytest.mark.parametrize("name", FRAGILE)
def test_what_python_frees_by_recursion_nests_only_so_deep(name: str) -> None:
    def chain(depth: int) -> list[list[Any]]:
        return [[tags.TUPLE], *(FRAGILE[name](ref(i)) for i in range(depth))]

    for depth in (MAX_NESTING + 1, 200_000):
        with pytest.raises(CorruptEntryError, match="deep"):
            read(*chain(depth))
    # Lists between them help nothing: the limit is for all on one path.
    mixed = chain(0)
    for _ in range(MAX_NESTING + 1):
        mixed += [[tags.LIST, ref(len(mixed) - 1)], FRAGILE[name](ref(len(mixed)))]
    with pytest.raises(CorruptEntryError, match="deep"):
        read(*mixed)
    done: list[bool] = []

    def at_the_limit() -> None:
        found = read(*chain(MAX_NESTING))
        del found
        done.append(True)

    before = threading.stack_size(2 << 20)
    try:
        thread = threading.Thread(target=at_the_limit)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert done


@pytest.mark.parametrize("name", UNWOUND)
def test_what_python_frees_without_recursion_nests_as_deep_as_it_likes(name: str) -> None:
    found = read([tags.TUPLE], *(UNWOUND[name](ref(i)) for i in range(100_000)))
    del found


def test_encoding_keeps_the_same_limit() -> None:
    for make in (
        lambda x: slice(x, None),
        lambda x: deque([x]),
        lambda x: defaultdict(None, {1: x}),
        lambda x: [deque([x])],
    ):
        payload: Any = 1
        for _ in range(MAX_NESTING):
            payload = make(payload)
        decode(encode((payload,), key=KEY))
        with pytest.raises(PayloadError, match="deep"):
            encode(make(payload), key=KEY)
    shared: list[Any] = [deque([1])]
    for _ in range(MAX_NESTING):
        shared.append(deque([shared[-1]]))  # each is known when the next is met: the walk is never deep
    with pytest.raises(PayloadError, match="deep"):
        encode(shared, key=KEY)


# -- keys: what hashes without end, or all alike


def test_a_deep_tuple_is_no_key() -> None:
    for depth, row in ((600, tags.SET), (600, tags.FROZENSET), (100_000, tags.SET)):
        rows = [[tags.TUPLE], *([tags.TUPLE, ref(i)] for i in range(depth))]
        with pytest.raises(CorruptEntryError, match="deep"):
            read(*rows, [row, ref(depth)])
    payload: Any = ()
    for _ in range(MAX_NESTING - 1):
        payload = (payload,)
    assert decode(encode({payload: 1}, key=KEY)) == {payload: 1}
    for keyed in ({((payload,),): 1}, {((payload,),)}):
        with pytest.raises(PayloadError, match="deep"):
            encode(keyed, key=KEY)


@pytest.mark.parametrize(
    "row",
    [
        [tags.SET, ref(60)],
        [tags.DICT, ref(60), 1],
        [tags.ORDERED_DICT, None, ref(60), 1],
        [tags.NAMESPACE, ref(60), 1],
        [tags.CONSTANT, ref(60)],
        [tags.BYTES, ref(60), None],
        [tags.UUID, bytes(16), ref(60)],
        [tags.PATH, ref(60), ""],
        [tags.ARRAY_ARRAY, None, "d", ref(60), "little", b""],
        [tags.ARRAY_ARRAY, None, "d", 8, ref(60), b""],
        [tags.ENUM, "x", None, ref(60)],
        [tags.TORCH_CONSTANT, "size", ref(60)],
        [tags.IMAGE, ref(60), "RGB", 1, 1, None, None],
        [tags.DTYPE, ref(60)],
        [ref(60)],
    ],
    ids=repr,
)
def test_a_web_of_references_is_never_walked(row: list[Any]) -> None:
    with pytest.raises((CorruptEntryError, UntrustedPayloadError, MissingPluginError)) as caught:
        read(*web(60), row)
    assert len(str(caught.value)) < 1000


def test_keys_that_all_have_one_hash() -> None:
    rows = [
        [tags.INT, None, (MODULUS * (i + 100)).to_bytes(16, "little", signed=True)] for i in range(20_000)
    ]
    refs = [ref(i) for i in range(20_000)]
    with pytest.raises(CorruptEntryError, match="one hash"):
        read(*rows, [tags.SET, *refs])
    tuples = [[tags.TUPLE, ref(i)] for i in range(20_000)]
    with pytest.raises(CorruptEntryError, match="one hash"):
        read(*rows, *tuples, [tags.DICT, *(field for i in range(20_000) for field in (ref(20_000 + i), 1))])
    few = {MODULUS * (i + 100) for i in range(900)}
    assert decode(encode(few, key=KEY)) == few
    many = {complex(i * 1_000_003, -i): i for i in range(2000)}
    if len({hash(number) for number in many}) == 1:
        with pytest.raises(PayloadError, match="one hash"):
            encode(many, key=KEY)
    wide = {(i, str(i)): i for i in range(5000)}
    assert decode(encode(wide, key=KEY)) == wide


def test_one_large_key_many_times() -> None:
    large = b"\x55" * 1_000_000
    rows: list[list[Any]] = [[tags.INT, 0, None]]
    with pytest.raises(CorruptEntryError, match="too long"):
        read(*rows, *[[tags.DICT, ref(0), 1]] * 50_000, buffers=(large,))
    with pytest.raises(CorruptEntryError, match="too long"):
        read(*rows, [tags.TUPLE, ref(0)], *[[tags.SET, ref(1)]] * 50_000, buffers=(large,))
    payload = [{2**100_000: i} for i in range(100)]
    assert decode(encode(payload, key=KEY)) == payload


@dataclasses.dataclass(frozen=True)
class Twice:
    a: Any
    b: Any


def test_registered_instances_as_keys() -> None:
    register_type(Twice)
    name = f"{__name__}:Twice"
    rows = [[tags.TUPLE], *([tags.OBJECT, name, "a", ref(i), "b", ref(i)] for i in range(60))]
    with pytest.raises(CorruptEntryError, match="too long"):
        read(*rows, [tags.SET, ref(60)])
    assert decode(encode({Twice(Twice(1, 2), (3,)): 1}, key=KEY)) == {Twice(Twice(1, 2), (3,)): 1}
    loop = Twice([], 1)
    loop.a.append(loop)
    with pytest.raises(PayloadError, match="closes a cycle"):
        encode({(1, 2): loop}, key=KEY, pickle=False)
    found: Any = decode(encode({(1, 2): loop}, key=KEY))
    assert found[1, 2].a[0] is found[1, 2]


# -- allocation


def test_one_buffer_is_copied_once() -> None:
    data = bytes(1 << 20)
    rows: dict[str, list[Any]] = {
        "bytearray": [tags.BYTEARRAY, 0, None],
        "bytes": [tags.BYTES, 0, None],
        "int": [tags.INT, 0, None],
        "array": [tags.ARRAY_ARRAY, 0, "B", 1, "little", None],
        "image": [tags.IMAGE, 0, "L", 1 << 10, 1 << 10, None, ref(0)],
    }
    for row in rows.values():
        tracemalloc.start()
        try:
            with pytest.raises(CorruptEntryError, match="two rows"):
                read([tags.DICT], *[row] * 200, buffers=(data,))
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
    tree = tags.ROWS_MARK + msgpack.packb([tags.NDARRAY, 0]) * 2
    with pytest.raises(CorruptEntryError, match="two rows"):
        decode(Blob(KEY, tree, (Buffer(memoryview(data), "|u1", (1 << 20,)),)))
    # Equal bytes share a buffer, and so may an int.
    big = b"\1" * 70_000
    payload = [big, bytes(bytearray(big)), int.from_bytes(big, "little"), bytearray(big)]
    assert decode(encode(payload, key=KEY)) == payload


def test_dtypes_whose_parts_share_their_parts() -> None:
    rows: list[list[Any]] = []
    inner: Any = "|i1"
    for _ in range(40):
        rows += [[tags.TUPLE, name, None, 0, inner] for name in "ab"]
        rows.append([tags.TUPLE, ref(len(rows) - 2), ref(len(rows) - 1)])
        rows.append([tags.TUPLE, "s", 1, False, False, ref(len(rows) - 1)])
        inner = ref(len(rows) - 1)
    with pytest.raises(CorruptEntryError, match="parts"):
        read(*rows, [tags.DTYPE, inner])
    nested: Any = np.dtype("i1")
    for _ in range(16):
        nested = np.dtype({"names": ["a", "b"], "formats": [nested, nested], "offsets": [0, 0]})
    with pytest.raises(PayloadError, match="signature"):
        encode(nested, key=KEY, pickle=False)


def test_shapes_of_huge_numbers() -> None:
    large = b"\x55" * 1_000_000
    rows: list[list[Any]] = [[tags.INT, 0, None], [tags.TUPLE, *[ref(0)] * 2000]]
    with pytest.raises(CorruptEntryError, match="shape"):
        read(*rows, [tags.OBJECT_ARRAY, ref(1), "C"], buffers=(large,))
    with pytest.raises(CorruptEntryError):
        read(*rows, [tags.IMAGE, 1, "RGB", ref(0), ref(0), None, None], buffers=(large, b""))


def test_images_of_no_width() -> None:
    with pytest.raises(CorruptEntryError, match="size"):
        read([tags.DICT], [tags.IMAGE, 0, "RGB", 0, 2**31 - 1, None, ref(0)], buffers=(b"",))


def test_a_packer_does_not_keep_what_it_packed() -> None:
    before = plain._packers.strict
    encode(["x" * 100], key=KEY)
    assert plain._packers.strict == before
    encode(["x" * (2 << 20)], key=KEY)
    assert plain._packers.strict != before
    for payload in (["\ud800"], [("\ud800", i) for i in range(9)], [("x" * (2 << 20), i) for i in range(5)]):
        assert decode(encode(payload, key=KEY)) == payload


# -- no wrong data


def test_decimals_do_not_depend_on_the_context() -> None:
    value = decimal.Decimal("1E+20")
    digest = encode([value], key=KEY).digest
    with decimal.localcontext() as context:
        context.capitals = 0
        blob = encode([value], key=KEY)
        assert blob.digest == digest
        assert decode(blob) == [value]
    with decimal.localcontext() as context:
        context.traps[decimal.InvalidOperation] = False
        for text in ("one", "", " 1", "1_0", "0.10e1"):
            with pytest.raises(CorruptEntryError):
                read([tags.DECIMAL, text])
        for text in ("NaN12", "-sNaN", "-Infinity", "-0E-7", "1E+999999999"):
            assert str(read([tags.DECIMAL, text])) == text


def test_fractions_are_in_lowest_terms() -> None:
    for row in ([tags.FRACTION, 2, 4], [tags.FRACTION, 0, 2]):
        with pytest.raises(CorruptEntryError, match="lowest"):
            read(row)


def test_a_zone_from_a_file_is_not_taken_for_the_zone_of_its_key() -> None:
    zone = zoneinfo.ZoneInfo("Asia/Tokyo")
    assert decode(encode([zone], key=KEY)) == [zone]
    for root in zoneinfo.TZPATH:
        path = Path(root) / "Asia/Tokyo"
        if path.exists():
            forged = zoneinfo.ZoneInfo.from_file(io.BytesIO(path.read_bytes()), key="Europe/Berlin")
            with pytest.raises(PayloadError, match="from a file"):
                encode([forged], key=KEY)
            return
    pytest.skip("no zone files here")


def test_too_little_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(row: list[object], decoder: Any) -> object:
        raise MemoryError

    blob = encode([(1,)], key=KEY)
    monkeypatch.setitem(registry.DECODERS, tags.TUPLE, fails)
    with pytest.raises(MemoryError):
        decode(blob)


def test_a_broken_library_is_no_damage(tmp_path: Path) -> None:
    """Libraries that lack a shared object of theirs raise OSError when imported: the blob is sound."""
    (tmp_path / "torch.py").write_text("raise OSError('libsomething.so: cannot open shared object file')\n")
    code = (
        "import sys, msgpack\n"
        "from laila.codec import decode, tags\n"
        "from laila.blob.blob import Blob\n"
        "from laila.errors import MissingPluginError\n"
        "try:\n"
        "    decode(Blob('k', tags.ROWS_MARK + msgpack.packb([tags.DEVICE, 'cpu'])))\n"
        "except MissingPluginError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert "libsomething.so" in done.stdout


def test_metadata_that_is_none() -> None:
    for user in (b"\xc1", b"\x93\1", b"\x01", b"\xdd\xff\xff\xff\xff", b""):
        blob = Blob(KEY, b"\xc0", (), None, (1.0, "t", 1, "plain", user))
        again = Blob.from_bytes(bytes(blob))
        for part in (again, from_blob(again), Blob.read_head(bytes(blob))):
            with pytest.raises(CorruptEntryError, match="metadata") as caught:
                assert part.metadata
            assert caught.value.key == KEY


def test_decoding_twice_shares_nothing() -> None:
    payload = [np.arange(3), bytearray(b"x" * 70_000), {"a": [1]}, np.array([[1], None], dtype=object)]
    raw = bytearray(bytes(encode(payload, key=KEY)))
    blob = Blob.from_bytes(raw)
    one: Any = decode(blob)
    two: Any = decode(blob)
    one[0][:] = 7
    one[1][:] = b"y"
    one[2]["a"].append(2)
    one[3][0] = 5
    assert two[0].tolist() == [0, 1, 2]
    assert two[1] == payload[1]
    assert two[2] == {"a": [1]}
    assert two[3].tolist() == [[1], None] or two[3][0] == 1
    raw[-8:] = b"\xff" * 8
    assert two[1] == payload[1]
    view: Any = decode(Blob.from_bytes(bytes(encode(np.arange(3), key=KEY))), copy=False)
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.setflags(write=True)


# -- registered classes


@dataclasses.dataclass
class Settings:
    rate: float = 0.5

    def save(self) -> str:
        return "saved"

    @cached_property
    def twice(self) -> float:
        return 2 * self.rate


@attrs.define(slots=False)
class Record:
    a: int

    def save(self) -> str:
        return "saved"


class Plain:
    limit = 3

    def __init__(self) -> None:
        self.a = 1

    def save(self) -> str:
        return "saved"

    @property
    def area(self) -> int:
        return self.a


@pytest.mark.parametrize("cls", [Settings, Record, Plain])
def test_data_sets_no_attribute_that_a_registered_class_has_not(cls: type) -> None:
    register_type(cls)
    name = f"{__name__}:{cls.__qualname__}"
    for attribute in ("save", "__class__", "__dict__", "__len__", "__init__", "area"):
        if attribute == "area" and cls is not Plain:
            continue
        with pytest.raises(PayloadError, match=f"'{attribute}', which is no field"):
            read([tags.OBJECT, name, attribute, 1])
        with pytest.raises(UntrustedPayloadError) as caught:
            read(
                [tags.TUPLE, attribute],
                [tags.TUPLE, None, ref(0), None],
                [tags.ODD_OBJECT, name, ref(1), attribute, 1],
            )
        assert "laila.register_type" not in str(caught.value)
    for odd in ([1, 1], ["a", 1, "a", 2], ["a"], [None, 1]):
        with pytest.raises(CorruptEntryError):
            read([tags.OBJECT, name, *odd])
    if cls is not Plain:
        with pytest.raises(PayloadError, match="'extra', which is no field"):
            read([tags.OBJECT, name, "extra", 1])


def test_attributes_that_are_no_fields_need_a_signature() -> None:
    for cls in (Settings, Record, Plain):
        register_type(cls)
    settings = Settings(1.5)
    assert settings.twice == 3.0
    other = Plain()
    other.limit = 4
    other.anything = 5  # type: ignore[attr-defined]
    blob = encode([settings, Record(1), other], key=KEY, pickle=False)
    assert blob.signature is None
    found: Any = decode(blob)
    assert vars(found[0]) == {"rate": 1.5, "twice": 3.0}
    assert vars(found[2]) == {"a": 1, "limit": 4, "anything": 5}
    for value, attribute in ((Settings(), "extra"), (Record(1), "extra"), (Plain(), "save")):
        setattr(value, attribute, 1)
        with pytest.raises(PayloadError, match=rf"'{attribute}' is no field"):
            encode(value, key=KEY, pickle=False)
        blob = encode(value, key=KEY)
        assert blob.signature is not None
        assert vars(decode(blob)) == vars(value)
        with pytest.raises(UntrustedPayloadError):
            decode(Blob(KEY, blob.tree))


class Level(enum.Enum):
    LOW = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise AssertionError("code of the class ran")


class Right(enum.Flag):
    READ = 1
    WRITE = 2


def test_values_that_an_enum_has_no_member_for() -> None:
    for cls in (Level, Right):
        register_type(cls)
    for value in ("x", None, 1.5, 3):
        with pytest.raises(UntrustedPayloadError):
            read([tags.ENUM, f"{__name__}:Level", None, value])
    both = Right.READ | Right.WRITE
    assert decode(encode([both, Level.LOW], key=KEY, pickle=False)) == [both, Level.LOW]
    for value in (1.5, "x", True):
        with pytest.raises(UntrustedPayloadError):
            read([tags.ENUM, f"{__name__}:Right", None, value])


# -- Arrow and pandas


@pytest.mark.filterwarnings("ignore:Series.values returning")  # as older versions of pyarrow ask for them
def test_what_pandas_would_open_or_evaluate() -> None:
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    from laila.codec.tables import write_stream

    frame = pd.DataFrame({"t": pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Berlin"), "x": [1.5]})
    again = decode(encode(frame, key=KEY, pickle=False))
    pd.testing.assert_frame_equal(frame, again)
    table = pa.Table.from_pandas(frame)
    note = json.loads(table.schema.metadata[b"pandas"])

    def frame_of(table: Any) -> Any:
        return read([tags.PANDAS, "frame", bytes(write_stream(table))])

    frame_of(table)
    for change in (
        {"numpy_type": "datetime64[ns, dateutil//etc/passwd]"},
        {"numpy_type": None},
        {"metadata": {"timezone": "dateutil//etc/passwd"}},
        {"metadata": {"timezone": "../../x"}},
        {"metadata": {"timezone": ["UTC"]}},
    ):
        changed = json.loads(json.dumps(note))
        changed["columns"][0].update(change)
        with pytest.raises(CorruptEntryError):
            frame_of(table.replace_schema_metadata({"pandas": json.dumps(changed)}))
    for text in ("[]", "{}", "nonsense", "[" * 100_000):
        with pytest.raises(CorruptEntryError):
            frame_of(table.replace_schema_metadata({"pandas": text}))
    for zone in ("dateutil//dev/zero", "/etc/passwd", "../x", "dateutil/../x"):
        odd = pa.table({"t": pa.array([1], pa.timestamp("ns", tz=zone))})
        with pytest.raises(CorruptEntryError):
            frame_of(odd)
        with pytest.raises(CorruptEntryError):
            read([tags.ARROW_TABLE, 0], buffers=(bytes(write_stream(odd)),))


# -- what is said of signatures


def test_what_had_to_be_signed_is_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_told", set())
    for _ in range(2):
        encode([Twice(1, 2), len], key=KEY)
    lines = {record.getMessage().split(" ")[0]: record for record in caplog.records}
    assert len(lines) == len(caplog.records) == 2
    assert {record.levelno for record in lines.values()} == {logging.WARNING}
    assert "laila.register_type" in lines[f"{__name__}.Twice"].getMessage()
    assert "laila.register_type" not in lines["builtins.builtin_function_or_method"].getMessage()
    monkeypatch.setattr(Twice, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Twice", Twice, raising=False)
    monkeypatch.setattr(trust, "_told", set())
    caplog.clear()
    encode(Twice(1, 2), key=KEY)
    (record,) = caplog.records
    for words in ("__main__", "no other process", "move it into a module"):
        assert words in record.getMessage()
