"""The states a future can be in."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FutureStatus"]


class FutureStatus(StrEnum):
    """Where the work behind a future stands. Members equal their text: ``status == "finished"``."""

    UNKNOWN = "unknown"
    """No future is known under that id: it settled long ago, or belongs to another process."""
    NOT_STARTED = "not_started"
    RUNNING = "running"
    POLL_TIMEOUT = "poll_timeout"
    """The last wait ended before the work did; the work goes on."""
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"
