"""The read side of the verbs: keys to entries, and keys to nothing."""

from __future__ import annotations

from laila.entry import from_blob
from laila.entry.manifest_tree import holder_of
from laila.entry.states import note_origin
from laila.errors import CorruptEntryError, EntryNotFoundError, IdentityError, LailaError
from laila.keys import may_evolve
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry

    Found = Blob | BaseException | None

__all__ = [
    "ambiguous",
    "entry_of",
    "fetch",
    "fetch_named",
    "forget",
    "forget_named",
    "in_slices",
    "missing",
    "missing_name",
    "remember",
    "remember_named",
]


def remember(
    pool: Pool, keys: Sequence[str], *, copy: bool, missing_ok: bool = False, refresh: bool = False
) -> list[Entry | BaseException | None]:
    """Return for each key its entry, or its error; None for a missing one where ``missing_ok``.

    A key without evolution means the constant, else the newest evolution. ``refresh`` reads the last tier
    alone and renews the caches. Raises what the backend raises.
    """
    # A tier of a chain may keep the blobs that it passes on. Only blobs that a single pool has read are ours.
    consume = pool.blocking and pool.proxy_to is None
    blobs = fetch(
        pool, keys, missing_ok=missing_ok, refresh=refresh, deferred=consume, views=consume and not copy
    )
    return [entry_of(blob, copy, pool, consume=consume) for blob in blobs]


def fetch(
    pool: Pool,
    keys: Sequence[str],
    *,
    missing_ok: bool = False,
    refresh: bool = False,
    deferred: bool = False,
    views: bool = False,
) -> list[Found]:
    """Fetch the stored blobs, not decoded, for example to send them to a peer."""
    blobs = _load(pool, keys, refresh, deferred, views)
    if missing_ok or None not in blobs:
        return blobs
    where = pool.chain()[-1] if refresh else pool  # where it was looked for
    return [missing(key, where) if blob is None else blob for key, blob in zip(keys, blobs, strict=True)]


def remember_named(
    pool: Pool,
    names: Sequence[str],
    keys: Sequence[Sequence[str]],
    *,
    copy: bool,
    missing_ok: bool = False,
    refresh: bool = False,
) -> list[Entry | BaseException | None]:
    """Fetch entries by nickname: ``keys`` has for each name the ids that it may mean."""
    blobs = fetch_named(pool, names, keys, missing_ok=missing_ok, refresh=refresh)
    return [entry_of(blob, copy, pool) for blob in blobs]


def fetch_named(
    pool: Pool,
    names: Sequence[str],
    keys: Sequence[Sequence[str]],
    *,
    missing_ok: bool = False,
    refresh: bool = False,
) -> list[Found]:
    """Fetch entries by nickname, as the stored blobs; one outcome for each name."""
    blobs = iter(_load(pool, [key for variants in keys for key in variants], refresh))
    pool = pool.chain()[-1] if refresh else pool
    outcomes: list[Found] = []
    for name, variants in zip(names, keys, strict=True):
        existing = [blob for blob in [next(blobs) for _ in variants] if blob is not None]
        errors = [blob for blob in existing if isinstance(blob, BaseException)]
        if errors:  # what the name means is not known before the damage is mended
            outcomes.append(errors[0])
        elif len(existing) > 1:
            outcomes.append(ambiguous(name))
        elif existing:
            outcomes.append(existing[0])
        else:
            outcomes.append(None if missing_ok else missing_name(name, variants, pool))
    return outcomes


def forget(pool: Pool, keys: Sequence[str], *, missing_ok: bool) -> list[BaseException | None]:
    """Delete ``keys`` and return for each None or its error.

    A key without evolution means the constant, else all evolutions. Raises what the backend raises.
    """
    every = list(dict.fromkeys(keys))
    gone = dict(zip(every, pool.delete(every), strict=True))
    stems = [key for key in every if not gone[key] and may_evolve(key)]
    if stems:
        numbered = [
            [f"{stem}-{n}" for n in variants]
            for stem, variants in zip(stems, pool.deletable(stems), strict=True)
        ]
        answers = iter(
            pool.delete([key for variants in numbered for key in variants]) if any(numbered) else ()
        )
        for stem, variants in zip(stems, numbered, strict=True):
            gone[stem] = sum(next(answers) for _ in variants) > 0
    return [None if gone[key] or missing_ok else missing(key, pool) for key in keys]


