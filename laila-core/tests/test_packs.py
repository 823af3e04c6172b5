"""Small leaves that are stored together: written, found again, copied, forgotten, damaged and forged."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from dict_protocol import WIRES, DictProtocol
from laila import Manifest
from laila.blob.blob import Blob
from laila.central.packing import pack_bytes
from laila.codec import encode
from laila.contract import Pool
from laila.entry.packs import Packs, Place, Wanted
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    ImmutableEntryError,
    InvalidArgumentError,
    InvalidValueError,
    ManifestError,
    ManifestKeyError,
)
from laila.testing.payloads import assert_same

pytestmark = pytest.mark.usefixtures("policy")

PACK = "64 KiB"


class Ranged(laila.Pool):
    """A pool of bytes that notes what is asked of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, bytes] = {}
        self.ranges: list[tuple[str, int]] = []
        self.wholes: list[str] = []

    def _read(self, key: str) -> bytes | None:
        self.wholes.append(key)
        return self.files.get(key)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        self.ranges += [(key, stop - start) for start, stop in ranges]
        found = self.files.get(key)
        return None if found is None else [found[start:stop] for start, stop in ranges]

    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.files

    def _keys(self) -> Iterator[str]:
        return iter(list(self.files))

    def _empty(self) -> None:
        self.files.clear()

    def clear(self) -> None:
        self.ranges, self.wholes = [], []


@pytest.fixture
def pool(policy: laila.DefaultPolicy) -> Ranged:
    made = Ranged()
    policy.central.memory.extend(made)
    policy.central.memory.alpha_pool = made
    return made


@pytest.fixture(params=["here", "a peer"])
def acting(request: pytest.FixtureRequest, policy: laila.DefaultPolicy) -> Iterator[Ranged]:
    """The pool of the active policy, which is one of this process or a peer."""
    made = Ranged()
    if request.param == "here":
        policy.central.memory.extend(made)
        policy.central.memory.alpha_pool = made
        yield made
        return
    with laila.DefaultPolicy() as other:
        other.central.memory.extend(made)
        other.central.memory.alpha_pool = made
        for each in (policy, other):
            each.central.communication.add_connection(DictProtocol())
        peer = laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
        laila.activate_policy(peer)
        yield made
    WIRES.clear()


def sample(i: int) -> Any:
    return {"pixels": np.full(1000, i, "i4"), "label": i}


def data_set(count: int = 100, *, name: str | None = "data", **more: Any) -> Manifest:
    samples = [laila.constant(sample(i)) for i in range(count)]
    return Manifest({"samples": samples, **more}, nickname=name)


def stored(name: str = "data") -> Any:
    found = laila.remember(nickname=name, scope="MANIFEST").result
    assert isinstance(found, Manifest)
    return found


def is_pack(key: str) -> bool:
    return ":PACK:" in key


def same(found: Any, i: int) -> bool:
    return bool(found["label"] == i and (found["pixels"] == i).all())


# -- what is stored, and found again -------------------------------------------------------------------------


def test_small_leaves_are_few_entries_and_come_back(acting: Ranged) -> None:
    manifest = data_set()
    outcomes = manifest.memorize(pack=PACK).result
    assert outcomes == [*manifest, manifest.global_id]
    assert len(acting.files) == 8  # 100 samples of 4 KB in packs of 64 KiB, and the manifest
    assert sorted(filter(is_pack, acting.files)) == sorted(manifest.packs)
    again = stored()
    assert again.packs == manifest.packs
    assert all(same(entry.data, i) for i, entry in enumerate(again.resolve()["samples"]))
    assert same(again.sub_manifest([("samples", 7)]).resolve()["samples"][0].data, 7)


def test_some_leaves_are_read_in_any_order(acting: Ranged) -> None:
    data_set().memorize(pack=PACK).wait()
    manifest = stored()
    acting.clear()
    leaves = manifest["samples"]
    chosen = [70, 3, 99, 3, 12]
    found = manifest.remember([leaves[i] for i in chosen]).result
    assert [entry.data["label"] for entry in found] == chosen
    assert [entry.global_id for entry in found] == [leaves[i] for i in chosen]
    assert len(acting.ranges) == 4
    assert not acting.wholes
    assert max(size for _, size in acting.ranges) < 5000


