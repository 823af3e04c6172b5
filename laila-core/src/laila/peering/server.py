"""The verbs that peers call: they act on blobs, which are stored and sent unchanged, and not decoded here.

So a policy serves entries whose classes it does not have. Only the process that decodes a blob needs its
class and key.
"""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.central import reading
from laila.central.choice import PoolChoice
from laila.central.forgetting import forget_tree
from laila.central.ids import as_key, as_keys, candidates, check_nickname, check_no_scope, wanted
from laila.central.known import has_contents
from laila.central.opening import open_buffers
from laila.central.plans import Plan, store_plan
from laila.central.writing import ON_CONFLICT, store
from laila.entry import Entry, Manifest, from_blob, to_blob
from laila.errors import (
    EntryNotFoundError,
    IdentityError,
    InvalidArgumentError,
    LailaError,
    SettingsError,
)
from laila.keys import is_manifest
from laila.peering.parts import leaves_sent, packed_blobs, parts_of
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from laila.central.memory import DefaultCentralMemory
    from laila.contract.pool import Pool

    Outcome = str | BaseException

__all__ = ["ServedMemory"]


class ServedMemory:
    """The memory of a policy as its peers reach it. Thread-safe.

    Each verb takes one item or a list and gives a future of one outcome, or of a list of outcomes. An
    exception in the list is the outcome of an item that failed. ``choice`` are the options of a peer that
    name a pool: those of :class:`PoolChoice`.
    """

    def __init__(self, memory: DefaultCentralMemory) -> None:
        self._memory = memory

    def _pool(self, verb: str, choice: dict[str, Any]) -> Pool:
        return self._memory.router.choose(PoolChoice.sent(verb, choice))

    def non_blocking(self, /, **options: Any) -> bool:
        """Whether the pool that is meant answers at once."""
        choice = {name: value for name, value in options.items() if name in PoolChoice._fields}
        try:
            pool = self._memory.router.choose(PoolChoice(**choice))
        except LailaError:
            return True  # it fails at once
        if pool.proxy_to is None:
            return not pool.blocking
        return not any(tier.blocking for tier in pool.chain())

    def memorize(
        self,
        entries: Blob | Entry | Sequence[Blob | Entry],
        *,
        overwrite: bool = False,
        on_conflict: str | None = None,
        namespace: str | None = None,
        missing_ok: bool = False,
        **choice: Any,
    ) -> Any:
        """Store blobs; a manifest last, and only if all entries of this call that it refers to are stored.

        The id of a blob with a nickname must be the nickname's id in ``namespace``. Without ``missing_ok``, a
        manifest is refused if it refers to an entry that is neither in this call nor in the pool.
        """
        pool = self._pool("memorize", choice)
        if on_conflict not in ON_CONFLICT:
            raise SettingsError(
                f'on_conflict={shown(on_conflict)}: give "next" or nothing', option="on_conflict"
            )
        single = isinstance(entries, (Blob, Entry))
        inside = _namespace(namespace)
        items: Sequence[Blob | Entry] = [entries] if single else list(entries)  # type: ignore[list-item,arg-type]
        # A blob goes over once, and is looked at once, however often the message refers to it.
        once = {id(item): item for item in items}
        blobs = [_plain_blob(item, inside) for item in once.values()]

        def write() -> list[Any]:
            outcomes = _store(
                pool,
                blobs,
                overwrite=overwrite is True,
                on_conflict=on_conflict,
                missing_ok=missing_ok is True,
            )
            if single:
                return outcomes
            of_item = dict(zip(once, outcomes, strict=True))
            return [[of_item[id(item)] for item in items]]

        keys = [blob.key for blob in blobs]
        return self._memory.runner.run("memorize", pool, keys, write, single=True, count=1, blobs=blobs)

    def present(self, entry_ids: Sequence[str], **choice: Any) -> Any:
        """Return for each id whether it is there; one without evolution is, where any evolution is."""
        pool = self._pool("present", choice)
        _, keys, _ = wanted("look for", list(entry_ids), None)
        return self._memory.runner.run(
            "remember", pool, keys, lambda: [pool.present(keys)], single=True, count=1
        )

    def holds(self, contents: Sequence[Sequence[Any]], **choice: Any) -> Any:
        """Return for each pair of an id and a content digest whether that content is there under that id."""
        pool = self._pool("holds", choice)
        try:
            pairs = [(as_key(key), bytes.fromhex(digest)) for key, digest in contents]
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError("holds() takes pairs of an id and a digest as digits") from error
        keys = [key for key, _ in pairs]
        return self._memory.runner.run(
            "remember", pool, keys, lambda: [has_contents(pool, pairs)], single=True, count=1
        )

    def remember(
        self,
        entry_ids: str | Sequence[str] | None = None,
        *,
        nickname: str | Sequence[str] | None = None,
        scope: str | None = None,
        namespace: str | None = None,
        missing_ok: bool = False,
        refresh: bool = False,
        **choice: Any,
    ) -> Any:
        """Fetch blobs. ``namespace`` (a uuid) is what the caller's nicknames are in."""
        pool = self._pool("remember", choice)
        single, keys, names = wanted("remember", entry_ids, nickname)
        if names is None:
            check_no_scope(scope)

            def read() -> list[Any]:
                # Each is read once, however often it was asked for, and goes over once as well.
                once = list(dict.fromkeys(keys))
                blobs = reading.fetch(pool, once, missing_ok=missing_ok is True, refresh=refresh is True)
                if len(once) < len(keys):
                    by_key = dict(zip(once, blobs, strict=True))
                    blobs = [by_key[key] for key in keys]
                return blobs if single else [blobs]

            return self._memory.runner.run("remember", pool, keys, read, single=True, count=1)
        meant = candidates(names, scope, _namespace(namespace))

        def read_named() -> list[Any]:
            blobs = reading.fetch_named(
                pool, names, meant, missing_ok=missing_ok is True, refresh=refresh is True
            )
            return blobs if single else [blobs]

        keys = [key for variants in meant for key in variants]
        return self._memory.runner.run("remember", pool, keys, read_named, single=True, count=1)

    def remember_leaves(self, leaves: Sequence[Any], *, refresh: bool = False, **choice: Any) -> Any:
        """Fetch the blobs of leaves of a manifest: each is an id, or the id of a packed one and its place."""
        pool = self._pool("remember_leaves", choice)
        wanted_, keys = leaves_sent(leaves)

        def read() -> list[Any]:
            return [packed_blobs(pool, keys, wanted_, refresh=refresh is True)]

        return self._memory.runner.run("remember", pool, keys, read, single=True, count=1)

    def open(
        self,
        entry_id: str | None = None,
        *,
        nickname: str | None = None,
        scope: str | None = None,
        namespace: str | None = None,
        **choice: Any,
    ) -> Any:
        """Return the head of an entry's plain blob; :meth:`read_parts` gives parts of that blob."""
        pool = self._pool("open", choice)
        one, keys, names = wanted("open", entry_id, nickname)
        if not one:
            raise InvalidArgumentError("open() takes one entry at a time")
        if names is None:
            check_no_scope(scope)
        else:
            (keys,) = candidates(names, scope, _namespace(namespace))

        def read() -> list[Any]:
            return [open_buffers(pool, keys, None if names is None else names[0]).head_data()]

        return self._memory.runner.run("remember", pool, keys, read, single=True, count=1)

    def read_parts(self, entry_id: str, digest: bytes, number: int, runs: Any, **choice: Any) -> Any:
        """Return runs of the bytes of one buffer of an entry, whose plain content has this digest."""
        pool = self._pool("read_parts", choice)
        key = as_key(entry_id)

        def read() -> list[Any]:
            return [parts_of(open_buffers(pool, [key], None), digest, number, runs)]

        return self._memory.runner.run("remember", pool, [key], read, single=True, count=1)

    def forget(
        self,
        entry_ids: str | Sequence[str] | None = None,
        *,
        nickname: str | Sequence[str] | None = None,
        scope: str | None = None,
        namespace: str | None = None,
        missing_ok: bool = False,
        **choice: Any,
    ) -> Any:
        """Delete: the outcome of each is None, or its error."""
        pool = self._pool("forget", choice)
        single, keys, names = wanted("forget", entry_ids, nickname)
        if names is None:
            check_no_scope(scope)

            def delete() -> list[Any]:
                gone = reading.forget(pool, keys, missing_ok=missing_ok is True)
                return gone if single else [gone]

            return self._memory.runner.run("forget", pool, keys, delete, single=True, count=1)
        meant = candidates(names, scope, _namespace(namespace))

        def delete_named() -> list[Any]:
            gone = reading.forget_named(pool, names, meant, missing_ok=missing_ok is True)
            return gone if single else [gone]

        keys = [key for variants in meant for key in variants]
        return self._memory.runner.run("forget", pool, keys, delete_named, single=True, count=1)

    def forget_manifest(self, manifest_id: str, leaves: Sequence[str], **choice: Any) -> Any:
        """Delete the manifest, and the leaves that nothing else has; its own outcome is the last."""
        pool = self._pool("forget_manifest", choice)
        _, (key,), _ = wanted("forget", manifest_id, None)
        _, keys, _ = wanted("forget", list(leaves), None)

        def delete() -> list[Any]:
            return [forget_tree(pool, key, keys)]

        return self._memory.runner.run("forget", pool, [*keys, key], delete, single=True, count=1)

    def history(
        self,
        entry_id: str | None = None,
        *,
        nickname: str | None = None,
        namespace: str | None = None,
        **choice: Any,
    ) -> list[int]:
        """Return the stored evolutions of a variable, ascending."""
        if nickname is not None and entry_id is None:
            if not isinstance(nickname, str):
                raise InvalidArgumentError("history() takes one entry at a time")
            ((entry_id,),) = candidates([nickname], "ENTRY", _namespace(namespace))
        return self._memory.history(entry_id, **PoolChoice.sent("history", choice).options())

    def describe(self, entry_ids: Sequence[str], **choice: Any) -> list[list[object] | None]:
        """Return for each id what is there: type, shape, dtype, bytes and digest, or None."""
        keys = as_keys(entry_ids)
        found = self._memory.describe(keys, **PoolChoice.sent("describe", choice).options())
        return [None if leaf is None else leaf.to_send() for leaf in found]

    def find(
        self,
        global_id: str,
        *,
        hint: str | None = None,
        pool_subset: Sequence[str] | None = None,
        everywhere: bool = False,
        refresh: bool = False,
    ) -> Blob | None:
        """Return one blob, or None; looks where :meth:`DefaultPoolRouter.places` says."""
        failure: BaseException | None = None
        for pool in self._memory.router.places(hint, pool_subset, everywhere=everywhere is True):
            try:
                (outcome,) = reading.fetch(pool, [as_key(global_id)], refresh=refresh is True)
            except (LailaError, OSError) as error:
                outcome = error
            if isinstance(outcome, Blob):
                return outcome
            if not isinstance(outcome, EntryNotFoundError):
                failure = failure or outcome
        if failure is not None:
            raise failure
        return None


