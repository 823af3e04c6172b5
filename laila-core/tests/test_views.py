"""Entries that are opened: what is read, what is verified, and that it is what remember gives."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import laila
from dict_protocol import WIRES, DictProtocol
from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import encode, tags
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    IdentityError,
    InvalidArgumentError,
    InvalidValueError,
    NotSupportedError,
    PartNotFoundError,
    TransformationError,
    UntrustedPayloadError,
)
from laila.peering.parts import parts_of
from laila.testing.payloads import assert_same
from laila.views import ArrayView, BytesView, GroupView, ObjectView
from laila.views.memory import HeldBuffers, scratch
from laila.views.places import Layout, spans_of
from laila.views.sources import open_tier
from laila.views.view import view_of

MIB = 1 << 20
KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


class Counting(laila.Pool):
    """A pool of bytes that notes what is asked of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, bytes] = {}
        self.asked: list[list[tuple[int, int]]] = []
        self.wholes = 0

    def _read(self, key: str) -> bytes | None:
        self.wholes += 1
        return self.files.get(key)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        self.asked.append(list(ranges))
        found = self.files.get(key)
        return None if found is None else [found[start:stop] for start, stop in ranges]

    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.files

    def _keys(self) -> Iterator[str]:
        yield from list(self.files)

    def _empty(self) -> None:
        self.files.clear()


def payload() -> dict[str, Any]:
    big = np.arange(1_000_000, dtype="<f4").reshape(1000, 1000)
    return {
        "encoder": {"weight": big, "bias": np.zeros(3)},
        "across": np.asfortranarray(big[:300, :500]),
        "config": {"lr": 0.1, "steps": (1, 2), None: []},
        "raw": bytes(range(256)) * 1000,
        "array": bytearray(70_000),
        "masked": np.ma.masked_array([1, 2], [False, True]),
        "pairs": [(number, np.full(5, number)) for number in range(40)],
        "ordered": OrderedDict(a=np.arange(2)),
        "rows": np.zeros(4, [("x", "<i4"), ("y", "<f8", (2,))]),
        "none": np.zeros((0, 3)),
        "one": np.array(7),
    }


@pytest.fixture
def pool(policy: laila.DefaultPolicy) -> Counting:
    found = Counting()
    policy.central.memory.extend(found, pool_nickname="counting")
    policy.central.memory.alpha_pool = found
    return found


def stored(pool: Counting, value: object, name: str = "x") -> None:
    laila.memorize(laila.constant(value, nickname=name)).wait()
    pool.asked.clear()
    pool.wholes = 0


def opened(*given: Any, **options: Any) -> Any:
    """A view, whatever kind it is."""
    return laila.open(*given, **options)


def opened_there(peer: Any, *given: Any, **options: Any) -> Any:
    return peer.central.memory.open(*given, **options)


def bytes_read(pool: Counting) -> int:
    return sum(stop - start for ranges in pool.asked for start, stop in ranges)


INDEXES: list[Any] = [
    np.s_[10:20, ::2], np.s_[5], np.s_[-1, -1], np.s_[..., 3], np.s_[:], np.s_[...], np.s_[()],
    np.s_[[1, 5, 299], :4], np.s_[[-1, 0]], np.s_[::-7], np.s_[None, 3:5], np.s_[:, [1, 2]],
    np.s_[np.array([3, 1]), np.array([1, 2])], np.s_[1:1], np.s_[250:, 400:10:-3], np.s_[np.int64(3)],
    np.s_[[True] + [False] * 298 + [True]], np.s_[[]], np.s_[2:4, None, ..., 1],
]  # fmt: skip


