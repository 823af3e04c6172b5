"""The parts that pools, task forces and protocols share: an identity, options to write down, and an end.

The options are what ``laila.environment`` records, so that another process can build the same component
again. A component that declares :class:`~laila.settings.Settings` passes the resolved ones to
``super().__init__(settings=…)``; a plain class needs nothing: the arguments of its constructor are taken.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from os import PathLike, fspath
from threading import RLock

from laila.errors import EnvironmentSnapshotError
from laila.futures.waiting import current_host
from laila.identity import Identifiable, check_uuid, resolve_uuid
from laila.locks import check_may_use
from laila.showing import said
from laila.tracebacks import empty_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import ClassVar, Self

    from laila.settings import Settings

__all__ = ["Component", "arguments_of"]

# Constructor parameters of plain classes whose values must not be written down. Settings mark theirs exactly.
_asked: ContextVar[type | None] = ContextVar("laila_asked", default=None)
_TAKES_ANY_KEYWORD = 0x08  # CO_VARKEYWORDS of a code object
_SECRET_NAME = re.compile(r"secret|passw|token|credential|(^|_)key(_|$)|^auth", re.IGNORECASE)


def _check_options(cls: type, given: Iterable[str]) -> None:
    """Refuse a keyword that the constructor of ``cls`` lacks, with a hint: Python's own error has none."""
    init = getattr(cls, "__init__", None)
    code = getattr(getattr(init, "__wrapped__", init), "__code__", None)
    if code is None or code.co_flags & _TAKES_ANY_KEYWORD:
        return
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    for name in given:
        if name not in names:
            from laila.calling import unknown_option

            raise unknown_option(cls.__name__, name, [name for name in names if name[:1] != "_"])


class _Asked(BaseException):
    """Holds the arguments of a constructor, for :meth:`Component.arguments_of`."""


def arguments_of(cls: type[Component], build: Callable[[], object]) -> dict[str, object] | None:
    """Return the arguments, by name, that ``build()`` gives to the constructor of ``cls``; builds nothing.

    Returns None if ``build()`` does not call that constructor. Raises the errors of ``build()``.
    """
    token = _asked.set(cls)
    try:
        build()
    except _Asked as asked:
        return _by_name(cls, *asked.args)
    finally:
        _asked.reset(token)
    return None


def _by_name(cls: type, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of the constructor of ``cls`` by name."""
    from inspect import Parameter, signature

    init: Callable[..., object] = cls.__init__  # type: ignore[misc]  # of the very class
    parameters = signature(init).parameters
    bound = signature(init).bind_partial(None, *args, **kwargs).arguments
    named: dict[str, object] = {}
    for name, value in list(bound.items())[1:]:
        kind = parameters[name].kind
        if kind is Parameter.VAR_KEYWORD and isinstance(value, dict):
            named.update(value)
        elif kind is not Parameter.VAR_POSITIONAL:
            named[name] = value
    return named


class Component(Identifiable):
    """A part of a policy with an identity, options and a ``close()``.

    Thread-safety: identity and options never change after construction; :meth:`close` may be called from any
    thread, any number of times, and runs :meth:`_close` once.
    """

    scope: ClassVar[str] = "COMPONENT"
    keeps: ClassVar[frozenset[str]] = frozenset(
        ("_close_lock", "_closed", "_evolution", "_given", "_nickname", "_scopes", "_uuid")
    )
    """The private attributes that the class sets on its instances, which authors may not use."""

    _given: tuple[tuple[object, ...], dict[str, object]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Note the constructor's arguments, so that a plain class needs no settings to be written down."""
        if kwargs:
            try:
                _check_options(cls, kwargs)
            except BaseException as error:
                del args, kwargs
                empty_frames(error)
                raise
        if _asked.get() is cls:
            raise _Asked(args, kwargs)
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def __init__(self, *, nickname: str | None = None, settings: Settings | None = None) -> None:
        self._scopes = (self.scope,)
        self._uuid = resolve_uuid(None, nickname)
        self._evolution = None
        self._nickname = nickname
        self.settings = settings
        self._closed = False
        self._close_lock = RLock()  # reentrant: an observer of the closing may close, too

    def options(self) -> dict[str, object]:
        """Return JSON-able keyword arguments; ``type(self)(**options)`` builds an equal component.

        Secrets are left out; :meth:`missing_secrets` names them. Raises
        :class:`~laila.errors.EnvironmentSnapshotError` for an argument that JSON cannot hold.

        Returns:
            Names and values that JSON can hold.
        """
        if self.settings is not None:
            options = dict(self.settings.public())
            if self._nickname is not None:
                options["nickname"] = self._nickname
        else:
            options = {k: v for k, v in self._arguments().items() if not _SECRET_NAME.search(k)}
        options = {
            name: fspath(value) if isinstance(value, PathLike) else value
            for name, value in options.items()
            if value is not None
        }
        from json import dumps

        for name, value in options.items():
            try:
                dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise EnvironmentSnapshotError(
                    f"{type(self).__name__}({name}=…) holds a {type(value).__name__}, which JSON lacks; "
                    f"override options() of {type(self).__qualname__} to write it down another way",
                    problems=[f"{name}: {said(error)}"],
                ) from error
        return options

    def missing_secrets(self) -> list[str]:
        """Name the options that were given but are left out of :meth:`options` because they are secret.

        Returns:
            The names of the options.
        """
        if self.settings is not None:
            return [name for name in self.settings.secret_names() if getattr(self.settings, name) is not None]
        return sorted(k for k, v in self._arguments().items() if v is not None and _SECRET_NAME.search(k))

    def secrets(self) -> dict[str, object]:
        """Return the values of the options that :meth:`missing_secrets` names. Show them to nobody.

        Returns:
            Names and values.
        """
        arguments = self._arguments() if self.settings is None else {}
        return {
            name: arguments[name] if arguments else getattr(self.settings, name)
            for name in self.missing_secrets()
        }

    def _arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, as they were given."""
        return _by_name(type(self), *self._given)

    def restore_identity(self, uuid: str) -> None:
        """Take back the uuid that an environment recorded.

        Args:
            uuid: The uuid.

        Raises:
            IdentityError: it is no uuid.
        """
        self._uuid = check_uuid(uuid)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Give back everything held: files, connections, threads. Idempotent; blocks until it is complete."""
        check_may_use()
        if current_host() is None:
            with self._close_lock:
                self._close_once()
            return
        # A thread that closes it may wait for this very task.
        while not self._close_lock.acquire(timeout=0.1):
            if self._closed:
                return
        try:
            self._close_once()
        finally:
            self._close_lock.release()

    def _close_once(self) -> None:
        if not self._closed:
            self._closed = True
            self._close()

    def _close(self) -> None:
        """The author's part of :meth:`close`; called once. The default does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_close_lock" not in vars(self):  # a debugger looks at one whose constructor has failed
            return f"<{type(self).__name__} that was not made>"
        name = f"nickname={self._nickname!r}" if self._nickname else self._uuid
        return f"<{type(self).__name__} {name}{' closed' if self._closed else ''}>"
