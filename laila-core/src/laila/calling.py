"""Errors for arguments and names that are not there: which one is meant, and which there are."""

from __future__ import annotations

from functools import wraps

from laila.errors import InvalidArgumentError, UnknownOptionError
from laila.former import replacement
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import CodeType
    from typing import Any, NoReturn, ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["call", "check_assigned", "helpful", "no_attribute", "no_name", "unknown_option"]

_MEANT = {
    "pool": ("pool_nickname",),
    "pools": ("pool_nickname",),
    "name": ("nickname", "pool_nickname"),
    "nick": ("nickname", "pool_nickname"),
    "nickname": ("pool_nickname",),
    "key": ("nickname", "global_id"),
    "id": ("global_id", "pool_id"),
    "force": ("overwrite",),
    "replace": ("overwrite",),
    "missing": ("missing_ok",),
    "default": ("missing_ok",),
    "meta": ("metadata",),
    **dict.fromkeys(("payload", "value", "obj", "content"), ("data",)),
}
"""Keywords that people write, and the keywords that they may mean."""

_ELSEWHERE = {"TaskForce": "taskforce", "Pool": "pool", "Protocol": "comm"}
_VERBS = {
    **dict.fromkeys(("store", "save", "put", "write", "dump", "add", "memorise"), "memorize"),
    **dict.fromkeys(("load", "get", "read", "fetch", "recall", "retrieve"), "remember"),
    **dict.fromkeys(("delete", "remove", "drop"), "forget"),
    **dict.fromkeys(("close", "shutdown", "stop"), "terminate"),
    **dict.fromkeys(("submit", "run", "map"), "command.submit"),
    **dict.fromkeys(("extend", "connect", "pool"), "memory.extend"),
    **dict.fromkeys(("config", "settings"), "args"),
    **dict.fromkeys(("const",), "constant"),
    **dict.fromkeys(("var",), "variable"),
}
"""Names that people look for in ``laila``, and their names here."""

_RENAMED_OPTIONS = {
    **dict.fromkeys(("file_path", "filename", "file", "folder", "directory", "root"), "path"),
    "image_dir": "path",
    "num_workers": "workers",
    "max_workers": "workers",
    "redis_password": "password",
    "max_pool_connections": "concurrency",
    "pool": "pool_nickname",
    "name": "nickname",
}
"""Options of the older package, and of others that people know, with their names here."""

_VARIADIC, _KEYWORDS = 0x04, 0x08  # flags of a code object: *args, **kwargs
_OWN = ("self", "cls")


def call(verb: Callable[..., Any], what: Any, options: dict[str, Any]) -> Any:
    """Call the method ``verb``; raise a ``TypeError`` that helps where it has no such option."""
    code = getattr(getattr(verb, "__func__", verb), "__code__", None)
    if code is not None:
        _check(code, verb.__name__, options)
    return verb(what, **options)


def helpful(function: Callable[P, T], tip: str = "") -> Callable[P, T]:
    """Have ``function`` say what is meant where it is given arguments that it does not take.

    Args:
        function: The function, or a bound method.
        tip: The advice if no keyword is similar to the given one.

    Returns:
        A function that calls it, with the same signature.
    """
    code: CodeType = getattr(function, "__func__", function).__code__
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    bound: tuple[object, ...] = (function.__self__,) if hasattr(function, "__self__") else ()

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            if trace is not None and trace.tb_next is None:  # raised by the call, not in the function
                _check(code, name, kwargs, tip)
                _check_positional(code, name, (*bound, *args), kwargs, tip)
            raise

    return call


def no_attribute(owner: object, name: str, advice: str) -> NoReturn:
    """Raise the ``AttributeError`` of a name that ``owner`` does not have; for ``__getattr__``."""
    if name.startswith("_") or hasattr(type(owner), name):
        object.__getattribute__(owner, name)  # raises what it raised before
    raise AttributeError(
        f"{type(owner).__name__} has no attribute {shown(name)}: {advice}", name=name, obj=owner
    )


