"""JSON-RPC 2.0 messages: text in, checked parts out; and the header of binary messages. Does no I/O.

A wrong message raises a :class:`BadMessage`, which says whether it can be answered. Nothing here takes more
time or memory than a small multiple of the message.
"""

from __future__ import annotations

import json
import re
import struct
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # the stubs lack it
from typing import NamedTuple

from laila.comm.tcpip.limits import CHUNK_BYTES, HEADER_BYTES
from laila.contract import said, shown, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = [
    "BLOBS",
    "JSON",
    "LAST",
    "SMALL_TEXT",
    "BadMessage",
    "Code",
    "Message",
    "chunk_header",
    "dump",
    "parse",
    "parse_chunk",
]

EXTENSION = "laila"
"""The member of a message with laila's additions: time limit, idempotency key, stream and sizes."""

BLOBS, JSON = 1, 2  # the kinds of binary messages
LAST = 1  # the flag of the last chunk of a stream
_HEADER = struct.Struct(">BBHQ")  # kind, flags, zero, stream
assert _HEADER.size == HEADER_BYTES

_MAX_BLOBS = 1_000_000
SMALL_TEXT = 16 * 1024
"""The longest text that is read where it arrives; a worker reads longer ones."""
_MANY_VALUES = 20_000
_MOST_VALUES = 250_000
"""The most bytes of buffers in one text; larger values are sent as blobs."""
_LONGEST_INT = 400  # digits: no double holds more than 309


class Code:
    """The error codes: those of JSON-RPC, and laila's own."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    NO_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    RAISED = -32000
    TIMED_OUT = -32003
    CANCELLED = -32004
    REFUSED = -32010
    NO_VERSION = -32011


class BadMessage(Exception):
    """A wrong message. ``fatal`` says that the bytes after it cannot be understood either."""

    def __init__(self, reason: str, code: int = Code.INVALID_REQUEST, *, fatal: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.fatal = fatal


class Message(NamedTuple):
    """One message. ``method`` is None for an answer, whose outcome is ``result`` or ``error``."""

    id: int | str | None
    method: str | None = None
    params: object = None
    result: object = None
    error: object = None
    timeout: float | None = None
    key: str | None = None
    stream: int | None = None
    sizes: tuple[int, ...] = ()
    nbytes: int = 0
    """The number of bytes of its text, if that is longer than :data:`SMALL_TEXT`."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# The values to send were checked, and have no cycles.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError("a number is too large")
    return value


def _short_int(text: str) -> int:
    if len(text) > _LONGEST_INT:  # the time for more digits grows with their square
        raise ValueError("a number is too large")
    return int(text)


_strict = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_short_int)
_decode_strictly = _strict.raw_decode
_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode
# A decoder in Python: other threads get a turn meanwhile, and a long text read in C would delay them.
_patient = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_short_int)
_patient.scan_once = py_make_scanner(_patient)  # type: ignore[attr-defined]  # as above
_decode_patiently = _patient.raw_decode
# Numbers that may not fit into a double; JSON's own reader takes them for infinity. Each run of digits is
# looked at once, from its first digit.
_may_overflow = re.compile(r"[eE]\+?\d{3}|(?<!\d)\d{300}").search
_SPACE = " \t\n\r"  # the whitespace of JSON
_without_strings = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL).sub


def dump(message: dict[str, object]) -> str:
    """Return the text of a message."""
    return _encode({"jsonrpc": "2.0", **message})


def load(text: str, max_depth: int) -> object:
    """Return the JSON value of ``text``. Raises :class:`BadMessage`."""
    try:
        text = text.strip(_SPACE)
        tree, end = _decoder_for(text)(text)
        if end != len(text):
            raise ValueError(f"something follows it at character {end}")
        # The depth is at most the number of opening brackets: most messages need no walk.
        if text.count("{") + text.count("[") > max_depth:
            wire.check_depth(tree, max_depth)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else said(error)
        raise BadMessage(f"this is no JSON that is taken here: {reason[:200]}", Code.PARSE) from None
    return tree


