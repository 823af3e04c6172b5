"""What happens on a connection: calls, answers, cancellations, and long texts to be read."""

from __future__ import annotations

from typing import NamedTuple

from laila.comm.tcpip.messages import (
    BadMessage,
    Code,
    Message,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    Data = bytearray | memoryview

__all__ = ["Answered", "Called", "Cancelled", "Unread"]


class Called(NamedTuple):
    """The other side calls; without an id it wants no answer. ``data`` is the blobs, one after the other."""

    message: Message
    data: Data


class Answered(NamedTuple):
    """A call of this side has an outcome."""

    number: int
    message: Message
    data: Data


class Cancelled(NamedTuple):
    """The other side no longer waits for this answer."""

    id: int | str


class Unread(NamedTuple):
    """A long text has arrived; reading it takes a while.

    Nothing may be received before :meth:`Session.receive_read` has got the result of :meth:`read`.
    """

    text: str | bytes
    max_depth: int

    def read(self) -> Message | BadMessage:
        """Return the message, or its fault. May be called in any thread."""
        try:
            text = self.text if isinstance(self.text, str) else self.text.decode()
            return parse(text, self.max_depth)
        except UnicodeDecodeError:
            return BadMessage("JSON is text in UTF-8", Code.PARSE)
        except BadMessage as bad:
            return bad
        except MemoryError:
            return BadMessage("there is no memory to read it", fatal=True)