def forget_named(
    pool: Pool, names: Sequence[str], keys: Sequence[Sequence[str]], *, missing_ok: bool
) -> list[BaseException | None]:
    """Delete by nickname; a name that means an entry and a manifest deletes neither."""
    flat = [key for variants in keys for key in variants]
    tiers = pool.store_tiers()
    evolves = [key for key in flat if may_evolve(key)]
    existing = {key for key, variants in zip(evolves, pool.deletable(evolves), strict=True) if variants}
    existing.update(key for key in flat if any(tier.exists(key) for tier in tiers))
    outcomes: list[BaseException | None] = []
    meant: dict[int, str] = {}
    for i, (name, variants) in enumerate(zip(names, keys, strict=True)):
        present = [key for key in variants if key in existing]
        if len(present) == 1:
            meant[i] = present[0]
            outcomes.append(None)
        elif present:
            outcomes.append(ambiguous(name))
        else:
            outcomes.append(None if missing_ok else missing_name(name, variants, pool))
    for i, outcome in zip(meant, forget(pool, list(meant.values()), missing_ok=missing_ok), strict=True):
        outcomes[i] = outcome
    return outcomes


def _load(
    pool: Pool, keys: Sequence[str], refresh: bool, deferred: bool = False, views: bool = False
) -> list[Found]:
    blobs = pool.load(keys, refresh=refresh, deferred=deferred, views=views)
    if None not in blobs:
        return blobs
    # What is no constant may be a variable: those are asked for once more, by their newest evolution.
    absent = [i for i, blob in enumerate(blobs) if blob is None and may_evolve(keys[i])]
    if absent:
        last = zip(absent, pool.newest([keys[i] for i in absent], refresh=refresh), strict=True)
        newest = {i: key for i, key in last if key is not None}
        again = (
            pool.load(list(newest.values()), refresh=refresh, deferred=deferred, views=views)
            if newest
            else ()
        )
        for i, blob in zip(newest, again, strict=True):
            blobs[i] = blob
    return blobs


def entry_of(stored: Found, copy: bool, pool: Pool, *, consume: bool = False) -> Entry | BaseException | None:
    """Return the entry of ``stored``, a blob from ``pool``; or an error, given or raised by decoding."""
    if stored is None or isinstance(stored, BaseException):
        return stored
    try:
        entry = from_blob(stored, copy=copy, consume=consume)
        note_origin(entry, pool)
        return entry
    except CorruptEntryError as error:
        return pool.placed(error)
    except LailaError as error:  # untrusted, say: this entry's failure, not its batch's
        return error


def missing(key: str, pool: Pool) -> EntryNotFoundError:
    """The error for a key that is nowhere in the chain of ``pool``."""
    chain = " << ".join(tier.label for tier in pool.chain())
    manifest = holder_of(key)
    why = (
        "was it memorized there, and its future waited for? A packed leaf is read through its manifest"
        if manifest is None
        else f"it is packed with the manifest {manifest}: read it through that, manifest.remember([…])"
    )
    return EntryNotFoundError(
        f"no entry {key} in pool {shown(chain)}; {why}",
        key=key,
        pool=pool.label,
    )


def missing_name(name: str, keys: Sequence[str], pool: Pool) -> EntryNotFoundError:
    """The error for a nickname none of whose ``keys`` is in the chain of ``pool``."""
    chain = " << ".join(tier.label for tier in pool.chain())
    return EntryNotFoundError(
        f"nothing with the nickname {shown(name)} in pool {shown(chain)} (looked for {' and '.join(keys)}); "
        "nicknames depend on the active namespace, see laila.get_active_namespace()",
        key=keys[0],
        pool=pool.label,
    )


def ambiguous(name: str) -> IdentityError:
    """The error for a nickname of an entry and of a manifest."""
    return IdentityError(
        f"the nickname {shown(name)} names an entry and a manifest: say scope='ENTRY' or scope='MANIFEST'",
        value=name,
    )


def in_slices(keys: Sequence[str], size: int, work: Callable[[Sequence[str]], list[Any]]) -> list[Any]:
    """Do ``work`` slice by slice; a slice whose backend fails ends the rest with the same error."""
    outcomes: list[Any] = []
    while len(outcomes) < len(keys):
        try:
            outcomes += work(keys[len(outcomes) : len(outcomes) + size])
        except Exception as error:  # noqa: BLE001 - the outcome of all that was not tried
            outcomes += [error] * (len(keys) - len(outcomes))
    return outcomes
