"""Leases: the table that a pool lends by, and storing for the holder of a lease."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from laila.errors import LeaseLostError, NotSupportedError
from laila.testing import child
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import in_threads, promise
from laila.testing.samples import entry_key, make_blob, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract import Blob, LeaseTable, Pool

__all__ = ["Leases"]

KEY, OTHER = entry_key(1), entry_key(2)
LONG = "long/" + "ü%~ " * 40


def record(token: str, note: int = 0) -> bytes:
    """A record as laila writes it: the table compares and keeps its bytes, and reads the token at most."""
    fields = {"fence": 7, "ttl": 30.0, "clock": "c", "until": 1.0, "host": "h", "pid": note, "since": 1.0}
    return b"LAILA-LEASE 1 " + token.encode() + b" " + json.dumps(fields).encode()


MINE, THEIRS = "a" * 32, "b" * 32


class Leases(PoolSuite):
    """`_lease_table` and `_create_leased`. Skipped for a pool that lends nothing."""

    @pytest.fixture
    def lending(self, pool: Pool) -> Pool:
        """A pool that lends."""
        if pool._lease_table() is None:
            pytest.skip("no `_lease_table`: the pool lends nothing")
        return pool

    def test_a_pool_of_one_process_lends(self, pool: Pool) -> None:
        """The default does; what is lent among more processes is the author's to say."""
        lends = pool._lease_table() is not None
        promise(lends or pool.writers != "process", "a pool whose store one process uses lends")

    def test_a_record_changes_only_from_what_was_read(self, lending: Pool) -> None:
        """`swap` compares and changes; a record comes back as it was given."""
        table = _table(lending)
        first, second = record(MINE), record(THEIRS, 2)
        keys = [KEY, OTHER, LONG]
        promise(table.read(keys) == [None] * 3, "a key that was never lent has no record")
        promise(table.swap([(KEY, first, second)]) == [False], "swap makes no record where one was expected")
        promise(table.swap([(KEY, None, first), (LONG, None, second)]) == [True, True], "swap makes records")
        promise(table.read(keys) == [first, None, second], "a record comes back as it was given")
        answers = table.swap([(KEY, None, second), (LONG, second, first), (OTHER, None, first)])
        promise(answers == [False, True, True], f"swap answers for each change; it answered {answers}")
        promise(table.read(keys) == [first, first, first], "a refused change leaves the record as it is")
        promise(table.swap([(KEY, second, second)]) == [False], "swap compares with the record that is there")
        promise(sorted(table.keys()) == sorted(keys), "keys() gives each key that has a record once")
        promise(table.swap([]) == [] and table.read([]) == [], "nothing is asked of nothing")

    def test_leases_are_no_entries(self, lending: Pool) -> None:
        """No listing shows them, and an emptied pool still knows what is lent."""
        table = _table(lending)
        lending._write(OTHER, make_blob(OTHER))
        promise(table.swap([(KEY, None, record(MINE))]) == [True], "swap makes a record")
        promise(list(lending._keys()) == [OTHER], "_keys gives no lease")
        promise(not lending._exists(KEY), "a lease is no entry")
        promise(lending._evolutions(KEY) == [] and lending._newest(KEY) is None, "a lease is no evolution")
        lending._empty()
        promise(table.read([KEY]) == [record(MINE)], "_empty deletes entries, and no lease")

    def test_another_pool_of_the_store_has_the_same_table(self, lending: Pool, opened: object) -> None:
        """Also after the first one was closed."""
        if lending.durability == "none":
            pytest.skip("durability is 'none': each pool is a store of its own")
        promise(_table(lending).swap([(KEY, None, record(MINE))]) == [True], "swap makes a record")
        again = opened()  # type: ignore[operator]
        promise(_table(again).read([KEY]) == [record(MINE)], "another pool sees what was lent")
        lending.close()
        promise(
            _table(again).swap([(KEY, record(MINE), record(THEIRS))]) == [True],
            "and may lend it when it is over",
        )

    def test_one_of_many_threads_gets_the_lease(self, lending: Pool) -> None:
        """If several threads change one record from the same state, exactly one does."""
        tables = [_table(lending) for _ in range(6)]
        last: list[bytes | None] = [None]

        def race(seed: int, turn: int) -> bool:
            return tables[seed].swap([(KEY, last[0], record(f"{seed:032x}", turn))])[0]

        for turn in range(4):
            racing = [lambda seed=seed, turn=turn: race(seed, turn) for seed in range(len(tables))]
            told = in_threads(racing, "swap ends")
            _check_one(_table(lending), told, turn)
            last[0] = record(f"{told.index(True):032x}", turn)

    def test_one_of_many_processes_gets_the_lease(self, lending: Pool, shared: Pool) -> None:
        """If several processes change one record from the same state, exactly one does."""
        turns = 6
        told = child.race_leases(shared, KEY, racers=2, turns=turns)
        _check_one_each(told, turns)

    def test_stores_for_the_holder_alone(self, lending: Pool) -> None:
        """`_create_leased` stores all for the holder, and nothing for anybody else."""
        pool, table = lending, _table(lending)
        keys = [f"{KEY}-{number}" for number in range(2)]
        held = {KEY: MINE.encode(), OTHER: MINE.encode()}
        items: Sequence[tuple[str, Blob]] = ()
        for size in (100, 400_000):
            items = [(key, make_blob(key, size)) for key in keys]
            old = table.read([KEY, OTHER])
            table.swap([(KEY, old[0], record(MINE)), (OTHER, old[1], record(MINE, 5))])
            promise(pool._create_leased(items, held) is True, "_create_leased stores for the holder")
            promise(
                [stored(pool, key) for key in keys] == [bytes(blob) for _, blob in items],
                "_create_leased stores what it was given",
            )
            promise(pool._newest(KEY) == keys[1], "what _create_leased stored is found by its name")
            pool._delete(keys[1])
            other = [(key, make_blob(key, size, 1)) for key in keys]
            promise(
                pool._create_leased(other, held) is False, "_create_leased says False where a key is there"
            )
            promise(not pool._exists(keys[1]), "and stores nothing then")
            pool._delete(keys[0])
            table.swap([(OTHER, record(MINE, 5), record(THEIRS))])
            _check_refused(pool, items, held, "one of its leases is another's")
            table.swap([(OTHER, record(THEIRS), record("0" * 32))])
            _check_refused(pool, items, held, "one of its leases was given back")
        _check_refused(pool, items, {**held, entry_key(3): MINE.encode()}, "one of its leases never was")

    def test_fences_in_one_step(self, lending: Pool) -> None:
        """With ``fences`` nobody stores for a lease after another borrower has it."""
        if not lending.fences:
            pytest.skip("fences is False: the pool looks at the lease first, and then stores")
        table, turns = _table(lending), 12

        for turn in range(turns):
            key, (old,) = f"{KEY}-{turn}", table.read([KEY])
            table.swap([(KEY, old, record(MINE, turn))])
            seen: list[bool] = []

            def late(key: str = key) -> bool:
                try:
                    return bool(lending._create_leased([(key, make_blob(key, 3000))], {KEY: MINE.encode()}))
                except LeaseLostError:
                    return False

            def take(key: str = key, turn: int = turn, seen: list[bool] = seen) -> bool:
                time.sleep(0.002 * (turn % 4))  # at various moments of the other's work
                done = table.swap([(KEY, record(MINE, turn), record(THEIRS, turn))])[0]
                seen.append(lending._exists(key))
                return done

            wrote, _ = in_threads([late, take], "_create_leased and swap end")
            promise(
                seen == [wrote],
                "what a holder stored is there when the next one has the lease, or never comes",
            )


