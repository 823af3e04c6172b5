"""The rules for a plugin author's class, checked where the class is defined and where it answers.

Pools, task forces and protocols are base classes with private names. An author who uses such a name, or
promises something that laila does not know, gets an error at once that names the class.
"""

from __future__ import annotations

import sys
from itertools import pairwise

from laila.errors import ContractError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, TypeVar

    T = TypeVar("T")

__all__ = ["Authored", "answer", "answers", "check_promises", "reserved_names"]


class Authored:
    """The base of the classes that authors derive from. It guards the names that laila's own bases use.

    Classes of laila's own distributions are not checked.
    """

    for_authors: ClassVar[frozenset[str]] = frozenset()
    """The private methods that an author may define."""
    promises: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    """The class attributes that say what a plugin promises, with the values that each may have."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Check the class. Raises :class:`ContractError` (a ``TypeError``)."""
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
        _check_hidden(cls)
        check_promises(cls)
        if "__setattr__" not in cls.__dict__:
            cls.__setattr__ = _set_guarded  # type: ignore[method-assign,assignment]  # for authors' classes alone


def _check_hidden(cls: type[Authored]) -> None:
    """Raise if a plain value of a class hides a public method or property of laila's base class.

    Names that the author must define, for example ``queue_len``, may be plain values.
    """
    for name, value in vars(cls).items():
        if name[:1] == "_" or callable(value) or hasattr(value, "__get__") or name in cls.promises:
            continue
        for base in cls.__mro__[1:]:
            hidden = base.__dict__.get(name) if _is_laila(base.__module__) else None
            if hasattr(hidden, "__get__") and not getattr(hidden, "__isabstractmethod__", False):
                raise ContractError(
                    f"{cls.__qualname__}.{name} is {shown(value)}, which would hide what laila's base class "
                    "has under that name: choose another name",
                    plugin=cls.__qualname__,
                )


def _set_guarded(self: Authored, name: str, value: object) -> None:
    """Set an attribute, unless it hides a method or overwrites an attribute of laila's base class."""
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
    limit = getattr(cls, "max_blob_bytes", None)
    if limit is not None and not hasattr(limit, "__get__") and (type(limit) is not int or limit < 1):
        raise ContractError(
            f"{cls.__qualname__}.max_blob_bytes is {shown(limit)}; it must be a number of bytes, or None",
            plugin=cls.__qualname__,
        )


def _where(author: object) -> str:
    """Return the words that name the pool, if the author is a pool's."""
    label = getattr(author, "label", None)
    return f" (in pool {shown(label)})" if isinstance(label, str) else ""


def answers(author: object, method: str, returned: Sequence[T], count: int, *kinds: type) -> Sequence[T]:
    """Return what an author's method answered, one answer a question, each of one of ``kinds``.

    Raises:
        ContractError: the answer is not a sequence, or has another length or type (a ``TypeError``).
    """
    wrong = None
    if not isinstance(returned, (list, tuple)):
        wrong = f"a {type(returned).__name__}"
    elif len(returned) != count:
        wrong = f"{len(returned)} answers"
    elif kinds:
        wrong = next((f"a {kind.__name__} among them" for kind in set(map(type, returned)) - {*kinds}), None)
    if wrong is not None:
        cls = type(author).__qualname__
        each = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ContractError(
            f"{cls}.{method} returned {wrong}; it must return a list of {count} answers"
            + (f", each of them {each}" if each else "")
            + _where(author),
            plugin=cls,
        )
    return returned


def keys_of(author: object, returned: Iterable[str]) -> Iterator[str]:
    """Yield the keys that an author's ``_keys`` gave, one after the other.

    Raises:
        ContractError: the answer is not iterable, or one of the keys is not text (a ``TypeError``).
    """
    cls, wrong = type(author).__qualname__, None
    if isinstance(returned, (str, bytes)) or not hasattr(returned, "__iter__"):
        wrong = f"a {type(returned).__name__}"
    else:
        for key in returned:
            if not isinstance(key, str):
                wrong = f"a {type(key).__name__} among them"
                break
            yield key
    if wrong is not None:
        raise ContractError(
            f"{cls}._keys returned {wrong}; it must return an iterator over the keys, each of them str"
            + _where(author),
            plugin=cls,
        )


def numbers_of(author: object, returned: Sequence[int]) -> list[int]:
    """Return what an author's ``_evolutions`` answered: whole numbers from 0, ascending.

    Raises:
            ContractError: the answer is something else (a ``TypeError``).
    """
    right = isinstance(returned, (list, tuple)) and all(type(n) is int and n >= 0 for n in returned)
    if not right or any(number >= other for number, other in pairwise(returned)):
        cls = type(author).__qualname__
        raise ContractError(
            f"{cls}._evolutions returned {shown(returned)}; it must return a list of whole numbers from 0, "
            "ascending" + _where(author),
            plugin=cls,
        )
    return list(returned)


def newest_of(author: object, stem: str, returned: str | None) -> str | None:
    """Return what an author's ``_newest`` answered: ``<stem>-<n>`` or None.

    Raises:
            ContractError: the answer is something else (a ``TypeError``).
    """
    if returned is not None:
        number = returned.removeprefix(f"{stem}-") if isinstance(returned, str) else ""
        if not (number.isascii() and number.isdigit()):
            cls = type(author).__qualname__
            raise ContractError(
                f"{cls}._newest returned {shown(returned)}; it must return the key '{stem}-<n>' or None"
                + _where(author),
                plugin=cls,
            )
    return returned


def answer(author: object, method: str, returned: T, *kinds: type) -> T:
    """Return what an author's method answered, which is of one of ``kinds``.

    Raises:
            ContractError: the answer is something else (a ``TypeError``).
    """
    if type(returned) not in kinds:
        cls = type(author).__qualname__
        each = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ContractError(
            f"{cls}.{method} returned a {type(returned).__name__}; it must return {each}{_where(author)}",
            plugin=cls,
        )
    return returned
