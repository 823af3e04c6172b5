"""The states a future can be in."""

from __future__ import annotations

from enum import StrEnum

from laila.errors import InvalidValueError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypedDict

    class Percentages(TypedDict):
        """The share of a group's children in each state, 0 to 100."""

        finished: float
        running: float
        not_started: float
        error: float
        cancelled: float

    class GroupStatus(TypedDict):
        """The status of a group."""

        total: int
        percentages: Percentages


__all__ = ["CANCELLED", "FAILED", "FINISHED", "PENDING", "RUNNING", "STATUS", "FutureStatus"]


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

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise InvalidValueError(f"there is no status {shown(value)}; there are {', '.join(cls)}")


# States are small ints in order: from FINISHED on, a future is settled and never changes again.
PENDING, RUNNING, FINISHED, FAILED, CANCELLED = range(5)
STATUS = (
    FutureStatus.NOT_STARTED,
    FutureStatus.RUNNING,
    FutureStatus.FINISHED,
    FutureStatus.ERROR,
    FutureStatus.CANCELLED,
)
