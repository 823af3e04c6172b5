"""`laila.verify` and `laila.repair`: damage in each kind of pool is found, named, and mended from a copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    InvalidArgumentError,
    PoolUnreachableError,
    SettingsError,
)
from test_damage import damage, is_sound

pytestmark = pytest.mark.usefixtures("policy")


def fill(pool: laila.Pool, count: int = 12) -> list[str]:
    """Store small and larger constants, and give their keys."""
    entries = [laila.constant({"number": n, "array": np.arange(250 * n)}) for n in range(count)]
    for entry in entries:
        pool[entry.global_id] = entry
    return [entry.global_id for entry in entries]


@pytest.mark.parametrize("made", ["plain", "zlib, aes b"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_damage_is_found_and_mended(kind: str, made: str, place: Place, tmp_path: Path) -> None:
    pool = place.open(kind, "d", transformations=TRANSFORMED[made])
    copy = place.open("memory", "s", transformations=TRANSFORMED["aes a"])
    keys = fill(pool)
    (copy <= pool).wait()
    report = laila.verify(pool).wait()
    assert report.whole
    assert report.entries == len(keys)
    for key in keys[3:5]:
        damage(pool, key)
    report = laila.verify(pool).wait()
    assert not report.whole
    assert set(report.damaged) == set(keys[3:5])
    assert all(isinstance(error, CorruptEntryError) for error in report.damaged.values())
    mended = laila.repair(pool, copy, keep=tmp_path / "kept").wait()
    assert mended.whole
    assert set(mended.repaired) == set(keys[3:5])
    assert set(mended.kept) == set(keys[3:5])
    assert all(path.stat().st_size and path.stat().st_mode & 0o077 == 0 for path in mended.kept.values())
    assert laila.verify(pool).wait().whole
    assert is_sound(pool, *keys)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_the_damaged_bytes_of_a_large_entry_are_kept(kind: str, place: Place, tmp_path: Path) -> None:
    pool, copy = place.open(kind, "d"), place.open("memory", "s")
    entry = laila.constant(np.arange(400_000))
    pool[entry.global_id] = entry
    (copy <= pool).wait()
    damage(pool, entry.global_id)
    report = laila.repair(pool, copy, keep=tmp_path / "kept").wait()
    assert report.repaired == [entry.global_id]
    assert report.kept[entry.global_id].stat().st_size > 3_200_000


def test_a_repair_does_not_call_whole_what_it_could_not_read() -> None:
    with Sick() as pool, laila.MemoryPool() as copy:
        keys = fill(pool, 10)
        (copy <= pool).wait()
        pool.sick = frozenset(keys[3:5])
        report = laila.repair(pool, copy).wait()
        assert not report.whole
        assert set(report.failed) == set(keys[3:5])


def test_a_state_of_another_pool_skips_nothing(place: Place, tmp_path: Path) -> None:
    first, second = place.open("files", "a"), place.open("files", "b")
    keys = fill(first)
    (second <= first).wait()
    damage(first, keys[3])
    damage(second, keys[4])
    state = tmp_path / "state"
    assert set(laila.verify(first, state=state).wait().damaged) == {keys[3]}
    report = laila.verify(second, state=state).wait()
    assert (set(report.damaged), report.skipped) == ({keys[4]}, 0)


def test_a_tier_is_repaired_from_the_next(place: Place) -> None:
    cache, store = place.open("files", "c"), place.open("files", "s")
    keys = fill(store)
    (cache <= store).wait()
    cache.proxy_to = store
    damage(cache, keys[3])
    assert laila.repair(cache, keep=False).wait().repaired == [keys[3]]
    assert is_sound(cache, *keys)


def test_what_cannot_be_repaired_is_left(place: Place) -> None:
    pool, copy = place.open("files", "d"), place.open("memory", "s")
    keys = fill(pool, 6)
    (copy <= pool).wait()
    del copy[keys[3]]
    other = laila.constant("another content")
    changed = place.open("memory", "t")
    changed[other.global_id] = other
    blob = laila.Blob.from_bytes(bytes(changed.load_here([other.global_id])[0]), key=other.global_id)  # type: ignore[arg-type]
    copy.store_here([laila.Blob(keys[4], blob.tree, blob.buffers)], replace=True)
    before = {}
    for key in keys[3:5]:
        damage(pool, key)
        before[key] = pool._read(key)
    report = laila.repair(pool, copy, keep=False).wait()
    assert not report.whole
    assert not report.repaired
    assert isinstance(report.failed[keys[3]], EntryNotFoundError)
    assert "another content" in str(report.failed[keys[4]])
    assert {key: pool._read(key) for key in keys[3:5]} == before


def test_what_is_no_copy_is_refused(place: Place) -> None:
    pool = place.open("files", "d")
    with pytest.raises(InvalidArgumentError, match="no tier behind it"):
        laila.repair(pool).wait()
    with pytest.raises(InvalidArgumentError, match="from itself"):
        laila.repair(pool, pool).wait()
    with pytest.raises(InvalidArgumentError, match="takes a pool"):
        laila.verify("file:d")  # type: ignore[arg-type]


def test_parts_are_everything_and_a_sample_is_a_share(place: Place) -> None:
    pool = place.open("memory", "d")
    keys = fill(pool, 60)
    parts = [laila.verify(pool, part=(number, 4)).wait().entries for number in (1, 2, 3, 4)]
    assert sum(parts) == len(keys)
    assert all(parts)
    shares = {seed: laila.verify(pool, sample=0.5, seed=seed).wait().entries for seed in range(5)}
    assert all(10 < share < 50 for share in shares.values())
    assert laila.verify(pool, sample=0.5, seed=2).wait().entries == shares[2]
    for wrong in ({"sample": 0}, {"sample": 1.5}, {"part": (0, 3)}, {"part": (4, 3)}):
        with pytest.raises(SettingsError):
            laila.verify(pool, **wrong)


class Interrupt(Exception):
    pass


def test_an_interrupted_run_goes_on(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laila.tiering.verifying._GROUP_BYTES", 1)
    pool, state = place.open("files", "d"), tmp_path / "state"
    keys = fill(pool, 20)
    damage(pool, keys[-1])

    def interrupt(report: Any) -> None:
        if report.entries >= 8:
            raise Interrupt

    with pytest.raises(Interrupt):
        laila.verify(pool, state=state, on_progress=interrupt).wait()
    with state.open("ab") as file:
        file.write(b"half")  # as a kill in the middle of a write leaves it
    report = laila.verify(pool, state=state).wait()
    assert 7 <= report.skipped <= 8  # the damaged entry may be among the first eight
    assert report.skipped + report.entries == len(keys)
    assert set(report.damaged) == {keys[-1]}
    assert laila.verify(pool, state=state).wait().entries == 1  # the damaged one is read again
    del pool[keys[-1]]
    assert laila.verify(pool, state=state).wait().whole
    assert not state.exists()


def test_a_file_of_something_else_is_no_state(place: Place, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("what I must not lose")
    with pytest.raises(SettingsError, match="left as it is"):
        laila.verify(place.open("memory", "d"), state=notes).wait()
    assert notes.read_text() == "what I must not lose"


@pytest.mark.parametrize("kind", ["a link", "a pipe", "writable by others"])
def test_a_state_that_others_may_have_written_is_refused(place: Place, tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    if kind == "a link":
        state.symlink_to(tmp_path / "elsewhere")
    elif kind == "a pipe":
        os.mkfifo(state)
    else:
        state.touch()
        state.chmod(0o666)
    with pytest.raises(SettingsError, match="left as it is") as refused:
        laila.verify(place.open("memory", "d"), state=state).wait()
    assert refused.value.option == "state"
    assert not (tmp_path / "elsewhere").exists()


class Sick(laila.MemoryPool):
    """A disk that cannot read some entries."""

    sick: frozenset[str] = frozenset()

    def _read(self, key: str) -> Any:
        if key in self.sick:
            raise PoolUnreachableError(f"cannot read {key}", pool="sick")
        return super()._read(key)

    def _read_many(self, keys: Any) -> Any:
        return [self._read(key) for key in keys]


def test_what_cannot_be_read_is_not_called_whole() -> None:
    with Sick() as pool:
        keys = fill(pool, 80)
        pool.sick = frozenset(keys[3:5])
        report = laila.verify(pool).wait()
        assert set(report.unread) == set(keys[3:5])
        assert report.entries == 78
        assert not report.whole
        pool.sick = frozenset(keys)  # the whole disk is gone: no use in trying a million entries
        with pytest.raises(PoolUnreachableError):
            laila.verify(pool).wait()


# -- the command ---------------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "laila", *words], capture_output=True, text=True, check=False, timeout=280
    )


def test_the_commands(place: Place, tmp_path: Path) -> None:
    pool, copy = place.open("files", "d"), place.open("hdf5", "s")
    keys = fill(pool)
    (copy <= pool).wait()
    url, source = f"file:{tmp_path}/d", f"hdf5:{tmp_path}/s.h5"
    done = command("verify", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 entries read" in done.stdout
    damage(pool, keys[4])
    done = command("verify", url, "--json")
    assert done.returncode == 1
    assert list(json.loads(done.stdout)["damaged"]) == [keys[4]]
    done = command("repair", url, "--from", source, "--keep", str(tmp_path / "kept"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"repaired  {keys[4]}" in done.stdout
    assert len(os.listdir(tmp_path / "kept")) == 1
    done = command("verify", url, "--sample", "50%")
    assert done.returncode == 0
    assert "draws it again" in done.stdout
    for wrong in (["--sample", "0%"], ["--part", "3/2"], ["--part", "1/2", "--all"]):
        assert command("verify", url, *wrong).returncode == 2


@pytest.mark.parametrize("words", [["show"], ["verify"]])
@pytest.mark.parametrize("scheme", ["file", "hdf5"])
def test_looking_makes_nothing(words: list[str], scheme: str, tmp_path: Path) -> None:
    done = command(*words, f"{scheme}:{tmp_path}/typo")
    assert done.returncode == (1 if words == ["show"] else 2)
    assert "typo" in done.stderr
    assert not list(tmp_path.iterdir())
