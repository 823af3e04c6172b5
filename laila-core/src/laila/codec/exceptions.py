"""Rows of exceptions: arguments, attributes, cause, context and notes; not the traceback.

A traceback is made of frames, which belong to the process; it is said once that it is left out. ``__init__``
does not run, so that an exception whose constructor takes other arguments than it hands on comes back as
well.
The builtin exceptions need no registration.
"""

from __future__ import annotations

import builtins
from functools import lru_cache

from laila.codec import tags
from laila.codec.decoder import Decoder, expect
from laila.codec.fields import shape_of
from laila.codec.objects import class_named, copies_by_default, fields_of, name_of, set_fields
from laila.codec.registry import DECODERS, QUICK
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["encode_exception", "is_exception", "tell_of_traceback"]

_BUILTIN = frozenset(
    held for held in vars(builtins).values() if isinstance(held, type) and issubclass(held, BaseException)
)
_STATE: dict[type, tuple[str, ...]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    BlockingIOError: ("errno", "strerror", "filename", "filename2", "characters_written"),
    SyntaxError: (
        *("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset"),
        "print_file_and_line",
    ),
    ImportError: ("msg", "name", "path"),
    StopIteration: ("value",),
    SystemExit: ("code",),
    NameError: ("name",),
    # Not "obj", the object that lacks the attribute, which pickle leaves out as well.
    AttributeError: ("name",),
    UnicodeEncodeError: ("encoding", "object", "start", "end", "reason"),
    UnicodeDecodeError: ("encoding", "object", "start", "end", "reason"),
    UnicodeTranslateError: ("object", "start", "end", "reason"),
    BaseExceptionGroup: ("message", "exceptions"),
}
"""What some builtin exceptions keep in C beside their arguments."""
_told = False
# Past what a class makes of these names.
_ARGUMENTS: Any = BaseException.__dict__["args"]
_LINKS: tuple[Any, ...] = tuple(
    BaseException.__dict__[name] for name in ("__cause__", "__context__", "__suppress_context__")
)


def is_exception(kind: type) -> bool:
    """Whether instances of ``kind`` are a builtin exception and their attributes, and nothing else."""
    base = _base_of(kind)
    return base is not None and copies_by_default(kind, base) and shape_of(kind, base).is_whole


@lru_cache(maxsize=4096)
def _base_of(kind: type) -> type | None:
    return next((owner for owner in kind.__mro__ if owner in _BUILTIN), None)


@lru_cache(maxsize=4096)
def _state_names(base: type) -> tuple[str, ...]:
    return next((_STATE[owner] for owner in base.__mro__ if owner in _STATE), ())


def _read(base: type, value: object) -> tuple[object, ...] | None:
    names = _state_names(base)
    if not names:
        return None
    found: list[object] = []
    for name in names:
        try:
            found.append(getattr(base, name).__get__(value))
        except (AttributeError, TypeError):
            found.append(None)  # not set
    return tuple(found) if any(part is not None for part in found) else None


def _is_safe(base: type, state: tuple[object, ...]) -> bool:
    """Whether C may be given that state: of a UnicodeError, only its constructor checks it."""
    if not issubclass(base, UnicodeError):
        return True
    *encoding, data, start, end, reason = state
    return (
        all(type(text) is str for text in (*encoding, reason))
        and type(data) is (bytes if base is UnicodeDecodeError else str)
        and type(start) is type(end) is int
        and 0 <= start < 1 << 62
        and 0 <= end < 1 << 62
    )


def tell_of_traceback(error: BaseException) -> None:
    """Say once that tracebacks are not stored."""
    global _told
    if error.__traceback__ is not None and not _told:
        _told = True
        from laila.showing import logger

        logger("laila.codec").warning(
            "exceptions are stored without their tracebacks, which belong to this process; where the text "
            "will "
            "do, store ''.join(traceback.format_exception(error)) beside them"
        )


def encode_exception(value: Any, encoder: Encoder) -> Row:
    """The row of an exception."""
    kind: type = type(value)
    base = _base_of(kind)
    assert base is not None
    state = _read(base, value)
    if state is not None and not _is_safe(base, state):
        encoder.refuse(f"a {kind.__name__} that its constructor would refuse: {shown(state)}")
    tell_of_traceback(value)
    odd, pairs = fields_of(value, shape_of(kind, base), encoder)
    links = [member.__get__(value) for member in _LINKS]
    return [tags.EXCEPTION, name_of(kind, encoder), odd, _ARGUMENTS.__get__(value), state, *links, *pairs]


def _decode_exception(row: Row, decoder: Decoder) -> object:
    _, name, odd, arguments, state, cause, context, suppress, *pairs = row
    cls = class_named(name, decoder, is_exception)
    base: Any = _base_of(cls)
    names = _state_names(base)
    if state is not None and (len(expect(state, tuple)) != len(names) or not _is_safe(base, state)):  # type: ignore[arg-type]
        raise ValueError("not the state of such an exception")
    values: tuple[Any, ...] = state or ()  # type: ignore[assignment]
    if issubclass(base, BaseExceptionGroup):
        message, exceptions = values
        decoder.again("exceptions", exceptions, len(expect(exceptions, tuple)))
        found: Any = BaseExceptionGroup.__new__(cls, expect(message, str), expect(exceptions, tuple))
    else:
        found = base.__new__(cls)
        for text, value in zip(names, values, strict=bool(values)):
            if value is not None:
                getattr(base, text).__set__(found, value)
    _ARGUMENTS.__set__(found, expect(arguments, tuple))
    if cause is not None or context is not None or suppress is not False:
        for member, value in zip(_LINKS, (cause, context, expect(suppress, bool)), strict=True):
            member.__set__(found, value)
    set_fields(found, shape_of(cls, base), odd, pairs, str(name), decoder)
    return found


QUICK.add(encode_exception)
DECODERS[tags.EXCEPTION] = _decode_exception
