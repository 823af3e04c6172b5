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
from laila.codec.classkinds import copies_by_default
from laila.codec.classnames import class_named, name_of
from laila.codec.decoder import Decoder, expect
from laila.codec.fields import shape_of
from laila.codec.instances import fields_of, set_fields
from laila.codec.registry import DECODERS, QUICK
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = [
    "ARGUMENTS",
    "base_of_exception",
    "encode_exception",
    "give_states",
    "is_exception",
    "is_safe",
    "links_of",
    "state_of",
    "tell_of_traceback",
]

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
"""Attributes that some builtin exceptions keep in C beside their arguments."""
_told = False
# Past what a class makes of these names.
ARGUMENTS: Any = BaseException.__dict__["args"]
_LINKS: tuple[Any, ...] = tuple(
    BaseException.__dict__[name] for name in ("__cause__", "__context__", "__suppress_context__")
)


def is_exception(kind: type) -> bool:
    """Whether instances of ``kind`` are a builtin exception and their attributes, and nothing else."""
    base = base_of_exception(kind)
    return base is not None and copies_by_default(kind, base) and shape_of(kind, base).is_whole


@lru_cache(maxsize=4096)
def base_of_exception(kind: type) -> type | None:
    """The builtin exception that a class derives from, or is."""
    return next((owner for owner in kind.__mro__ if owner in _BUILTIN), None)


@lru_cache(maxsize=4096)
def _state_names(base: type) -> tuple[str, ...]:
    return next((_STATE[owner] for owner in base.__mro__ if owner in _STATE), ())


def state_of(base: type, value: object) -> tuple[object, ...] | None:
    """Return the state that a builtin exception keeps in C beside its arguments; None if there is none."""
    names = _state_names(base)
    if not names:
        return None
    result: list[object] = []
    for name in names:
        try:
            result.append(getattr(base, name).__get__(value))
        except (AttributeError, TypeError):
            result.append(None)  # not set
    return tuple(result) if any(part is not None for part in result) else None


def is_safe(base: type, state: tuple[object, ...]) -> bool:
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


def give_states(base: Any, errors: list[Any], states: list[Any]) -> None:
    """Give exceptions what :func:`state_of` took of others. Raises what is not such."""
    names = _state_names(base)
    for state in states:
        if state is not None and (len(expect(state, tuple)) != len(names) or not is_safe(base, state)):
            raise ValueError("not the state of such an exception")
    for place, name in enumerate(names):
        give = getattr(base, name).__set__
        for error, state in zip(errors, states, strict=True):
            if state is not None and state[place] is not None:
                give(error, state[place])


def links_of(value: object) -> list[object]:
    """Cause, context, and whether the context is not to be told."""
    return [member.__get__(value) for member in _LINKS]


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
    base = base_of_exception(kind)
    assert base is not None
    state = state_of(base, value)
    if state is not None and not is_safe(base, state):
        encoder.refuse(f"a {kind.__name__} that its constructor would refuse: {shown(state)}")
    tell_of_traceback(value)
    odd, pairs = fields_of(value, shape_of(kind, base), encoder)
    return [
        tags.EXCEPTION,
        name_of(kind, encoder),
        odd,
        ARGUMENTS.__get__(value),
        state,
        *links_of(value),
        *pairs,
    ]


def _decode_exception(row: Row, decoder: Decoder) -> object:
    _, name, odd, arguments, state, cause, context, suppress, *pairs = row
    cls = class_named(name, decoder, is_exception)
    base: Any = base_of_exception(cls)
    if issubclass(base, BaseExceptionGroup):
        message, exceptions = expect(state, tuple)
        decoder.again("exceptions", exceptions, len(expect(exceptions, tuple)))
        result: Any = BaseExceptionGroup.__new__(cls, expect(message, str), expect(exceptions, tuple))
    else:
        result = base.__new__(cls)
        give_states(base, [result], [state])
    ARGUMENTS.__set__(result, expect(arguments, tuple))
    if cause is not None or context is not None or suppress is not False:
        for member, value in zip(_LINKS, (cause, context, expect(suppress, bool)), strict=True):
            member.__set__(result, value)
    set_fields(result, shape_of(cls, base), odd, pairs, str(name), decoder)
    return result


QUICK.add(encode_exception)
DECODERS[tags.EXCEPTION] = _decode_exception
