"""memorize, remember, forget, evolve, history and restart in any order, against a plain dict.

The same rules drive the memory pool, the HDF5 pool (a real file, opened again at any moment) and the two as
one store.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import laila
from laila.entry import to_blob
from laila.errors import EntryNotFoundError, EvolutionConflictError, ImmutableEntryError
from laila.pool.hdf5 import HDF5Pool
from laila.testing.payloads import assert_same, payloads, plain_payloads

STEM = "LAILA:ENTRY:GLOBAL_ID:"
_contents = st.one_of(plain_payloads(), payloads(), st.integers(0, 2))


@st.composite
def contents(draw: st.DrawFn) -> Any:
    """Any content; a name of its own keeps the representation of the rules short."""
    return draw(_contents)


class Store(RuleBasedStateMachine):
    """One pool and one dict. ``stored`` maps every key that must be there to its payload."""

    constants = Bundle("constants")
    variables = Bundle("variables")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="laila-states-"))
        self.stored: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def build(self) -> laila.Pool:
        """Return the pool under test; called again for a restart."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.policy = laila.DefaultPolicy(alpha_pool=self.build())
        self.memory = self.policy.central.memory

    def teardown(self) -> None:
        self.policy.close()
        shutil.rmtree(self.folder)

    # -- constants -------------------------------------------------------------------------------------------

    @rule(target=constants, payload=contents(), named=st.booleans())
    def memorize_constant(self, payload: Any, named: bool) -> str:
        name = f"n{len(self.names)}" if named else None
        entry = laila.constant(payload, nickname=name)
        self.stored[entry.global_id] = copy.deepcopy(payload)
        if name is not None:
            self.names[name] = entry.global_id
        assert self.memory.memorize(entry).result == entry.global_id
        return entry.global_id

    @rule(target=constants, several=st.lists(contents(), max_size=5))
    def memorize_many(self, several: list[Any]) -> Any:
        entries = [laila.constant(payload) for payload in several]
        ids = self.memory.memorize(entries).result
        assert ids == [entry.global_id for entry in entries]
        self.stored.update(zip(ids, copy.deepcopy(several), strict=True))
        return multiple(*ids)

    @rule(gid=constants)
    def memorize_the_same(self, gid: str) -> None:
        if gid in self.stored:
            entry = laila.constant(copy.deepcopy(self.stored[gid]), global_id=gid)
            assert self.memory.memorize(entry).result == gid

    @rule(gid=constants, overwrite=st.booleans())
    def memorize_another(self, gid: str, overwrite: bool) -> None:
        entry = laila.constant("another content altogether", global_id=gid)
        future = self.memory.memorize(entry, overwrite=overwrite)
        if overwrite or gid not in self.stored or self.stored[gid] is entry.data:
            future.wait()
            self.stored[gid] = entry.data
        elif isinstance(self.stored[gid], str) and self.stored[gid] == entry.data:
            future.wait()
        else:
            assert isinstance(laila.runtime.exception(future), ImmutableEntryError)

    # -- variables -------------------------------------------------------------------------------------------

    @rule(target=variables, payload=contents())
    def memorize_variable(self, payload: Any) -> laila.Entry:
        entry = laila.variable(copy.deepcopy(payload))
        self.memory.memorize(entry).wait()
        self.stored[entry.global_id] = copy.deepcopy(payload)
        return entry

    @rule(entry=variables, payload=contents())
    def evolve(self, entry: laila.Entry, payload: Any) -> None:
        entry.evolve(data=copy.deepcopy(payload))
        if entry.global_id in self.stored:  # a rival was quicker: take the next one, as the error says
            conflict = laila.runtime.exception(self.memory.memorize(entry))
            if conflict is None:
                assert_same(self.stored[entry.global_id], payload)
                return
            assert isinstance(conflict, EvolutionConflictError)
            assert self.memory.memorize(entry, on_conflict="next").result == entry.global_id
            assert entry.global_id not in self.stored
        else:
            self.memory.memorize(entry).wait()
        self.stored[entry.global_id] = copy.deepcopy(payload)

    @rule(entry=variables, number=st.integers(0, 4))
    def race(self, entry: laila.Entry, number: int) -> None:
        other = laila.variable("a rival content", uuid=entry.uuid, evolution=number)
        taken = other.global_id in self.stored
        error = laila.runtime.exception(self.memory.memorize(other))
        if taken and self.stored[other.global_id] is not other.data:
            same = (
                isinstance(self.stored[other.global_id], str) and self.stored[other.global_id] == other.data
            )
            assert same if error is None else isinstance(error, EvolutionConflictError)
        else:
            assert error is None
            self.stored[other.global_id] = other.data

    @rule(entry=variables)
    def take_the_next(self, entry: laila.Entry) -> None:
        numbers = self.numbers(entry)
        other = laila.variable(("next", len(self.stored)), uuid=entry.uuid)
        gid = self.memory.memorize(other, on_conflict="next").result
        if numbers and 0 in numbers:
            assert gid == f"{STEM}{entry.uuid}-{numbers[-1] + 1}"
        else:
            assert gid == f"{STEM}{entry.uuid}-0"
        self.stored[gid] = other.data

    def numbers(self, entry: laila.Entry) -> list[int]:
        prefix = f"{STEM}{entry.uuid}-"
        return sorted(int(key[len(prefix) :]) for key in self.stored if key.startswith(prefix))

    @rule(entry=variables, refresh=st.booleans())
    def history_and_newest(self, entry: laila.Entry, refresh: bool) -> None:
        numbers = self.numbers(entry)
        assert self.memory.history(entry) == numbers
        found: Any = self.memory.remember(STEM + entry.uuid, missing_ok=True, refresh=refresh).result
        if numbers:
            assert found.evolution == numbers[-1]
            assert_same(self.stored[found.global_id], found.data)
        else:
            assert found is None

    @rule(entry=consumes(variables), all_of_them=st.booleans())
    def forget_variable(self, entry: laila.Entry, all_of_them: bool) -> None:
        numbers = self.numbers(entry)
        if all_of_them:
            error = laila.runtime.exception(self.memory.forget(STEM + entry.uuid))
            assert (error is None) == bool(numbers)
            for number in numbers:
                del self.stored[f"{STEM}{entry.uuid}-{number}"]
        elif numbers:
            gid = f"{STEM}{entry.uuid}-{numbers[len(numbers) // 2]}"
            self.memory.forget(gid).wait()
            del self.stored[gid]

    # -- both ------------------------------------------------------------------------------------------------

    @rule(gid=constants, refresh=st.booleans())
    def remember_one(self, gid: str, refresh: bool) -> None:
        future = self.memory.remember(gid, refresh=refresh)
        if gid in self.stored:
            assert_same(self.stored[gid], future.data)
        else:
            assert isinstance(laila.runtime.exception(future), EntryNotFoundError)

    @rule()
    def remember_everything(self) -> None:
        keys = list(self.stored)
        for key, entry in zip(keys, self.memory.remember(keys).result, strict=True):
            assert entry.global_id == key
            assert_same(self.stored[key], entry.data)

    @rule()
    def remember_names(self) -> None:
        names = list(self.names)
        found = self.memory.remember(nickname=names, missing_ok=True).result
        for name, entry in zip(names, found, strict=True):
            assert (entry is not None) == (self.names[name] in self.stored)
            if entry is not None:
                assert entry.nickname in (name, None)  # None: overwritten by its id
                assert_same(self.stored[self.names[name]], entry.data)

    @rule(gid=consumes(constants))
    def forget_one(self, gid: str) -> None:
        error = laila.runtime.exception(self.memory.forget(gid))
        assert (error is None) == (self.stored.pop(gid, self) is not self)
        assert error is None or isinstance(error, EntryNotFoundError)

    @invariant()
    def keys_are_those_of_the_dict(self) -> None:
        if hasattr(self, "memory"):
            assert set(self.memory.alpha_pool.chain()[-1].keys()) == set(self.stored)


