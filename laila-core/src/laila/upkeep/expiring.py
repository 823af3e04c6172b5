"""Delete old evolutions of a variable, or old runs of one family of names; never what is pinned or shared."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from time import time
from typing import NamedTuple

from laila.errors import EntryNotFoundError, LailaError, SettingsError
from laila.keys import is_evolution, is_manifest
from laila.showing import shown
from laila.tiering.listing import Listed
from laila.upkeep.deleting import Deleted, Watch, delete_unheld
from laila.upkeep.leaves import batches, is_entry, is_kept_by_its_key, manifests_in
from laila.upkeep.pins import ids_of
from laila.upkeep.times import seconds_of, time_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from laila.contract.pool import Pool

__all__ = ["ExpireReport", "Policy", "expire_in"]

_is_pattern = re.compile(r"[*?\[]").search
_is_number = re.compile(r"[-_./ ]?\d+").fullmatch
_read_best = re.compile(r"(.+?)(?::(min|max))?", re.DOTALL).fullmatch


class Policy:
    """What is kept: the last, the young and the best. Raises :class:`SettingsError` for what is no policy.

    Args:
        keep_last: How many of the last are kept; None for one evolution of a variable, and for no run.
        older_than: Only what is older goes: ``30d``, or seconds.
        keep_best: The metadata field whose best value is kept: ``loss``, ``loss:min`` or ``accuracy:max``.
    """

    def __init__(
        self,
        keep_last: int | None = None,
        older_than: str | float | None = None,
        keep_best: str | None = None,
    ) -> None:
        if keep_last is None and older_than is None and keep_best is None:
            raise SettingsError(
                "say what is kept: keep_last=, older_than= or keep_best=; without one everything would go",
                option="keep_last",
            )
        if keep_last is not None and (type(keep_last) is not int or keep_last < 0):
            raise SettingsError(
                f"keep_last={shown(keep_last)}: give a number of evolutions or runs", option="keep_last"
            )
        self.keep_last = keep_last
        self.older_than = None if older_than is None else seconds_of(older_than, "older_than")
        self.metric: str | None = None
        self.sign = 1
        if keep_best is not None:
            best = _read_best(keep_best) if isinstance(keep_best, str) else None
            if best is None:
                raise SettingsError(
                    f"keep_best={shown(keep_best)}: give a metadata field, such as loss or accuracy:max",
                    option="keep_best",
                )
            self.metric, self.sign = best[1], -1 if best[2] == "max" else 1

    def kept(self, items: list[Item], last: int) -> dict[str, str]:
        """Return why each item that stays does so, by key.

        Args:
            items: The items, the oldest first.
            last: How many of the last are kept where the policy does not say.
        """
        count = last if self.keep_last is None else self.keep_last
        reasons = {item.key: "among the last" for item in items[-count:]} if count else {}
        if self.older_than is not None:
            now = time()
            for item in items:
                if item.created is None:
                    reasons.setdefault(item.key, "its age is not known")
                elif now - item.created < self.older_than:
                    reasons.setdefault(item.key, f"younger than {time_of(self.older_than)}")
        if self.metric is not None:
            scored = [(score, item.key) for item in items if (score := self._score(item)) is not None]
            if scored:
                # Of equals the later one is kept.
                least = min(score for score, _ in scored)
                reasons.setdefault(
                    [key for score, key in scored if score == least][-1], f"the best {self.metric}"
                )
            else:
                reasons.update(
                    (item.key, f"no {self.metric} is known") for item in items if item.key not in reasons
                )
        return reasons

    def _score(self, item: Item) -> float | None:
        assert self.metric is not None
        found: object = item.listed.metadata
        if self.metric in item.listed.metadata:
            found = item.listed.metadata[self.metric]
        else:
            for name in self.metric.split("."):
                found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, bool) or not isinstance(found, (int, float)) or found != found:
            return None
        return self.sign * found


class Item(NamedTuple):
    """One evolution, or one run."""

    key: str
    name: str
    created: float | None
    listed: Listed


class ExpireReport:
    """The outcome of a policy for one name.

    Attributes:
        pool: The name of the pool, as messages show it.
        expired: The keys of the evolutions or runs that the policy lets go of, the oldest first.
        names: The nickname of each item, by key.
        kept: Why each other item stays, by key.
        deleted: The keys that were deleted; of a run these are also leaves that nothing else refers to.
        nbytes: The stored bytes of ``deleted``.
        unread: The error of each entry that could not be read, by key. It stays.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.expired: list[str] = []
        self.names: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.deleted: list[str] = []
        self.nbytes = 0
        self.unread: dict[str, Exception] = {}

    def __repr__(self) -> str:
        return (
            f"<ExpireReport of {shown(self.pool)}: {len(self.expired)} expired, {len(self.kept)} kept, "
            f"{len(self.deleted)} entries deleted>"
        )


