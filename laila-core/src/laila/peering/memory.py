"""The verbs on the memory of a peer: the same names, arguments and futures as those on one's own."""

from __future__ import annotations

from functools import partial

from laila.central.choice import ALPHA, PoolChoice
from laila.central.ids import (
    READ_SIZE,
    as_entries,
    at_evolution,
    candidates,
    check_batch_size,
    check_no_scope,
    wanted,
)
from laila.central.interface import MemoryVerbs
from laila.central.known import known_where
from laila.central.leaves import (
    forgotten_leaves,
    own_references,
    packed_among,
    wanted_leaves,
    with_places,
)
from laila.central.marking import EntryPlan
from laila.central.packing import Packer, pack_bytes
from laila.central.writing import ON_CONFLICT
from laila.entry import Entry, Manifest, to_blob
from laila.entry.provenance import note_provenance
from laila.entry.states import mark, note_stored, unmark
from laila.errors import (
    InvalidArgumentError,
    LailaError,
    NotSupportedError,
    SettingsError,
)
from laila.futures import Future, GroupFuture
from laila.futures.batch import Batch
from laila.futures.outcomes import outcomes
from laila.futures.scope import register
from laila.identity import get_active_namespace
from laila.peering.answers import (
    checked,
    described,
    forgotten,
    only,
    opened_all,
    opened_leaves,
    stored,
    stored_keys,
    wrong,
)
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Literal, NoReturn

    from laila.blob.blob import Blob
    from laila.central.marking import Known
    from laila.contract.pool import Pool
    from laila.entry.leaves import Leaf
    from laila.peering.proxy import RemotePolicyProxy
    from laila.views import View

__all__ = ["RemoteMemory"]

_MEMORY = "central.memory."
_DESCRIBED_TOGETHER = 4096


