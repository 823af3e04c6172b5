"""Replace the damaged entries of a pool with whole copies of another pool.

Only what is damaged is replaced, and only with the content that was stored under the key, as far as its head
still tells. The damaged bytes are kept aside first, and each repaired entry is read once more.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from time import strftime
from urllib.parse import quote

from laila.blob.blob import Blob
from laila.directories import directory
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    InvalidArgumentError,
    LailaError,
    PoolKeyError,
    TransformationError,
)
from laila.showing import shown
from laila.tiering.verifying import verify_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from laila.blob.blob import BytesLike
    from laila.contract.pool import Pool
    from laila.tiering.verifying import VerifyReport

__all__ = ["RepairReport", "repair_pool"]

_LONGEST_NAME = 200  # bytes of a file's name that come from a key


class RepairReport:
    """The outcome of a repair for the damaged entries of a pool.

    Attributes:
        pool: The name of the pool, as messages show it.
        repaired: The keys that are whole again.
        failed: The error of each entry that is still damaged, or that could not be read, by key.
        kept: Where the damaged bytes of an entry are now, by key. An entry is missing here if its backend
            could not read a byte of it, or if the caller wanted nothing kept.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.repaired: list[str] = []
        self.failed: dict[str, Exception] = {}
        self.kept: dict[str, Path] = {}

    @property
    def whole(self) -> bool:
        """Whether no damaged entry is left, and every entry could be read."""
        return not self.failed

    def __repr__(self) -> str:
        return (
            f"<RepairReport of {shown(self.pool)}: {len(self.repaired)} repaired, {len(self.failed)} failed>"
        )


def repair_pool(
    pool: Pool,
    source: Pool | None = None,
    *,
    keys: Iterable[str] | None = None,
    keep: str | os.PathLike[str] | bool = True,
    on_progress: Callable[[VerifyReport], object] | None = None,
) -> RepairReport:
    """Replace the damaged entries of ``pool`` alone with those of ``source``. Blocks.

    Args:
        pool: The pool to repair. Others may write to it meanwhile.
        source: The pool that has whole copies, with any transformations of its own; by default the next tier
            of the chain.
        keys: The damaged entries, such as a report of :func:`laila.verify` names. Where it is None, the whole
            pool is verified first.
        keep: The folder in which the damaged bytes are kept; True for ``damaged`` in laila's home, False to
            keep none.
        on_progress: Takes the report of the verification after each group of entries.

    Returns:
        The outcome for each damaged entry.

    Raises:
        InvalidArgumentError: There is no ``source`` and no tier behind ``pool``; or both are one pool.
        PoolError: The pool cannot list its keys.
        OSError: The damaged bytes cannot be kept. Their entry was left as it is.
    """
    source = source or pool.proxy_to
    if source is None:
        raise InvalidArgumentError(
            f"pool {shown(pool.label)} has no tier behind it: give the pool that has whole copies"
        )
    if source is pool:
        raise InvalidArgumentError(f"pool {shown(pool.label)} cannot be repaired from itself")
    folder = None if keep is False else directory("root") / "damaged" if keep is True else Path(keep)
    report = RepairReport(pool.label)
    if keys is None:
        verified = verify_pool(pool, on_progress=on_progress)
        keys = verified.damaged
        report.failed.update(verified.unread)  # nobody knows whether they are whole
    for key in dict.fromkeys(keys):
        try:
            if _repair(pool, source, key, folder, report):
                report.repaired.append(key)
        except LailaError as error:
            report.failed[key] = error
    return report


def _repair(pool: Pool, source: Pool, key: str, folder: Path | None, report: RepairReport) -> bool:
    """Repair one entry; False where it is whole. Raises :class:`LailaError` where it cannot be repaired."""
    (outcome,) = pool.load_here([key], keep=lambda _: True)
    if outcome is None or isinstance(outcome, Blob):
        return False  # somebody has repaired or deleted it meanwhile
    if not isinstance(outcome, (CorruptEntryError, PoolKeyError)):
        raise outcome
    (copy,) = source.load_here([key])
    if copy is None:
        raise EntryNotFoundError(
            f"{key} is damaged in pool {shown(pool.label)}, and pool {shown(source.label)} has no copy of it",
            key=key,
            pool=source.label,
        )
    if isinstance(copy, BaseException):
        raise copy
    _check_same(pool, key, copy)
    if folder is not None:
        _keep(pool, key, folder, report)
    (stored,) = pool.store_here([copy], replace=True)
    if isinstance(stored, LailaError):
        raise stored
    (again,) = pool.load_here([key], keep=lambda _: True)
    if isinstance(again, BaseException):
        raise again
    return True


def _check_same(pool: Pool, key: str, copy: Blob) -> None:
    """Refuse a copy whose content differs from the content that the damaged entry's head names."""
    (head,) = pool.heads_here([key])
    if head is None or isinstance(head, LailaError):
        return  # the head is damaged too: the key is all that is known
    try:
        same = pool.digest_as(head, copy.digest) == head.digest
    except (CorruptEntryError, TransformationError):
        return  # nobody can tell without the encryption key of then
    if not same:
        raise CorruptEntryError(
            f"{key} is damaged in pool {shown(pool.label)}, and the copy has another content: it was left as "
            "it is. To take the copy, forget the entry here and copy it",
            key=key,
        )


def _keep(pool: Pool, key: str, folder: Path, report: RepairReport) -> None:
    """Write the stored bytes of an entry to a new file. Raises ``OSError`` where that fails."""
    parts = _stored_parts(pool, key)
    if parts is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{quote(key, safe='')[:_LONGEST_NAME]}.{strftime('%Y%m%dT%H%M%S')}"
    for number in count():
        path = folder / (f"{name}.{number}" if number else name)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(fd)
        except BaseException:
            path.unlink()  # half of it is no copy
            raise
        report.kept[key] = path
        return


def _stored_parts(pool: Pool, key: str) -> Sequence[BytesLike] | None:
    """Read the bytes of a damaged entry as they are stored; None where the backend gives none of them."""
    for read in (pool._read_views, pool._read_many):  # the first does not look at what it reads
        try:
            (stored,) = read([key])
        except (LailaError, OSError):
            continue
        if isinstance(stored, Blob):
            return stored.parts
        if stored is not None:
            return [stored] if isinstance(stored, (bytes, bytearray, memoryview)) else stored
    return None
