"""Writes that are done once, however often they arrive: answers kept under idempotency keys. Does no I/O."""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Key = tuple[str, str]  # the peer, and the key that it chose
    Send = Callable[[object], object]

__all__ = ["Once"]

_KEEP_SECONDS = 600.0
_MOST_BYTES, _MOST_BYTES_OF_ONE = 64 * 2**20, 8 * 2**20
_ENTRY_BYTES = 1024  # what an answer takes besides what is in it


class Once:
    """The calls that came with a key: under way, or with the answer they had. Belongs to one event loop.

    What is kept is bounded in bytes, for one peer and for all; the oldest answers go first.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Send]] = {}
        self._answers: OrderedDict[Key, tuple[float, object, int]] = OrderedDict()
        self._of_peer: dict[str, OrderedDict[Key, None]] = {}
        self._bytes: dict[str, int] = {}
        self.nbytes = 0
        """What all answers that are kept may take."""

    def begin(self, key: Key, send: Send, now: float) -> bool:
        """Whether the call has to be done. If not, ``send`` is given the answer, now or once it is there."""
        self._forget(now)
        if key in self._answers:
            send(self._answers[key][1])
            return False
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(send)
            return False
        self._waiting[key] = [send]
        return True

    def end(self, key: Key, answer: object, now: float, *, kept: object, nbytes: int = 0) -> None:
        """Give the answer to all who wait for it; who asks later is given ``kept``, of ``nbytes``."""
        peer, size = key[0], nbytes + _ENTRY_BYTES
        self._answers[key] = (now, kept, size)
        self._of_peer.setdefault(peer, OrderedDict())[key] = None
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self.nbytes += size
        while self._bytes.get(peer, 0) > _MOST_BYTES_OF_ONE:
            self._drop(next(iter(self._of_peer[peer])))
        self._forget(now)
        for send in self._waiting.pop(key, ()):
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
