"""`laila.gc`, pins, and `manifest.forget()`: what something refers to is never lost, also beside writers."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.cli.main import main
from laila.errors import EntryNotFoundError, InvalidArgumentError, ManifestError, SettingsError
from laila.upkeep.notes import COLLECTION
from test_damage import damage

pytestmark = pytest.mark.usefixtures("policy")


def shared(number: int) -> laila.Entry:
    return laila.constant(np.full(100, float(number)), by="content")


def keys_of(pool: laila.Pool) -> set[str]:
    """The entries of a pool, without what it keeps about its own upkeep."""
    return {key for key in pool if ":ENTRY:" in key or ":MANIFEST:" in key}


def opened(place: Place, kind: str, **options: Any) -> laila.Pool:
    pool = place.open(kind, "d", **options)
    laila.memory.extend(pool, pool_nickname="d")
    return pool


def save(nickname: str | None, *numbers: int, **more: Any) -> laila.Manifest:
    manifest = laila.Manifest({"w": [shared(number) for number in numbers]}, nickname=nickname)
    manifest.memorize(pool_nickname="d", **more).wait()
    return manifest


def now(pool: laila.Pool, **options: Any) -> Any:
    return laila.gc(pool, delete=True, grace=0, alone=True, **options).wait()


@pytest.mark.parametrize("made", ["plain", "zlib, aes b"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_nothing_named_refers_to_goes(kind: str, made: str, place: Place) -> None:
    pool = opened(place, kind, transformations=TRANSFORMED[made])
    named = save("run", 1, 2)
    save(None, 2, 3)  # nobody can name it: the manifest and what it alone has
    laila.memorize(laila.constant("loose"), pool_nickname="d").wait()
    variable = laila.variable({"n": 1})  # without a name
    laila.memorize(variable, pool_nickname="d").wait()
    counter = laila.variable({"n": 1}, nickname="counter")
    laila.memorize(counter, pool_nickname="d").wait()
    outer = laila.Manifest({"inner": laila.Manifest({"a": shared(7)})}, nickname="outer")
    outer.memorize(pool_nickname="d").wait()
    pool["a key of the user"] = b"some bytes"
    before = keys_of(pool)
    report = laila.gc(pool).wait()
    assert len(report.candidates) == 4
    assert sorted(row.kind for row in report.candidates) == ["constant", "constant", "manifest", "variable"]
    assert all(row.nbytes for row in report.candidates)
    assert keys_of(pool) == before  # nothing is deleted unless somebody says so
    report = now(pool)
    assert set(report.deleted) == {row.key for row in report.candidates}
    assert before - keys_of(pool) == set(report.deleted)
    assert report.nbytes == sum(row.nbytes for row in report.candidates)
    assert set(named) <= keys_of(pool)
    assert "a key of the user" in pool
    assert not laila.gc(pool).wait().candidates


def test_a_pool_with_ages_waits_for_the_grace_period(place: Place) -> None:
    pool = opened(place, "files")
    old, young = laila.constant("old"), laila.constant("young")
    laila.memorize([old, young], pool_nickname="d").wait()
    then = time.time() - 2 * 86400
    os.utime(pool.file_of(old.global_id), (then, then))  # type: ignore[attr-defined]
    report = laila.gc(pool, delete=True).wait()
    assert report.deleted == [old.global_id]
    (row,) = (row for row in report.candidates if row.key == young.global_id)
    assert row.age is not None
    assert row.age < 3600


def test_content_that_is_memorized_again_is_young(place: Place) -> None:
    pool = opened(place, "files")
    key = laila.memorize(shared(1), pool_nickname="d").result
    then = time.time() - 2 * 86400
    os.utime(pool.file_of(key), (then, then))  # type: ignore[attr-defined]
    assert laila.gc(pool).wait().due == [key]
    laila.memorize(shared(1), pool_nickname="d").wait()
    assert laila.gc(pool).wait().due == []


@pytest.mark.parametrize("kind", ["memory", "hdf5", "redis", "s3"])
def test_a_pool_without_ages_notes_candidates_first(
    kind: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = opened(place, kind)
    first, again = (laila.memorize(shared(number), pool_nickname="d").result for number in (1, 2))
    assert laila.gc(pool, delete=True).wait().deleted == []
    third = laila.memorize(shared(3), pool_nickname="d").result
    monkeypatch.setattr("laila.upkeep.collecting.time", lambda: time.time() + 90_000)
    laila.memorize(shared(2), pool_nickname="d").wait()  # somebody has come to use it
    report = laila.gc(pool, delete=True).wait()
    assert report.deleted == [first]
    assert keys_of(pool) == {again, third}
    monkeypatch.setattr("laila.upkeep.collecting.time", lambda: time.time() + 2 * 90_000)
    assert laila.gc(pool, delete=True).wait().deleted == [third]  # the other one began anew
    monkeypatch.setattr("laila.upkeep.collecting.time", lambda: time.time() + 3 * 90_000)
    assert laila.gc(pool, delete=True).wait().deleted == [again]
    assert [key for key in pool if key != COLLECTION] == []


def test_what_is_stored_again_is_no_candidate_of_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = opened(place, "memory")
    key = laila.memorize(shared(1), pool_nickname="d").result
    laila.gc(pool, delete=True).wait()
    del pool[key]
    laila.memorize(shared(1), pool_nickname="d").wait()
    monkeypatch.setattr("laila.upkeep.collecting.time", lambda: time.time() + 90_000)
    assert laila.gc(pool, delete=True).wait().deleted == []


def test_provenance_keeps_inputs_if_asked(place: Place) -> None:
    pool = opened(place, "files")
    source = laila.constant("data")
    laila.memorize(source, pool_nickname="d").wait()
    result = laila.constant("result", nickname="result")
    laila.memorize(result, pool_nickname="d", provenance={"inputs": [source]}).wait()
    assert not laila.gc(pool, inputs=True).wait().candidates
    assert [row.key for row in laila.gc(pool).wait().candidates] == [source.global_id]


def test_a_manifest_that_cannot_be_read_stops_the_deletion(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = opened(place, "files")
    run = save("run", 1)
    laila.memorize(laila.constant("loose"), pool_nickname="d").wait()
    damage(pool, run.global_id)
    before = keys_of(pool)
    report = now(pool)
    assert set(report.unread) == {run.global_id}
    assert report.deleted == []
    assert keys_of(pool) == before
    assert main(["gc", f"file:{pool.path}"]) == 1  # type: ignore[attr-defined]
    assert run.global_id in capsys.readouterr().out


def test_no_grace_has_to_be_said(place: Place) -> None:
    pool = opened(place, "memory")
    for wrong in (0, "0d", -1, "soon", None, True):
        with pytest.raises(SettingsError):
            laila.gc(pool, grace=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError):
        laila.gc("file:d")  # type: ignore[arg-type]


# -- pins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_pin_keeps_what_has_no_name(kind: str, place: Place) -> None:
    pool = opened(place, kind)
    run = save(None, 1, 2)
    loose = laila.constant("loose")
    laila.memorize(loose, pool_nickname="d").wait()
    assert laila.pin(pool, run.global_id, reason="the paper") == [run.global_id]
    assert [(pin.key, pin.reason) for pin in laila.pins(pool)] == [(run.global_id, "the paper")]
    assert now(pool).deleted == [loose.global_id]
    assert len(run.remember(pool_nickname="d").result) == 2
    assert laila.unpin(pool, run.global_id) == [run.global_id]
    assert laila.unpin(pool, run.global_id) == []
    assert len(now(pool).deleted) == 3
    with pytest.raises(EntryNotFoundError, match="nothing was pinned"):
        laila.pin(pool, "no such name")


def test_one_evolution_is_pinned(place: Place) -> None:
    pool = opened(place, "memory")
    variable = laila.variable(0)
    for number in range(4):
        variable.evolve(data=number)
        laila.memorize(variable, pool_nickname="d").wait()
    stem = variable.global_id.rpartition("-")[0]
    assert laila.pin(pool, stem, evolution=2) == [f"{stem}-2"]
    now(pool)
    assert keys_of(pool) == {f"{stem}-2"}
    assert laila.pin(pool, stem) == [stem]
    assert laila.unpin(pool, stem, evolution=2) == [f"{stem}-2"]
    assert now(pool).deleted == []


# -- forget --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_forget_leaves_what_others_share(kind: str, place: Place) -> None:
    pool = opened(place, kind)
    one, other = save("one", 1, 2), save("other", 2, 3)
    assert one.forget(pool_nickname="d").result == [None, None, None]
    assert len(other.remember(pool_nickname="d").result) == 2
    assert keys_of(pool) == {other.global_id, *other}
    assert other.forget(pool_nickname="d").result == [None, None, None]
    assert keys_of(pool) == set()


def test_forget_refuses_what_another_manifest_holds(place: Place) -> None:
    pool = opened(place, "files")
    inner = save("inner", 1)
    outer = laila.Manifest({"inner": inner.global_id}, nickname="outer")
    outer.memorize(pool_nickname="d").wait()
    with pytest.raises(ManifestError, match=outer.global_id):
        inner.forget(pool_nickname="d").wait()
    assert keys_of(pool) == {inner.global_id, *inner, outer.global_id}
    laila.forget(outer, pool_nickname="d").wait()
    laila.pin(pool, "inner")
    with pytest.raises(ManifestError, match="unpin"):
        inner.forget(pool_nickname="d").wait()
    laila.unpin(pool, "inner")
    inner.forget(pool_nickname="d").wait()
    assert keys_of(pool) == set()


def test_forget_of_all_evolutions_leaves_the_one_that_is_shared(place: Place) -> None:
    pool = opened(place, "memory")
    variable = laila.variable(0, nickname="v")
    for number in range(3):
        variable.evolve(data=number)
        laila.memorize(variable, pool_nickname="d").wait()
    stem = variable.global_id.rpartition("-")[0]
    every = laila.Manifest({"v": stem}, nickname="every")
    last = laila.Manifest({"v": f"{stem}-3"}, nickname="last")
    for manifest in (every, last):
        manifest.memorize(pool_nickname="d").wait()
    kept = [key for key in keys_of(pool) if key.startswith(stem)]
    assert len(kept) == 3
    every.forget(pool_nickname="d").wait()
    assert {key for key in keys_of(pool) if key.startswith(stem)} == {f"{stem}-3"}


def test_forget_of_damaged_leaves_deletes_them(place: Place) -> None:
    pool = opened(place, "files")
    run = save("run", 1, 2)
    damage(pool, next(iter(run)))
    assert run.forget(pool_nickname="d").result == [None, None, None]
    assert keys_of(pool) == set()


# -- beside writers ------------------------------------------------------------------------------------------


class Stepping(laila.MemoryPool):
    """A pool that calls back around a deletion: what another process would do there."""

    before: Any = None
    after: Any = None

    def _delete_many(self, keys: Any) -> Any:
        if self.before is not None:
            self.before, call = None, self.before
            call()
        gone = super()._delete_many(keys)
        if self.after is not None:
            self.after, call = None, self.after
            call()
        return gone


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_in_the_middle_of_a_deletion_loses_nothing(when: str) -> None:
    with Stepping() as pool:
        laila.memory.extend(pool, pool_nickname="d")
        laila.memorize(shared(1), pool_nickname="d").wait()
        made: list[laila.Manifest] = []
        setattr(pool, when, lambda: made.append(save("late", 1)))
        report = now(pool)
        (late,) = made
        assert [entry.data[0] for entry in late.remember(pool_nickname="d").result] == [1.0]
        if when == "before":  # its leaf was there when it looked: the collection stores it again
            assert list(report.kept.values()) == [late.global_id]
        assert report.deleted == []


def test_a_writer_whose_leaf_goes_after_it_looked_stores_it_again() -> None:
    """The writer finds its leaf; then a whole collection runs; then the manifest is stored."""
    with Stepping() as pool:
        laila.memory.extend(pool, pool_nickname="d")
        key = laila.memorize(shared(1), pool_nickname="d").result
        create = pool._create_many
        ran: list[Any] = []

        def create_late(items: Any) -> Any:
            if any(":MANIFEST:" in key for key, _ in items) and not ran:
                ran.append(now(pool))
            return create(items)

        pool._create_many = create_late  # type: ignore[method-assign]
        run = save("late", 1)
        assert ran[0].deleted == [key]
        assert [entry.data[0] for entry in run.remember(pool_nickname="d").result] == [1.0]


def test_a_writer_that_has_only_the_id_is_told() -> None:
    with Stepping() as pool:
        laila.memory.extend(pool, pool_nickname="d")
        key = laila.memorize(shared(1), pool_nickname="d").result
        create = pool._create_many
        ran: list[Any] = []

        def create_late(items: Any) -> Any:
            if any(":MANIFEST:" in key for key, _ in items) and not ran:
                ran.append(now(pool))
            return create(items)

        pool._create_many = create_late  # type: ignore[method-assign]
        late = laila.Manifest({"w": key}, nickname="late")
        with pytest.raises(EntryNotFoundError, match="somebody deleted"):
            late.memorize(pool_nickname="d").wait()
        assert keys_of(pool) == set()  # no manifest without its leaf


def race(pool: laila.Pool, rounds: int, seed: int) -> int:
    """Let writers store, replace and forget manifests that share leaves beside collections without a grace.

    Without a grace a leaf may be missing for a moment, until it is stored again.
    """
    draw, stop, failures = random.Random(seed), threading.Event(), []
    collected = [0]

    def collect() -> None:
        while not stop.is_set():
            collected[0] += len(now(pool).deleted)

    def write(name: str, seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(rounds):
                run = save(name, *draw.sample(range(6), 3), overwrite=True)
                if draw.random() < 0.5:
                    while not all(pool.present(list(run))):
                        assert not stop.is_set()
                else:
                    with suppress(EntryNotFoundError):  # another writer has just deleted a leaf
                        run.forget(pool_nickname="d").wait()
        except BaseException as error:
            failures.append(error)
            raise

    collector = threading.Thread(target=collect)
    writers = [threading.Thread(target=write, args=(f"run-{n}", draw.random())) for n in range(3)]
    for thread in (collector, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    collector.join()
    assert not failures, failures
    stored = keys_of(pool)
    for key in [key for key in stored if ":MANIFEST:" in key]:
        manifest: Any = laila.remember(key, pool_nickname="d").result
        assert set(manifest) <= stored, "a manifest without its leaves"
    return collected[0]


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_collections_race_writers(kind: str, place: Place) -> None:
    race(opened(place, kind), 12, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_collections_race_writers_for_long(kind: str, seed: int, place: Place) -> None:
    assert race(opened(place, kind), 150, seed) > 0


# -- the commands --------------------------------------------------------------------------------------------


def test_the_commands(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pool = opened(place, "files")
    run = save(None, 1, 2)
    url = f"file:{pool.path}"  # type: ignore[attr-defined]
    assert main(["gc", url]) == 0
    assert "3 entries of 3" in capsys.readouterr().out
    assert main(["gc", url, "--delete", "--grace", "0"]) == 2
    assert "--alone" in capsys.readouterr().err
    assert main(["pin", url, run.global_id, "--reason", "paper"]) == 0
    assert main(["pin", url, "nobody"]) == 1
    capsys.readouterr()
    assert main(["pin", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pins"][0]["reason"] == "paper"
    assert main(["gc", url, "--delete", "--grace", "0", "--alone", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"] == []
    assert main(["pin", url, run.global_id, "--remove"]) == 0
    capsys.readouterr()
    assert main(["gc", url, "--delete", "--grace", "0", "--alone", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["deleted"]) == 3
    assert keys_of(pool) == set()
    assert main(["gc", f"{url}-missing"]) == 2


# -- packed leaves -------------------------------------------------------------------------------------------


def small(nickname: str | None, *numbers: int) -> laila.Manifest:
    """Store a manifest with leaves that are so small that they are packed."""
    manifest = laila.Manifest(
        {"w": [laila.constant({"number": number}) for number in numbers]}, nickname=nickname
    )
    manifest.memorize(pool_nickname="d", pack="1 MiB").wait()
    return manifest


def test_packs_are_kept_with_their_manifests(place: Place) -> None:
    pool = opened(place, "files")
    run = small("run", *range(40))
    small(None, *range(40, 80))
    assert any(":PACK:" in key for key in pool)
    report = now(pool)
    assert len(report.deleted) == 2
    assert (
        len(laila.remember(nickname="run", pool_nickname="d").result.remember(pool_nickname="d").result) == 40
    )
    assert laila.du(pool).wait().names[0].nbytes == laila.du(pool).wait().nbytes - sum(
        row.nbytes for row in laila.ls(pool) if row.kind == "collection"
    )
    run.forget(pool_nickname="d").wait()
    assert not [key for key in pool if key != COLLECTION]
