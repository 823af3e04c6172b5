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
_MOST = 10_000


class Once:
    """The calls that came with a key: under way, or with the answer they had. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Send]] = {}
        self._answers: OrderedDict[Key, tuple[float, object]] = OrderedDict()

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

    def end(self, key: Key, answer: object, now: float, *, kept: object) -> None:
        """Give the answer to all who wait for it; who asks later is given ``kept``."""
        self._answers[key] = (now, kept)
        for send in self._waiting.pop(key, ()):
            send(answer)

    def _forget(self, now: float) -> None:
        while self._answers:
            since, _ = next(iter(self._answers.values()))
            if now - since < _KEEP_SECONDS and len(self._answers) < _MOST:
                return
            self._answers.popitem(last=False)
