"""Pins: names that are kept whatever a policy says. A pin is stored in the pool itself."""

from __future__ import annotations

from time import time
from typing import NamedTuple

from laila.errors import EntryNotFoundError, IdentityError, InvalidArgumentError
from laila.identity import make_global_id, nickname_uuid, parse_global_id
from laila.keys import is_evolution, is_manifest, may_evolve
from laila.showing import shown
from laila.tiering.listing import kind_of
from laila.upkeep.leaves import batches
from laila.upkeep.notes import is_pin, pin_key, read_payload, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract.pool import Pool

__all__ = ["Pin", "ids_of", "list_pins", "pin_in", "unpin_in"]


class Pin(NamedTuple):
    """One pin of a pool."""

    key: str
    """The id that is kept: of a constant, a manifest, one evolution, or all evolutions of a variable."""
    name: str
    """What the caller gave: a nickname or an id."""
    reason: str
    """Why, in the caller's words."""
    time: float
    """When it was pinned: seconds since 1970-01-01 UTC."""


def ids_of(tier: Pool, name: str, evolution: int | None = None) -> list[str]:
    """Return the ids of what a pool has under a nickname or an id; a variable's without evolution.

    Args:
        tier: The pool.
        name: The nickname, in the active namespace, or an id.
        evolution: One evolution of the variable.

    Returns:
        No id, one, or two: an entry and a manifest may have one nickname.

    Raises:
        InvalidArgumentError: ``name`` is no text, or ``evolution`` no number.
        IdentityError: ``name`` is empty, or an id that has another evolution.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"give a nickname or an id, not a {type(name).__name__}")
    if evolution is not None and (type(evolution) is not int or evolution < 0):
        raise InvalidArgumentError(f"an evolution is a number from 0, not {shown(evolution)}")
    try:
        given = parse_global_id(name)
    except IdentityError:
        ids = [make_global_id((scope,), nickname_uuid(name)) for scope in ("ENTRY", "MANIFEST")]
    else:
        if evolution is not None and given.evolution not in (None, evolution):
            raise IdentityError(f"{name} is another evolution than {evolution}", value=name)
        ids = [name]
    if evolution is not None:
        ids = [key if is_evolution(key) else f"{key}-{evolution}" for key in ids if not is_manifest(key)]
    existing = [key for key, exists in zip(ids, tier.exist_here(ids), strict=True) if exists]
    stems = [key for key in ids if key not in existing and may_evolve(key)]
    existing += [key for key, numbers in zip(stems, tier.histories_here(stems), strict=True) if numbers]
    return existing


def pin_in(tier: Pool, name: str, *, evolution: int | None = None, reason: str = "") -> list[str]:
    """Pin what a pool has under a name. Blocks. Pinning again changes the reason.

    Args:
        tier: The pool.
        name: A nickname, or an id.
        evolution: One evolution of the variable; by default all of them, later ones too.
        reason: Why, for people.

    Returns:
        The ids that are pinned: two, where an entry and a manifest have one nickname.

    Raises:
        EntryNotFoundError: The pool has nothing of this name.
        InvalidArgumentError: An argument is of another type.
    """
    if not isinstance(reason, str):
        raise InvalidArgumentError(f"a reason is a text, not a {type(reason).__name__}")
    ids = ids_of(tier, name, evolution)
    if not ids:
        which = "" if evolution is None else f" with evolution {evolution}"
        raise EntryNotFoundError(
            f"nothing is named {shown(name)}{which} in pool {shown(tier.label)}, so nothing was pinned; "
            "laila.ls lists what is there",
            key=name,
            pool=tier.label,
        )
    for key in ids:
        write(tier, pin_key(key), {"pinned": key, "name": name, "reason": reason, "time": time()})
    return ids


def unpin_in(tier: Pool, name: str, *, evolution: int | None = None) -> list[str]:
    """Take pins away. Blocks. Returns the ids that were pinned; none where nothing was pinned.

    Args:
        tier: The pool.
        name: A nickname or id, as it was given to the pin, or the id that is pinned.
        evolution: The evolution that is pinned.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"give a nickname or an id, not a {type(name).__name__}")
    pinned = [
        pin.key
        for pin in list_pins(tier)
        if name in (pin.name, pin.key) or pin.key in _named(name, evolution)
        if evolution is None or pin.key.endswith(f"-{evolution}")
    ]
    gone = tier.delete_here([pin_key(key) for key in pinned])
    return [key for key, deleted in zip(pinned, gone, strict=True) if deleted]


def _named(name: str, evolution: int | None) -> list[str]:
    if not name or kind_of(name) != "other":
        return []
    end = "" if evolution is None else f"-{evolution}"
    return [make_global_id((scope,), nickname_uuid(name)) + end for scope in ("ENTRY", "MANIFEST")]


def list_pins(tier: Pool) -> list[Pin]:
    """Return the pins of a pool, the oldest first. Blocks: the pool lists its keys.

    Raises :class:`LailaError` where a pin cannot be read.
    """
    pins: list[Pin] = []
    for batch in batches(key for key in tier.keys(as_generator=True) if is_pin(key)):
        for blob in tier.load_here(batch):
            if isinstance(blob, BaseException):
                raise blob
            if blob is None:
                continue
            said = read_payload(blob)
            key, name, reason, when = (said.get(field) for field in ("pinned", "name", "reason", "time"))
            if isinstance(key, str):
                pins.append(Pin(key, str(name), str(reason), when if isinstance(when, float) else 0.0))
    return sorted(pins, key=lambda pin: (pin.time, pin.key))