class RemoteMemory(MemoryVerbs):
    """The memory of a peer. Thread-safe; arguments are checked here, before anything is sent."""

    def __init__(self, peer: RemotePolicyProxy) -> None:
        self._peer = peer

    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        overwrite: bool = False,
        on_conflict: Literal["next"] | None = None,
        copy: bool = True,
        verify: bool = False,
        missing_ok: bool = False,
        provenance: Mapping[str, object] | None = None,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries in the peer's pools, like :meth:`DefaultCentralMemory.memorize` does here.

        The snapshot is taken here, and now. A variable whose snapshot is signed keeps its evolution: with
        ``on_conflict="next"`` it is still a conflict.
        """
        if on_conflict not in ON_CONFLICT:
            raise SettingsError(
                f'on_conflict={shown(on_conflict)}: give "next" or nothing', option="on_conflict"
            )
        choice = PoolChoice(pool_id, pool_nickname, affinity)
        options = _given(
            choice,
            overwrite=overwrite or None,
            on_conflict=on_conflict,
            missing_ok=missing_ok or None,
        )
        known = None if overwrite or verify else partial(self._known, _given(choice))
        single = isinstance(entries, Entry)
        items: Sequence[Entry] = (entries,) if single else as_entries(entries)  # type: ignore[assignment]
        note_provenance(items, provenance)
        if any(isinstance(entry, Manifest) for entry in items):
            if on_conflict is not None:
                raise SettingsError("on_conflict= does not go with manifests", option="on_conflict")
            return self._memorize_plan(items, options, known, single=single, copy=copy, verify=verify)
        there = set() if known is None else known(items)
        if there:
            # What is there needs no sending: a plan says of each item what became of it.
            return self._memorize_known(items, there, options, single=single, copy=copy, verify=verify)
        blobs = self._snapshot(items, copy=copy, verify=verify)
        options |= _namespace_of(blobs)
        if single:
            future = self._peer.call(
                f"{_MEMORY}memorize", blobs, options, convert=lambda key: only(stored(items, blobs, [key]))
            )
            self._unmark_on_failure(future, items)
            register(future)
            return future
        return self._send_batch(
            f"{_MEMORY}memorize",
            [blobs],
            options,
            lambda keys: stored(items, blobs, keys),
            len(blobs),
            items,
        )

    def _snapshot(self, entries: Sequence[Entry], *, copy: bool, verify: bool) -> list[Blob]:
        pickle = self._peer.pickle
        blobs = [to_blob(entry, pickle=pickle, copy=copy, verify=verify) for entry in entries]
        mark(entries)
        return blobs

    def _known(self, choice: dict[str, object], entries: Sequence[Entry]) -> set[int]:
        """Return the places of the entries whose content the peer has already, which is asked for it."""

        def ask(contents: Sequence[tuple[str, bytes]]) -> Sequence[bool]:
            pairs = [[key, digest.hex()] for key, digest in contents]
            found = self._peer.call(f"{_MEMORY}holds", [pairs], choice, repeatable=True).wait()
            return [answer is True for answer in checked(found, len(pairs))]

        return known_where(entries, ask)

    def _memorize_known(
        self,
        items: Sequence[Entry],
        there: set[int],
        options: dict[str, object],
        *,
        single: bool,
        copy: bool,
        verify: bool,
    ) -> Future[Any] | GroupFuture[Any]:
        """Send the entries that are not ``there``."""
        keys = [entry.global_id for entry in items]
        sent = [i for i in range(len(items)) if i not in there]
        some = [items[i] for i in sent]
        blobs = self._snapshot(some, copy=copy, verify=verify)
        known = [items[i] for i in there]
        mark(known)
        note_stored(known, [keys[i] for i in there], [keys[i] for i in there], None)
        if single:
            return Future.completed(keys[0])
        if not sent:
            return GroupFuture.completed(keys)

        def convert(found: Any) -> list[Any]:
            outcomes: list[Any] = list(keys)
            for i, outcome in zip(sent, stored(some, blobs, found), strict=True):
                outcomes[i] = outcome
            return outcomes

        options |= _namespace_of(blobs)
        return self._send_batch(f"{_MEMORY}memorize", [blobs], options, convert, len(keys), some)

    def _memorize_plan(
        self,
        items: Sequence[Entry],
        options: dict[str, object],
        known: Known | None,
        *,
        single: bool,
        copy: bool,
        verify: bool,
        packer: Packer | None = None,
    ) -> GroupFuture[Any]:
        """Send what a plan has to store as single batch: entries, then manifests, inner ones first."""
        pickle = self._peer.pickle
        plan = EntryPlan(items, None, pickle=pickle, copy=copy, verify=verify, known=known, packer=packer)
        plan.mark()
        sent = [i for i, blob in enumerate(plan.blobs) if blob is not None]
        blobs = [blob for blob in plan.blobs if blob is not None]

        def convert(keys: list[Any]) -> list[Any]:
            every: list[Any] = list(plan.keys)
            for i, outcome in zip(sent, stored_keys(blobs, keys), strict=True):
                every[i] = outcome
            outcomes = plan.of_entries(every)
            note_stored(plan.entries, plan.entry_keys, outcomes, None)
            return outcomes if single else plan.of_given(outcomes)

        count = len(plan.entries) if single else len(items)
        options |= _namespace_of(blobs)
        return self._send_batch(f"{_MEMORY}memorize", [blobs], options, convert, count, plan.entries)

    def remember(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        evolution: int | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
        copy: bool = True,
        refresh: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Fetch entries from over there; see :meth:`DefaultCentralMemory.remember`."""
        options = _given(
            PoolChoice(pool_id, pool_nickname, affinity),
            missing_ok=missing_ok or None,
            refresh=refresh or None,
        )

        def convert(answer: Any, meant: Sequence[Sequence[str]]) -> list[Any]:
            return opened_all(answer, meant, copy=copy, missing_ok=missing_ok)

        return self._ask("remember", entry_ids, nickname, scope, options, convert, evolution)

    def open(
        self,
        entry_id: Entry | str | None = None,
        *,
        nickname: str | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        evolution: int | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> View:
        """Open an entry over there; see :meth:`DefaultCentralMemory.open`. What is used of it is sent."""
        from laila.central.opening import checked_view
        from laila.peering.parts import open_remote

        one, keys, names = wanted("open", entry_id, nickname)
        if not one:
            raise InvalidArgumentError("open() takes one entry at a time")
        keys, names, scope = at_evolution(keys, names, scope, evolution)  # type: ignore[assignment]
        options = _given(PoolChoice(pool_id, pool_nickname, affinity))
        if names is None:
            check_no_scope(scope)
            return checked_view(open_remote(self._peer, keys, keys, {}, options))
        named = _given(ALPHA, nickname=names[0], scope=scope, namespace=str(get_active_namespace()))
        return checked_view(open_remote(self._peer, [], candidates(names, scope)[0], named, options))

    def forget(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Delete entries over there; see :meth:`DefaultCentralMemory.forget`."""
        options = _given(PoolChoice(pool_id, pool_nickname, affinity), missing_ok=missing_ok or None)
        return self._ask("forget", entry_ids, nickname, scope, options, forgotten)

    def _ask(
        self,
        verb: str,
        entry_ids: object,
        nickname: object,
        scope: str | None,
        options: dict[str, object],
        convert: Callable[[Any, Sequence[Sequence[str]]], list[Any]],
        evolution: int | None = None,
    ) -> Future[Any] | GroupFuture[Any]:
        single, keys, names = wanted(verb, entry_ids, nickname)
        keys, names, scope = at_evolution(keys, names, scope, evolution)
        args: list[object] = []
        if names is None:
            check_no_scope(scope)
            args = [keys[0] if single else keys]
            meant = [[key] for key in keys]
        else:
            options |= _given(ALPHA, scope=scope)
            options |= {"nickname": names[0] if single else names, "namespace": str(get_active_namespace())}
            meant = candidates(names, scope)
        repeatable = verb == "remember"
        if single:
            future = self._peer.call(
                _MEMORY + verb,
                args,
                options,
                convert=lambda answer: only(convert([answer], meant)),
                repeatable=repeatable,
            )
            register(future)
            return future
        return self._send_batch(
            _MEMORY + verb,
            args,
            options,
            lambda answer: convert(answer, meant),
            len(meant),
            repeatable=repeatable,
        )

    def _send_batch(
        self,
        path: str,
        args: Sequence[object],
        options: dict[str, object],
        convert: Callable[[Any], list[Any]],
        count: int,
        entries: Sequence[Entry] = (),
        *,
        repeatable: bool = False,
    ) -> GroupFuture[Any]:
        if not count:
            return GroupFuture.completed(())
        source = self._peer.call(
            path,
            args,
            options,
            convert=lambda answer: outcomes(checked(convert(answer), count)),
            repeatable=repeatable,
        )
        self._unmark_on_failure(source, entries)
        group: GroupFuture[Any] = GroupFuture((Batch(source, count),))
        register(group)
        return group

    def _unmark_on_failure(self, future: Future[Any], entries: Sequence[Entry]) -> None:
        if entries:
            # Listened to, not called back: this takes no time, and needs no thread of its own.
            if not future._listen(lambda _: unmark(entries)):
                unmark(entries)

    def history(
        self,
        entry_id: Entry | str | None = None,
        *,
        nickname: str | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[int]:
        """Return the stored evolutions of a variable, ascending. Blocks."""
        single, keys, names = wanted("list the history of", entry_id, nickname)
        if not single:
            raise InvalidArgumentError("history() takes one entry at a time")
        options = _given(PoolChoice(pool_id, pool_nickname, affinity))
        if names is not None:
            options |= {"nickname": names[0], "namespace": str(get_active_namespace())}
        numbers = self._peer.call(f"{_MEMORY}history", keys, options, repeatable=True).wait()
        if type(numbers) is not list or any(type(number) is not int or number < 0 for number in numbers):
            raise wrong("with what is no list of evolutions")
        return numbers

    def describe(
        self,
        entry_ids: Entry | str | Iterable[Entry | str],
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[Leaf | None]:
        """Say what entries over there are, by their heads: type, shape, dtype, bytes and digest. Blocks."""
        _, keys, _ = wanted("describe", entry_ids, None)
        options = _given(PoolChoice(pool_id, pool_nickname, affinity))
        found: list[Leaf | None] = []
        for start in range(0, len(keys), _DESCRIBED_TOGETHER):
            some = keys[start : start + _DESCRIBED_TOGETHER]
            answer = self._peer.call(f"{_MEMORY}describe", [some], options, repeatable=True).wait()
            found += described(answer, len(some))
        return found

    # -- manifests -------------------------------------------------------------------------------------------

    def memorize_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
        overwrite: bool = False,
        verify: bool = False,
        missing_ok: bool = False,
        provenance: Mapping[str, object] | None = None,
        pack: int | str | None = None,
    ) -> GroupFuture[Any]:
        """Store a manifest with its new leaves in the peer's pool, as one batch."""
        check_batch_size(batch_size, READ_SIZE)
        pack_size = None if pack is None else pack_bytes(pack)
        note_provenance([manifest], provenance)
        choice = PoolChoice(pool_id, pool_nickname)
        options = _given(choice, overwrite=overwrite or None, missing_ok=missing_ok or None)
        known = None if overwrite or verify else partial(self._known, _given(choice))
        packer = Packer(
            pack_size,
            partial(self._present, _given(choice)),
            lambda key: None if verify else self._stored(key, choice),
            renew=overwrite,
        )
        return self._memorize_plan(
            [manifest], options, known, single=True, copy=True, verify=verify, packer=packer
        )

    def remember_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
        copy: bool = True,
        refresh: bool = False,
        leaves: Iterable[Entry | str] | None = None,
    ) -> GroupFuture[Any]:
        """Fetch leaves of a manifest from the peer, with one request for ``batch_size`` leaves."""
        manifest.check_not_empty("remember")
        size, keys = check_batch_size(batch_size, READ_SIZE), wanted_leaves(manifest, leaves)
        choice = PoolChoice(pool_id, pool_nickname)
        options = _given(choice, refresh=refresh or None)
        known = with_places(manifest, lambda: self._stored(manifest.global_id, choice))

        def send(part: list[str]) -> GroupFuture[Any]:
            packed = packed_among(known, part)
            asked = [packed[key].to_send() if key in packed else key for key in part]
            return self._send_batch(
                f"{_MEMORY}{'remember_leaves' if packed else 'remember'}",
                [asked],
                options,
                lambda answer: opened_leaves(answer, part, packed, copy=copy),
                len(part),
                repeatable=True,
            )

        return GroupFuture.of(send(keys[start : start + size]) for start in range(0, len(keys), size))

    def _present(self, choice: dict[str, object], keys: Sequence[str]) -> Sequence[bool]:
        found = self._peer.call(f"{_MEMORY}present", [list(keys)], choice, repeatable=True).wait()
        return [answer is True for answer in checked(found, len(keys))]

    def _stored(self, key: str, choice: PoolChoice) -> Manifest | None:
        """Return the manifest that the peer has under an id, if it has one that can be read."""
        try:
            (found,) = self.remember([key], missing_ok=True, **choice.options()).result
        except LailaError:
            return None
        return found if isinstance(found, Manifest) else None

    def forget_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
    ) -> GroupFuture[Any]:
        """Delete a manifest and its leaves, for :meth:`laila.Manifest.forget`."""
        manifest.check_not_empty("forget")
        check_batch_size(batch_size, READ_SIZE)
        choice = PoolChoice(pool_id, pool_nickname)
        known = with_places(manifest, lambda: self._stored(manifest.global_id, choice))
        references = own_references(known)

        def convert(answer: Any) -> list[Any]:
            *gone, last = forgotten(answer, [*references, manifest.global_id])
            return [*forgotten_leaves(known, dict(zip(references, gone, strict=True))), last]

        path, count = f"{_MEMORY}forget_manifest", sum(1 for _ in manifest) + 1
        return self._send_batch(path, [manifest.global_id, references], _given(choice), convert, count)

    # -- what stays over there -------------------------------------------------------------------------------

    def check_pool(self, pool_nickname: str) -> None:
        """Do nothing: the peer itself refuses what is memorized to a pool that it does not have."""

    def extend(
        self,
        pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> NoReturn:
        """Raise :class:`NotSupportedError`: a policy's pools are its own."""
        self._peer.extend(pool)

    @property
    def alpha_pool(self) -> Pool:
        """Raises :class:`NotSupportedError`: a pool is used by the policy that has it."""
        raise NotSupportedError(
            "the pools of a peer are used through its verbs; peer.describe()['pools'] lists them"
        )

    @alpha_pool.setter
    def alpha_pool(self, pool: Pool | str) -> None:
        raise NotSupportedError(
            f"the alpha pool of {self._peer.global_id} is set in its own process, not by a peer"
        )

    def borrow(
        self,
        keys: Entry | str | Iterable[Entry | str],
        global_borrow: bool = False,
        *,
        timeout: float | None = 60.0,
        ttl: float = 30.0,
        missing_ok: bool = False,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> NoReturn:
        """Raise :class:`NotSupportedError`: entries are borrowed by the policy that has the pool."""
        raise NotSupportedError(
            "the entries of a peer's pools are borrowed in its own process, or by a pool of this process on "
            "the same store"
        )


def _given(choice: PoolChoice, **options: object) -> dict[str, object]:
    """The options of a call: those that choose a pool, and the others that say something."""
    return {**choice.options(), **{name: value for name, value in options.items() if value is not None}}


def _namespace_of(blobs: Iterable[Blob]) -> dict[str, object]:
    """What the nicknames of ``blobs`` are in: the peer holds each id to be that of its nickname."""
    return {"namespace": str(get_active_namespace())} if any(blob.nickname for blob in blobs) else {}
