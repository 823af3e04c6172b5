"""What is there by its content is not sent again: to each kind of pool, through tiers, and to a peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from laila.contract import Pool
from laila.entry import EntryState
from laila.errors import ImmutableEntryError, LailaError

LEAVES, LEAF_BYTES = 100, 256 * 1024
KINDS = ["memory", "files", "hdf5", "redis", "s3", "zstd", "aes", "tiers"]
WRITES = ["_create_many", "_write_many", "_create_together"]


class Sent:
    """Counts the bytes that a pool's backend is given."""

    def __init__(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nbytes = 0
        self.questions = 0
        for name in WRITES:
            monkeypatch.setattr(pool, name, self._counting(getattr(pool, name)), raising=True)
        heads = pool._read_heads

        def read_heads(keys: Any) -> Any:
            self.questions += 1
            return heads(keys)

        monkeypatch.setattr(pool, "_read_heads", read_heads)

    def _counting(self, write: Any) -> Any:
        def count(items: Any) -> Any:
            self.nbytes += sum(blob.nbytes for _, blob in items)
            return write(items)

        return count


@pytest.fixture(params=KINDS)
def pool(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Pool, Pool]:
    """A pool that verbs mean, and the one that keeps what they store."""
    kind = request.param
    options: dict[str, Any] = {}
    if kind == "redis":
        url = f"{request.getfixturevalue('redis_server').url}?prefix={tmp_path.name}"
    elif kind == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}/{tmp_path.name}"
        for name, value in request.getfixturevalue("s3_server").variables().items():
            monkeypatch.setenv(name, value)
    elif kind == "memory":
        url = "memory:"
    else:
        url = f"hdf5:{tmp_path}/pool.h5" if kind == "hdf5" else f"file:{tmp_path}/pool"
        monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "a key for this test only, of some length")
        options = {"zstd": {"transformations": ["zstd"]}, "aes": {"transformations": ["aes-gcm"]}}.get(
            kind, {}
        )
    if kind == "tiers":
        first = laila.tiers("memory:", url, pool_nickname=tmp_path.name)
        return first, first.chain()[-1]
    one = laila.memory.extend(url, pool_nickname=tmp_path.name, **options)
    return one, one