def _namespace(text: object) -> UUID | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidArgumentError(f"a namespace is the text of a uuid, not a {type(text).__name__}")
    from uuid import UUID

    try:
        return UUID(text)  # raises for other types
    except (ValueError, AttributeError, TypeError) as error:
        raise IdentityError(f"{shown(text)} is no uuid of a namespace", value=text) from error


def _plain_blob(item: object, namespace: UUID | None) -> Blob:
    if isinstance(item, Entry):
        item = to_blob(item)
    if not isinstance(item, Blob):
        raise InvalidArgumentError(f"memorize() takes entries and blobs, not a {type(item).__name__}")
    check_nickname(as_key(item.key), item.nickname, namespace)
    if item.transformations:
        raise InvalidArgumentError(
            f"{item.key} was sent in a transformed state: send what it is, the pool transforms it"
        )
    return item


def _store(
    pool: Pool, blobs: Sequence[Blob], *, overwrite: bool, on_conflict: str | None, missing_ok: bool
) -> list[Outcome]:
    """Store blobs: entries alone, or as a plan where manifests are among them."""
    manifests = [i for i, blob in enumerate(blobs) if is_manifest(blob.key)]
    if not manifests:
        return store(pool, blobs, overwrite=overwrite, on_conflict=on_conflict)
    if on_conflict is not None:
        raise SettingsError("on_conflict= does not go with manifests", option="on_conflict")
    others = set(manifests)
    order = [*(i for i in range(len(blobs)) if i not in others), *manifests]
    plan = _plan([blobs[i] for i in order], len(manifests))
    stored = dict(zip(order, store_plan(pool, plan, overwrite=overwrite, missing_ok=missing_ok), strict=True))
    return [stored[i] for i in range(len(blobs))]


def _plan(blobs: Sequence[Blob], manifests: int) -> Plan:
    """Make a plan of blobs; the last ones are manifests."""
    first = len(blobs) - manifests
    refused: dict[int, Outcome] = {}
    trees: dict[int, list[str]] = {}
    unknown: dict[int, list[str]] = {}
    for i, blob in enumerate(blobs[first:], first):
        trees[i] = []
        try:
            manifest = from_blob(blob)
        except LailaError as error:  # damaged, or what it holds needs code: this one's outcome
            refused[i] = error
            continue
        if isinstance(manifest, Manifest):
            trees[i] = manifest.references()
            if absent := manifest.unknown_leaves():
                unknown[i] = absent
    keys = [blob.key for blob in blobs]
    return Plan(keys, blobs, trees, asked=range(first), refused=refused, unknown=unknown)
