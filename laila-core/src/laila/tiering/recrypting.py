"""Encrypt the entries of a pool again, under the key that is used now; and find what a key protects.

Heads say which key an entry needs, so a run that was interrupted goes on where it stopped: what has the
newest key is left alone. Each entry is replaced in one step, with the same content.
"""

from __future__ import annotations

from itertools import islice

from laila.blob.blob import Blob
from laila.blob.head import BlobHead
from laila.errors import CorruptEntryError, LailaError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.contract.pool import Pool

__all__ = ["RecryptReport", "keys_of", "protected_by", "recrypt_pool"]

_BATCH = 256


class RecryptReport:
    """What became of the entries of a pool.

    Attributes:
        recrypted: How many entries have the newest key now, and had another.
        left: How many entries were left alone: they are not encrypted, or have the newest key.
        failed: The error of each entry that was left under its old key, by key.
    """

    def __init__(self) -> None:
        self.recrypted = 0
        self.left = 0
        self.failed: dict[str, Exception] = {}


def keys_of(head: Blob | BlobHead) -> set[str]:
    """Return the ids of the keys that a stored entry says it needs.

    Args:
        head: The head of the entry. The signature of an encrypted entry is inside, and is not seen.

    Returns:
        The ids.
    """
    ids = {str(params["key"]) for _, params in head.transformations if "key" in params}
    return ids if head.signature is None else ids | {head.signature[0]}


def protected_by(pool: Pool, key_id: str) -> Iterator[str]:
    """Yield the entries of a pool that a key encrypted or signed, as their heads say.

    Args:
        pool: The pool, alone.
        key_id: The id of the key.

    Yields:
        The keys of the entries.
    """
    for key, head in _heads(pool):
        if isinstance(head, (Blob, BlobHead)) and key_id in keys_of(head):
            yield key


def recrypt_pool(
    pool: Pool, *, on_progress: Callable[[RecryptReport], object] | None = None
) -> RecryptReport:
    """Encrypt what has an older key under the newest one. Blocks.

    Entries that are not encrypted stay so. Nobody else may delete or overwrite the entry that is being
    replaced; reading, and storing other entries, does no harm.

    Args:
        pool: The pool, alone.
        on_progress: Takes the report after each entry that was replaced.

    Returns:
        What became of the entries.
    """
    report = RecryptReport()
    for key, head in _heads(pool):
        if head is None:
            continue
        if isinstance(head, LailaError):
            report.failed[key] = head
            continue
        try:
            done = _recrypt(pool, key, head)
        except (LailaError, OSError) as error:
            report.failed[key] = error
            continue
        report.recrypted += done
        report.left += not done
        if done and on_progress is not None:
            on_progress(report)
    return report


def _recrypt(pool: Pool, key: str, head: Blob | BlobHead) -> bool:
    from laila.transform import TransformationSequence

    steps = head.transformations
    if not any("key" in params for _, params in steps):
        return False
    sequence = pool.transformations
    if sequence is None or [item.name for item in sequence] != [name for name, _ in steps]:
        sequence = TransformationSequence([name for name, _ in steps])
    if all(
        item.params().get("key") == params.get("key")
        for item, (_, params) in zip(sequence, steps, strict=True)
    ):
        return False
    (plain,) = pool.load_here([key])
    if plain is None:
        return False  # deleted since
    if isinstance(plain, BaseException):
        raise plain
    again = sequence.apply(plain)
    if bytes(sequence.invert(again)) != bytes(plain):
        raise CorruptEntryError(f"{key} did not come back from its new encryption, and was left", key=key)
    (present,) = pool.heads_here([key])
    if present is None:
        return False
    if isinstance(present, LailaError) or present.digest != head.digest:
        raise CorruptEntryError(
            f"{shown(key)} was changed meanwhile, and was left as it is: run again", key=key
        )
    pool._write(key, again)
    return True


def _heads(pool: Pool) -> Iterator[tuple[str, Blob | BlobHead | LailaError | None]]:
    keys = iter(list(pool.keys()))
    while some := list(islice(keys, _BATCH)):
        yield from zip(some, pool.heads_here(some), strict=True)
