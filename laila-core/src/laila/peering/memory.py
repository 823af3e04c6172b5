"""The verbs on the memory of a peer: the same names, arguments and futures as those on one's own."""

from __future__ import annotations

from laila.central import writing as storing
from laila.central.ids import READ_SIZE, as_entries, check_batch_size, check_no_scope, wanted
from laila.entry import Entry, EntryState, Manifest, from_blob, to_blob
from laila.errors import InvalidArgumentError, LailaError, NotSupportedError, SettingsError
from laila.futures import GroupFuture
from laila.futures.batch import Batch
from laila.futures.outcomes import outcomes
from laila.futures.scope import register
from laila.identity import get_active_namespace
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Literal, NoReturn

    from laila.blob.blob import Blob
    from laila.futures import Future
    from laila.peering.proxy import RemotePolicyProxy

__all__ = ["RemoteMemory"]

_MEMORY = "central.memory."
_POOLING, _POOLED, _READY = EntryState.POOLING, EntryState.POOLED, EntryState.READY


class RemoteMemory:
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
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries over there; see :meth:`DefaultCentralMemory.memorize`.

        The snapshot is taken here, and now. A variable whose snapshot is signed keeps its evolution: with
        ``on_conflict="next"`` it is a conflict all the same.
        """
        if on_conflict not in storing.ON_CONFLICT:
            raise SettingsError(
                f'on_conflict={shown(on_conflict)}: give "next" or nothing', option="on_conflict"
            )
        options = _given(
            pool_id=pool_id,
            pool_nickname=pool_nickname,
            affinity=affinity,
            overwrite=overwrite or None,
            on_conflict=on_conflict,
            missing_ok=missing_ok or None,
        )
        one = isinstance(entries, Entry)
        given: Sequence[Entry] = (entries,) if one else as_entries(entries)  # type: ignore[assignment]
        if any(isinstance(entry, Manifest) for entry in given):
            if on_conflict is not None:
                raise SettingsError("on_conflict= does not go with manifests", option="on_conflict")
            return self._memorize_plan(given, options, one=one, copy=copy, verify=verify)
        blobs = self._snapshot(given, copy=copy, verify=verify)
        options |= _namespace_of(blobs)
        if one:
            future = self._peer.call(
                f"{_MEMORY}memorize", blobs, options, convert=lambda key: _stored(given, blobs, [key])[0]
            )
            self._unmark_on_failure(future, given)
            register(future)
            return future
        return self._send_batch(
            f"{_MEMORY}memorize",
            [blobs],
            options,
            lambda keys: _stored(given, blobs, keys),
            len(blobs),
            given,
        )

    def _snapshot(self, entries: Sequence[Entry], *, copy: bool, verify: bool) -> list[Blob]:
        pickle = self._peer._here.policy.central.memory.pickle
        blobs = [to_blob(entry, pickle=pickle, copy=copy, verify=verify) for entry in entries]
        for entry in entries:
            entry._state = _POOLING
        return blobs

    def _memorize_plan(
        self, given: Sequence[Entry], options: dict[str, object], *, one: bool, copy: bool, verify: bool
    ) -> GroupFuture[Any]:
        """Send what a plan has to store as one batch: entries, then manifests, inner ones first."""
        pickle = self._peer._here.policy.central.memory.pickle
        plan = storing.Plan(given, None, pickle=pickle, copy=copy, verify=verify)
        plan.mark()
        blobs = [blob for blob in plan.blobs if blob is not None]

        def convert(keys: list[Any]) -> list[Any]:
            stored = _stored(plan.entries, blobs, keys)
            return stored if one else plan.of_given(stored)

        count = len(plan.keys) if one else len(given)
        options |= _namespace_of(blobs)
        return self._send_batch(f"{_MEMORY}memorize", [blobs], options, convert, count, plan.entries)

    def remember(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
        copy: bool = True,
        refresh: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Fetch entries from over there; see :meth:`DefaultCentralMemory.remember`."""
        options = _given(
            pool_id=pool_id,
            pool_nickname=pool_nickname,
            affinity=affinity,
            missing_ok=missing_ok or None,
            refresh=refresh or None,
        )
        return self._ask("remember", entry_ids, nickname, scope, options, lambda found: _opened(found, copy))

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
        options = _given(
            pool_id=pool_id, pool_nickname=pool_nickname, affinity=affinity, missing_ok=missing_ok or None
        )
        return self._ask("forget", entry_ids, nickname, scope, options, _checked)

    def _ask(
        self,
        verb: str,
        entry_ids: object,
        nickname: object,
        scope: str | None,
        options: dict[str, object],
        convert: Callable[[Any], Any],
    ) -> Future[Any] | GroupFuture[Any]:
        one, keys, names = wanted(verb, entry_ids, nickname)
        args: list[object] = []
        if names is None:
            check_no_scope(scope)
            args = [keys[0] if one else keys]
        else:
            options |= _given(scope=scope)
            options |= {"nickname": names[0] if one else names, "namespace": str(get_active_namespace())}
        repeatable = verb == "remember"
        if one:
            future = self._peer.call(
                _MEMORY + verb,
                args,
                options,
                convert=lambda found: _only(convert([found])),
                repeatable=repeatable,
            )
            register(future)
            return future
        count = len(keys if names is None else names)
        return self._send_batch(_MEMORY + verb, args, options, convert, count, repeatable=repeatable)

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
            convert=lambda found: outcomes(_counted(convert(found), count)),
            repeatable=repeatable,
        )
        self._unmark_on_failure(source, entries)
        group: GroupFuture[Any] = GroupFuture((Batch(source, count),))
        register(group)
        return group

    def _unmark_on_failure(self, future: Future[Any], entries: Sequence[Entry]) -> None:
        if entries:
            # Listened to, not called back: this takes no time, and needs no thread of its own.
            if not future._listen(lambda _: storing.unmark(entries)):
                storing.unmark(entries)

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
        one, keys, names = wanted("list the history of", entry_id, nickname)
        if not one:
            raise InvalidArgumentError("history() takes one entry at a time")
        options = _given(pool_id=pool_id, pool_nickname=pool_nickname, affinity=affinity)
        if names is not None:
            options |= {"nickname": names[0], "namespace": str(get_active_namespace())}
        numbers: list[int] = self._peer.call(f"{_MEMORY}history", keys, options, repeatable=True).wait()
        return numbers

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
    ) -> GroupFuture[Any]:
        """See :meth:`laila.Manifest.memorize`; it goes as one batch."""
        check_batch_size(batch_size, READ_SIZE)
        options = _given(
            pool_id=pool_id,
            pool_nickname=pool_nickname,
            overwrite=overwrite or None,
            missing_ok=missing_ok or None,
        )
        return self._memorize_plan([manifest], options, one=True, copy=True, verify=verify)

    def remember_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
        copy: bool = True,
        refresh: bool = False,
    ) -> GroupFuture[Any]:
        """See :meth:`laila.Manifest.remember`; one request for each ``batch_size`` leaves."""
        manifest.check_not_empty("remember")
        size, keys = check_batch_size(batch_size, READ_SIZE), list(manifest)
        options = _given(pool_id=pool_id, pool_nickname=pool_nickname, refresh=refresh or None)
        return GroupFuture.of(
            self._send_batch(
                f"{_MEMORY}remember",
                [part := keys[start : start + size]],
                options,
                lambda found: _opened(found, copy),
                len(part),
                repeatable=True,
            )
            for start in range(0, len(keys), size)
        )

    def forget_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
    ) -> GroupFuture[Any]:
        """See :meth:`laila.Manifest.forget`."""
        manifest.check_not_empty("forget")
        check_batch_size(batch_size, READ_SIZE)
        leaves = list(manifest)
        options = _given(pool_id=pool_id, pool_nickname=pool_nickname)
        path = f"{_MEMORY}forget_manifest"
        return self._send_batch(path, [manifest.global_id, leaves], options, _checked, len(leaves) + 1)

    # -- what stays over there -------------------------------------------------------------------------------

    def extend(self, pool: object, **options: object) -> NoReturn:
        """Raise :class:`NotSupportedError`: a policy's pools are its own."""
        self._peer.extend(pool)

    @property
    def alpha_pool(self) -> NoReturn:
        """Raises :class:`NotSupportedError`: a pool is used by the policy that has it."""
        raise NotSupportedError(
            "the pools of a peer are used through its verbs; peer.describe()['pools'] lists them"
        )

    def borrow(self, keys: Iterable[str] = (), global_borrow: bool = False) -> NoReturn:
        """Reserved for exclusive leases. Raises ``NotImplementedError``."""
        raise NotSupportedError("exclusive leases are not supported yet")


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _counted(found: list[Any], count: int) -> list[Any]:
    if len(found) != count:
        raise InvalidArgumentError(f"the peer answered with {len(found)} outcomes for {count} items")
    return found