def _decoder_for(text: str) -> Callable[[str], tuple[object, int]]:
    if len(text) <= SMALL_TEXT:
        return _decode_strictly if _may_overflow(text) else _decode
    most = _count_values(text)  # also counts characters in strings that only look like values
    if most <= _MANY_VALUES:
        return _decode_strictly
    if most > _MOST_VALUES and _count_values(_without_strings("", text)) > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES} values; send them as a blob")
    return _decode_patiently


def _count_values(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def parse(text: str, max_depth: int) -> Message:
    """Return the message of ``text``. Raises :class:`BadMessage`."""
    tree = load(text, max_depth)
    if type(tree) is list:
        raise BadMessage("batches are not taken: send the messages one after the other")
    if type(tree) is not dict or tree.get("jsonrpc") != "2.0":
        raise BadMessage("this is no JSON-RPC 2.0 message")
    number = tree.get("id")
    if number is not None and type(number) not in (int, str):
        raise BadMessage("an id is a number or a text")
    if type(number) is str and len(number) > 200:
        raise BadMessage("an id has at most 200 characters")
    extension = _extension(tree.get(EXTENSION))
    if "method" in tree:
        if type(tree["method"]) is not str:
            raise BadMessage("a method is a text")
        params = tree.get("params")
        return Message(number, tree["method"], params, None, None, *extension, _counted(text))
    if ("result" in tree) == ("error" in tree):
        raise BadMessage("a message has a method, a result or an error")
    if "error" in tree and type(tree["error"]) is not dict:
        raise BadMessage("an error is an object")
    return Message(number, None, None, tree.get("result"), tree.get("error"), *extension, _counted(text))


def _counted(text: str) -> int:
    return len(text) if len(text) > SMALL_TEXT else 0


def _extension(extension: object) -> tuple[float | None, str | None, int | None, tuple[int, ...]]:
    if extension is None:
        return None, None, None, ()
    if type(extension) is not dict:
        raise BadMessage(f"{shown(EXTENSION)} must be an object")
    timeout, key = extension.get("timeout"), extension.get("key")
    stream, sizes = extension.get("stream"), extension.get("sizes")
    if timeout is not None and (type(timeout) not in (int, float) or not 0 <= timeout <= 1e9):
        raise BadMessage("a timeout is a number of seconds")
    if key is not None and (type(key) is not str or not 0 < len(key) <= 64):
        raise BadMessage("an idempotency key is a text of 1 to 64 characters")
    if stream is None and sizes is None:
        return timeout, key, None, ()
    if type(stream) is not int or not 0 <= stream < 2**63:
        raise BadMessage("a stream is a number", fatal=True)
    if type(sizes) is not list or not 0 < len(sizes) <= _MAX_BLOBS:
        raise BadMessage("the sizes of blobs are a list of numbers", fatal=True)
    if any(type(size) is not int or not 0 < size < 2**62 for size in sizes):
        raise BadMessage("the size of a blob is a positive number", fatal=True)
    return timeout, key, stream, tuple(sizes)


def chunk_header(kind: int, stream: int, *, last: bool) -> bytes:
    """Return the header of a binary message."""
    return _HEADER.pack(kind, LAST if last else 0, 0, stream)


def parse_chunk(data: bytes) -> tuple[int, int, bool, memoryview]:
    """Return kind, stream, whether it is the last chunk, and the data. Raises :class:`BadMessage`."""
    size = len(data) - HEADER_BYTES
    if not 0 < size <= CHUNK_BYTES:
        raise BadMessage("a binary message has a header and 1 byte to 256 KiB of data", fatal=True)
    kind, flags, zero, stream = _HEADER.unpack_from(data)
    if kind not in (BLOBS, JSON) or flags not in (0, LAST) or zero:
        raise BadMessage("this is no header of a binary message", fatal=True)
    return kind, stream, flags == LAST, memoryview(data)[HEADER_BYTES:]
