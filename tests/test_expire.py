"""`laila.expire` and `laila.compact`: what goes, what stays, and why."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.cli.main import main
from laila.errors import EntryNotFoundError, ManifestError, SettingsError
from test_collect import keys_of, opened, shared
from test_damage import damage

pytestmark = pytest.mark.usefixtures("policy")


def evolve(count: int, nickname: str = "v") -> str:
    """Store a variable's evolutions, each with a loss: 1, 0, 1, 2, …; return its stem."""
    stem = f"LAILA:ENTRY:GLOBAL_ID:{laila.variable(0, nickname=nickname).uuid}"
    for number in range(count):
        entry = laila.variable(number, global_id=f"{stem}-{number}", metadata={"loss": abs(number - 1)})
        laila.memorize(entry, pool_nickname="d").wait()
    return stem


def runs(count: int, **more: Any) -> list[laila.Manifest]:
    """Store runs that share one leaf."""
    made = []
    for number in range(count):
        manifest = laila.Manifest(
            {"w": [shared(0), shared(number + 1)]},
            nickname=f"run-{number}",
            metadata={"loss": abs(number - 1), "score": {"top": number}},
        )
        manifest.memorize(pool_nickname="d", **more).wait()
        made.append(manifest)
    return made


@pytest.mark.parametrize("made", ["plain", "zlib, aes b"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_and_the_best_evolution_stay(kind: str, made: str, place: Place) -> None:
    pool = opened(place, kind, transformations=TRANSFORMED[made])
    stem = evolve(12)
    report = laila.expire(pool, stem, keep_last=2, keep_best="loss").wait()
    assert report.deleted == report.expired
    assert laila.history(stem, pool_nickname="d") == [1, 10, 11]
    assert report.kept[f"{stem}-1"] == "the best loss"
    assert laila.expire(pool, stem, older_than=0).wait().kept == {f"{stem}-11": "among the last"}
    laila.expire(pool, stem, keep_last=0).wait()
    assert laila.history(stem, pool_nickname="d") == []


def test_young_pinned_and_shared_evolutions_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = opened(place, "files")
    stem = evolve(6)
    laila.pin(pool, stem, evolution=1)
    laila.Manifest({"v": f"{stem}-3"}, nickname="m").memorize(pool_nickname="d").wait()
    assert laila.expire(pool, stem, older_than="30d").wait().expired == []
    monkeypatch.setattr("laila.upkeep.expiring.time", lambda: time.time() + 31 * 86400)
    report = laila.expire(pool, stem, older_than="30d", dry_run=True).wait()
    assert len(report.expired) == 3
    assert not report.deleted
    assert laila.history(stem, pool_nickname="d") == [0, 1, 2, 3, 4, 5]
    laila.expire(pool, stem, older_than="30d").wait()
    assert laila.history(stem, pool_nickname="d") == [1, 3, 5]


@pytest.mark.parametrize("name", ["run", "run-*"])
@pytest.mark.parametrize("kind", KINDS)
def test_old_runs_go_with_what_is_theirs_alone(kind: str, name: str, place: Place) -> None:
    pool = opened(place, kind)
    made = runs(5)
    laila.memorize(laila.constant("other", nickname="rung"), pool_nickname="d").wait()
    laila.pin(pool, "run-0")
    report = laila.expire(pool, name, keep_last=1, keep_best="score.top:max").wait()
    assert {report.names[key] for key in report.expired} == {"run-1", "run-2", "run-3"}
    for manifest in (made[0], made[4]):
        assert len(manifest.remember(pool_nickname="d").result) == 2
    # Three manifests, and of each the leaf that it alone had.
    assert len(report.deleted) == 6
    assert report.nbytes > 3 * 800
    assert laila.remember(nickname="rung", pool_nickname="d").result.data == "other"


def test_a_run_that_another_manifest_holds_stays(place: Place) -> None:
    pool = opened(place, "memory")
    made = runs(3)
    laila.Manifest({"base": made[0].global_id}, nickname="child").memorize(pool_nickname="d").wait()
    report = laila.expire(pool, "run", keep_last=1).wait()
    assert [report.names[key] for key in report.expired] == ["run-1"]
    assert len(made[0].remember(pool_nickname="d").result) == 2


@pytest.mark.parametrize("count", [12, 13, 18, 1000])
def test_more_than_there_are_are_all_kept(count: int, place: Place) -> None:
    pool = opened(place, "files")
    stem = evolve(12)
    report = laila.expire(pool, stem, keep_last=count).wait()
    assert report.deleted == []
    assert len(report.kept) == len(laila.history(stem, pool_nickname="d")) == 12


def test_what_is_no_policy_or_no_name_is_refused(place: Place) -> None:
    pool = opened(place, "files")
    made = runs(2)
    for wrong in ({}, {"keep_last": -1}, {"keep_last": 1.5}, {"older_than": "soon"}, {"keep_best": ""}):
        with pytest.raises(SettingsError):
            laila.expire(pool, "run", **wrong)
    for name in ("nothing", "no*", "r"):
        with pytest.raises(EntryNotFoundError):
            laila.expire(pool, name, keep_last=1).wait()
    before = keys_of(pool)
    damage(pool, made[1].global_id)
    with pytest.raises((ManifestError, EntryNotFoundError)):
        laila.expire(pool, "run", keep_last=0).wait()
    assert keys_of(pool) == before


def test_the_commands(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pool = opened(place, "files")
    runs(3)
    url = f"file:{pool.path}"  # type: ignore[attr-defined]
    assert main(["expire", url, "run", "--keep-last", "1", "--dry-run"]) == 0
    assert "2 would go, 1 stay" in capsys.readouterr().out
    assert main(["expire", url, "run", "--keep-last", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["expired"]) == 2
    assert main(["expire", url, "nothing", "--keep-last", "1"]) == 1
    assert main(["expire", url, "run"]) == 2
    assert main(["expire", f"file:{place.folder}/nowhere/x/y", "run", "--keep-last", "1"]) == 2
    assert main(["compact", url]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_compaction_gives_room_back(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pool = opened(place, "hdf5")
    big = laila.constant(np.zeros(200_000), nickname="big")
    laila.memorize(big, pool_nickname="d").wait()
    laila.forget(big, pool_nickname="d").wait()
    freed = laila.compact(pool).wait()
    assert freed is not None
    assert freed > 1_000_000
    assert main(["compact", f"hdf5:{pool.path}", "--json"]) == 0  # type: ignore[attr-defined]
    assert json.loads(capsys.readouterr().out)["freed"] is not None
    assert laila.compact(laila.MemoryPool()).wait() is None
