"""RemoteFuture: the outcome of a call that another policy does.

It is a future like any other. What settles it is an answer that arrives, or the end of the connection.
"""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakValueDictionary

from laila.errors import PeerDisconnectedError
from laila.forks import after_fork
from laila.futures.callbacks import Callback
from laila.futures.failure import Failure
from laila.futures.future import Future
from laila.futures.states import CANCELLED, FAILED, FINISHED, RUNNING
from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["RemoteFuture"]

T = TypeVar("T")

# By what tells objects of this process apart: the id of a future is made when somebody asks for it.
_pending: WeakValueDictionary[int, RemoteFuture[Any]] = WeakValueDictionary()


class RemoteFuture(Future[T]):
    """The outcome of a call that a peer does. Safe to use from any number of threads and event loops.

    ``convert`` makes the result of what the peer answered; it runs once, where the answer arrives. A protocol
    settles the future by :meth:`deliver` and :meth:`fail`, and says by :meth:`on_cancel` how to tell the peer
    that nobody waits any more.
    """

    __slots__ = ("_abort", "_convert")

    def __init__(self, convert: Callable[[Any], T] | None = None) -> None:
        super().__init__()
        self._state = RUNNING
        self._convert = convert
        self._abort: Callable[[], object] | None = None
        with mutex:
            _pending[id(self)] = self

    def cancel(self) -> bool:
        """Give the call up: the peer is told, and does not do what it has not started.

        False when the future has settled. What the peer had begun goes on there, and its outcome is lost.
        """
        if not self._settle(CANCELLED, None):
            return False
        self._over(cancelled=True)
        return True

    # ---------------------------------------------------------------------------------------- for protocols

    def on_cancel(self, abort: Callable[[], object]) -> None:
        """Have a function called when the future is cancelled, or now if it was cancelled before.

        Args:
            abort: Takes no argument.
        """
        self._abort = abort
        if self._state == CANCELLED:
            self._over(cancelled=True)

    @property
    def has_callbacks(self) -> bool:
        """Whether user code runs when this settles, which may take long: not for an event loop."""
        listeners = self._listeners
        if listeners is not None:
            for listener in listeners:
                if isinstance(listener, Callback):
                    return True
        return False

    def deliver(self, answer: Any) -> None:
        """Settle by what the peer answered, unless the future has settled, for example by ``cancel``.

        Args:
            answer: The answer.
        """
        try:
            value = answer if self._convert is None else self._convert(answer)
        except Exception as error:  # noqa: BLE001 - an answer that cannot be taken is the outcome
            self._settle(FAILED, Failure(error))
        else:
            self._settle(FINISHED, value)
        self._over()

    def fail(self, error: BaseException) -> None:
        """Settle by an error, unless the future has settled.

        Args:
            error: The error.
        """
        self._settle(FAILED, Failure(error))
        self._over()

    def _over(self, *, cancelled: bool = False) -> None:
        abort, self._abort, self._convert = self._abort, None, None
        with mutex:
            _pending.pop(id(self), None)
        if cancelled and abort is not None:
            abort()


@after_fork
def _abandon_all() -> None:
    # The connection is the parent's, and so is every answer.
    for future in list(_pending.values()):
        future._abandon(
            PeerDisconnectedError("the call was made by the parent process; make it again here", peer="")
        )
    _pending.clear()
