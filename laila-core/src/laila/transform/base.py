"""The contract of a transformation, and the table of those known by name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from laila.errors import CorruptEntryError, InvalidArgumentError, InvalidValueError, TransformationError
from laila.provenance import current_data
from laila.showing import shown
from laila.transform.limits import most_of_an_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar, TypeVar

    BytesLike = bytes | bytearray | memoryview
    Read = Callable[[Sequence[tuple[int, int]]], Sequence[BytesLike]]
    C = TypeVar("C", bound="type[Transformation]")

__all__ = [
    "Transformation",
    "corrupt",
    "make_transformation",
    "register_transformation",
    "stated_size",
    "unavailable",
]


class Transformation(ABC):
    """Bytes to bytes and back: compression, encryption, text-safe encoding.

    A subclass sets ``name`` (it stands in every blob it made, so it never changes), can be made without
    arguments, keeps no state between calls and may be called from several threads at once. Its ``repr``,
    :meth:`params` and :meth:`options` never contain a key.
    """

    name: ClassVar[str]
    secret_options: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments that are secrets: they come from code, never from an environment dict."""

    def bind(self, *, key: str, params: Mapping[str, object] | None = None) -> Transformation:
        """Decide everything that could change between two calls.

        In a sequence, the bound transformation does all that is to be done to one blob.

        Args:
            key: The key under which the blob is stored.
            params: What a stored blob says about this step; None for a new blob.

        Returns:
            The bound transformation.

        Raises:
            SecretError: a key is needed and is not here.
        """
        return self

    def params(self) -> dict[str, object]:
        """List what the blob says, so that :meth:`invert` needs no configuration; ``size`` is added to it.

        Returns:
            Names and plain values.
        """
        return {}

    def options(self) -> dict[str, object]:
        """List the constructor arguments that make an equal transformation, without keys.

        Returns:
            Names and values that JSON can hold.
        """
        return {}

    def fingerprint(self) -> tuple[object, ...]:
        """Say when the output of one transformation may stand for the output of another one.

        Returns:
            A value that is equal for two such transformations.
        """
        return (self.name, *sorted(self.options().items()))

    @abstractmethod
    def apply(self, data: BytesLike, *, key: str) -> BytesLike:
        """Transform the bytes of an entry.

        Args:
            data: The bytes.
            key: The key under which the entry is stored.

        Returns:
            The transformed bytes.
        """

    @abstractmethod
    def invert(self, data: BytesLike, *, key: str, params: Mapping[str, object]) -> BytesLike:
        """Undo :meth:`apply`.

        Args:
            data: The transformed bytes.
            key: The key under which the entry is stored.
            params: What the blob says; ``params["size"]`` is the size of the result, which must never be
                larger.

        Returns:
            The bytes of the entry.

        Raises:
            CorruptEntryError: the data is damaged.
            SecretError: the right key is not here.
        """

    def reader(self, read: Read, nbytes: int, *, key: str, params: Mapping[str, object]) -> Read:
        """Return what reads parts of what :meth:`invert` gives, without the rest. Not every form has such.

        Args:
            read: Reads ranges of the transformed bytes: pairs of first byte and the one after the last,
                ascending, none over another. What it returns reads ranges of the bytes of the entry likewise.
            nbytes: How many transformed bytes there are.
            key: The key under which the entry is stored.
            params: What the blob says; ``params["size"]`` is the size of the result.

        Returns:
            The function that reads parts.

        Raises:
            CorruptEntryError: the data cannot be what was written.
            TransformationError: what this transformation makes cannot be read in part.
        """
        raise TransformationError(
            f"{key} is stored with {shown(self.name)}, of which no part can be read alone: read all of it "
            "with laila.remember, or store what is to be read in part in a pool without that",
            name=self.name,
        )

    def digest(self, digest: bytes) -> bytes:
        """Compute the content digest to show outside. A transformation that encrypts gives a keyed hash.

        Args:
            digest: The digest of the content.

        Returns:
            The digest to show.
        """
        return digest

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.options().items())
        return f"{type(self).__name__}({shown})"


_is_name = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,23}", re.ASCII).fullmatch
_known: dict[str, type[Transformation]] = {}


def register_transformation(cls: C) -> C:
    """Make a transformation known by its ``name``, for pools and for stored blobs. Also a decorator.

    Args:
        cls: The class.

    Returns:
        The class itself.

    Raises:
        InvalidArgumentError: ``cls`` is not a transformation (a ``TypeError``).
        InvalidValueError: another class has the name (a ``ValueError``).
    """
    if (
        not isinstance(cls, type)
        or not issubclass(cls, Transformation)
        or not isinstance(getattr(cls, "name", None), str)
    ):
        raise InvalidArgumentError(f"{shown(cls)} is no Transformation with a name")
    other = _known.setdefault(cls.name, cls)
    if other is not cls and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InvalidValueError(
            f"a transformation named {shown(cls.name)} is already registered: {shown(other)}"
        )
    _known[cls.name] = cls
    return cls


def make_transformation(name: str, options: Mapping[str, object] | None = None) -> Transformation:
    """Build a transformation from its name and options. Raises :class:`TransformationError`."""
    cls = _known.get(name)
    if cls is None:
        known = ", ".join(sorted(_known))
        raise TransformationError(
            f"there is no transformation {shown_name(name)}; known: {known}. A plugin may bring others",
            name=shown_name(name),
        )
    if current_data() is not None and set(cls.secret_options) & set(options or ()):
        raise TransformationError(
            f"the {' or '.join(cls.secret_options)} of {shown(name)} is not taken from an environment, "
            "which is data: its author could read what is stored",
            name=name,
        )
    try:
        return cls(**(options or {}))
    except TypeError:
        raise TransformationError(
            f"the transformation {shown(name)} does not take {', '.join(map(shown_name, options or ()))} "
            "(values are not shown: one may be a key)",
            name=name,
        ) from None


def shown_name(name: object) -> str:
    """Return the short form of a wrong transformation for a message: it may be a key by mistake."""
    return shown(name) if isinstance(name, str) and _is_name(name) else f"a {type(name).__name__} (not shown)"


def stated_size(params: Mapping[str, object], key: str, name: str, *, whole: bool = True) -> int:
    """Return the number of bytes that undoing the step with ``params`` gives.

    Raises :class:`CorruptEntryError` if the number is missing, or, if the ``whole`` result is made,
    larger than this machine's memory.
    """
    size = params.get("size")
    if type(size) is not int or size < 0:
        raise corrupt(key, name, "does not say its size")
    most = most_of_an_entry() if whole else size
    if size > most:
        raise corrupt(
            key,
            name,
            f"would become {size} bytes, and {most} is the most here: the memory of this machine or "
            "container, or LAILA_MAX_ENTRY_BYTES",
        )
    return size


def corrupt(key: str, name: str, what: str) -> CorruptEntryError:
    """Return the error for transformed data that cannot be undone."""
    return CorruptEntryError(f"the blob of {key} is damaged: its {name} data {what}", key=key)


def unavailable(name: str, library: str, extra: str, cause: ImportError) -> TransformationError:
    """Return the error for a transformation whose library is not installed."""
    error = TransformationError(
        f"the transformation {shown(name)} needs {library}, which is not installed: pip install "
        f"'laila-core[{extra}]'",
        name=name,
    )
    error.__cause__ = cause
    return error