def test_leaves_that_follow_each_other_are_one_range(pool: Ranged) -> None:
    data_set().memorize(pack=PACK).wait()
    manifest = stored()
    pool.clear()
    manifest.remember(manifest["samples"][:10]).wait()
    assert len(pool.ranges) == 1


def test_what_is_packed_and_what_is_not(pool: Ranged) -> None:
    entries = {
        "small": laila.constant(1),
        "other": laila.constant("two"),
        "large": laila.constant(np.zeros(64 * 1024, "u1")),
        "named": laila.constant(3, nickname="three"),
        "variable": laila.variable(4),
        "inner": Manifest({"a": laila.constant(5)}),
    }
    Manifest(dict(entries), nickname="mixed").memorize(pack="1 MiB").wait()
    manifest = stored("mixed")
    packed = {name for name, leaf in manifest.items() if manifest.wanted(leaf) is not None}
    assert packed == {"small", "other"}
    assert laila.remember(nickname="three").result.data == 3
    assert laila.remember(entries["variable"]).result.data == 4
    found = manifest.resolve()
    assert [found[name].data for name in ("small", "other", "named", "variable")] == [1, "two", 3, 4]
    assert found["inner"].resolve()["a"].data == 5
    assert len(found["inner"].packs) == 1


def test_a_leaf_of_two_manifests_is_packed_once(pool: Ranged) -> None:
    leaf = laila.constant(1)
    outer = Manifest({"inner": Manifest({"a": leaf}), "again": leaf}, nickname="outer")
    outer.memorize(pack=PACK).wait()
    assert len(list(filter(is_pack, pool.files))) == 1
    assert stored("outer").resolve()["again"].data == 1


def test_without_the_manifest_the_error_names_it(acting: Ranged) -> None:
    manifest = data_set(3)
    manifest.memorize(pack=PACK).wait()
    leaf = next(iter(manifest))
    with pytest.raises(EntryNotFoundError, match=f"packed with the manifest {manifest.global_id}"):
        laila.remember(leaf).result  # noqa: B018 - raises
    assert laila.remember([leaf], missing_ok=True).result == [None]


def test_a_leaf_of_another_manifest_is_refused(acting: Ranged) -> None:
    manifest = data_set(3)
    manifest.memorize(pack=PACK).wait()
    with pytest.raises(ManifestKeyError, match="is no leaf of the manifest"):
        stored().remember([laila.constant(1)])


@pytest.mark.parametrize("transformation", ["zstd", "zlib", "aes-gcm"])
def test_packs_that_are_transformed(
    policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch, transformation: str
) -> None:
    if transformation == "aes-gcm":
        monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "a key for this test only, of some length")
    pool = Ranged(transformations=[transformation])
    laila.memory.extend(pool)
    policy.central.memory.alpha_pool = pool
    data_set().memorize(pack="128 KiB").wait()
    manifest = stored()
    pool.clear()
    assert all(same(entry.data, i) for i, entry in enumerate(manifest.resolve()["samples"]))
    assert max(map(pool.wholes.count, manifest.packs)) <= 1  # once, however many leaves
    assert same(manifest.remember(manifest["samples"][5:6]).result[0].data, 5)


def test_a_cache_before_the_pool_is_asked_first(policy: laila.DefaultPolicy) -> None:
    cache, last = Ranged(), Ranged()
    cache << last
    for pool in (cache, last):
        policy.central.memory.extend(pool)
    policy.central.memory.alpha_pool = cache
    data_set().memorize(pack=PACK, pool_id=last.global_id).wait()
    manifest = stored()
    assert same(stored().remember(manifest["samples"][4:5]).result[0].data, 4)
    (cache[stored()] <= last[stored()]).wait()
    last.clear()
    assert same(stored().remember(manifest["samples"][4:5]).result[0].data, 4)
    assert not last.ranges
    pack = stored().packs[0]
    cache.files[pack] = cache.files[pack][:-1000] + bytes(1000)  # a damaged cache is passed over
    assert all(same(entry.data, i) for i, entry in enumerate(stored().resolve()["samples"]))


# -- again ---------------------------------------------------------------------------------------------------


