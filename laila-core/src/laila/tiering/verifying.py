"""Read what a pool holds, and say what is damaged. Memory is bounded, and blobs are read side by side.

The blobs are read as they are stored: checksums cover the stored bytes, so no key is needed for what is
encrypted. One tier is looked at: a chain would answer from a cache what its last tier has lost.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from errno import ELOOP, ENXIO
from hashlib import blake2b
from itertools import islice
from time import monotonic

from laila.blob.blob import Blob
from laila.errors import (
    CorruptEntryError,
    EnvironmentSnapshotError,
    InvalidArgumentError,
    PoolKeyError,
    SettingsError,
)
from laila.showing import shown
from laila.tiering.single import groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from laila.contract.pool import Pool

    _Outcome = tuple[str, int | Exception | None]

__all__ = ["Selection", "VerifyReport", "verify_pool"]

_GROUP_BYTES = 8 * 1024 * 1024
_KEYS = 512  # whose sizes are asked for in one call
_FAILURES_IN_A_ROW = 64  # of a backend: it is down, and no entry's own fault

_MARK_BYTES = 16
_STATE_BEGINS = b"laila verify 1\n\0"  # as long as a mark


class VerifyReport:
    """The result of reading every selected entry of one pool.

    Attributes:
        pool: The name of the pool, as messages show it.
        entries: The number of entries that were read.
        nbytes: The number of stored bytes that were read.
        damaged: The error of each damaged entry, by key.
        unread: The error of each entry that could not be read, by key. Nobody knows whether it is damaged.
        skipped: The number of entries that an earlier run has read (``state``).
        seconds: How long it took.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.entries = 0
        self.nbytes = 0
        self.damaged: dict[str, Exception] = {}
        self.unread: dict[str, Exception] = {}
        self.skipped = 0
        self.seconds = 0.0
        self._failures = 0  # of the backend, in a row

    @property
    def whole(self) -> bool:
        """Whether every selected entry was read, and none is damaged."""
        return not self.damaged and not self.unread

    def _add(self, key: str, outcome: int | Exception | None) -> None:
        """Count what reading ``key`` gave: stored bytes, an error, or None for an entry that went meanwhile.

        Raises the error of a backend that has failed many times in a row.
        """
        if outcome is None:
            return
        if isinstance(outcome, int):
            self.entries += 1
            self.nbytes += outcome
            self._failures = 0
        elif isinstance(outcome, (CorruptEntryError, PoolKeyError)):
            self.entries += 1
            self.damaged[key] = outcome
            self._failures = 0
        else:
            self.unread[key] = outcome
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                raise outcome

    def __repr__(self) -> str:
        return (
            f"<VerifyReport of {shown(self.pool)}: {self.entries} entries, {self.nbytes} bytes, "
            f"{len(self.damaged)} damaged, {len(self.unread)} unread>"
        )


class Selection:
    """Which keys are looked at: all, a share drawn by chance, or one of several parts.

    A key belongs to the same part in every run and process. Immutable.
    """

    def __init__(
        self, *, sample: float | None = None, part: tuple[int, int] | None = None, seed: int = 0
    ) -> None:
        if sample is not None and part is not None:
            raise InvalidArgumentError("give a sample or a part, not both: each says which keys to read")
        if sample is not None and not (isinstance(sample, (int, float)) and 0 < sample <= 1):
            raise SettingsError(
                f"a sample is a share above 0 and up to 1, not {shown(sample)}", option="sample"
            )
        if part is not None:
            number, count = part
            if not (isinstance(number, int) and isinstance(count, int) and 1 <= number <= count):
                raise SettingsError(
                    f"part {shown(number)} of {shown(count)}: parts are counted from 1 to their number",
                    option="part",
                )
        if not isinstance(seed, int):
            raise SettingsError(f"a seed is an int, not a {type(seed).__name__}", option="seed")
        self._sample, self._part, self._seed = sample, part, seed

    def __contains__(self, key: str) -> bool:
        if self._sample is None and self._part is None:
            return True
        seed = b"" if self._sample is None else b"%d " % self._seed
        place = int.from_bytes(_mark(key, seed)[:8], "little")
        if self._sample is not None:
            return place < self._sample * 2**64
        assert self._part is not None
        number, count = self._part
        return place % count == number - 1


