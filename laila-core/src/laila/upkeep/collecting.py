"""Find, and delete, what nothing named or pinned refers to. Safe beside writers.

An entry goes when it has been a candidate for a grace period. A pool that keeps ages says how long ago an
entry was stored or used. In another pool a first run that deletes notes the candidates, and a later run
deletes those that are candidates still.
"""

from __future__ import annotations

from time import time
from typing import NamedTuple

from laila.errors import LailaError, SettingsError
from laila.showing import shown
from laila.tiering.listing import Listed
from laila.upkeep.deleting import Deleted, Watch, delete_unheld
from laila.upkeep.leaves import batches
from laila.upkeep.notes import Note, mark_of
from laila.upkeep.times import seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from laila.blob.blob import Blob, BlobHead
    from laila.contract.pool import Pool

__all__ = ["Candidate", "CollectReport", "collect"]


class Candidate(NamedTuple):
    """An entry that nothing named or pinned refers to."""

    key: str
    """The id."""
    kind: str
    """``constant``, ``variable`` or ``manifest``."""
    type: str
    """The type of the payload; empty where a transformation hides it."""
    nbytes: int
    """The stored bytes."""
    created: float | None
    """When it was made: seconds since 1970-01-01 UTC, by the clock of the writer; None where it is hidden."""
    age: float | None
    """Seconds since it was stored or used, or noted as a candidate by a run; None if neither is known."""


class CollectReport:
    """The outcome of a collection.

    Attributes:
        pool: The name of the pool, as messages show it.
        entries: How many entries the pool has.
        candidates: What nothing named or pinned refers to, the largest first.
        due: The keys of the candidates whose grace period is over.
        deleted: The keys that were deleted.
        nbytes: The stored bytes of ``deleted``.
        kept: By key, what a writer has come to refer to while the collection ran, and what refers to it.
        unread: The error of each manifest or entry that could not be read, by key. While there is a manifest
            among them, nothing is deleted: nobody knows what it refers to.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.entries = 0
        self.candidates: list[Candidate] = []
        self.due: list[str] = []
        self.deleted: list[str] = []
        self.nbytes = 0
        self.kept: dict[str, str] = {}
        self.unread: dict[str, Exception] = {}

    def __repr__(self) -> str:
        total = sum(candidate.nbytes for candidate in self.candidates)
        return (
            f"<CollectReport of {shown(self.pool)}: {len(self.candidates)} candidates of {total} bytes, "
            f"{len(self.deleted)} deleted>"
        )


def check_grace(grace: object, *, alone: bool) -> float:
    """Return a grace period in seconds. Raises :class:`SettingsError`, also for 0 unless ``alone``."""
    seconds = seconds_of(grace, "grace")
    if not seconds and not alone:
        raise SettingsError(
            "without a grace period an entry goes that a running writer is about to refer to: give a grace "
            "such as 1d; or alone=True (--alone) if nobody writes to the pool",
            option="grace",
        )
    return seconds


def collect(
    pool: Pool, *, delete: bool = False, grace: float = 86400.0, inputs: bool = False
) -> CollectReport:
    """Look for candidates in ``pool``, and delete those whose grace period is over. Blocks.

    Reads every key, the manifests that are referred to, and the head of each candidate. A deletion also reads
    what it deletes, and the heads of all manifests twice for each 64 MiB.

    Args:
        pool: The pool; of a chain that is one store the last tier is looked at, and all tiers delete.
        delete: Delete; otherwise nothing is changed.
        grace: Seconds.
        inputs: Whether the provenance of an entry that is kept keeps the inputs that it names.

    Returns:
        The report.

    Raises:
        PoolError: The pool cannot be read.
        ManifestError: A manifest became unreadable during the deletion.
    """
    tier, report = pool.deciding_tier, CollectReport(pool.deciding_tier.label)
    now = time()
    note, noted = Note.read(tier, now), Note()
    if delete:
        note.write(tier)  # from here on writers take care
    watch = Watch(tier, inputs=inputs)
    loose = watch.begin(every=False)
    report.entries = watch.entries
    marks: dict[str, int] = {}
    for key, head, age in _heads(tier, watch, loose, report):
        listed = Listed(tier.label, key, head)
        if age is None:
            mark = mark_of(key, head)
            marks[key] = mark
            noted.since[mark] = note.since.get(mark, now)
            age = now - noted.since[mark] if mark in note.since else None
        report.candidates.append(Candidate(key, listed.kind, listed.type, listed.nbytes, listed.created, age))
    report.candidates = [candidate for candidate in report.candidates if watch.holder(candidate.key) is None]
    report.candidates.sort(key=lambda candidate: (-candidate.nbytes, candidate.key))
    report.due = [candidate.key for candidate in report.candidates if (candidate.age or 0.0) >= grace]
    report.unread.update(watch.references.unread)
    if delete and not watch.references.unread:
        _delete(pool, watch, report)
        for key, mark in marks.items():
            if watch.holder(key) is not None:
                del noted.since[mark]  # it begins anew
        noted.write(tier)
        tier.delete_here(watch.uses)  # they have been heeded
    return report


def _heads(
    tier: Pool, watch: Watch, keys: Iterable[str], report: CollectReport
) -> Iterator[tuple[str, Blob | BlobHead, float | None]]:
    """Give the head and the age of each candidate; what proves to have a name is followed instead."""
    for batch in batches(keys):
        ages = tier.ages_here(batch)
        for key, head, age in zip(batch, tier.heads_here(batch), ages, strict=True):
            if isinstance(head, LailaError):
                report.unread[key] = head
            elif head is not None and head.nickname is not None:
                watch.references.hold(key, key)
                watch.references.follow([key])
            elif head is not None:
                yield key, head, age


def _delete(pool: Pool, watch: Watch, report: CollectReport) -> None:
    sizes = {candidate.key: candidate.nbytes for candidate in report.candidates}
    deleted = Deleted()
    try:
        delete_unheld(pool, watch, report.due, deleted)
    finally:
        report.deleted, report.kept = deleted.keys, deleted.kept
        report.unread.update(deleted.unread)
        report.nbytes = sum(sizes[key] for key in deleted.keys)
