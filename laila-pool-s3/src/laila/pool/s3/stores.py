"""The client library's stores: one for each kind and size of request, because they set time limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from laila.contract import Renewed, locks
from laila.pool.s3.library import keep_for_ever
from laila.pool.s3.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ClientConfig, ObjectStoreMethods, RetryConfig

    from laila.pool.s3.settings import S3Settings

    Open = Callable[[ClientConfig, RetryConfig], ObjectStoreMethods]

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Stores"]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries; each pause is double the one before."""

_SECONDS_PER_MIB = 4.0  # beyond `timeout`: the slowest line that this allows carries 256 KiB a second
_CONNECT_SECONDS = 5.0


_every: Renewed[Stores] = Renewed(lambda stores: stores.begin_anew())


class Stores:
    """Opens the library's stores by ``open_store`` when they are needed. Thread-safe.

    The constructor raises the errors of ``open_store``, for wrong options.
    """

    def __init__(self, open_store: Open, settings: S3Settings) -> None:
        self._open = open_store
        self._settings = settings
        self._opened: dict[object, ObjectStoreMethods] = {}
        self._lock = locks.long_lock()
        self._closed = False
        _every.add(self)
        self.sending(0)

    def reading(self, most: int) -> ObjectStoreMethods:
        """Return the store for answers of up to ``most`` bytes that pause less than `timeout` seconds."""
        return self._of(("reading", most), most, stall=True)

    def sending(self, nbytes: int) -> ObjectStoreMethods:
        """Return the store for requests of so many bytes, with short answers."""
        mib = 0
        if nbytes > MIB:  # a few stores are enough for all sizes: the limit is rounded up to a power of four
            mib = 4 ** (((nbytes - 1) // MIB).bit_length() + 1 >> 1)
        return self._of(("sending", mib), mib * MIB)

    def trying_again(self, nbytes: int, retries: int) -> ObjectStoreMethods:
        """Return the store for work that takes several requests: the library repeats each by itself."""
        return self._of(("again", nbytes, retries), nbytes, retries=retries)

    def close(self) -> None:
        """Let go of the stores: each closes its connections when its last request is done."""
        with self._lock:
            self._opened.clear()
            self._closed = True

    def begin_anew(self) -> None:
        """Forget the stores in a forked child: they and their connections belong to the parent."""
        keep_for_ever(self._opened)
        self._opened = {}

    def _of(self, kind: object, nbytes: int, *, stall: bool = False, retries: int = 0) -> ObjectStoreMethods:
        if (store := self._opened.get(kind)) is not None:
            return store
        with self._lock:
            store = self._opened.get(kind)
            if store is None:
                timeout = min(self._settings.timeout, self._settings.deadline)
                limits: ClientConfig = {
                    "timeout": timedelta(seconds=timeout + nbytes / MIB * _SECONDS_PER_MIB),
                    "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, timeout)),
                }
                if stall:
                    limits["read_timeout"] = timedelta(seconds=timeout)
                again: RetryConfig = {
                    "max_retries": retries,
                    "retry_timeout": timedelta(seconds=max(self._settings.deadline - timeout, 0.0)),
                    "backoff": {
                        "init_backoff": timedelta(seconds=FIRST_PAUSE),
                        "max_backoff": timedelta(seconds=LONGEST_PAUSE),
                        "base": 2,
                    },
                }
                store = self._open(limits, again)
                if not self._closed:
                    self._opened[kind] = store
            return store
