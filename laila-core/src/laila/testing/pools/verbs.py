"""Through the verbs: constants, variables, manifests, transformations, tiers and copies over this pool."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, cast

import pytest

from laila.contract import Manifest
from laila.contract.pool import StoreOutcome
from laila.entry import Entry
from laila.errors import EntryNotFoundError, ImmutableEntryError
from laila.futures import runtime
from laila.policy import DefaultPolicy
from laila.pool.memory import MemoryPool
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import PATIENCE, broken, in_threads, promise
from laila.testing.samples import entry_key, make_blob, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from laila.contract import Blob, Pool
    from laila.errors import LailaError
    from laila.policy import DefaultCentralMemory

__all__ = ["Verbs"]

PAYLOADS: list[object] = [
    None,
    {"a": [1, 2.5, None, b"\x00\xff", "ü"], (1, "t"): {True, False}, 2**100: -0.0},
    b"\x01" * 300_000,
    "text " * 50_000,
    [],
]


class Verbs(PoolSuite):
    """The verbs of users on the pool."""

    @pytest.fixture
    def memory(self, pool: Pool) -> Iterator[DefaultCentralMemory]:
        """The memory of a policy whose alpha pool it is."""
        with DefaultPolicy(alpha_pool=pool) as policy:
            yield policy.central.memory

    def test_entries_come_back(self, memory: DefaultCentralMemory) -> None:
        """One at a time and as a batch; forgotten, they are gone."""
        entries = [Entry.constant(payload) for payload in PAYLOADS]
        memory.memorize(entries[0]).wait(PATIENCE)
        ids = memory.memorize(entries).wait(PATIENCE)
        found = memory.remember(ids).wait(PATIENCE)
        promise([one.data for one in found] == PAYLOADS, "remember gives back what memorize was given")
        memory.forget(ids[1:]).wait(PATIENCE)
        left = memory.remember(ids, missing_ok=True).wait(PATIENCE)
        promise([one is not None for one in left] == [True] + [False] * (len(ids) - 1), "forget deletes")
        error = runtime.exception(memory.remember(ids[1]))
        promise(
            isinstance(error, EntryNotFoundError), f"what is forgotten is not found; remember gave {error!r}"
        )

    def test_a_constant_does_not_change(self, memory: DefaultCentralMemory, pool: Pool) -> None:
        """Equal content writes nothing; another content is refused and the first kept."""
        first = Entry.constant({"rate": 0.1}, nickname="conformance")
        memory.memorize(first).wait(PATIENCE)
        before = stored(pool, first.global_id)
        memory.memorize(Entry.constant({"rate": 0.1}, nickname="conformance")).wait(PATIENCE)
        promise(stored(pool, first.global_id) == before, "the same constant again writes nothing")
        error = runtime.exception(memory.memorize(Entry.constant({"rate": 0.2}, nickname="conformance")))
        promise(
            isinstance(error, ImmutableEntryError),
            f"another content for a constant is refused; it gave {error!r}",
        )
        promise(stored(pool, first.global_id) == before, "a refused constant leaves what is there as it is")
        memory.memorize(Entry.constant({"rate": 0.3}, nickname="conformance"), overwrite=True).wait(PATIENCE)
        found = cast("Entry", memory.remember(nickname="conformance").wait(PATIENCE))
        promise(found.data == {"rate": 0.3}, "overwrite=True replaces a constant")

    def test_writers_share_a_variable(self, memory: DefaultCentralMemory) -> None:
        """Evolutions that many writers add are all there, each once, without a gap."""
        writers, turns = 6, 6

        def write(writer: int) -> None:
            for turn in range(turns):
                state = Entry.variable({"writer": writer, "turn": turn}, nickname="counter")
                memory.memorize(state, on_conflict="next").wait(2 * PATIENCE)

        in_threads([lambda w=w: write(w) for w in range(writers)], "memorize(on_conflict='next') ends")  # type: ignore[misc]
        history = memory.history(nickname="counter")
        promise(
            history == list(range(writers * turns)),
            f"{writers} writers that add {turns} evolutions each make {writers * turns} of them: {history}",
        )
        stem = Entry.variable(0, nickname="counter").global_id.rpartition("-")[0]
        found = memory.remember([f"{stem}-{number}" for number in history]).wait(PATIENCE)
        said = {(one.data["writer"], one.data["turn"]) for one in found}
        promise(len(said) == writers * turns, "no evolution is overwritten by another writer")
        newest = cast("Entry", memory.remember(nickname="counter").wait(PATIENCE))
        promise(newest.evolution == history[-1], "remember without an evolution gives the newest")

    def test_a_manifest_comes_back(self, memory: DefaultCentralMemory) -> None:
        """By its nickname, with every leaf."""
        tree = {"a": Entry.constant(1), "b": {"c": [Entry.constant([2]), Entry.constant(b"3" * 200_000)]}}
        memory.memorize(Manifest(tree, nickname="conformance")).wait(PATIENCE)
        found = memory.remember(nickname="conformance", scope="MANIFEST").wait(PATIENCE)
        leaves = memory.remember(list(found)).wait(PATIENCE)
        promise(
            [leaf.data for leaf in leaves] == [1, [2], b"3" * 200_000], "a manifest's leaves are found by it"
        )

    @pytest.mark.parametrize("transformations", [["zlib"], ["zlib", "aes-gcm"]], ids=["zlib", "encrypted"])
    def test_transformations(
        self, opened: Callable[..., Pool], transformations: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Writing applies transformations, and reading with the key undoes them."""
        if "aes-gcm" in transformations and importlib.util.find_spec("cryptography") is None:
            pytest.skip("cryptography is not installed")
        monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "conformance, at least 32 characters")
        pool = opened(transformations=transformations)
        plain = make_blob(entry_key(1), 50_000, tree=b"\x90" + b"zero" * 5000)
        pool.store_here([plain, make_blob(entry_key(2), 100)])
        head = pool.read_head(plain.key)
        told = [] if head is None else [name for name, _ in head.transformations]
        promise(
            told == transformations, f"transformations={transformations} are applied; the head says {told}"
        )
        found = pool.load_here([plain.key])[0]
        promise(_same(found, plain), "what was transformed comes back as it was")
        promise(b"zero" * 5000 not in (stored(pool, plain.key) or b""), "what is stored is transformed")
        promise(
            _told(pool.store_here([plain])) == ["same"],
            "the same content is known again under the same transformations",
        )

    def test_a_tier_before_and_behind(self, opened: Callable[..., Pool]) -> None:
        """It works as the cache of another pool, and as the origin of one."""
        pool = opened()
        blobs = [make_blob(entry_key(number), 2000, number) for number in range(20)]
        keys = [blob.key for blob in blobs]
        for name, cache, origin in (("a cache", pool, MemoryPool()), ("an origin", MemoryPool(), pool)):
            cache.proxy_to = origin
            origin.store_here(blobs)
            for turn in ("from the origin", "from the cache"):
                found = cache.load([*keys, "none"])
                promise(
                    all(map(_same, found, blobs)) and found[-1] is None,
                    f"as {name} of a memory pool it gives what the origin has ({turn})",
                )
            promise(
                all(map(cache._exists, keys)), f"as {name} of a memory pool the cache keeps what was read"
            )
            origin._empty()
            found = cache.load(keys)
            promise(all(map(_same, found, blobs)), f"as {name} of a memory pool the cache answers by itself")
            cache.proxy_to = None
            cache._empty()

    def test_one_store_of_tiers(self, opened: Callable[..., Pool]) -> None:
        """With write='through' the last tier decides, and forget reaches every tier."""
        pool = opened()
        cache = MemoryPool(write="through")
        cache.proxy_to = pool
        blob, other = make_blob(entry_key(1), 500, 1), make_blob(entry_key(1), 500, 2)
        promise(_told(cache.store([blob])) == ["created"], "the last tier says what is new")
        cache._empty()
        promise(_told(cache.store([blob])) == ["same"], "the last tier knows the same content")
        promise(_told(cache.store([other])) == ["conflict"], "the last tier decides conflicts")
        promise(_same(cache.load([blob.key])[0], blob), "a conflict changes no tier")
        promise(cache.delete([blob.key, "none"]) == [True, False], "delete says what was there")
        promise(not pool._exists(blob.key) and not cache._exists(blob.key), "delete reaches every tier")

    def test_copies(self, memory: DefaultCentralMemory, pool: Pool) -> None:
        """`dest <= src` from it and into it; what is there already is not copied again."""
        source = MemoryPool()
        blobs = [make_blob(entry_key(number), 5000, number) for number in range(150)]
        source.store_here([*blobs, make_blob("large", 4 * 1024 * 1024)])
        for dest, src in ((pool, source), (MemoryPool(), pool)):
            copied = (dest <= src).wait(2 * PATIENCE)
            promise(len(copied) == 151, "dest <= src copies every entry")
            found = dest.load_here([blob.key for blob in blobs])
            promise(all(map(_same, found, blobs)), "dest <= src copies every entry as it is")
        del pool[blobs[7].key]
        written: list[str] = []
        write_many = pool._write_many

        def count(items: Sequence[tuple[str, Blob]]) -> None:
            written.extend(key for key, _ in items)
            write_many(items)

        pool._write_many = count  # type: ignore[method-assign]
        (pool <= source).wait(2 * PATIENCE)
        promise(
            written == [blobs[7].key], f"a copy that is made again writes what is missing; it wrote {written}"
        )

    def test_options_build_it_again(self, pool: Pool) -> None:
        """`options()` is JSON-able, holds no secret, and builds a pool on the same store."""
        if pool.durability == "none":
            pytest.skip("durability is 'none': there is nothing to open again")
        import json

        options: dict[str, Any] = json.loads(json.dumps(pool.options()))
        settings = pool.settings
        secrets = (
            {} if settings is None else {name: getattr(settings, name) for name in pool.missing_secrets()}
        )
        for text in (repr(pool), json.dumps(options), pool.label):
            for name, secret in secrets.items():
                promise(str(secret) not in text, f"the secret {name!r} shows nowhere")
        pool._write(entry_key(1), make_blob(entry_key(1)))
        if pool.writers == "process":
            pool.close()
        try:
            again = type(pool)(**options, **secrets)
        except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the promise
            broken(f"type(pool)(**options(), **secrets) builds the pool again; it raised {error!r}")
        with again:
            promise(stored(again, entry_key(1)) is not None, "a pool built from options() has the same store")


def _same(found: object, blob: Blob) -> bool:
    return found is not None and not isinstance(found, BaseException) and bytes(found) == bytes(blob)  # type: ignore[call-overload]


def _told(outcomes: Sequence[StoreOutcome | LailaError]) -> list[object]:
    return [outcome.value if isinstance(outcome, StoreOutcome) else outcome for outcome in outcomes]