@pytest.mark.parametrize("name", ["weight", "across"])
def test_an_index_gives_what_numpy_gives(pool: Counting, name: str) -> None:
    stored(pool, payload())
    view = opened(nickname="x")
    given = payload()["encoder"]["weight"][:300, :500] if name == "weight" else payload()["across"]
    if name == "weight":
        stored(pool, np.ascontiguousarray(given), "y")
        part = opened(nickname="y")
    else:
        part = view["across"]
    assert isinstance(part, ArrayView)
    assert (part.shape, part.dtype, part.ndim, len(part)) == ((300, 500), np.dtype("<f4"), 2, 300)
    for index in INDEXES:
        found = part[index]
        np.testing.assert_array_equal(found, given[index])
        assert np.asarray(found).dtype == given.dtype
        if isinstance(found, np.ndarray):
            assert found.flags.writeable
            found += 1  # it is the caller's own
            np.testing.assert_array_equal(part[index], given[index])
    mask = given > 1000
    np.testing.assert_array_equal(part[mask], given[mask])
    for wrong in (np.s_[300], np.s_[0, 500], np.s_[0, 0, 0], np.s_[[300]], "name", np.s_[1.5]):
        with pytest.raises(IndexError) as caught:
            part[wrong]
        assert isinstance(caught.value, PartNotFoundError)
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), PartNotFoundError)  # our own