def by_content(count: int, name: str = "data") -> Manifest:
    return Manifest({"samples": [sample(i) for i in range(count)]}, nickname=name, by="content")


def test_a_program_that_runs_again_stores_nothing_new(acting: Ranged) -> None:
    by_content(60).memorize(pack=PACK).wait()
    before = dict(acting.files)
    again = by_content(60)
    assert again.memorize(pack=PACK).result[-1] == again.global_id
    assert acting.files == before


def test_a_data_set_that_grows_packs_what_is_new(pool: Ranged) -> None:
    by_content(60).memorize(pack=PACK).wait()
    before = dict(pool.files)
    more = by_content(70)
    with pytest.raises(ImmutableEntryError):
        more.memorize(pack=PACK).wait()
    assert pool.files == before  # no pack was left behind
    by_content(70).memorize(pack=PACK, overwrite=True).wait()
    new = [key for key in pool.files if key not in before]
    assert len(new) == 1
    assert before.keys() <= pool.files.keys()
    assert all(same(entry.data, i) for i, entry in enumerate(stored().resolve()["samples"]))


def test_a_manifest_that_was_extended_keeps_its_packs(acting: Ranged) -> None:
    data_set(20).memorize(pack=PACK).wait()
    manifest = stored()
    manifest.extend(Manifest({"more": [laila.constant(sample(i)) for i in range(20, 30)]}))
    manifest.memorize(pack=PACK, overwrite=True).wait()
    assert len(manifest.packs) == 3
    found = stored().resolve()
    assert [entry.data["label"] for entry in found["samples"] + found["more"]] == list(range(30))


def test_memorizing_again_without_packs_keeps_them(pool: Ranged) -> None:
    manifest = data_set(20)
    manifest.memorize(pack=PACK).wait()
    before = dict(pool.files)
    manifest.memorize().wait()
    assert pool.files == before


def test_another_pool_gets_packs_of_its_own(policy: laila.DefaultPolicy, pool: Ranged) -> None:
    manifest = data_set(20)
    manifest.memorize(pack=PACK).wait()
    other = policy.central.memory.extend(Ranged(nickname="other"))
    manifest.memorize(pool_nickname="other", pack=PACK).wait()
    assert len(list(filter(is_pack, other))) == 2
    found = laila.remember(nickname="data", scope="MANIFEST", pool_nickname="other").result
    assert found.remember(pool_nickname="other").result[3].data["label"] == 3


def test_leaves_whose_pack_is_missing_are_told_before_anything_is_written(acting: Ranged) -> None:
    data_set(20).memorize(pack=PACK).wait()
    manifest = stored()
    del acting.files[manifest.packs[1]]
    part = manifest.sub_manifest("samples")
    before = dict(acting.files)
    with pytest.raises(EntryNotFoundError, match="was not stored"):
        part.memorize().wait()
    assert acting.files == before
    with pytest.raises(EntryNotFoundError):
        manifest.resolve()
    assert manifest.remember(manifest["samples"][:3]).result[2].data["label"] == 2


# -- parts, differences, copies and the end ------------------------------------------------------------------


def test_a_part_of_a_manifest_lies_in_its_packs(acting: Ranged) -> None:
    data_set(20, other=laila.constant(1)).memorize(pack=PACK).wait()
    borrowed = stored().sub_manifest("samples")
    borrowed.memorize().wait()
    found = laila.remember(borrowed).result
    assert found.packs
    assert found.packs == stored().packs
    *leaves, last = found.forget().futures()
    assert isinstance(laila.runtime.exception(leaves[0]), ManifestError)
    assert "pack of the manifest" in str(laila.runtime.exception(leaves[0]))
    assert last.result is None
    assert same(stored().resolve()["samples"][3].data, 3)  # nobody else's leaves went


def test_differences_need_no_pack(pool: Ranged) -> None:
    by_content(20).memorize(pack=PACK).wait()
    manifest = stored()
    pool.clear()
    changed = Manifest(
        {"samples": [sample(i if i != 4 else 40) for i in range(20)]}, nickname="data", by="content"
    )
    assert manifest.diff(changed).changed == ["samples/4"]
    assert manifest.nbytes > 20 * 4000
    assert not pool.ranges
    assert not pool.wholes


