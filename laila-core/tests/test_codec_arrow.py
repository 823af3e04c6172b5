"""Arrow as data: every type and kind, of a slice no more than that; bad text is refused with its place."""

from __future__ import annotations

import decimal
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, tags
from laila.errors import CorruptEntryError, PayloadError, PluginError, UntrustedPayloadError

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = pytest.importorskip("pyarrow")

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
SECRET = "cut off and secret "
COUNT = 200


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


def again(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False)), key=KEY))


def arrays() -> dict[str, Any]:
    """Arrays of many types; after the first item, nothing but what must not be stored with it."""
    texts = pa.array(["kept", *[SECRET * 3 + str(n) for n in range(COUNT)]])
    rows = [{"a": "kept"}, *[{"a": SECRET}] * COUNT]
    lists = [["kept"], *[[SECRET]] * COUNT]
    ids = pa.array([0] * (COUNT + 1), pa.int8())
    return {
        "string": texts,
        "large string": texts.cast(pa.large_string()),
        "binary": texts.cast(pa.binary()),
        "string view": texts.cast(pa.string_view()),
        "binary view": texts.cast(pa.binary()).cast(pa.binary_view()),
        "fixed": pa.array([b"kept" * 4, *[SECRET[:16].encode()] * COUNT], pa.binary(16)),
        "list": pa.array(lists),
        "large list": pa.array(lists, pa.large_list(pa.string())),
        "fixed list": pa.array(lists, pa.list_(pa.string(), 1)),
        "list view": pa.array(lists, pa.list_view(pa.string())),
        "list of views": pa.array(lists, pa.list_(pa.string_view())),
        "struct": pa.array(rows),
        "struct of views": pa.array(rows, pa.struct({"a": pa.string_view()})),
        "map": pa.array([[("k", "kept")], *[[("k", SECRET)]] * COUNT], pa.map_(pa.string(), pa.string())),
        "dense union": pa.UnionArray.from_dense(
            ids, pa.array(range(COUNT + 1), pa.int32()), [texts, pa.array([1])]
        ),
        "sparse union": pa.UnionArray.from_sparse(ids, [texts, pa.array([1] * (COUNT + 1))]),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array(range(1, COUNT + 2), pa.int32()), texts),
        "bool": pa.array([True] + [False] * COUNT),
        "int": pa.array([1] + [None] * COUNT),
        "nothing": pa.nulls(COUNT + 1),
        "decimal": pa.array([decimal.Decimal("1.25")] * (COUNT + 1), pa.decimal256(50, 2)),
        "times": pa.array([1] * (COUNT + 1), pa.timestamp("ns", "Europe/Berlin")),
        "dictionary": pa.array(["a", "b", None] * 67).dictionary_encode(),
        **tensors(),
    }


def tensors() -> dict[str, pa.Array]:
    """Arrow before 21 makes other objects of them."""
    if int(pa.__version__.partition(".")[0]) < 21:
        return {}
    return {"tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((COUNT + 1, 2)))}


@pytest.mark.parametrize("name", arrays())
def test_every_type(name: str) -> None:
    array = arrays()[name]
    part = array.slice(0, 1)
    batch = pa.RecordBatch.from_arrays([array.slice(2, 3)], ["x"])
    for value in (array, part, array.slice(3, 5), array.slice(0, 0), pa.table({"x": part}), batch, part[0]):
        found = again(value)
        assert type(found) is type(value)
        assert found.equals(value)
    assert SECRET.encode() not in bytes(encode([part, pa.table({"x": part})], key=KEY))
    assert SECRET[:7].encode() not in bytes(encode(part, key=KEY)), (
        "nor a part of it, up to the next boundary"
    )
    chunks = pa.chunked_array([array.slice(0, 2), array.slice(5, 1)])
    found = again(chunks)
    assert found.equals(chunks)
    assert [len(chunk) for chunk in found.chunks] == [2, 1]
    assert again(array.type) == array.type


def test_kinds() -> None:
    schema = pa.schema(
        [pa.field("a", pa.int8(), nullable=False, metadata={"k": "v"})], metadata={"s": b"\xff"}
    )
    for value in (schema, schema.field(0)):
        assert again(value).equals(value, check_metadata=True)
    for value in (
        pa.table({"a": [1, 2]}).select([]),
        pa.table({"a": [1, 2]}, metadata={"k": "v"}).select([]),
        pa.RecordBatch.from_arrays([pa.nulls(3)], ["x"]).select([]),
        pa.table({}),
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table({"n": [None, None]}),
    ):
        found = again(value)
        assert found.equals(value, check_metadata=True)
        assert found.num_rows == value.num_rows
    chunks = [pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]
    assert again(pa.table({"d": pa.chunked_array(chunks)})).to_pydict() == {"d": ["a", "b"]}
    assert again(pa.chunked_array([], pa.int8())).num_chunks == 0
    bits = np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0000], "u8").view("f8")
    assert again(pa.array(bits)).to_numpy().tobytes() == bits.tobytes()
    assert again(pa.table({"x": bits})).column(0).to_numpy().tobytes() == bits.tobytes()


