"""What the class of a plugin's author must keep, looked at where the class is defined and where it answers.

Pools, task forces and protocols are base classes with private names of their own. An author who uses such a
name, or promises what laila does not know, gets an error at once that names the class.
"""

from __future__ import annotations

import sys

from laila.errors import ContractError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar, TypeVar

    T = TypeVar("T")

__all__ = ["Authored", "answer", "answers", "check_promises", "reserved_names"]


class Authored:
    """The base of what authors derive from: it guards the names that laila's own bases use.

    Classes of laila's own distributions are not looked at.
    """

    for_authors: ClassVar[frozenset[str]] = frozenset()
    """The private methods that an author may define."""
    promises: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    """The class attributes that say what a plugin promises, with the values that each may have."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Look at the class. Raises :class:`ContractError` (a ``TypeError``)."""
        super().__init_subclass__(**kwargs)
        if _is_laila(cls.__module__):
            return
        for name in cls.__dict__:
            if name in reserved_names(cls):
                raise ContractError(
                    f"{cls.__qualname__} defines {name}, which laila's base class uses for itself: choose "
                    f"another name ({_list(cls)})",
                    plugin=cls.__qualname__,
                )
        check_promises(cls)
        if "__setattr__" not in cls.__dict__:
            cls.__setattr__ = _set_guarded  # type: ignore[method-assign,assignment]  # for authors' classes alone


def _set_guarded(self: Authored, name: str, value: object) -> None:
    """Set an attribute, unless that hides a method or overwrites what laila's base class keeps."""
    if name[:1] == "_" and not _is_laila(sys._getframe(1).f_globals.get("__name__", "")):
        cls = type(self)
        if name in reserved_names(cls):
            raise ContractError(
                f"{cls.__qualname__} sets self.{name}, which laila's base class uses for itself: choose "
                f"another name ({_list(cls)})",
                plugin=cls.__qualname__,
            )
        if callable(getattr(cls, name, None)) and not callable(value):
            raise ContractError(
                f"{cls.__qualname__} sets self.{name}, which would hide the method of that name: choose "
                "another name",
                plugin=cls.__qualname__,
            )
    object.__setattr__(self, name, value)


def reserved_names(cls: type[Authored]) -> frozenset[str]:
    """Return the private names that laila's own bases of ``cls`` use, except those that authors define."""
    names: set[str] = set()
    for base in cls.__mro__:
        if _is_laila(base.__module__):
            names.update(base.__dict__, base.__dict__.get("keeps", ()))
    return frozenset(name for name in names if _is_private(name)) - cls.for_authors


def _is_private(name: str) -> bool:
    return name[:1] == "_" and name[:2] != "__" and name != "_abc_impl"


def _is_laila(module: str) -> bool:
    return module == "laila" or module.startswith("laila.")


def _list(cls: type[Authored]) -> str:
    return f"reserved: {', '.join(sorted(reserved_names(cls)))}"


def check_promises(cls: type[Authored]) -> None:
    """Raise :class:`ContractError` for a promise with a value that laila does not know."""
    for name, known in cls.promises.items():
        value = getattr(cls, name)
        if not isinstance(value, property) and value not in known:
            raise ContractError(
                f"{cls.__qualname__}.{name} is {shown(value)}; it must be {' or '.join(map(repr, known))}",
                plugin=cls.__qualname__,
            )


def answers(author: object, method: str, given: Sequence[T], count: int, *kinds: type) -> Sequence[T]:
    """Return what an author's method answered, one answer a question, each of one of ``kinds``.

    Raises:
        ContractError: (a ``TypeError``) it is no sequence, of another length, or holds something else.
    """
    wrong = None
    if not isinstance(given, (list, tuple)):
        wrong = f"a {type(given).__name__}"
    elif len(given) != count:
        wrong = f"{len(given)} answers"
    elif kinds:
        wrong = next((f"a {kind.__name__} among them" for kind in set(map(type, given)) - {*kinds}), None)
    if wrong is not None:
        cls = type(author).__qualname__
        each = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ContractError(
            f"{cls}.{method} returned {wrong}; it must return a list of {count} answers"
            + (f", each of them {each}" if each else ""),
            plugin=cls,
        )
    return given


def answer(author: object, method: str, given: T, *kinds: type) -> T:
    """Return what an author's method answered, which is of one of ``kinds``.

    Raises:
        ContractError: (a ``TypeError``) it is something else.
    """
    if type(given) not in kinds:
        cls = type(author).__qualname__
        each = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ContractError(
            f"{cls}.{method} returned a {type(given).__name__}; it must return {each}", plugin=cls
        )
    return given