def test_copies(pool: Ranged) -> None:
    data_set(20, large=laila.constant(np.zeros(100_000, "u1"))).memorize(pack=PACK).wait()
    manifest = stored()
    whole, tree, branch = Ranged(), Ranged(), Ranged()
    (whole <= pool).wait()
    assert whole.files == pool.files
    outcomes = (tree[manifest] <= pool[manifest]).result
    assert outcomes == [*manifest, manifest.global_id]
    assert tree.files == pool.files
    assert (branch[manifest]["samples"] <= pool[manifest]["samples"]).result == manifest["samples"]
    assert sorted(branch.files) == sorted(manifest["samples"])
    assert pool[manifest]["samples"][3].key == manifest["samples"][3]
    # What was unpacked is found through the manifest, too.
    laila.memory.extend(branch, pool_nickname="branch")
    assert manifest.remember(manifest["samples"][:2], pool_nickname="branch").result[1].data["label"] == 1


def test_a_copy_without_a_pack_copies_no_manifest(pool: Ranged) -> None:
    data_set(20).memorize(pack=PACK).wait()
    manifest = stored()
    del pool.files[manifest.packs[1]]
    dest = Ranged()
    group = dest[manifest] <= pool[manifest]
    with pytest.raises(ManifestError, match="was not copied"):
        group[-1].result  # noqa: B018 - raises
    assert manifest.global_id not in dest.files
    assert group[0].result == manifest["samples"][0]


def test_forgetting_deletes_the_packs(acting: Ranged) -> None:
    data_set(20).memorize(pack=PACK).wait()
    assert stored().forget().result == [None] * 21
    assert not acting.files
    manifest = data_set(20)
    for _ in range(2):  # the same manifest may come again
        manifest.memorize(pack=PACK).wait()
        assert len(acting.files) == 3
        manifest.forget().wait()
        assert not acting.files


def test_a_manifest_that_was_made_anew_finds_its_packs(acting: Ranged) -> None:
    by_content(20).memorize(pack=PACK).wait()
    assert same(by_content(20).resolve()["samples"][5].data, 5)
    by_content(20).forget().wait()
    assert not acting.files


# -- damage and lies -----------------------------------------------------------------------------------------


