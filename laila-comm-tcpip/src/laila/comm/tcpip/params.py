"""The params of a call, looked at before it is done: how much they are, and which function they name."""

from __future__ import annotations

from laila.comm.tcpip.codec import Packed, pack_failure
from laila.comm.tcpip.messages import Code
from laila.contract import Blob
from laila.errors import InvalidArgumentError

__all__ = ["SMALL", "SMALL_NUMBER", "BadParamsError", "failure", "first_text", "is_flat", "weight"]


SMALL = 64 * 1024
SMALL_NUMBER = 16  # of blobs, or of items at the top level, in calls that are read on the loop


class BadParamsError(InvalidArgumentError):
    """The params of a call are not valid."""


BadParamsError.__name__ = InvalidArgumentError.__name__  # the name that the peer sees


def failure(error: Exception) -> Packed:
    """Return what is sent for an error; wrong params have a code of their own."""
    packed = pack_failure(error)
    if not isinstance(error, BadParamsError) or packed.error is None:
        return packed
    _, message, data = packed.error
    return packed._replace(error=(Code.INVALID_PARAMS, message, data))


def first_text(params: object) -> tuple[str, ...]:
    """Return the first argument if it is text: the name of a function, whose role is checked, too."""
    names = params
    if type(params) is dict:
        names = params.get("*") or [params.get("function")]
    first = names[0] if type(names) is list and names else None
    return (first,) if type(first) is str else ()


def is_flat(params: object) -> bool:
    """Whether the params of a call are few, and need no decoding: then the loop reads them."""
    if type(params) is dict:
        top = [item for value in params.values() for item in (value if type(value) is list else (value,))]
    else:
        top = params if type(params) is list else []
    if len(top) > SMALL_NUMBER:
        return False
    for item in top:
        if type(item) is dict and item.keys() != {"$blob"}:
            return False
        if type(item) is list and (len(item) > 64 or any(type(element) in (list, dict) for element in item)):
            return False
    return True


def weight(value: object) -> int:
    """Return the bytes of the buffers in a value, as far as a quick look shows them."""
    if isinstance(value, list):
        if len(value) > SMALL_NUMBER:
            return SMALL + 1
        return sum(
            item.content_nbytes if isinstance(item, Blob) else SMALL * isinstance(item, (list, dict, tuple))
            for item in value
        )
    if isinstance(value, Blob):
        return value.content_nbytes
    return 0 if value is None or isinstance(value, (str, int, float)) else SMALL + 1
