"""Do each write once, however often it arrives: answers are kept under idempotency keys. Does no I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Key = tuple[str, str]  # the peer, and the key that it chose
    Send = Callable[[object], object]

__all__ = ["Once"]

_KEEP_SECONDS = 600.0
_MOST_BYTES, _MOST_BYTES_OF_ONE = 64 * 2**20, 8 * 2**20
_MOST_WAITING_OF_ONE = 4096  # calls in progress, also of connections that are gone
_ENTRY_BYTES = 1024  # bytes of an answer besides its content


class Once:
    """The calls that came with a key: in progress, or with their answer. Belongs to one event loop.

    The kept answers are bounded in bytes, for one peer and for all; the oldest go first.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Send]] = {}
        self._under_way: Counter[str] = Counter()  # by peer
        self._answers: OrderedDict[Key, tuple[float, object, int]] = OrderedDict()
        self._of_peer: dict[str, OrderedDict[Key, None]] = {}
        self._bytes: dict[str, int] = {}
        self.nbytes = 0
        """The most bytes of all kept answers."""

    def has_room(self, key: Key) -> bool:
        """Whether a call is known, or its peer may begin one more."""
        return self._under_way[key[0]] < _MOST_WAITING_OF_ONE or key in self._waiting or key in self._answers

    def leave(self, key: Key, send: Send) -> None:
        """Remove ``send`` from those that wait for the answer that :meth:`begin` promised."""
        waiting = self._waiting.get(key)
        if waiting is not None and send in waiting:
            waiting.remove(send)

    def begin(self, key: Key, send: Send, now: float) -> bool:
        """Return whether the call must be done. If not, ``send`` gets the answer, now or later."""
        self._forget(now)
        if key in self._answers:
            send(self._answers[key][1])
            return False
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(send)
            return False
        self._waiting[key] = [send]
        self._under_way[key[0]] += 1
        return True

    def end(self, key: Key, answer: object, now: float, *, kept: object, nbytes: int = 0) -> None:
        """Give the answer to all that wait; later callers get ``kept``, of ``nbytes``."""
        peer, size = key[0], nbytes + _ENTRY_BYTES
        if key in self._answers:  # it was cancelled after it had begun
            self._drop(key)
        self._answers[key] = (now, kept, size)
        self._of_peer.setdefault(peer, OrderedDict())[key] = None
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self.nbytes += size
        while self._bytes.get(peer, 0) > _MOST_BYTES_OF_ONE:
            self._drop(next(iter(self._of_peer[peer])))
        self._forget(now)
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        self._under_way[peer] -= 1
        if not self._under_way[peer]:
            del self._under_way[peer]
        for send in waiting:
            send(answer)

    def _forget(self, now: float) -> None:
        while self._answers:
            oldest, (since, _, _) = next(iter(self._answers.items()))
            if now - since < _KEEP_SECONDS and self.nbytes <= _MOST_BYTES:
                return
            self._drop(oldest)

    def _drop(self, key: Key) -> None:
        _, _, size = self._answers.pop(key)
        peer = key[0]
        self.nbytes -= size
        self._bytes[peer] -= size
        del self._of_peer[peer][key]
        if not self._of_peer[peer]:
            del self._of_peer[peer], self._bytes[peer]