def test_damage_fails_exactly_its_leaves(acting: Ranged) -> None:
    data_set(40).memorize(pack="1 MiB").wait()
    manifest = stored()
    place = manifest.wanted(manifest["samples"][7]).place
    raw = bytearray(acting.files[place.pack])
    raw[place.start + place.offset + place.length // 2] ^= 1
    acting.files[place.pack] = bytes(raw)
    group = manifest.remember()
    for i, child in enumerate(group.futures()):
        if i == 7:
            with pytest.raises(CorruptEntryError, match="cannot be read out of the pack LAILA:PACK:"):
                child.result  # noqa: B018 - raises
        else:
            assert same(child.result.data, i)


def test_a_damaged_head_of_a_pack_fails_no_leaf(pool: Ranged) -> None:
    data_set(10).memorize(pack=PACK).wait()
    manifest = stored()
    (pack,) = manifest.packs
    raw = bytearray(pool.files[pack])
    raw[50] ^= 1
    pool.files[pack] = bytes(raw)
    assert all(same(entry.data, i) for i, entry in enumerate(manifest.resolve()["samples"]))


def test_a_pack_is_verified_and_repaired_as_any_entry(pool: Ranged) -> None:
    data_set(10).memorize(pack=PACK).wait()
    manifest = stored()
    (pack,) = manifest.packs
    backup = Ranged()
    (backup <= pool).wait()
    raw = bytearray(pool.files[pack])
    raw[-10] ^= 1
    pool.files[pack] = bytes(raw)
    assert list(laila.verify(pool).result.damaged) == [pack]
    assert laila.repair(pool, backup, keep=False).result.repaired == [pack]
    assert same(manifest.resolve()["samples"][9].data, 9)


def test_another_content_at_the_place_is_refused(pool: Ranged) -> None:
    """Somebody who can write to the pool puts another blob there, with a checksum and the id."""
    manifest: Any = Manifest({"a": laila.constant(1), "b": laila.constant(2)}, nickname="data")
    manifest.memorize(pack=PACK).wait()
    leaf = manifest["a"]
    place = manifest.wanted(leaf).place
    raw = bytearray(pool.files[place.pack])
    at = place.start + place.offset
    forged = bytes(encode(3, key=str(leaf)))
    assert len(forged) == place.length
    raw[at : at + place.length] = forged
    pool.files[place.pack] = bytes(raw)
    with pytest.raises(CorruptEntryError, match="another content than the manifest says"):
        stored().remember([str(leaf)]).result  # noqa: B018 - raises


def test_a_pack_that_is_something_else(pool: Ranged) -> None:
    data_set(10).memorize(pack=PACK).wait()
    manifest = stored()
    (pack,) = manifest.packs
    for payload in (b"", [1, 2], np.zeros((10, 10)), [np.zeros(9), np.zeros(9)]):
        pool.files[pack] = bytes(encode(payload, key=pack))
        with pytest.raises(CorruptEntryError):
            manifest.resolve()


LEAVES = [f"LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-{i:012x}" for i in range(4)]
PACKS = [f"LAILA:PACK:GLOBAL_ID:3c78a603-2d6f-48e2-a9f1-{i:012x}" for i in range(2)]
OWNER = "LAILA:MANIFEST:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def table(**changes: Any) -> Any:
    return {
        "packs": [[PACKS[0], None, 192], [PACKS[1], OWNER, 256]],
        "pack": bytes([1, 1, 0, 2]),
        "offset": bytes([0, 64, 0, 128]),
        "length": bytes([64, 50, 0, 255]),
        **changes,
    }


def test_a_table_is_read() -> None:
    packs = Packs.read(table(), LEAVES)
    assert packs.get(LEAVES[1]) == Place(PACKS[0], 192, 64, 50, None)
    assert packs.get(LEAVES[2]) is None
    assert packs.get(LEAVES[3]) == Place(PACKS[1], 256, 128, 255, OWNER)
    assert packs.stored(LEAVES) == table()
    backwards = table(offset=bytes([64, 0, 0, 128]))
    assert Packs.read(backwards, LEAVES).get(LEAVES[0]) == Place(PACKS[0], 192, 64, 64, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"packs": []},
        {"packs": None},
        {"packs": [[PACKS[0], None, 192]] * 5},
        {"packs": [[PACKS[0], None, 192], [PACKS[0], None, 192]]},
        {"packs": [[PACKS[0], None, 192]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], None]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], None, "256"]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], None, True]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], 3, 256]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], LEAVES[0], 256]]},
        {"packs": [[PACKS[0], None, 192], [PACKS[1], "me", 256]]},
        {"packs": [[PACKS[0], None, 192], [LEAVES[0], None, 256]]},
        {"packs": [[PACKS[0], None, 192], [f"{PACKS[1]}-3", None, 256]]},
        {"packs": [[PACKS[0], None, 192], ["../secret", None, 256]]},
        {"packs": [[PACKS[0], None, -1], [PACKS[1], None, 256]]},
        {"packs": [[PACKS[0], None, 1 << 60], [PACKS[1], None, 256]]},
        {"pack": bytes([1, 1, 0, 3])},
        {"pack": bytes([1, 1, 0, 1])},
        {"pack": bytes([0, 0, 0, 0])},
        {"pack": bytes(3)},
        {"pack": [1, 1, 0, 2]},
        {"offset": bytes([0, 0, 0, 128])},
        {"offset": bytes([0, 63, 0, 128])},
        {"offset": bytes([64, 0, 0, 128]), "length": bytes([64, 65, 0, 255])},
        {"offset": (1 << 62).to_bytes(8, "little") * 4},
        {"length": bytes([64, 0, 0, 255])},
        {"length": bytes([64, 39, 0, 255])},
        {"length": bytes([64, 50, 1, 255])},
        {"length": b"".join(n.to_bytes(4, "little") for n in (64, 50, 0, 65536))},
        {"length": b"".join(n.to_bytes(8, "little") for n in (64, 50, 0, 1 << 63))},
    ],
    ids=repr,
)
def test_a_forged_table_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="table of the leaves is damaged"):
        Packs.read(table(**changes), LEAVES)


