"""Random histories: whatever is done in whatever order, the pool is what a dict would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from laila.testing.pools.base import PoolSuite
from laila.testing.promises import promise
from laila.testing.samples import entry_key, make_blob, stored, stored_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import Pool

__all__ = ["Machine"]

STEM = entry_key(7)
KEYS = st.sampled_from(["a", "A", STEM, *(f"{STEM}-{number}" for number in (0, 1, 2, 10)), "a-1", "b/c", "ü"])
SIZES = st.sampled_from([0, 40, 2000, 20_000, 150_000])
SEEDS = st.integers(0, 3)
ITEMS = st.lists(st.tuples(KEYS, SIZES, SEEDS), max_size=5)


class _PoolMachine(RuleBasedStateMachine):
    """A pool beside a dict. ``open_one`` opens a pool on one store; it is emptied before each history."""

    def __init__(self, open_one: Callable[[], Pool]) -> None:
        super().__init__()
        self.open_one = open_one
        self.pool = open_one()
        self.pool._empty()
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.pool.close()

    @rule(key=KEYS, size=SIZES, seed=SEEDS)
    def write(self, key: str, size: int, seed: int) -> None:
        blob = make_blob(key, size, seed)
        self.pool._write(key, blob)
        self.model[key] = bytes(blob)

    @rule(items=ITEMS)
    def write_many(self, items: list[tuple[str, int, int]]) -> None:
        blobs = [make_blob(*item) for item in items]
        self.pool._write_many([(blob.key, blob) for blob in blobs])
        self.model.update({blob.key: bytes(blob) for blob in blobs})

    @rule(key=KEYS, size=SIZES, seed=SEEDS)
    def create(self, key: str, size: int, seed: int) -> None:
        blob = make_blob(key, size, seed)
        made = self.pool._create(key, blob)
        promise(made == (key not in self.model), f"_create says whether it filed {key!r}; it said {made}")
        self.model.setdefault(key, bytes(blob))

    @rule(items=ITEMS)
    def create_many(self, items: list[tuple[str, int, int]]) -> None:
        blobs = {item[0]: make_blob(*item) for item in items}  # each key once: who is first is not promised
        made = list(self.pool._create_many(list(blobs.items())))
        wanted = [key not in self.model for key in blobs]
        promise(made == wanted, f"_create_many says of {list(blobs)} whether it filed each; it said {made}")
        for key, blob in blobs.items():
            self.model.setdefault(key, bytes(blob))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        there = self.model.pop(key, None) is not None
        told = self.pool._delete(key)
        promise(told in {there, None}, f"_delete says whether {key!r} was there; it said {told}")

    @rule(keys=st.lists(KEYS, max_size=4, unique=True))
    def delete_many(self, keys: list[str]) -> None:
        there = [self.model.pop(key, None) is not None for key in keys]
        told = list(self.pool._delete_many(keys))
        promise(
            all(one in {truth, None} for one, truth in zip(told, there, strict=True)),
            f"_delete_many says whether {keys} were there; it said {told}",
        )

    @rule()
    def empty(self) -> None:
        self.pool._empty()
        self.model.clear()

    @rule()
    def open_again(self) -> None:
        if self.pool.durability != "none":
            self.pool.close()
            self.pool = self.open_one()

    @invariant()
    def is_what_the_dict_is(self) -> None:
        keys = ["a", "A", "b/c", *self.model]
        found = stored_many(self.pool, keys)
        for key, one in zip(keys, found, strict=True):
            promise(one == self.model.get(key), f"_read_many gives what was written last under {key!r}")
        for key in (f"{STEM}-1", "ü"):
            promise(
                stored(self.pool, key) == self.model.get(key),
                f"_read gives what was written last under {key!r}",
            )
            promise(self.pool._exists(key) == (key in self.model), f"_exists tells whether {key!r} is there")
        listed = list(self.pool._keys())
        promise(
            sorted(listed) == sorted(self.model),
            f"_keys gives {sorted(self.model)}; it gave {sorted(listed)}",
        )
        numbers = [number for number in (0, 1, 2, 10) if f"{STEM}-{number}" in self.model]
        promise(list(self.pool._evolutions(STEM)) == numbers, f"_evolutions gives {numbers}")
        newest = f"{STEM}-{numbers[-1]}" if numbers else None
        promise(self.pool._newest(STEM) == newest, f"_newest gives {newest}")


class Machine(PoolSuite):
    """The state machine, with a dict as model."""

    def test_it_is_what_a_dict_would_be(self, open_pool: Callable[..., Pool]) -> None:
        """Writes, creations, deletions, batches and reopenings in random order."""
        how: Any = settings(
            max_examples=self.examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(lambda: _PoolMachine(open_pool), settings=how)  # type: ignore[arg-type]  # a factory will do