def _table(pool: Pool) -> LeaseTable:
    __tracebackhide__ = True
    try:
        return pool.lease_table_here()
    except NotSupportedError:  # pragma: no cover - the fixture has looked
        pytest.fail("promise broken: a pool that lends goes on to lend")


def _check_one(table: LeaseTable, told: list[bool], turn: int) -> None:
    __tracebackhide__ = True
    promise(told.count(True) == 1, f"of several who change a record exactly one does; {told.count(True)} did")
    winner = record(f"{told.index(True):032x}", turn)
    promise(table.read([KEY]) == [winner], "the record is that of the one who was told True")


def _check_one_each(told: list[list[bool]], turns: int) -> None:
    __tracebackhide__ = True
    for turn in range(turns):
        winners = sum(answers[turn] for answers in told)
        promise(
            winners == 1,
            f"of several processes that change a record exactly one does; {winners} did ({turn})",
        )


def _check_refused(pool: Pool, items: Sequence[tuple[str, Blob]], held: dict[str, bytes], why: str) -> None:
    __tracebackhide__ = True
    try:
        answer = pool._create_leased(items, held)
    except LeaseLostError:
        promise(not any(pool._exists(key) for key, _ in items), f"_create_leased stores nothing where {why}")
        return
    promise(False, f"_create_leased raises LeaseLostError where {why}; it answered {answer}")
