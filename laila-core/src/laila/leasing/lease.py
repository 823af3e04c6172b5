"""One lease: how it is taken key by key in order, renewed, checked and given back.

The keys of a lease are taken in their order. A borrower waits for the first key that it does not have, and
holds only keys before that one. So borrowers that cross each other never wait in a circle.
"""

from __future__ import annotations

import os
import random
import time
from threading import RLock, get_ident
from weakref import WeakValueDictionary

from laila.errors import LailaError, LeaseError, LeaseLostError, LeaseTimeoutError
from laila.leasing.records import boot_time, free_record, make_record, parse_record
from laila.locks import check_may_wait
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.leasing.records import Record
    from laila.leasing.tables import LeaseTable

__all__ = ["Lease", "Watch", "since_text"]

_leases: WeakValueDictionary[bytes, Lease] = WeakValueDictionary()
_FIRST_PAUSE = 0.001
_GROWTH = 1.6


class Watch:
    """Says which records are over, for one reader who looks at a table again and again."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[bytes, float]] = {}

    def left(self, key: str, data: bytes, record: Record, clock: str, now: float) -> float:
        """Return for how many seconds a record lasts, unless it is renewed; 0 or less if it is over.

        Args:
            key: The key.
            data: The stored record.
            record: The same, read.
            clock: The name of the clock of the table.
            now: Its time.

        Returns:
            The seconds.
        """
        if record.free:
            return 0.0
        before = self._seen.get(key)
        if before is None or before[0] != data:
            before = self._seen[key] = (data, boot_time())
        watched = before[1] + record.ttl - boot_time()
        # Nobody's lease ends later than its ttl after it was seen, also if the server's clock was set.
        return min(record.until - now, watched) if record.clock == clock else watched


class Lease:
    """Keys of one table that this process holds until they are given back, or until ``ttl`` seconds pass.

    Thread-safe. In a forked child the lease stays the parent's: nothing is renewed or given back there.
    """

    def __init__(self, table: LeaseTable, keys: Sequence[str], ttl: float, where: str) -> None:
        self.ttl = ttl
        self.token = os.urandom(16).hex().encode()
        self.fences: dict[str, int] = {}
        self._table = table
        self._keys = sorted(set(keys))
        self._where = where
        self._records: dict[str, bytes] = {}
        self._lock = RLock()
        self._pid = os.getpid()
        self._since = time.time()
        self._deadline = float("inf")
        self._lost: LailaError | None = None
        self._thread = get_ident()
        _leases[self.token] = self

    # -- taking ----------------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None, holding: Callable[[Lease], object]) -> None:
        """Take all keys in their order. Blocks.

        Args:
            timeout: Seconds to wait; None waits for ever.
            holding: Called once, before the first key is taken: the lease has to be renewed from then on.

        Raises:
            LeaseError: this thread has borrowed a key already.
            LeaseTimeoutError: another borrower kept a key for so long.
            LeaseLostError: the lease was over before all keys were there.
            LailaError: the table cannot be used.
        """
        check_may_wait()
        began, pause, watch = boot_time(), _FIRST_PAUSE, Watch()
        holding(self)
        while True:
            blocking = self._take_some(watch)
            if blocking is None:
                return
            self._check_other(*blocking)
            waited = boot_time() - began
            if timeout is not None and waited >= timeout:
                raise self._timed_out(*blocking, waited)
            nap = random.uniform(pause / 2, pause)  # noqa: S311 - no secret
            time.sleep(nap if timeout is None else min(nap, max(timeout - waited, 0.0)))
            pause = min(pause * _GROWTH, self._table.longest_pause)

    def _take_some(self, watch: Watch) -> tuple[str, Record | None] | None:
        """Take keys up to the first one that another borrower has; return that key and its record."""
        with self._lock:
            self.check()
            wanted = [key for key in self._keys if key not in self._records]
            records = dict(zip(wanted, self._table.read(wanted), strict=True))
            clock, now = self._table.now()
            asked = boot_time()
            changes: list[tuple[str, bytes | None, bytes]] = []
            blocking: tuple[str, Record | None] | None = None
            for key in wanted:
                data = records[key]
                record = parse_record(data)
                if data is not None and record is not None and record.token == self.token:
                    self._records[key] = data  # an earlier try was made, and its answer was lost
                    continue
                if data is not None and record is not None and watch.left(key, data, record, clock, now) > 0:
                    blocking = key, record
                    break
                # Times are greater than the numbers of earlier leases whose record is not kept any more.
                fence = max((record.fence if record is not None else 0) + 1, int(time.time() * 1000))
                self.fences[key] = fence
                changes.append((key, data, self._record(fence, clock, now)))
            answers = self._table.swap(changes) if changes else []
            if changes:
                self._deadline = min(self._deadline, asked + self.ttl)
            refused: str | None = None
            late: list[tuple[str, bytes | None, bytes]] = []
            for (key, _, new), taken in zip(changes, answers, strict=True):
                if taken and refused is None:
                    self._records[key] = new
                elif taken:
                    late.append((key, new, free_record(self.fences[key])))
                elif refused is None:
                    refused = key
            if late:  # out of order: another borrower has a key before them
                self._table.swap(late)
            return (refused, None) if refused is not None else blocking

    def _check_other(self, key: str, record: Record | None) -> None:
        """Raise if this very thread has the key, which it cannot give back while it waits."""
        other = None if record is None else _leases.get(record.token)
        if other is not None and other._thread == get_ident() and other.lost is None:
            raise LeaseError(
                f"{key} is borrowed in this thread already: use the entries of that `with`, or end it first",
                key=key,
            )

    def _record(self, fence: int, clock: str, now: float) -> bytes:
        return make_record(
            self.token,
            fence,
            ttl=self.ttl,
            clock=clock,
            until=now + self.ttl,
            since=self._since,
            host=_host(),
            pid=self._pid,
        )

    def _timed_out(self, key: str, record: Record | None, waited: float) -> LeaseTimeoutError:
        who = "another borrower"
        if record is not None and record.pid:
            who = f"process {record.pid} on host {shown(record.host)} since {since_text(record.since)}"
            if record.pid == self._pid and record.host == _host():
                who = f"this process ({who})"
        return LeaseTimeoutError(
            f"{key} is lent to {who} in {self._where}, and was not given back within {waited:.3g} seconds; "
            "try again, or give a larger timeout. `laila leases` lists what is lent. A holder that died "
            "loses its lease when the ttl is over",
            key=key,
            host=None if record is None else record.host,
            pid=None if record is None else record.pid,
            since=None if record is None else record.since,
        )

    # -- holding ---------------------------------------------------------------------------------------------

    @property
    def lost(self) -> LailaError | None:
        """The reason why the lease is over, or None."""
        if self._lost is None and self._records and boot_time() >= self._deadline:
            self._lose(
                f"the lease of {self._some()} ran out: it was not renewed for {self.ttl:g} seconds (was the "
                "process stopped, or the machine too busy?)"
            )
        return self._lost

    @property
    def seconds_left(self) -> float:
        """For how long the lease lasts if it is not renewed."""
        return 0.0 if self.lost is not None else max(self._deadline - boot_time(), 0.0)

    @property
    def tokens(self) -> dict[str, bytes]:
        """The token of each key, for a pool that checks them."""
        return dict.fromkeys(self._keys, self.token)

    def check(self) -> None:
        """Raise :class:`LeaseLostError` if the lease is over."""
        lost = self.lost
        if lost is not None:
            raise LeaseLostError(str(lost), key=getattr(lost, "key", self._keys[0]))

    def _lose(self, why: str, key: str | None = None) -> None:
        if self._lost is None:
            self._lost = LeaseLostError(
                f"{why}. Another borrower may have it, so nothing is written: borrow the entry again, and "
                "repeat the work",
                key=self._keys[0] if key is None else key,
            )

    def _some(self) -> str:
        more = len(self._keys) - 1
        return self._keys[0] + (f" (and {more} more)" if more else "")

    def renew(self) -> None:
        """Have the lease last for ``ttl`` seconds from now. Blocks.

        Raises:
            LeaseLostError: it is over.
            LailaError: the table cannot be used now.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            self.check()
            held = list(self._records)
            if not held:
                return
            clock, now = self._table.now()
            asked = boot_time()
            changes = [(key, self._records[key], self._record(self.fences[key], clock, now)) for key in held]
            answers = self._table.swap(changes)
            doubtful = [key for key, done in zip(held, answers, strict=True) if not done]
            self._records.update(
                (key, new) for (key, _, new), done in zip(changes, answers, strict=True) if done
            )
            for key, data in zip(doubtful, self._table.read(doubtful) if doubtful else (), strict=True):
                record = parse_record(data)
                if data is None or record is None or record.token != self.token:
                    self._lose(f"the lease of {key} is over: another borrower has had it since", key)
                else:
                    self._records[key] = data  # an earlier try was made, and its answer was lost
            self.check()
            self._deadline = asked + self.ttl

    def release(self) -> None:
        """Give all keys back. Blocks. Does nothing for keys that are another's by now."""
        if self._pid != os.getpid():
            return
        with self._lock:
            changes = [(key, old, free_record(self.fences[key])) for key, old in self._records.items()]
            self._records = {}
            if changes:
                self._table.swap(changes)


def since_text(seconds: float) -> str:
    """Return a time in UTC for people, or a word for a time that is not one."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def _host() -> str:
    from socket import gethostname

    return gethostname()
