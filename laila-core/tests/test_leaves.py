"""The table of leaves that a manifest carries: what it says, that it is bounded, and what forged ones do."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import laila
from dict_protocol import WIRES, DictProtocol
from laila import Manifest
from laila.central import describing
from laila.codec import encode
from laila.contract import Blob
from laila.entry import from_blob, to_blob
from laila.entry.leaves import Leaf, Leaves
from laila.errors import CorruptEntryError, ImmutableEntryError, ManifestError

pytestmark = pytest.mark.usefixtures("policy")


@pytest.fixture(params=["here", "a peer"])
def acting(request: pytest.FixtureRequest, policy: laila.DefaultPolicy) -> Iterator[Any]:
    if request.param == "here":
        yield policy
        return
    with laila.DefaultPolicy() as other:
        for each in (policy, other):
            each.central.communication.add_connection(DictProtocol())
        peer = laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
        laila.activate_policy(peer)
        yield peer
    WIRES.clear()


def rows(manifest: Manifest) -> list[Leaf | None]:
    return [manifest._leaves.get(leaf) for leaf in manifest]


def again(manifest: Manifest) -> Manifest:
    found: Manifest = laila.remember(manifest).wait()
    return found


def test_a_stored_manifest_says_what_its_leaves_are(acting: Any) -> None:
    array = laila.constant(np.zeros((3, 4), "f4"))
    inner = Manifest({"text": laila.constant("text")})
    manifest = Manifest({"a": array, "b": [laila.constant({"x": 1}), array], "inner": inner}, nickname="m")
    manifest.memorize().wait()
    first, second, third, fourth = rows(again(manifest))
    assert (
        first
        == third
        == (
            "numpy.ndarray",
            (3, 4),
            "float32",
            48,
            to_blob(array).digest,
        )
    )
    assert second is not None
    assert fourth is not None
    assert (second.type, second.shape, second.dtype) == ("dict", None, None)
    assert fourth.type == "laila.Manifest"
    assert fourth.digest == to_blob(laila.remember(inner).wait()).digest
    assert rows(again(manifest)) == rows(manifest)
    (text,) = rows(again(inner))
    assert text is not None
    assert text.type == "str"


def test_ids_are_looked_up_when_the_manifest_is_stored(acting: Any) -> None:
    entries = [laila.constant(np.arange(4)), laila.constant(b"bytes")]
    laila.memorize(entries).wait()
    of_ids = Manifest({"all": [entry.global_id for entry in entries]}, nickname="m")
    of_ids.memorize().wait()
    assert [row and row.type for row in rows(again(of_ids))] == ["numpy.ndarray", "bytes"]
    of_entries = Manifest({"all": entries}, nickname="m")
    of_entries.memorize().wait()  # the same content
    assert rows(of_entries) == rows(again(of_ids))


def test_entries_that_were_stored_before_are_looked_up(policy: laila.DefaultPolicy) -> None:
    entry = laila.constant([1, 2])
    laila.memorize(entry).wait()
    manifest = Manifest({"a": entry, "inner": Manifest({"b": entry})})
    manifest.memorize().wait()
    known = rows(again(manifest))
    assert [row and row.type for row in known] == ["list", "laila.Manifest"]
    assert rows(manifest) == known
    inner: Any = laila.remember(str(manifest.blueprint["inner"])).wait()
    assert [row and row.type for row in rows(inner)] == ["list"]
    assert known[1] is not None
    assert known[1].digest == to_blob(inner).digest


def test_evolutions_have_rows_and_a_variable_as_such_has_none(acting: Any) -> None:
    variable = laila.variable([1], nickname="v")
    laila.memorize(variable).wait()
    laila.memorize(variable.evolve(data="two")).wait()
    stem = variable.global_id.removesuffix("-1")
    manifest = Manifest({"first": f"{stem}-0", "second": f"{stem}-1", "newest": stem})
    manifest.memorize().wait()
    assert [row and row.type for row in rows(again(manifest))] == ["list", "str", None]
    # An evolution later it is the same manifest.
    laila.memorize(variable.evolve(data=3)).wait()
    manifest.memorize().wait()
    again(manifest).memorize().wait()
    Manifest(manifest.blueprint, global_id=manifest.global_id).memorize().wait()


def test_the_same_tree_is_the_same_manifest_whatever_was_known(acting: Any) -> None:
    entry = laila.constant([1])
    tree = {"a": entry.global_id}
    Manifest(tree, nickname="m").memorize(missing_ok=True).wait()
    laila.memorize(entry).wait()
    Manifest(tree, nickname="m").memorize().wait()
    Manifest({"a": entry}, nickname="m").memorize().wait()
    with pytest.raises(ImmutableEntryError):
        Manifest({"b": entry}, nickname="m").memorize().wait()
    with pytest.raises(ImmutableEntryError):
        Manifest({"a": laila.constant([1])}, nickname="m").memorize().wait()


def test_a_leaf_that_was_replaced_makes_another_manifest(acting: Any) -> None:
    Manifest({"a": laila.constant(1, nickname="a")}, nickname="m").memorize().wait()
    laila.memorize(laila.constant(2, nickname="a"), overwrite=True).wait()
    other = Manifest({"a": laila.constant(2, nickname="a")}, nickname="m")
    with pytest.raises(ImmutableEntryError):
        other.memorize().wait()
    other.memorize(overwrite=True).wait()
    assert rows(again(other)) == rows(other)


def test_what_is_stored_transformed_is_known_where_it_was_given(policy: laila.DefaultPolicy) -> None:
    laila.memory.alpha_pool = laila.MemoryPool(transformations=["zlib"])
    entry = laila.constant(np.zeros(100))
    manifest = Manifest({"a": entry}, nickname="m")
    manifest.memorize().wait()
    assert [row and row.shape for row in rows(again(manifest))] == [(100,)]
    of_ids = Manifest({"a": entry.global_id})
    of_ids.memorize().wait()
    assert rows(again(of_ids)) == [None]  # its head says nothing of what is in it
    Manifest({"a": entry.global_id}, nickname="m").memorize().wait()


def test_a_part_and_a_sum_keep_what_is_known(policy: laila.DefaultPolicy) -> None:
    one = Manifest({"a": laila.constant(1), "b": {"c": laila.constant("two")}})
    two = Manifest({"d": laila.constant(b"3")})
    one.memorize().wait()
    two.memorize().wait()
    assert [row and row.type for row in rows(again(one).sub_manifest(["b"]))] == ["str"]
    total = again(one) + again(two)
    assert [row and row.type for row in rows(total)] == ["int", "str", "bytes"]
    total.memorize().wait()
    assert rows(again(total)) == rows(total)
    copy = pickle.loads(pickle.dumps(total))
    assert rows(copy) == rows(total)
    assert rows(Manifest.recover(total.serialize())) == rows(total)


def table_of(count: int) -> tuple[list[str], dict[str, Any]]:
    ids = [laila.constant(None).global_id for _ in range(count)]
    known = Leaves()
    known.add(
        {
            leaf: Leaf(f"type {i % 3}", (i % 50, 224), "float32", i * 1000, os.urandom(16))
            for i, leaf in enumerate(ids)
        }
    )
    stored = known.stored(ids)
    assert stored is not None
    return ids, stored


def test_a_leaf_takes_at_most_48_bytes() -> None:
    count = 100_000
    ids = [laila.constant(None).global_id for _ in range(count)]
    known = Leaves()
    digest = bytes(range(16))
    # Each of another shape, which is the worst that arrays do.
    known.add(
        {leaf: Leaf("numpy.ndarray", (i, 1000), "float32", i * 4000, digest) for i, leaf in enumerate(ids)}
    )
    tree = {"leaves": ids}
    key = Manifest().global_id
    with_table = encode({"tree": tree, "leaves": known.stored(ids)}, key=key).content_nbytes
    assert with_table - encode({"tree": tree}, key=key).content_nbytes <= 48 * count
    assert known.get(ids[300]) == ("numpy.ndarray", (300, 1000), "float32", 1_200_000, digest)


def changed(**columns: Any) -> Any:
    def change(table: dict[str, Any]) -> Any:
        return {**table, **columns}

    return change


HOSTILE = [
    lambda table: [*table.values()],
    lambda table: None,
    lambda table: {name: column for name, column in table.items() if name != "nbytes"},
    changed(more=b""),
    changed(digest=b"1" * 33),
    changed(digest="1" * 32),
    changed(digest=b""),
    changed(type=b"123"),
    changed(type=b""),
    changed(type=b"\0" * 6),
    changed(type=b"\x01\x63"),
    changed(dtype=b"\xff" * 16),
    changed(shape=b"\x01\x09"),
    changed(types=["a", "b", "c"]),
    changed(types=["a", 7]),
    changed(types=["a" * 201, "b"]),
    changed(types=[""]),
    changed(types="ab"),
    changed(dtypes=[]),
    changed(shapes=[[1]], shape=b"\1\2"),
    changed(shapes=[[-1], [1]]),
    changed(shapes=[[True], [1]]),
    changed(shapes=[[1.0], [1]]),
    changed(shapes=[[1] * 65, [1]]),
    changed(shapes=[[1 << 63], [1]]),
    changed(shapes=[{1: 2}, [1]]),
    changed(nbytes=b"\xff" * 16),
    changed(nbytes=b"\xff" * 3),
    changed(nbytes=[1, 2]),
]


@pytest.mark.parametrize("change", HOSTILE, ids=range(len(HOSTILE)))
def test_a_forged_table_is_refused(change: Any) -> None:
    ids, table = table_of(2)
    with pytest.raises(ManifestError):
        Leaves.read(change(table), ids)
    key = Manifest().global_id
    blob = encode({"tree": {"a": ids}, "leaves": change(table)}, key=key)
    with pytest.raises(CorruptEntryError):
        from_blob(Blob.from_bytes(bytes(blob)))


def test_another_payload_is_no_manifest() -> None:
    key = Manifest().global_id
    leaf = laila.constant(1).global_id
    wrong: list[Any] = [{"a": leaf}, {}, [], None, {"tree": [leaf]}, {"leaves": {}}, {"tree": {}, "other": 1}]
    for payload in wrong:
        with pytest.raises(CorruptEntryError):
            from_blob(encode(payload, key=key))
    assert isinstance(from_blob(encode({"tree": {"a": leaf}}, key=key)), Manifest)


def test_a_table_that_lies_harms_nobody(policy: laila.DefaultPolicy) -> None:
    """It is what its writer says; what is read of a leaf is what the leaf is."""
    entry = laila.constant([1])
    laila.memorize(entry).wait()
    manifest = Manifest({"a": entry.global_id})
    manifest.note_leaves({entry.global_id: Leaf("os.system", (1 << 60,) * 64, "x", 1 << 62, b"1" * 16)})
    manifest.memorize().wait()
    found = again(manifest)
    assert found.resolved["a"].data == [1]
    assert rows(found) == rows(manifest)


def test_zeros_of_two_neighbours_are_no_unknown_leaf() -> None:
    """Digests that end and begin with zeros lie side by side."""
    ids = [f"LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-{i:012x}" for i in range(3)]
    digests = [b"\x01" + bytes(15), bytes(15) + b"\x01", b"\x01" + bytes(15)]
    for known, is_whole in ((digests, True), ([digests[0], bytes(16), digests[2]], False)):
        leaves = Leaves()
        leaves.add({key: Leaf("int", None, None, 1, digest) for key, digest in zip(ids, known, strict=True)})
        again = Leaves.read(leaves.stored(ids), ids)
        assert (again.unknown(ids) == []) is is_whole
        assert again.total(ids)[1] is is_whole


def test_no_more_is_read_at_a_time_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that may only read asks what many large entries are, which say nothing of themselves unread."""
    monkeypatch.setattr(describing, "_ROOM", 5000)
    pool = laila.MemoryPool(transformations=["base64"])
    blobs = [to_blob(laila.constant("x" * 1500)) for _ in range(9)]
    pool.store(blobs)
    read: list[int] = []
    load = pool.load

    def counted(keys: Sequence[str], **options: bool) -> Any:
        read.append(len(keys))
        return load(keys, **options)

    monkeypatch.setattr(pool, "load", counted)
    found = describing.describe(pool, [blob.key for blob in blobs])
    assert all(leaf is not None and leaf.type == "str" for leaf in found)
    assert sum(read) == 9
    assert max(read) <= 3