@pytest.mark.parametrize(
    "scalar",
    [
        pa.scalar(True),
        pa.scalar(2**63, pa.uint64()),
        pa.scalar("é"),
        pa.scalar(None),
        pa.scalar(None, pa.int8()),
    ],
    ids=repr,
)
def test_scalars(scalar: Any) -> None:
    found = again(scalar)
    assert type(found) is type(scalar)
    assert found.equals(scalar)


def test_text_that_is_none_is_refused_with_its_place() -> None:
    buffers = [None, pa.py_buffer(b"\0\0\0\0\x01\0\0\0"), pa.py_buffer(b"\xff")]
    bad = pa.Array.from_buffers(pa.string(), 1, buffers)
    for value, path in ((bad, "payload"), ({"a": [pa.table({"x": bad})]}, "payload['a'][0]")):
        with pytest.raises(PayloadError, match="UTF8") as caught:
            encode(value, key=KEY)
        assert caught.value.path == path


class Celsius(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.float64(), "laila.tests.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, data: bytes) -> Celsius:
        return cls()


@pytest.fixture
def registered() -> Iterator[Any]:
    kind = Celsius()
    pa.register_extension_type(kind)
    try:
        yield kind
    finally:
        pa.unregister_extension_type(kind.extension_name)


def test_extension_types_come_back_where_they_are_registered(registered: Any) -> None:
    array = pa.ExtensionArray.from_storage(registered, pa.array([1.5, None]))
    for value in (array, pa.table({"x": array}), registered, pa.chunked_array([array])):
        assert again(value) == value
    blob = encode(pa.table({"x": array}), key=KEY, pickle=False)
    pa.unregister_extension_type(registered.extension_name)
    try:
        with pytest.raises(PayloadError, match=r"'laila\.tests\.celsius', which is not registered"):
            decode(blob)
    finally:
        pa.register_extension_type(registered)


BAD: dict[str, list[Any]] = {
    "no such kind": [tags.ARROW, 0, "dataset"],
    "a table as an array": [tags.ARROW, 0, "array"],
    "a table as a scalar": [tags.ARROW, 0, "scalar"],
    "a table as a type": [tags.ARROW, 0, "type"],
    "no buffer": [tags.ARROW, 5, "batch"],
    "no kind": [tags.ARROW, 0],
    "a value of another type": [tags.ARROW, None, "value", "int8", "x"],
    "a value beyond its type": [tags.ARROW, None, "value", "int8", 1000],
    "a value of no type": [tags.ARROW, None, "value", "struct", 1],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows(name: str) -> None:
    blob = encode(pa.table({"a": [1, 2], "b": ["x", "y"]}), key=KEY)
    with pytest.raises(CorruptEntryError):
        decode(Blob(KEY, tags.ROWS_MARK + msgpack.packb(BAD[name]), blob.buffers))


@pytest.mark.parametrize(
    "name", ["struct of views", "list view", "sparse union", "runs", "dictionary", "map"]
)
def test_damaged_streams(name: str) -> None:
    blob = encode(arrays()[name].slice(0, 3), key=KEY)
    raw = bytes(blob.buffers[0].data)
    dice = random.Random(7)
    for _ in range(500):
        bad = bytearray(raw)
        for _ in range(dice.randint(1, 3)):
            bad[dice.randrange(len(bad))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        try:
            found: Any = decode(Blob(KEY, blob.tree, (Buffer(memoryview(bytes(bad))),)))
        except (CorruptEntryError, UntrustedPayloadError, PluginError):
            continue
        if len(found) < 1000:
            found.to_pylist()