def no_name(name: str, names: Sequence[str]) -> NoReturn:
    """Raise the ``AttributeError`` of a name that ``laila`` does not have; ``names`` are those it has."""
    hint = ""
    if not name.startswith("_"):
        advice = replacement(name)
        kind = next((kind for end, kind in _ELSEWHERE.items() if name.endswith(end)), None)
        lower = {known.lower(): known for known in names}
        if advice is not None:
            hint = f": {advice}"
        elif kind is not None:
            hint = f"; import it from its place: from laila.{kind} import {name}"
        elif name.lower() in _VERBS or name.lower() in lower:
            hint = f"; did you mean laila.{_VERBS.get(name.lower()) or lower[name.lower()]}?"
    raise AttributeError(f"module 'laila' has no attribute {shown(name)}{hint}", name=name)


def check_assigned(name: str, settable: Sequence[str]) -> None:
    """Raise the ``AttributeError`` of an assignment to what is nearly a name of ``laila`` that can be set."""
    from difflib import get_close_matches

    close = get_close_matches(name, settable, n=1, cutoff=0.8)
    if close:
        raise AttributeError(
            f"module 'laila' has no setting {shown(name)}; did you mean laila.{close[0]}?", name=name
        )


def _check(code: CodeType, name: str, options: dict[str, Any], tip: str = "") -> None:
    """Raise for the first of ``options`` that the function does not take."""
    if code.co_flags & _KEYWORDS:
        return
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for option in options:
        if option not in known:
            listed = known[code.co_argcount :] or [one for one in known if one not in _OWN]
            _refuse(f"{name}() has no option {shown(option)}", option, known, listed, tip)


def _check_positional(
    code: CodeType, name: str, args: Sequence[object], options: dict[str, Any], tip: str
) -> None:
    """Raise for an argument that is given twice, or for more of them than go without a keyword."""
    names, keywords = code.co_varnames[: code.co_argcount], code.co_varnames[code.co_argcount :]
    keywords = keywords[: code.co_kwonlyargcount]
    for taken in names[: len(args)]:
        if taken in options:
            _refuse(
                f"{name}() was given {shown(taken)} twice, once without its name",
                taken,
                keywords,
                keywords,
                tip,
            )
    if len(args) > len(names) and keywords and not code.co_flags & _VARIADIC:
        own = names[0] in _OWN if names else False
        raise InvalidArgumentError(
            f"{name}() takes {len(names) - own} without a keyword, and was given {len(args) - own}; "
            + (tip or f"give the rest by keyword: {', '.join(f'{keyword}=' for keyword in keywords)}")
        ) from None


def _refuse(what: str, option: str, known: Sequence[str], listed: Sequence[str], tip: str) -> NoReturn:
    from difflib import get_close_matches

    options = [name for name in known if name not in _OWN]
    close = [meant for meant in _MEANT.get(option, ()) if meant in options][:1]
    close = close or get_close_matches(option, options, n=1)
    meant = f"; did you mean {close[0]}=?" if close else f"; {tip}." if tip else "."
    raise UnknownOptionError(f"{what}{meant} Options are: {', '.join(listed)}", option=option) from None


def unknown_option(owner: str, name: object, options: Iterable[str]) -> UnknownOptionError:
    """Build the error for an option that ``owner`` does not have.

    Args:
        owner: Who was given the option, such as the name of a class.
        name: The option that is not known.
        options: The options that there are.

    Returns:
        The error, which names the nearest option and lists all of them.
    """
    from difflib import get_close_matches

    known = list(options)
    renamed = _RENAMED_OPTIONS.get(str(name))
    close = [renamed] if renamed in known else get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {shown(close[0])}?" if close else ""
    listed = ", ".join(known) or "none"
    return UnknownOptionError(
        f"{owner} has no option {shown(name)}{hint} (options: {listed})", option=str(name)
    )