def _checked(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise InvalidArgumentError(f"the peer answered with a {type(found).__name__} for a list of outcomes")
    return found


def _only(found: list[Any]) -> Any:
    (outcome,) = found
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _opened(found: Any, copy: bool) -> list[Any]:
    """Decode the blobs among outcomes, each on its own."""
    opened: list[Any] = []
    for one in _checked(found):
        if one is None or isinstance(one, BaseException):
            opened.append(one)
            continue
        try:
            opened.append(from_blob(one, copy=copy))
        except LailaError as error:  # damaged or untrusted: this entry's failure, not its batch's
            opened.append(error)
    return opened


def _stored(entries: Sequence[Entry], blobs: Sequence[Blob], keys: Any) -> list[Any]:
    """Note what was stored, each under the id that the peer says."""
    for entry, blob, key in zip(entries, blobs, _counted(_checked(keys), len(blobs)), strict=True):
        if not isinstance(key, str) or entry.global_id != blob.key:
            continue  # it failed, or evolved since
        if key != blob.key:  # stored as a later evolution
            entry._evolution = int(key.rpartition("-")[2])
        if entry._state is _POOLING:
            entry._state = _POOLED
    return list(keys)


def _namespace_of(blobs: Iterable[Blob]) -> dict[str, object]:
    """What the nicknames of ``blobs`` are in: the peer holds each id to be that of its nickname."""
    return {"namespace": str(get_active_namespace())} if any(blob.nickname for blob in blobs) else {}
