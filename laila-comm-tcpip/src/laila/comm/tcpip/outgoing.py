"""Messages that wait to be sent, and how long their texts are at most."""

from __future__ import annotations

from typing import NamedTuple

from laila.comm.tcpip.messages import (
    SMALL_TEXT,
    dump,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.comm.tcpip.streams import Part

__all__ = ["SURELY_SHORT", "Outgoing", "TooLong", "length_of", "may_be_long"]

SURELY_SHORT = SMALL_TEXT


class TooLong(Exception):
    """The text of a message is longer than the other side allows."""


class Outgoing(NamedTuple):
    """A message that waits to be sent: its text, and the parts of its blobs."""

    head: dict[str, object]
    parts: Sequence[Part]
    sizes: Sequence[int]
    answers: int | str | None
    nbytes: int = 0


def length_of(message: Outgoing) -> int:
    """Return the bytes of a message: of its blobs, and of its text if that is long."""
    text = len(dump(message.head)) if may_be_long(message.head) else 0
    return sum(message.sizes) + text


def may_be_long(value: object) -> bool:
    """Whether the JSON of ``value`` may be long; False if it is certainly short."""
    budget = SURELY_SHORT
    stack = [value]
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is str:
            budget -= 6 * len(node) + 2  # type: ignore[arg-type]  # each character may be an escape
        elif kind is list or kind is dict:
            budget -= 2 + 3 * len(node)  # type: ignore[arg-type]  # it has a length
            if budget < 0:
                return True
            stack += node  # type: ignore[arg-type]  # the items, or the names
            if kind is dict:
                stack += node.values()  # type: ignore[attr-defined]  # a dict
        else:
            budget -= 24
        if budget < 0:
            return True
    return False