class MemoryStore(Store):
    """The in-memory pool."""

    def build(self) -> laila.Pool:
        return laila.MemoryPool()

    @rule()
    def restart(self) -> None:
        self.policy.close()
        self.stored.clear()
        self.begin()


class HDF5Store(Store):
    """The HDF5 pool, whose file outlives the policy."""

    def build(self) -> laila.Pool:
        return HDF5Pool(self.folder / "store.h5", durable="process")

    @rule()
    def restart(self) -> None:
        self.policy.close()
        self.begin()


class TieredStore(HDF5Store):
    """A little memory and HDF5 as one store; the cache may lose anything at any moment."""

    def build(self) -> laila.Pool:
        cache = laila.MemoryPool(write="through", max_bytes=8000)
        cache << super().build()
        return cache

    @rule(gid=Store.constants, gone=st.booleans())
    def changed_behind_the_cache(self, gid: str, gone: bool) -> None:
        """What another process does to the last tier is seen by who asks past the cache, and from then on."""
        last = self.memory.alpha_pool.chain()[-1]
        if gone:
            last.delete_here([gid])
            self.stored.pop(gid, None)
            assert self.memory.remember(gid, refresh=True, missing_ok=True).result is None
            assert self.memory.remember(gid, missing_ok=True).result is None
        else:
            last.store_here([to_blob(laila.constant("written elsewhere", global_id=gid))], replace=True)
            self.stored[gid] = "written elsewhere"
            assert self.memory.remember(gid, refresh=True).data == "written elsewhere"
            assert self.memory.remember(gid).data == "written elsewhere"

    @rule()
    def lose_the_cache(self) -> None:
        self.memory.alpha_pool.empty()

    @invariant()
    def the_cache_holds_nothing_else(self) -> None:
        if hasattr(self, "memory"):
            cache = self.memory.alpha_pool
            assert set(cache.keys()) <= set(self.stored)
            assert isinstance(cache, laila.MemoryPool)
            assert cache.nbytes <= 8000


TestMemoryStore = MemoryStore.TestCase
TestHDF5Store = HDF5Store.TestCase
TestTieredStore = TieredStore.TestCase
TestMemoryStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHDF5Store.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestTieredStore.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
