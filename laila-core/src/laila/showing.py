"""Values in messages: short, in bounded time, and with nothing in them that a terminal or a log obeys.

What an error or a log shows may have come from anybody: a stored blob, a server, a peer. A few hundred bytes
can describe a tuple that takes for ever to write out, a number of a million digits, or a text that moves the
cursor. So messages show a value by :func:`shown`, another error by :func:`said`, and text as it is only after
:func:`escaped`, which every laila error and every logger of :func:`logger` applies.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

__all__ = ["escaped", "logger", "said", "shown", "shown_url"]

MOST_CHARACTERS = 200
"""How much of one value is shown."""
_MOST_OF_ERROR = 1000
_MOST_OF_MESSAGE = 16_384
_MOST_ITEMS = 6
_MOST_BITS = 256  # 78 digits
_SMALL = frozenset({type(None), bool, float, complex, type(Ellipsis), type(NotImplemented)})
_LINEAR = frozenset(("pathlib", "uuid", "datetime", "decimal"))
"""Modules whose values are written out in a time that grows with what they hold, and no faster."""
_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", dict: "{}"}


def shown(value: object, limit: int = MOST_CHARACTERS) -> str:
    """Return ``value`` as a message may show it.

    Text, numbers and short flat containers look as their ``repr``; what is longer is cut, and what is nested
    is named by its type. Of other objects only laila's own are asked how they look.

    Args:
        value: Any object.
        limit: The most characters.

    Returns:
        The text, on one line.
    """
    text = _shown(value, limit, inside=False)
    return text if len(text) <= limit + 20 else text[:limit] + "…"


def _shown(value: object, limit: int, *, inside: bool) -> str:
    kind = type(value)
    if kind is str or kind is bytes:
        cut: str | bytes = value[:limit]  # type: ignore[index]  # its type was looked at
        return repr(cut) + ("…" if len(value) > limit else "")  # type: ignore[arg-type]
    if kind is int:
        bits = value.bit_length()  # type: ignore[attr-defined]
        return repr(value) if bits <= _MOST_BITS else f"<an int of {bits} bits>"
    if kind in _SMALL:
        return repr(value)
    if kind in _BRACKETS:
        return _container(value, kind, limit, inside=inside)
    if isinstance(value, type):
        return f"<class {_name(value)}>"
    if isinstance(value, str):  # a subclass: its characters, past its own __str__
        return _shown(str.__str__(value), limit, inside=inside)
    if isinstance(value, BaseException):
        return f"<{_name(kind)}>"
    if kind.__module__ in _LINEAR:
        return escaped(repr(str(value) if kind.__module__ == "pathlib" else value), limit)
    if hasattr(kind, "__members__"):  # an enumeration's
        return f"{_name(kind)}.{_shown(getattr(value, '_name_', None), limit, inside=True)[1:-1]}"
    if type(getattr(value, "__qualname__", None)) is str:
        return f"<{kind.__name__} {escaped(value.__qualname__, 100)}>"  # type: ignore[attr-defined]  # it was looked at
    look = kind.__repr__
    if str(getattr(look, "__module__", "")).partition(".")[0] == "laila" and not inside:
        return escaped(look(value), limit)
    return f"<{_name(kind)}>"


def _container(value: object, kind: type, limit: int, *, inside: bool) -> str:
    size = len(value)  # type: ignore[arg-type]  # a container
    if inside and size:
        return f"<{kind.__name__} of {size}>"
    if not size:
        return "()" if kind is tuple else repr(value)
    first: list[str] = []
    items: Iterable[object] = value.items() if kind is dict else value  # type: ignore[attr-defined,assignment]
    for item in items:
        if len(first) == _MOST_ITEMS:
            first.append("…")
            break
        if kind is dict:
            key, content = item  # type: ignore[misc]
            first.append(f"{_shown(key, limit, inside=True)}: {_shown(content, limit, inside=True)}")  # type: ignore[has-type]
        else:
            first.append(_shown(item, limit, inside=True))
    brackets = _BRACKETS[kind]
    opening, closing = brackets[0], ",)" if kind is tuple and size == 1 else brackets[1]
    text = f"{opening}{', '.join(first)}{closing}"
    return f"frozenset({text})" if kind is frozenset else text


def _name(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return escaped(name, 100)


def said(error: BaseException, limit: int = _MOST_OF_ERROR) -> str:
    """Return the text of ``error``: ``str(error)`` if that is short and harmless.

    An error may hold any object, for example the missing key of a mapping: such an object is shown briefly.

    Args:
        error: The error.
        limit: The most characters.

    Returns:
        The text, on one line.
    """
    kind = type(error)
    module = kind.__module__
    if module != "builtins" and kind.__str__ not in (BaseException.__str__, KeyError.__str__):
        try:
            return escaped(str(error), limit)  # it makes its text itself
        except Exception:  # noqa: BLE001 - an error that cannot say what it is
            return f"<{_name(kind)}>"
    arguments = error.args
    if len(arguments) == 1:
        (argument,) = arguments
        return escaped(argument, limit) if type(argument) is str else shown(argument, limit)
    if isinstance(error, OSError) and all(map(_is_short, arguments)):
        return escaped(str(error), limit)
    return shown(arguments, limit)


def _is_short(value: object) -> bool:
    return value is None or type(value) is str or (type(value) is int and value.bit_length() < _MOST_BITS)


def escaped(text: str, limit: int = _MOST_OF_MESSAGE) -> str:
    """Return ``text`` with line ends, control characters and what is invisible written as escapes; cut."""
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def _one_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = escaped(record.getMessage()), None
    return True


def logger(name: str) -> logging.Logger:
    """Return the logger of that name. Each message that it writes is one line, whatever the message shows.

    Args:
        name: The name of the logger.

    Returns:
        The logger.
    """
    from logging import getLogger  # imported late: most processes write no log

    log = getLogger(name)
    log.addFilter(_one_line)  # which the logger has once, however often this is called
    return log


def shown_url(url: str) -> str:
    """Return how a message shows ``url``: without what may be a password, or any option's value.

    Args:
        url: The URL.

    Returns:
        The text.
    """
    scheme, colon, _ = url.partition(":")
    is_scheme = bool(colon) and scheme.isascii() and scheme.replace("+", "").isalnum() and len(scheme) < 20
    if "@" in url or (not is_scheme and set(url) & set(":?#")):
        return f"{scheme + ':…' if is_scheme else 'this'} (not shown in full, as it may hold a password)"
    place, mark, _ = url.partition("?")
    return shown(f"{place}?…" if mark else place)
