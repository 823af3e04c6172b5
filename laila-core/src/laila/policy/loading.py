"""The read side of the verbs: keys to entries, and keys to nothing."""

from __future__ import annotations

from laila.entry import from_blob
from laila.errors import EntryNotFoundError, IdentityError, LailaError
from laila.policy.ids import has_evolution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry

    Found = Blob | BaseException | None

__all__ = ["forget", "forget_named", "remember", "remember_named"]


def remember(pool: Pool, keys: Sequence[str], *, copy: bool, missing_ok: bool = False) -> list[Entry | BaseException | None]:
    """Return for each key its entry, or its error; None for a missing one where ``missing_ok``.

    A key without evolution means the constant, else the newest evolution. Raises what the backend raises.
    """
    return [_entry(pool, key, found, copy, missing_ok) for key, found in zip(keys, _load(pool, keys), strict=True)]


def remember_named(
    pool: Pool, names: Sequence[str], keys: Sequence[Sequence[str]], *, copy: bool, missing_ok: bool = False
) -> list[Entry | BaseException | None]:
    """The same for nicknames: ``keys`` has for each name the ids that it may mean, of which one may be there."""
    flat = [key for some in keys for key in some]
    found = iter(_load(pool, flat))
    outcomes: list[Entry | BaseException | None] = []
    for name, some in zip(names, keys, strict=True):
        there = [(key, one) for key, one in [(key, next(found)) for key in some] if one is not None]
        if len(there) > 1:
            outcomes.append(_ambiguous(name))
        elif there:
            outcomes.append(_entry(pool, there[0][0], there[0][1], copy, missing_ok))
        else:
            outcomes.append(None if missing_ok else _missing_name(name, some, pool))
    return outcomes


def forget(pool: Pool, keys: Sequence[str], *, missing_ok: bool) -> list[BaseException | None]:
    """Delete ``keys`` and return for each None or its error. One without evolution means all of its evolutions."""
    every = [_all_of(pool, key) for key in keys]
    flat = list(dict.fromkeys(key for some in every for key in some))
    there = dict(zip(flat, pool.delete(flat), strict=True))
    return [
        None if missing_ok or any(there[one] for one in some) else _missing(key, pool)
        for key, some in zip(keys, every, strict=True)
    ]


def forget_named(
    pool: Pool, names: Sequence[str], keys: Sequence[Sequence[str]], *, missing_ok: bool
) -> list[BaseException | None]:
    """The same for nicknames; a name that means an entry and a manifest deletes neither."""
    outcomes: list[BaseException | None] = []
    for name, some in zip(names, keys, strict=True):
        there = [key for key in some if any(tier.exists(one) for tier in pool.chain() for one in _all_of(tier, key))]
        if len(there) > 1:
            outcomes.append(_ambiguous(name))
        elif there:
            outcomes += forget(pool, there, missing_ok=missing_ok)
        else:
            outcomes.append(None if missing_ok else _missing_name(name, some, pool))
    return outcomes


def _load(pool: Pool, keys: Sequence[str]) -> list[Found]:
    found = pool.load(keys)
    # What is no constant may be a variable: those are asked for once more, by their newest evolution.
    newest: dict[int, str] = {}
    for i, key in enumerate(keys):
        if found[i] is None and not has_evolution(key) and (last := pool.newest(key)) is not None:
            newest[i] = last
    if newest:
        for i, one in zip(newest, pool.load(list(newest.values())), strict=True):
            found[i] = one
    return found


def _entry(pool: Pool, key: str, found: Found, copy: bool, missing_ok: bool) -> Entry | BaseException | None:
    if found is None:
        return None if missing_ok else _missing(key, pool)
    if isinstance(found, BaseException):
        return found
    try:
        return from_blob(found, copy=copy)
    except LailaError as error:  # damaged or untrusted: this entry's failure, not its batch's
        return error


def _all_of(pool: Pool, key: str) -> list[str]:
    if has_evolution(key):
        return [key]
    return [key, *(f"{key}-{number}" for number in pool.history(key))]


def _missing(key: str, pool: Pool) -> EntryNotFoundError:
    chain = " << ".join(tier.label for tier in pool.chain())
    return EntryNotFoundError(
        f"no entry {key} in pool {chain!r}; was it memorized there, and its future waited for?",
        key=key,
        pool=pool.label,
    )


def _missing_name(name: str, keys: Sequence[str], pool: Pool) -> EntryNotFoundError:
    chain = " << ".join(tier.label for tier in pool.chain())
    return EntryNotFoundError(
        f"nothing with the nickname {name!r} in pool {chain!r} (looked for {' and '.join(keys)}); "
        "nicknames depend on the active namespace, see laila.get_active_namespace()",
        key=keys[0],
        pool=pool.label,
    )


def _ambiguous(name: str) -> IdentityError:
    return IdentityError(
        f"the nickname {name!r} names an entry and a manifest: say scope='ENTRY' or scope='MANIFEST'", value=name
    )