def expire_in(pool: Pool, name: str, policy: Policy, *, dry_run: bool = False) -> ExpireReport:
    """Apply a policy to the evolutions of a variable, or to runs of one family of names. Blocks.

    Lists the keys of the pool and reads its manifests: what another manifest refers to stays.

    Args:
        pool: The pool; of a chain that is one store the last tier is looked at, and all tiers delete.
        name: The nickname or id of a variable; a pattern such as ``run-*``; or what stands before the numbers
            of names, as ``run`` in ``run-1``, ``run-2``.
        policy: What is kept.
        dry_run: Change nothing.

    Returns:
        The report.

    Raises:
        EntryNotFoundError: The pool has nothing of this name.
        ManifestError: A manifest cannot be read, so that nobody knows what it refers to.
        PoolError: The pool cannot be read.
    """
    tier = pool.deciding_tier
    report = ExpireReport(tier.label)
    items, last = _items(tier, name, report)
    reasons = policy.kept(items, last)
    report.names = {item.key: item.name for item in items}
    going = {item.key for item in items if item.key not in reasons}
    watch = Watch(tier, ignored=going)
    watch.begin(every=True)
    watch.check()
    while held := [key for key in going if watch.holder(key) is not None]:
        for key in held:  # what stays holds its own leaves
            going.discard(key)
            reasons[key] = f"{watch.holder(key)} refers to it"
        watch.references.follow(held)
    report.kept = {item.key: reasons[item.key] for item in items if item.key in reasons}
    report.expired = [item.key for item in items if item.key in going]
    manifests = [key for key in report.expired if is_manifest(key)]
    leaves = [
        leaf
        for _, manifest in manifests_in(tier, manifests)
        if manifest is not None and not isinstance(manifest, Exception)
        for leaf in _stored(tier, manifest.references())
        if leaf not in going and not is_kept_by_its_key(leaf)
    ]
    if not dry_run:
        _delete(
            pool, watch, [*manifests, *(k for k in report.expired if not is_manifest(k)), *leaves], report
        )
    return report


def _delete(pool: Pool, watch: Watch, keys: list[str], report: ExpireReport) -> None:
    deleted, sizes = Deleted(), dict[str, int]()
    for batch in batches(keys):
        found = zip(batch, pool.deciding_tier.sizes_here(batch), strict=True)
        sizes.update((key, size or 0) for key, size in found)
    try:
        delete_unheld(pool, watch, dict.fromkeys(keys), deleted)
    finally:
        report.deleted = deleted.keys
        report.nbytes = sum(sizes.get(key, 0) for key in deleted.keys)
        report.unread.update(deleted.unread)


def _stored(tier: Pool, leaves: Iterable[str]) -> Iterator[str]:
    """Give the keys that leaves mean: of a variable without evolution, all evolutions."""
    for leaf in leaves:
        yield leaf
        if not is_manifest(leaf) and not is_evolution(leaf):
            yield from (f"{leaf}-{n}" for n in tier.history_here(leaf))


def _items(tier: Pool, name: str, report: ExpireReport) -> tuple[list[Item], int]:
    """Return what a name means, the oldest first, and how many of the last stay by default."""
    is_id = is_entry(name)
    stems = [] if _is_pattern(name) and not is_id else [k for k in ids_of(tier, name) if not is_manifest(k)]
    for stem in stems:
        keys = [f"{stem}-{number}" for number in tier.history_here(stem)]
        if keys:
            return [Item(key, d.name, d.created, d) for key, d in _described(tier, keys, report)], 1

    def matches(nickname: str) -> bool:
        if _is_pattern(name):
            return fnmatchcase(nickname, name)
        rest = nickname[len(name) :]
        # "run-10" is no run of "run-1": a number goes on there.
        same = name[-1:].isdigit() and rest[:1].isdigit()
        return nickname.startswith(name) and not same and _is_number(rest) is not None

    named = [key for key in tier.keys(as_generator=True) if is_entry(key) and is_kept_by_its_key(key)]
    constants = (key for key in named if not is_evolution(key))
    items = [
        Item(key, described.nickname, described.created, described)
        for key, described in _described(tier, constants, report)
        if described.nickname is not None and matches(described.nickname)
    ]
    if not items or is_id:
        raise EntryNotFoundError(
            f"pool {shown(tier.label)} has no variable {shown(name)}, and no names like {shown(name)} with "
            "a number; a pattern such as 'run-*' means several names",
            key=name,
            pool=tier.label,
        )
    return sorted(items, key=lambda item: (item.created or 0.0, _number(item.name), item.name)), 0


def _number(name: str) -> int:
    """Return the number at the end of a name."""
    digits = re.search(r"\d{1,18}\Z", name)
    return int(digits[0]) if digits else -1


def _described(tier: Pool, keys: Iterable[str], report: ExpireReport) -> Iterator[tuple[str, Listed]]:
    """Give what heads say; of what a transformation hides, the entry itself is read."""
    for batch in batches(keys):
        for key, head in zip(batch, tier.heads_here(batch), strict=True):
            if head is None:
                continue
            listed = Listed(tier.label, key, head)
            if listed.transformations:
                (blob,) = tier.load_here([key])
                if isinstance(blob, LailaError):
                    report.unread[key] = blob
                    continue
                if isinstance(blob, BaseException):
                    raise blob
                if blob is None:
                    continue
                listed = Listed(tier.label, key, blob)
            if listed.error is not None:
                report.unread[key] = listed.error
            else:
                yield key, listed