def verify_pool(
    pool: Pool,
    *,
    selection: Selection | None = None,
    state: str | os.PathLike[str] | None = None,
    on_progress: Callable[[VerifyReport], object] | None = None,
    workers: int = 4,
) -> VerifyReport:
    """Read the entries of ``pool`` alone, not of the tiers behind it. Blocks.

    Args:
        pool: The pool. Others may write to it meanwhile.
        selection: Which keys to read; all where it is None.
        state: A file that remembers which entries are whole, so that an interrupted run goes on there. A run
            that read everything and found it whole deletes the file.
        on_progress: Takes the report after each group of entries, in the calling thread.
        workers: How many groups are read at a time. Each takes 8 MiB of memory, or the largest blob.

    Returns:
        The report.

    Raises:
        SettingsError: ``state`` names a file of something else.
        PoolError: The pool cannot list its keys, or 64 entries in a row could not be read.
        OSError: The state cannot be read or written.
    """
    report, began = VerifyReport(pool.label), monotonic()
    keys: Iterable[str] = pool.keys(as_generator=True)
    if selection is not None:
        keys = (key for key in keys if key in selection)
    with (
        _State(state, pool) as whole,
        ThreadPoolExecutor(workers, thread_name_prefix="laila-verify") as executor,
    ):
        running: deque[Future[list[_Outcome]]] = deque()

        def finish_group() -> None:
            for key, outcome in running.popleft().result():
                report._add(key, outcome)
                if isinstance(outcome, int):
                    whole.add(key)
            report.seconds = monotonic() - began
            if on_progress is not None:
                on_progress(report)

        try:
            for group in _groups(pool, whole.without(keys, report)):
                running.append(executor.submit(_read, pool, group))
                if len(running) > workers:
                    finish_group()
            while running:
                finish_group()
        finally:
            for future in running:
                future.cancel()
        if report.whole:
            whole.delete()
    report.seconds = monotonic() - began
    return report


def _groups(pool: Pool, keys: Iterator[str]) -> Iterator[list[str]]:
    """Divide ``keys`` into what is read at a time. An entry of unknown size is read alone."""
    while batch := list(islice(keys, _KEYS)):
        sizes = pool.sizes_here(batch)
        sized = ((k, _GROUP_BYTES if size is None else size) for k, size in zip(batch, sizes, strict=True))
        yield from groups(sized, _GROUP_BYTES)


def _read(pool: Pool, keys: Sequence[str]) -> list[_Outcome]:
    """Read ``keys``; give for each its stored bytes, its error, or None where it is gone meanwhile."""
    try:
        blobs = pool.load_here(keys, keep=lambda _: True)
    except Exception as error:  # noqa: BLE001 - it is the outcome of the key
        if len(keys) == 1:
            return [(keys[0], error)]
        return [outcome for key in keys for outcome in _read(pool, [key])]
    outcomes: list[_Outcome] = []
    for key, blob in zip(keys, blobs, strict=True):
        if isinstance(blob, BaseException) and not isinstance(blob, Exception):
            raise blob
        outcomes.append((key, blob.nbytes if isinstance(blob, Blob) else blob))
    return outcomes


def _mark(key: str, seed: bytes = b"") -> bytes:
    """Return the text for ``key`` in a state, which also says its part."""
    return blake2b(seed + key.encode("utf-8", "surrogatepass"), digest_size=_MARK_BYTES).digest()


def _identity(pool: Pool) -> bytes:
    """Return a text that tells the pool from others, in each process that opens it."""
    try:
        options: object = pool.options()
    except EnvironmentSnapshotError:  # it is another pool in each process
        options = str(pool.uuid)
    from json import dumps

    return dumps((type(pool).__qualname__, options), sort_keys=True).encode()


def _no_state(path: str | os.PathLike[str] | None, what: str) -> SettingsError:
    return SettingsError(
        f"{shown(os.fspath(path or ''))} {what}: it was left as it is; name another file", option="state"
    )


class _State:
    """The entries that earlier runs found whole: a file of marks, which grows with each group."""

    def __init__(self, path: str | os.PathLike[str] | None, pool: Pool) -> None:
        self._path = path
        # A whole entry says nothing about the entry of the same key in another pool.
        self._seed = b"" if path is None else _identity(pool)
        self._marks: set[bytes] = set()
        self._fd = -1

    def __enter__(self) -> Self:
        if self._path is not None:
            self._fd = self._open(self._path)
            try:
                self._check_own(self._path)
                self._load()
            except BaseException:
                os.close(self._fd)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @staticmethod
    def _open(path: str | os.PathLike[str]) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno in (ELOOP, ENXIO):
                raise _no_state(path, "is a link, or no file") from error
            raise

    def _check_own(self, path: str | os.PathLike[str]) -> None:
        """Refuse a file that others wrote: what it says is whole would not be read."""
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise _no_state(path, "is no file")
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _no_state(path, "belongs to another user, or others may write to it")

    def _load(self) -> None:
        with open(self._fd, "rb", closefd=False) as file:
            begin = file.read(_MARK_BYTES)
            if not begin:
                os.write(self._fd, _STATE_BEGINS)
            elif begin != _STATE_BEGINS:
                raise _no_state(self._path, "is not the state of a verification")
            while len(mark := file.read(_MARK_BYTES)) == _MARK_BYTES:
                self._marks.add(mark)
        if mark:  # the program was killed while it wrote this one
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - len(mark))

    def without(self, keys: Iterable[str], report: VerifyReport) -> Iterator[str]:
        """Give the keys that no earlier run found whole; count the others in ``report``."""
        for key in keys:
            if self._marks and _mark(key, self._seed) in self._marks:
                report.skipped += 1
            else:
                yield key

    def add(self, key: str) -> None:
        """Remember that the entry is whole."""
        if self._fd >= 0:
            os.write(self._fd, _mark(key, self._seed))

    def delete(self) -> None:
        """Delete the file: there is nothing left to go on with."""
        if self._path is not None:
            os.unlink(self._path)