def epoch(changed: int | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    tree = {f"layer{i}": rng.integers(0, 256, LEAF_BYTES, "u1") for i in range(LEAVES)}
    if changed is not None:
        tree[f"layer{changed}"][0] += 1
    return tree


def test_a_loop_writes_what_changed(pool: tuple[Pool, Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = pool
    where = first.global_id
    laila.Manifest(epoch(), by="content").memorize(pool_id=where).wait()
    sent = Sent(last, monkeypatch)
    run = laila.Manifest(epoch(changed=7), by="content")
    run.memorize(pool_id=where).wait()
    assert sent.nbytes <= 0.011 * LEAVES * LEAF_BYTES
    assert sent.questions <= 2  # one batch for the leaves; one may be about what is taken
    before = sent.nbytes
    again = laila.Manifest(epoch(changed=7), by="content")
    again.memorize(pool_id=where).wait()
    assert sent.nbytes - before < 20_000  # the small manifest is compared, which some pools do by sending it
    found = laila.remember(run, pool_id=where).result.resolve(pool_id=where)
    assert all(np.array_equal(found[key].data, value) for key, value in epoch(changed=7).items())


def large(value: int = 0) -> Any:
    return np.full(LEAF_BYTES, value, "u1")


@pytest.fixture
def files(tmp_path: Path) -> Pool:
    return laila.memory.extend(f"file:{tmp_path}/files", pool_nickname=tmp_path.name)


def test_entries_alone_and_in_batches(files: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    where = files.global_id
    first = laila.constant(large(), by="content")
    laila.memorize(first, pool_id=where).wait()
    sent = Sent(files, monkeypatch)
    again = laila.constant(large(), by="content")
    assert laila.memorize(again, pool_id=where).result == first.global_id
    assert sent.nbytes == 0
    assert again.state is EntryState.POOLED
    assert again.stored_in() == files.uuid
    other, small = laila.constant(large(1), by="content"), laila.constant(1, by="content")
    plain = laila.constant(large(), nickname="with a name")
    batch = [again, other, small, plain, first]
    group = laila.memorize(batch, pool_id=where)
    assert group.result == [entry.global_id for entry in batch]
    assert 2 * LEAF_BYTES < sent.nbytes < 2 * LEAF_BYTES + 10_000
    assert {entry.state for entry in batch} == {EntryState.POOLED}


def test_what_was_changed_is_not_said_to_be_there(files: Pool) -> None:
    where, array = files.global_id, large()
    entry = laila.constant(array, by="content")
    laila.memorize(entry, pool_id=where).wait()
    array[0] = 1
    with pytest.raises(ImmutableEntryError, match="was changed after its id was made"):
        laila.memorize(entry, pool_id=where)
    with pytest.raises(ImmutableEntryError, match="was changed after its id was made"):
        laila.memorize([entry], pool_id=where)
    with pytest.raises(ImmutableEntryError, match="was changed after its id was made"):
        laila.Manifest({"a": entry}).memorize(pool_id=where)


def test_the_snapshot_is_taken_before_memorize_returns(files: Pool) -> None:
    tree = {"a": large(1), "b": large(2)}
    group = laila.Manifest(tree, nickname="mutable", by="content").memorize(pool_id=files.global_id)
    for array in tree.values():
        array[:] = 9
    group.wait()
    stored = laila.remember(nickname="mutable", scope="MANIFEST", pool_id=files.global_id).result
    found = stored.resolve(pool_id=files.global_id)
    assert (found["a"].data[0], found["b"].data[0]) == (1, 2)


def test_another_content_under_the_id_is_not_taken_for_it(files: Pool) -> None:
    entry = laila.constant(large(), by="content")
    laila.memorize(laila.constant(large(1), uuid=entry.uuid), pool_id=files.global_id).wait()
    with pytest.raises(ImmutableEntryError, match="another content"):
        laila.memorize(entry, pool_id=files.global_id).wait()


def test_verify_finds_a_damaged_payload_and_stores_it_again(files: Pool, tmp_path: Path) -> None:
    entry = laila.constant(large(), by="content")
    laila.memorize(entry, pool_id=files.global_id).wait()
    (path,) = (
        one for one in (tmp_path / "files").rglob("*") if one.is_file() and one.stat().st_size > LEAF_BYTES
    )
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    laila.memorize(laila.constant(large(), by="content"), pool_id=files.global_id).wait()  # by its head
    with pytest.raises(LailaError):
        _ = laila.remember(entry, pool_id=files.global_id).result
    laila.memorize(laila.constant(large(), by="content"), pool_id=files.global_id, verify=True).wait()
    assert laila.remember(entry, pool_id=files.global_id).result.data[0] == 0


def test_a_pool_that_cannot_be_asked_is_sent_everything(files: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(keys: Any) -> Any:
        raise PermissionError(13, "may write, may not read")

    laila.memorize(laila.constant(large(3), by="content"), pool_id=files.global_id).wait()
    monkeypatch.setattr(files, "_read_heads", refuse)
    entry = laila.constant(large(2), by="content")
    assert laila.memorize(entry, pool_id=files.global_id).result == entry.global_id


def test_a_peer_is_asked_before_it_is_sent(files: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a secret of 22 characters or more"
    server = laila.DefaultPolicy()
    try:
        kept = server.central.memory.alpha_pool
        protocol = laila.DefaultTCPIPProtocol(peer_secret_key=secret, port=0)
        server.central.communication.add_connection(protocol)
        memory = laila.peers[laila.add_peer(str(protocol.uri), secret)].central.memory
        manifest = laila.Manifest({"a": large(), "b": [large(1), 5]}, by="content")
        assert len(memory.memorize(manifest).result) == 4
        sent = Sent(kept, monkeypatch)
        changed = laila.Manifest({"a": large(2), "b": [large(1), 5]}, by="content")
        outcomes = memory.memorize(changed).result
        assert outcomes[-1] == changed.global_id
        assert LEAF_BYTES < sent.nbytes < LEAF_BYTES + 10_000
        again, new = laila.constant(large(), by="content"), laila.constant(large(4), by="content")
        assert memory.memorize(again).result == again.global_id
        assert memory.memorize([again, new]).result == [again.global_id, new.global_id]
        assert memory.memorize([again]).result == [again.global_id]
        assert again.state is EntryState.POOLED
        assert 2 * LEAF_BYTES < sent.nbytes < 2 * LEAF_BYTES + 10_000
        found: Any = memory.remember(new).result
        assert found.data[0] == 4
        named = laila.constant(5, nickname="with provenance")
        memory.memorize(named, provenance={"run": 7}).wait()
        there: Any = memory.remember(named).result
        assert there.provenance == named.provenance
        memory.memorize_manifest(changed, overwrite=True, provenance={"run": 8}).wait()
        there = memory.remember(changed).result
        assert there.provenance["run"] == 8
    finally:
        server.close()
