"""Commands as the bytes that go over the connection, without joining or copying large arguments.

redis-py's own packers make one bytes object of every argument. For a large array that costs more than sending
it. The protocol is RESP2; a request is a list of lengths and bytes:
<https://redis.io/docs/latest/develop/reference/protocol-spec/>.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from laila.pool.redis.scripts import Script

    Bytes = bytes | memoryview
    Argument = bytes | int | Sequence[Bytes]

__all__ = ["Command", "call", "packed"]

# Smaller arguments are joined with their neighbours.
_SMALL = 16 * 1024
# One send has one timeout: any line should carry so many bytes in that time.
_BLOCK = 1 << 20


class Command:
    """A command with its arguments: bytes, numbers, or pieces of bytes that form one argument."""

    __slots__ = ("arguments", "script")

    def __init__(self, *arguments: Argument, script: Script | None = None) -> None:
        self.arguments = arguments
        self.script = script

    def with_source(self) -> Command:
        """Return the call of a script together with its text, for a server that does not know it yet."""
        assert self.script is not None
        return Command(b"EVAL", self.script.source, *self.arguments[2:])


def call(script: Script, keys: Sequence[bytes], *arguments: Argument) -> Command:
    """Return a call of ``script``."""
    return Command(b"EVALSHA", script.sha, len(keys), *keys, *arguments, script=script)


def packed(commands: Iterable[Command]) -> list[Bytes]:
    """Return the pieces of bytes to send, one after the other."""
    blocks: list[Bytes] = []
    small: list[Bytes] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command.arguments))
        for argument in command.arguments:
            if isinstance(argument, bytes):
                small.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
                continue
            if isinstance(argument, int):
                number = b"%d" % argument
                small.append(b"$%d\r\n%b\r\n" % (len(number), number))
                continue
            views = [memoryview(part) for part in argument]
            small.append(b"$%d\r\n" % sum(view.nbytes for view in views))
            for view in views:
                if view.nbytes < _SMALL:
                    small.append(view)
                else:
                    blocks += _blocks(b"".join(small))
                    blocks += _blocks(view)
                    small.clear()
            small.append(b"\r\n")
    blocks += _blocks(b"".join(small))
    return blocks


def _blocks(data: Bytes) -> Iterator[Bytes]:
    if len(data) <= _BLOCK:
        yield data
    else:
        view = memoryview(data)
        yield from (view[start : start + _BLOCK] for start in range(0, len(view), _BLOCK))
