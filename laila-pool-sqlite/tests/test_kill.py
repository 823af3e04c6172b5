"""Writers that are killed: what they were told is stored is there, a batch is there whole or not at all.

The long test repeats it, with processes that race for constants and evolutions beside those that are killed.
Its seed is printed: `LAILA_TEST_SEED` repeats a run, `LAILA_TEST_KILL_ROUNDS` says how many rounds there are.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from laila.contract import Blob, Buffer
from laila.pool.sqlite import SQLitePool

WRITER = """
import sys
from laila.contract import Blob, Buffer
from laila.pool.sqlite import SQLitePool

path, durable, name = sys.argv[1:]

def blob(key, size):
    return Blob(key, b"\\x90", (Buffer(memoryview((key.encode() * (size // len(key) + 1))[:size])),))

with SQLitePool(path, durable=durable) as pool:
    number = 0
    while True:
        keys = [f"{name}-{number}-{part}" for part in range(3)]
        sizes = (100, 50_000, 1_300_000 if number % 5 == 0 else 3000)
        pool._write_many([(key, blob(key, size)) for key, size in zip(keys, sizes)])
        print(number, flush=True)
        number += 1
"""


def killed_writer(file: Path, durable: str, name: str, after: int) -> int:
    """Kill a writer once it has told of so many batches; return the last number that it told."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, file, durable, name], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(after + 1):
            assert process.stdout.readline()
        process.kill()
        told = process.stdout.read().split()
        process.wait()
        assert process.returncode == -signal.SIGKILL
    return int(told[-1]) if told else after


def check(file: Path, name: str, told: int) -> None:
    """All batches that the writer told of are whole, and one more at most; nothing else is there."""
    with SQLitePool(file) as pool:
        found = Counter(int(key.split("-")[1]) for key in pool._keys() if key.startswith(f"{name}-"))
        assert set(found.values()) == {3}, "a batch is there whole or not at all"
        assert list(range(len(found))) == sorted(found)
        assert told < len(found) <= told + 2
        for number in (0, told, len(found) - 1):
            for part in range(3):
                key = f"{name}-{number}-{part}"
                assert pool[key].buffers[0].data[:5].tobytes() == key.encode()[:5]
        with pool._database.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            orphans = "SELECT count(*) FROM chunks WHERE id >> 20 NOT IN (SELECT id FROM entries)"
            assert connection.execute(orphans).fetchall() == [(0,)]


@pytest.mark.parametrize("durable", ["power", "process"])
def test_a_killed_writer_loses_nothing_that_it_told(durable: str, file: Path) -> None:
    for turn, after in enumerate((1, 7)):
        told = killed_writer(file, durable, f"w{turn}", after)
        check(file, f"w{turn}", told)


def of(key: str, writer: int) -> Blob:
    """What a writer files under a key: no two write the same."""
    data = hashlib.sha256(f"{key} {writer}".encode()).digest() * 40
    return Blob(key, b"\x90", (Buffer(memoryview(data)),))


def race(file: Path, results: Path, writer: int, seed: int, rounds: int) -> None:
    """Create constants and evolutions that others create too; write down what was won, as it is won."""
    order = random.Random(seed * 1000 + writer)
    with SQLitePool(file, durable="process", lock_timeout=280) as pool, results.open("w") as won:
        for number in order.sample(range(rounds), rounds):
            key = f"constant {number}"
            if pool._create(key, of(key, writer)):
                won.write(f"{key}\n")
        evolution = 0
        while evolution < rounds:
            key = f"variable-{evolution}"
            if pool._create(key, of(key, writer)):
                won.write(f"{key}\n")
            newest = pool._newest("variable")
            assert newest is not None
            evolution = int(newest.rpartition("-")[2]) + 1


def one_winner_each(
    folder: Path,
    processes: int,
    rounds: int,
    seed: int,
    fork: Callable[[Callable[[], object]], int],
    exit_code: Callable[[int], int],
) -> None:
    file = folder / "race.db"
    SQLitePool(file, durable="process").close()
    children = [
        fork(partial(race, file, folder / f"{writer}.txt", writer, seed, rounds))
        for writer in range(processes)
    ]
    assert [exit_code(child) for child in children] == [0] * processes
    winners = [
        (key, writer)
        for writer in range(processes)
        for key in (folder / f"{writer}.txt").read_text().splitlines()
    ]
    assert len(winners) == len({key for key, _ in winners}) == 2 * rounds, "one winner for each"
    with SQLitePool(file) as pool:
        assert set(pool._keys()) == {key for key, _ in winners}
        assert pool._evolutions("variable") == list(range(rounds))
        for key, writer in winners:
            assert bytes(pool[key]) == bytes(of(key, writer)), "and what it wrote is there"


def test_of_eight_processes_one_wins_each_key(
    tmp_path: Path, fork: Callable[[Callable[[], object]], int], exit_code: Callable[[int], int]
) -> None:
    one_winner_each(tmp_path, 8, 25, 1, fork, exit_code)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killing_and_racing_for_long(
    tmp_path: Path, fork: Callable[[Callable[[], object]], int], exit_code: Callable[[int], int]
) -> None:
    seed = int(os.environ.get("LAILA_TEST_SEED") or random.randrange(1 << 32))
    rounds = int(os.environ.get("LAILA_TEST_KILL_ROUNDS") or 60)
    print(f"LAILA_TEST_SEED={seed} LAILA_TEST_KILL_ROUNDS={rounds}")
    one_winner_each(tmp_path, 8, 1000, seed, fork, exit_code)
    order = random.Random(seed)
    file = tmp_path / "kill.db"
    for turn in range(rounds):
        durable, name = order.choice(["power", "process"]), f"w{turn}"
        # Beside it another one writes, which is killed as well.
        other = subprocess.Popen(
            [sys.executable, "-c", WRITER, file, durable, f"o{turn}"], stdout=subprocess.PIPE, text=True
        )
        with other:
            told = killed_writer(file, durable, name, order.randrange(12))
            other.kill()
            assert other.stdout is not None
            others = other.stdout.read().split()
        check(file, name, told)
        if others:
            check(file, f"o{turn}", int(others[-1]))
        with SQLitePool(file) as pool:
            pool.empty()