def test_a_forged_table_is_refused_where_it_is_read(pool: Ranged) -> None:
    tree: dict[str, Any] = {"a": LEAVES}
    blob = encode({"tree": tree, "packs": table(pack=bytes([1, 1, 0, 9]))}, key=OWNER)
    pool[OWNER] = blob
    with pytest.raises(CorruptEntryError, match="holds no manifest"):
        laila.remember(OWNER).result  # noqa: B018 - raises


def test_places_beyond_the_end(acting: Ranged) -> None:
    tree: dict[str, Any] = {"a": LEAVES}
    acting.files[OWNER] = bytes(encode({"tree": tree, "packs": table()}, key=OWNER))
    for pack in PACKS:
        acting.files[pack] = bytes(encode(b"x", key=pack))
    manifest: Any = laila.remember(OWNER).result
    outcomes = manifest.remember()
    for i, child in enumerate(outcomes.futures()):
        with pytest.raises(EntryNotFoundError if i == 2 else CorruptEntryError):
            child.result  # noqa: B018 - raises


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        [LEAVES[0], PACKS[0], 192, 0],
        [LEAVES[0], LEAVES[1], 192, 0, 64],
        [LEAVES[0], PACKS[0], -5, 0, 64],
        [LEAVES[0], PACKS[0], 192, -1, 64],
        [LEAVES[0], PACKS[0], 192, 0, 1 << 40],
        [LEAVES[0], PACKS[0], 192, True, 64],
        ["leaf", PACKS[0], 192, 0, 64],
        [3, PACKS[0], 192, 0, 64],
    ],
    ids=repr,
)
def test_what_a_peer_may_not_ask_for(row: Any) -> None:
    assert Wanted.sent(row) is None


def test_what_a_peer_asks_for_comes_over() -> None:
    wanted = Wanted(LEAVES[0], Place(PACKS[0], 192, 64, 50, None), None)
    assert Wanted.sent(wanted.to_send()) == wanted
    assert pickle.loads(pickle.dumps(wanted)) == wanted


# -- as it was stored ----------------------------------------------------------------------------------------

CORPUS = Path(__file__).parent / "corpus" / "packs"


def golden() -> Manifest:
    """A manifest of leaves with a table, of which three are packed."""
    values = [
        {"a": [1, 2.5, None]},
        np.arange(6, dtype="<i4").reshape(2, 3),
        b"x" * 100,
        np.zeros(20_000, "<f4"),
    ]
    entries = [laila.constant(value, global_id=leaf) for value, leaf in zip(values, LEAVES, strict=True)]
    return Manifest({"first": entries[0], "rest": {"list": entries[1:]}}, nickname="golden")


def test_golden_packs(pool: Ranged) -> None:
    """What an earlier version stored is read, by the tables in the manifest."""
    for path in CORPUS.glob("*.laila"):
        raw = path.read_bytes()
        pool.files[Blob.read_head(raw).key] = raw
    assert len(pool.files) == 3
    manifest = stored("golden")
    assert manifest.blueprint == golden().blueprint
    assert [manifest.wanted(leaf) is not None for leaf in LEAVES] == [True, True, True, False]
    for found, wanted in zip(manifest.remember().result, golden().pending(), strict=True):
        assert_same(wanted.data, found.data)
    assert manifest.describe()["rest/list/0"].shape == (2, 3)


# -- sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [("16 MiB", 16 << 20), ("64KiB", 64 << 10), ("1 MB", 10**6), ("0.5 GiB", 1 << 29), (100_000, 100_000)],
)
def test_sizes(size: Any, nbytes: int) -> None:
    assert pack_bytes(size) == nbytes


@pytest.mark.parametrize(
    "size", ["", "16 M", "many", "-1 MiB", "1 KiB", "2 GiB", 0, 1 << 40, "1e9", "9" * 99]
)
def test_sizes_that_no_pack_has(pool: Pool, size: Any) -> None:
    with pytest.raises(InvalidValueError):
        data_set(2).memorize(pack=size)
    assert not list(pool)


@pytest.mark.parametrize("size", [True, 1.5, [], b"1 MiB"])
def test_what_is_no_size(pool: Pool, size: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        data_set(2).memorize(pack=size)
