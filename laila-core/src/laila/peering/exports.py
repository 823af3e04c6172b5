"""Functions that peers may call by name: ``@laila.export``."""

from __future__ import annotations

from laila.contract.protocol import ROLES
from laila.errors import InvalidArgumentError, SettingsError
from laila.locks import mutex
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    from laila.contract.protocol import Role

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["ExportedFunction", "export", "exported_functions", "name_of"]


class ExportedFunction:
    """One exported function, and the role that a peer needs to call it."""

    __slots__ = ("function", "name", "role")

    def __init__(self, name: str, function: Callable[..., object], role: Role) -> None:
        self.name = name
        self.function = function
        self.role = role

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


_functions: dict[str, ExportedFunction] = {}


if TYPE_CHECKING:

    @overload
    def export(function: F, *, name: str | None = None, role: Role = "write") -> F: ...
    @overload
    def export(
        function: None = None, *, name: str | None = None, role: Role = "write"
    ) -> Callable[[F], F]: ...


def export(function: Any = None, *, name: str | None = None, role: Role = "write") -> Any:
    """Let peers of this process's policies call ``function``, by ``name`` (its own by default).

    A decorator, with or without arguments. ``role`` is what a peer must have been granted. The function is
    run by the task force of the policy that was asked; arguments and results cross as entries do. Returns the
    function as it is.

    Raises ``TypeError`` for what is no plain function, ``ValueError`` for a name that is no identifier,
    begins with an underscore, or belongs to another function, and for an unknown role.

    Args:
        function: The function; without it this returns a decorator.
        name: Its name for peers; by default its own.
        role: The least role that a peer needs.

    Returns:
        The function itself, or the decorator.

    Raises:
        InvalidArgumentError: ``function`` is not a plain function (a ``TypeError``).
        SettingsError: the name or the role is wrong, or the name is taken (a ``ValueError``).
    """
    if function is None:
        return lambda decorated: export(decorated, name=name, role=role)
    if not callable(function) or not (name or hasattr(function, "__name__")):
        raise InvalidArgumentError(f"export() takes a function, not a {type(function).__name__}")
    called = function.__name__ if name is None else name
    if not isinstance(called, str) or not called.isidentifier() or called.startswith("_"):
        raise SettingsError(
            f"{shown(called)} is no name to export a function by: give an identifier without a leading "
            "underscore",
            option="name",
        )
    if role not in ROLES:
        raise SettingsError(f"role={shown(role)}: give one of {', '.join(ROLES)}", option="role")
    with mutex:
        known = _functions.get(called)
        # A function that is defined again, for example in a notebook, replaces the old one.
        if known is not None and _origin(known.function) != _origin(function):
            raise SettingsError(
                f"{shown(called)} is exported already, and means {'.'.join(_origin(known.function))}; "
                "give this one another name=",
                option="name",
            )
        _functions[called] = ExportedFunction(called, function, role)
    return function


def exported_functions() -> dict[str, ExportedFunction]:
    """Return the exported functions by name."""
    return dict(_functions)


def name_of(function: object) -> str | None:
    """Return the name under which ``function`` is exported, or None."""
    return next(
        (export.name for export in exported_functions().values() if export.function is function), None
    )


def _origin(function: Any) -> tuple[str, str]:
    return str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", function))
