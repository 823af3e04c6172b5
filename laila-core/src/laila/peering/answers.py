"""What a peer answers to the verbs on its memory: checked, since it may be anything."""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.entry import from_blob
from laila.entry.leaves import Leaf
from laila.entry.states import note_stored
from laila.errors import CorruptEntryError, IdentityError, LailaError, PeerError
from laila.identity import parse_global_id, stem
from laila.keys import may_evolve
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from laila.entry import Entry
    from laila.entry.packs import Wanted

__all__ = [
    "checked",
    "described",
    "forgotten",
    "is_meant",
    "not_meant",
    "only",
    "opened",
    "opened_all",
    "opened_leaves",
    "stored",
    "stored_keys",
    "wrong",
]


def wrong(what: str) -> PeerError:
    """Return the error for an answer of a wrong form; it shows the answer."""
    return PeerError(f"the peer answered {what}: it is no laila peer, or means harm", peer="")


def checked(answer: Any, count: int) -> list[Any]:
    """Return the list of outcomes that ``answer`` should be."""
    if type(answer) is not list:
        raise wrong(f"with a {type(answer).__name__} for a list of outcomes")
    if len(answer) != count:
        raise wrong(f"with {len(answer)} outcomes for {count} items")
    return answer


def forgotten(answer: Any, meant: Sequence[object]) -> list[Any]:
    """Return the outcomes of what was to be deleted: each None, or an error."""
    return [
        outcome
        if outcome is None or isinstance(outcome, Exception)
        else wrong(f"with a {type(outcome).__name__}")
        for outcome in checked(answer, len(meant))
    ]


def described(found: Any, count: int) -> list[Leaf | None]:
    """Return what a peer said of entries: for each None, or type, shape, dtype, bytes and digest."""
    rows: list[Leaf | None] = []
    for row in checked(found, count):
        leaf = None if row is None else Leaf.sent(row)
        if leaf is None and row is not None:
            raise wrong("with what is no description of an entry")
        rows.append(leaf)
    return rows


def only(outcomes: list[Any]) -> Any:
    """Return the one outcome, or raise it."""
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def opened_all(
    outcomes: Any, meant: Sequence[Sequence[str]], *, copy: bool, missing_ok: bool = False
) -> list[Any]:
    """Decode the blobs among outcomes, each on its own. ``meant`` has for each the ids that it may have."""
    return [
        opened(answer, keys, copy=copy, missing_ok=missing_ok)
        for answer, keys in zip(checked(outcomes, len(meant)), meant, strict=True)
    ]


def opened_leaves(
    outcomes: Any, keys: Sequence[str], packed: Mapping[str, Wanted], *, copy: bool
) -> list[Any]:
    """Decode the blobs of leaves. Each has the id that was asked for, and a packed one its digest."""
    found: list[Any] = []
    for answer, key in zip(checked(outcomes, len(keys)), keys, strict=True):
        one = packed.get(key)
        is_other = isinstance(answer, Blob) and one is not None and one.digest not in (None, answer.digest)
        if is_other:
            found.append(
                CorruptEntryError(
                    f"the peer answered with another content of {key} than the manifest says", key=key
                )
            )
        else:
            found.append(opened(answer, [key], copy=copy))
    return found


def opened(answer: object, keys: Sequence[str], *, copy: bool = True, missing_ok: bool = False) -> Any:
    """Return the entry that a peer gave for one of ``keys``; None where that may be, or an error."""
    if isinstance(answer, Exception) or (answer is None and missing_ok):
        return answer
    if not isinstance(answer, Blob):
        return wrong(f"with a {type(answer).__name__} for an entry")
    if not is_meant(answer.key, keys):
        return not_meant(answer.key, keys)
    try:
        return from_blob(answer, copy=copy)
    except LailaError as error:  # damaged or untrusted: this entry's failure, not its batch's
        return error


def stored(entries: Sequence[Entry], blobs: Sequence[Blob], keys: Any) -> list[Any]:
    """Note what was stored, each under the id that the peer says."""
    outcomes = stored_keys(blobs, keys)
    note_stored(entries, [blob.key for blob in blobs], outcomes, None)
    return outcomes


def stored_keys(blobs: Sequence[Blob], keys: Any) -> list[Any]:
    """Return under which id each blob was stored, as the peer says, or its error."""
    outcomes: list[Any] = checked(keys, len(blobs)).copy()
    for i, (blob, key) in enumerate(zip(blobs, outcomes, strict=True)):
        if isinstance(key, Exception):
            continue
        if not isinstance(key, str) or (key != blob.key and not _is_later(key, blob.key)):
            outcomes[i] = wrong(f"that {blob.key} was stored as {shown(key)}")
    return outcomes


def is_meant(found: str, keys: Sequence[str]) -> bool:
    """Whether ``found`` is one of ``keys``, or an evolution of one."""
    return any(found == key or (may_evolve(key) and _is_of(found, key)) for key in keys)


def not_meant(found: str, keys: Sequence[str]) -> CorruptEntryError:
    """The error for an entry that was not asked for."""
    return CorruptEntryError(
        f"the peer answered with {shown(found)} where {' or '.join(keys)} was asked for", key=keys[0]
    )


def _is_of(key: str, variable: str) -> bool:
    """Whether ``key`` is that of an evolution of ``variable``."""
    try:
        return stem(key) == variable
    except IdentityError:
        return False


def _is_later(key: str, before: str) -> bool:
    """Whether ``key`` is that of a later evolution of the same variable."""
    try:
        _, uuid, evolution = parse_global_id(key)
        _, same, earlier = parse_global_id(before)
    except IdentityError:
        return False
    return uuid == same and stem(key) == stem(before) and (evolution or 0) > (earlier or 0)