def test_only_what_is_needed_is_read(pool: Counting) -> None:
    array = np.arange(20 * MIB // 8).reshape(20, -1)  # a row is a piece
    stored(pool, {"a": array, "b": b"x" * 3 * MIB})
    view = opened(nickname="x")
    assert pool.wholes == 0
    assert bytes_read(pool) <= 128 * 1024  # there is no manifest of that name, either
    assert view["a"].shape == array.shape
    assert view.nbytes == 23 * MIB
    pool.asked.clear()
    np.testing.assert_array_equal(view["a"][3, 10:20], array[3, 10:20])
    assert bytes_read(pool) == MIB
    np.testing.assert_array_equal(view["a"][3:5], array[3:5])  # of which the first is still here
    assert bytes_read(pool) == 2 * MIB
    pool.asked.clear()
    np.testing.assert_array_equal(view["a"][::5, 0], array[::5, 0])
    assert bytes_read(pool) <= 4 * MIB
    pool.asked.clear()
    np.testing.assert_array_equal(view["a"][[19, 7, 7]], array[[19, 7, 7]])
    assert bytes_read(pool) == 2 * MIB
    pool.asked.clear()
    assert view["b"][MIB + 5 : MIB + 9] == b"xxxx"
    assert bytes_read(pool) == MIB
    assert pool.wholes == 0


def test_the_parts_of_a_view(pool: Counting) -> None:
    given = payload()
    stored(pool, given)
    view = opened(nickname="x")
    assert isinstance(view, GroupView)
    assert (view.type, len(view), view.keys(), view.nickname) == ("dict", len(given), list(given), "x")
    assert list(view) == list(given)
    assert "raw" in view
    assert view.metadata["type"] == "dict"
    assert view["config"]["lr"] == 0.1
    assert view["config"]["steps"].data == (1, 2)
    assert isinstance(view["raw"], BytesView)
    assert isinstance(view["masked"], ObjectView)
    assert view["pairs"][3][0] == 3
    assert view["pairs"][-1][1][4] == 39
    assert [part.type for part in view["pairs"][2:4]] == ["tuple", "tuple"]
    assert [number for number, _ in view["pairs"]] == list(range(40))
    np.testing.assert_array_equal(view["rows"]["x"], given["rows"]["x"])
    np.testing.assert_array_equal(view["rows"][["x"]], given["rows"][["x"]])
    assert view["one"][()] == 7
    assert view["none"][:, 1].shape == (0,)
    for key, value in given.items():
        part = view[key]
        assert_same(value, part.data)
        assert type(part).__name__ in repr(part)
    assert_same(given, view.data)
    assert view.data["config"] is not view.data["config"]
    for wrong in ("nothing", 3, ["x"]):
        with pytest.raises(KeyError, match="has no part"):
            view[wrong]
    with pytest.raises(PartNotFoundError):
        view["pairs"][40]


def test_bytes(pool: Counting) -> None:
    data = np.random.default_rng(1).bytes(3 * MIB + 7)
    stored(pool, data)
    view = opened(nickname="x")
    assert isinstance(view, BytesView)
    for part in (slice(5, 9), slice(None, None, 900_001), slice(-3, None), slice(9, 5), slice(9, 5, -1)):
        assert view[part] == data[part]
    assert (view[MIB], view[-1], len(view), bytes(view)) == (data[MIB], data[-1], len(data), data)
    assert b"".join(view.blocks(nbytes=1000_003)) == data
    with pytest.raises(IndexError):
        view[len(data)]
    with pytest.raises(InvalidValueError):
        next(view.blocks(nbytes=0))


def test_blocks_and_conversions(pool: Counting) -> None:
    array = np.arange(300_000).reshape(1000, 300)
    stored(pool, array)
    view = opened(nickname="x")
    blocks = list(view.blocks(nbytes=100_000))
    assert [len(block) for block in blocks] == [41] * 24 + [16]
    np.testing.assert_array_equal(np.concatenate(blocks), array)
    np.testing.assert_array_equal(np.asarray(view), array)
    assert np.asarray(view, dtype="f4").dtype == np.float32
    np.testing.assert_array_equal(list(view)[999], array[999])
    stored(pool, np.array(1.5), "scalar")
    with pytest.raises(TypeError):
        len(opened(nickname="scalar"))


@pytest.mark.parametrize("value", [5, None, [1, {"a": 2}], {1, 2}, "text", 2**80, (1, b"x")])
def test_small_values(pool: Counting, value: object) -> None:
    stored(pool, value)
    view = opened(nickname="x")
    assert_same(value, view.data)
    assert view.nbytes == 0


def test_damage_is_met_by_who_reads_it(pool: Counting) -> None:
    stored(pool, {"a": np.zeros(3 * MIB, "u1"), "b": np.ones(5)})
    key, raw = pool.files.popitem()
    broken = bytearray(raw)
    start, other = Blob.read_head(raw).offsets()
    broken[start + MIB] ^= 1
    pool.files[key] = bytes(broken)
    view = opened(nickname="x")
    assert view["a"][:MIB].sum() == 0
    assert view["a"][2 * MIB :].sum() == 0
    assert view["b"][0] == 1
    for index in (MIB, np.s_[:], np.s_[MIB - 1 : MIB + 1], np.s_[::-1], [5, MIB + 3]):
        with pytest.raises(CorruptEntryError, match=f"from byte {MIB} on"):
            view["a"][index]
    with pytest.raises(CorruptEntryError):
        _ = view.data
    broken = bytearray(raw)
    broken[other] ^= 1
    pool.files[key] = bytes(broken)
    view = opened(nickname="x")
    assert view["a"][MIB] == 0
    with pytest.raises(CorruptEntryError):
        view["b"][0]
    for place in (45, start - 1):
        pool.files[key] = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(CorruptEntryError):
            opened(nickname="x")
    pool.files[key] = raw[:-5]
    with pytest.raises(CorruptEntryError):
        opened(nickname="x")["b"][0]


def test_what_was_replaced_since_is_told(pool: Counting) -> None:
    stored(pool, np.zeros(3 * MIB, "u1"))
    view = opened(nickname="x")
    laila.memorize(laila.constant(np.ones(3 * MIB, "u1"), nickname="x"), overwrite=True).wait()
    with pytest.raises(EntryNotFoundError, match="open it again"):
        view[0]
    assert opened(nickname="x")[0] == 1
    view = opened(nickname="x")
    laila.forget(nickname="x").wait()
    with pytest.raises(EntryNotFoundError, match="open it again"):
        view[0]


def test_what_is_not_there(pool: Counting, policy: laila.DefaultPolicy) -> None:
    with pytest.raises(EntryNotFoundError, match="nickname"):
        opened(nickname="nothing")
    with pytest.raises(EntryNotFoundError):
        opened(KEY)
    with pytest.raises(InvalidArgumentError):
        opened([KEY, KEY])
    with pytest.raises(TypeError):
        opened()
    laila.Manifest({"a": laila.constant(1)}, nickname="m").memorize().wait()
    with pytest.raises(NotSupportedError, match="open one of its leaves"):
        opened(nickname="m")
    stored(pool, 1, "m")
    with pytest.raises(IdentityError, match="scope"):
        opened(nickname="m")
    assert opened(nickname="m", scope="ENTRY").data == 1


def test_variables(pool: Counting) -> None:
    for number in range(3):
        laila.memorize(laila.variable(np.full(3, number), nickname="v", evolution=number)).wait()
    assert opened(nickname="v")[0] == 2
    assert opened(nickname="v", evolution=1)[0] == 1


def test_through_tiers(policy: laila.DefaultPolicy) -> None:
    cache, origin = Counting(), Counting()
    chain = laila.tiers(cache, origin)
    policy.central.memory.alpha_pool = chain
    array = np.arange(3 * MIB, dtype="u1")
    stored(cache, array)
    key, raw = next(iter(cache.files.items()))
    del cache.files[key]
    view = opened(nickname="x")
    assert view[MIB + 1] == array[MIB + 1]
    assert key not in cache.files  # nothing is kept of what is read in part
    cache.files[key] = raw
    view = opened(nickname="x")
    broken = bytearray(raw)
    broken[Blob.read_head(raw).offsets()[0] + MIB] ^= 1
    cache.files[key] = bytes(broken)
    assert view[0] == 0
    assert view[MIB] == array[MIB]  # the next tier has it undamaged
    np.testing.assert_array_equal(view[:], array)
    view = opened(nickname="x")
    cache.files.clear()
    np.testing.assert_array_equal(view[5:9], array[5:9])
    cache.files[key] = raw[:20]
    assert opened(nickname="x")[7] == 7


def test_encrypted(policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "k" * 40)
    pool = Counting(transformations=["aes-gcm"])
    policy.central.memory.extend(pool)
    policy.central.memory.alpha_pool = pool
    given = payload()
    array = np.arange(20 * MIB // 8).reshape(20, -1)
    stored(pool, {**given, "large": array})
    view = opened(nickname="x")
    assert bytes_read(pool) < 3 * MIB
    pool.asked.clear()
    np.testing.assert_array_equal(view["large"][7, 3:9], array[7, 3:9])
    assert 0 < bytes_read(pool) < 3 * MIB
    for index in INDEXES:
        np.testing.assert_array_equal(view["across"][index], given["across"][index])
    assert_same(given["masked"], view["masked"].data)
    assert pool.wholes == 0
    key, raw = next(iter(pool.files.items()))
    broken = bytearray(raw)
    broken[len(raw) // 2] ^= 1
    pool.files[key] = bytes(broken)
    view = opened(nickname="x")
    with pytest.raises(CorruptEntryError, match="authenticate"):
        _ = view.data
    pool.files[key] = raw
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "q" * 40)
    with pytest.raises(PermissionError):
        opened(nickname="x")


@pytest.mark.parametrize("name", ["zstd", "zlib", "base64"])
def test_what_has_no_parts_says_so(policy: laila.DefaultPolicy, name: str) -> None:
    pool = Counting(transformations=[name])
    policy.central.memory.extend(pool)
    policy.central.memory.alpha_pool = pool
    stored(pool, np.arange(1000))
    with pytest.raises(TransformationError, match=f"stored with '{name}'.*laila.remember"):
        opened(nickname="x")


class Unregistered:
    """A class that only a signature lets in."""

    def __init__(self) -> None:
        self.weights = np.arange(5)


def test_what_is_signed(pool: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "s" * 40)
    stored(pool, {"model": Unregistered(), "data": np.arange(MIB)})
    view = opened(nickname="x")
    assert view["data"][5] == 5
    assert isinstance(view["model"], ObjectView)
    np.testing.assert_array_equal(view["model"].data.weights, np.arange(5))
    monkeypatch.setenv("LAILA_SECRET_KEY", "t" * 40)
    view = opened(nickname="x")
    assert view["data"][5] == 5
    with pytest.raises(UntrustedPayloadError):
        _ = view["model"].data


def test_in_memory_nothing_is_copied_before(policy: laila.DefaultPolicy) -> None:
    array = np.arange(100)
    laila.memorize(laila.constant(array, nickname="x")).wait()
    view = opened(nickname="x")
    found = view.read(np.s_[3:5], copy=False)
    assert not found.flags.writeable
    assert view[3:5].flags.writeable


def test_a_mapped_file(policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    pool = policy.central.memory.extend(tmp_path.as_uri())
    policy.central.memory.alpha_pool = pool
    array = np.arange(MIB)
    laila.memorize(laila.constant(array, nickname="x")).wait()
    view = opened(nickname="x")
    window = view.read(np.s_[5:9], copy=False)
    assert not window.flags.writeable
    np.testing.assert_array_equal(window, array[5:9])
    laila.memorize(laila.constant(np.zeros(5), nickname="x"), overwrite=True).wait()
    np.testing.assert_array_equal(view[:], array)  # the map stays as it was


def test_of_a_peer(policy: laila.DefaultPolicy) -> None:
    given = payload()
    with laila.DefaultPolicy() as other:
        pool = Counting()
        other.central.memory.extend(pool, pool_nickname="there")
        other.central.memory.alpha_pool = pool
        for each in (policy, other):
            each.central.communication.add_connection(DictProtocol())
        peer = laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
        entry = laila.constant(given, nickname="x")
        peer.central.memory.memorize(entry).wait()
        pool.wholes = 0
        for view in (opened_there(peer, nickname="x"), opened_there(peer, entry.global_id)):
            np.testing.assert_array_equal(
                view["encoder"]["weight"][10:20, ::2], given["encoder"]["weight"][10:20, ::2]
            )
            assert view["raw"][5:9] == given["raw"][5:9]
            assert_same(given, view.data)
        assert pool.wholes == 0
        with pytest.raises(EntryNotFoundError):
            opened_there(peer, nickname="nothing")
        peer.central.memory.memorize(laila.constant(0, nickname="x"), overwrite=True).wait()
        with pytest.raises(EntryNotFoundError, match="open it again"):
            view["pairs"][1][1][0]
    WIRES.clear()


def test_forged_rows_are_refused() -> None:
    import msgpack

    from laila.blob.buffer import Buffer

    ref = [msgpack.ExtType(0, b"\0")]
    buffer = Buffer(memoryview(bytes(80)), "<f8", (10,))
    plain = Buffer(memoryview(bytes(80)))
    rows: list[tuple[Any, list[list[Any]]]] = [
        (buffer, [[48, 1]]),
        (buffer, [[48, "0"]]),
        (buffer, [[48, 0, 0]]),
        (plain, [[48, 0]]),
        (Buffer(memoryview(bytes(80)), "<f8", (11,)), [[48, 0]]),
        (Buffer(memoryview(bytes(80)), "O8", (10,)), [[48, 0]]),
        (plain, [[2, 10], [49, 0, "<f8", *ref, "X"]]),
        (plain, [[57, 0, "<f8", 0, False, 11, 8]]),
        (plain, [[57, 0, "<f8", -8, False, 2, 8]]),
        (plain, [[57, 0, "<f8", 0, False, 2]]),
        (plain, [[2, 11], [2, 1], [64, 0, "float64", *ref, msgpack.ExtType(0, b"\1"), 0, 0, "cpu", None]]),
        (plain, [[2, -1], [64, 0, "float64", *ref, *ref, 0, 0, "cpu", None]]),
        (plain, [[1, msgpack.ExtType(0, b"\5")]]),
        (plain, [[1, *ref]]),
        (plain, [["x"]]),
        (plain, [[]]),
        (plain, []),
    ]
    for given, each in rows:
        tree = b"\xc1" + b"".join(map(msgpack.packb, each))
        pool = Counting()
        pool._write(KEY, Blob(KEY, tree, (given,), None, (1.0, "x", 1, "rows", None)))
        found = open_tier(pool, KEY)
        assert found is not None
        with pytest.raises(CorruptEntryError):
            _ = view_of(found).data


def test_an_outline_costs_what_its_rows_do() -> None:
    """A head may say that buffers are larger than any disk: no memory is taken for what was not read."""
    import tracemalloc

    pool = Counting()
    blob = encode(np.zeros(4 * MIB, "u1"), key=KEY)
    pool._write(KEY, blob)
    found = open_tier(pool, KEY)
    assert found is not None
    view: Any = view_of(found)
    tracemalloc.start()
    try:
        assert view[3] == 0
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_dask_reads_blocks(pool: Counting) -> None:
    dask_array = pytest.importorskip("dask.array")
    array = np.arange(12 * MIB // 8).reshape(12, -1)
    stored(pool, array)
    lazy = dask_array.from_array(opened(nickname="x"), chunks=(3, -1), asarray=False)
    pool.asked.clear()
    np.testing.assert_array_equal(lazy[2:4, :5].compute(scheduler="synchronous"), array[2:4, :5])
    assert bytes_read(pool) <= 6 * MIB
    assert int(lazy.sum().compute(scheduler="synchronous")) == int(array.sum())


def test_zarr_takes_a_view(pool: Counting) -> None:
    zarr = pytest.importorskip("zarr")
    array = np.arange(10_000).reshape(100, 100)
    stored(pool, array)
    target = zarr.create_array(store={}, shape=array.shape, chunks=(10, 100), dtype=array.dtype)
    target[:] = opened(nickname="x")
    np.testing.assert_array_equal(target[:], array)


# -- what somebody made so -----------------------------------------------------------------------------------


def test_parts_that_lie_over_one_another_are_one_span() -> None:
    axes = 40
    layout = Layout(np.dtype("u1"), (2,) * axes, tuple(2 * MIB + n for n in range(axes)))
    memory = scratch(layout.bounds()[1])
    assert spans_of(layout, layout.over(memory), ...) == [layout.bounds()]
    apart = Layout(np.dtype("u1"), (3, 2), (8 * MIB, 2 * MIB))
    assert len(spans_of(apart, apart.over(memory), ...)) == 6


@pytest.mark.parametrize("plain", [True, False])
def test_a_head_that_says_it_is_long_is_read_as_far_as_it_is_there(pool: Counting, plain: bool) -> None:
    blob = bytes(encode([1], key=KEY))
    long = (1 << 62).to_bytes(8, "little")
    pool.files[KEY] = b"x" * 100_000 if plain else blob[:16] + long + long + blob[32:] + bytes(100_000)
    with pytest.raises(CorruptEntryError):
        open_tier(pool, KEY)
    assert len(pool.asked) == 2
    assert bytes_read(pool) < 32 * MIB


@pytest.mark.parametrize("number", [-1, 1, 1 << 40])
@pytest.mark.parametrize("tag", [tags.BYTES, tags.BYTEARRAY, tags.NDARRAY])
def test_a_buffer_that_is_not_there(tag: int, number: int) -> None:
    tree = tags.ROWS_MARK + msgpack.packb([tag, number])
    forged = Blob.from_bytes(bytes(Blob(KEY, tree, (Buffer(memoryview(b"x")),))))
    with pytest.raises(CorruptEntryError):
        view_of(HeldBuffers(forged))


def test_a_peer_that_asks_for_a_byte_of_each_piece_has_none_read(pool: Counting) -> None:
    stored(pool, np.zeros(20 * MIB, "u1"))
    key = next(iter(pool.files))
    buffers = open_tier(pool, key)
    assert buffers is not None
    pool.asked.clear()
    with pytest.raises(InvalidArgumentError, match="in whole pieces"):
        parts_of(buffers, buffers.digest, 0, [[n * MIB, n * MIB + 1] for n in range(20)])
    assert pool.asked == []
    assert parts_of(buffers, buffers.digest, 0, [[0, 1], [5 * MIB, 5 * MIB]]) == [b"\0", b""]
    assert bytes_read(pool) == MIB
