"""List and find what a pool holds: heads are read, payloads are not.

A search is a list of conditions on the metadata that the user stored with an entry, such as ``lr>0.1``.
"""

from __future__ import annotations

import json
import operator
import re
from fnmatch import fnmatchcase
from itertools import islice

from laila.errors import CorruptEntryError, IdentityError, LailaError, SettingsError
from laila.identity import parse_global_id
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from laila.blob.blob import Blob, BlobHead
    from laila.contract.pool import Pool

__all__ = ["SORTS", "Listed", "MetadataCondition", "kind_of", "list_pool"]

_BATCH = 512
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_read_condition = re.compile(r"\s*([^\s=!<>]+)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.DOTALL).fullmatch


class Listed:
    """The facts in the head of one stored entry.

    Attributes:
        pool: The name of the pool, as messages show it.
        key: The key of the entry.
        kind: ``constant``, ``variable``, ``manifest``, another scope in small letters, or ``other`` for a key
            that is no global id.
        nickname: The nickname, or None. It is None for an encrypted or compressed entry: it is inside.
        type: The type of the payload as text; empty where a transformation hides it.
        nbytes: The stored bytes, head included.
        size: The bytes of the payload, or the stored bytes where a transformation hides them.
        created: Seconds since 1970-01-01 UTC, or None where a transformation hides them.
        metadata: What the user stored with the entry.
        transformations: The names of the transformations, the innermost first.
        error: Why the head could not be read, or None.
    """

    __slots__ = (
        "created",
        "error",
        "key",
        "kind",
        "metadata",
        "nbytes",
        "nickname",
        "pool",
        "size",
        "transformations",
        "type",
    )

    def __init__(self, pool: str, key: str, head: Blob | BlobHead | LailaError) -> None:
        self.pool = pool
        self.key = key
        self.kind = kind_of(key)
        self.error: LailaError | None = None
        self.nickname: str | None = None
        self.type = ""
        self.nbytes = self.size = 0
        self.created: float | None = None
        self.metadata: Mapping[str, object] = {}
        self.transformations: tuple[str, ...] = ()
        if isinstance(head, LailaError):
            self.error = head
            return
        self.nbytes = self.size = head.nbytes
        self.transformations = tuple(name for name, _ in head.transformations)
        if self.transformations:
            return
        try:
            stored = head.metadata
        except CorruptEntryError as error:
            self.error = error
            return
        self.nickname = head.nickname
        self.type = str(stored.get("type") or "")
        created, metadata, size = (stored.get(name) for name in ("created", "user", "size"))
        self.size = size if isinstance(size, int) else head.nbytes
        self.created = created if isinstance(created, float) else None
        if isinstance(metadata, dict):
            self.metadata = metadata

    @property
    def name(self) -> str:
        """The nickname, or the key of an entry without one."""
        return self.nickname or self.key

    def __repr__(self) -> str:
        return f"<Listed {shown(self.name)}: {self.kind}, {shown(self.type)}, {self.nbytes} bytes>"


SORTS: dict[str, Callable[[Listed], Any]] = {
    "name": lambda listed: (listed.nickname is None, listed.name),
    "bytes": lambda listed: (-listed.nbytes, listed.name),
    "created": lambda listed: (-(listed.created or 0), listed.name),
}
"""How a list is ordered: names first and by name, the largest first, or the newest first."""


class MetadataCondition:
    """One condition on an entry's metadata: ``lr>0.1``, ``model=resnet``, ``optimizer.name!=adam``.

    A dot leads into a dict. The value is read as JSON where it is JSON, else it is a text. An entry without
    such a field, or with a value that cannot be compared, does not meet the condition.

    Raises:
        SettingsError: The text is no condition.
    """

    def __init__(self, text: str) -> None:
        parts = _read_condition(text) if isinstance(text, str) else None
        if parts is None:
            raise SettingsError(
                f"{shown(text)} is no condition: write a field, one of = != < <= > >=, and a value, such as "
                "lr>0.1",
                option="where",
            )
        self._field, sign, value = parts.groups()
        self._compare = _OPERATORS[sign]
        try:
            self._value: object = json.loads(value)
        except (ValueError, RecursionError):
            self._value = value

    def holds(self, metadata: Mapping[str, object]) -> bool:
        """Whether ``metadata`` meets the condition."""
        found: object = metadata
        if self._field in metadata:
            found = metadata[self._field]
        else:
            for name in self._field.split("."):
                if not isinstance(found, dict) or name not in found:
                    return False
                found = found[name]
        try:
            return bool(self._compare(found, self._value))
        except Exception:  # noqa: BLE001 - values of other types, which a user has stored, do not compare
            return False


def list_pool(
    pool: Pool, pattern: str | None = None, *, where: str | Iterable[str] = (), named: bool = False
) -> Iterator[Listed]:
    """Give what ``pool`` alone holds, in the order of its keys. Blocks; 512 heads are read at a time.

    Args:
        pool: The pool.
        pattern: The nickname or key with ``*``, ``?`` and ``[…]`` for what may differ; all where it is None.
        where: A condition, or several conditions; an entry's metadata must meet them all.
        named: Leave out entries without a nickname.

    Yields:
        What the head of each entry says, damaged heads included where nothing is searched for.

    Raises:
        SettingsError: A text is no condition.
        PoolError: The pool cannot be read.
    """
    texts = [where] if isinstance(where, str) else where
    conditions = [MetadataCondition(text) for text in texts]
    searched = bool(conditions) or named or pattern is not None
    return _listed(pool, pattern, conditions, named=named, searched=searched)


def _listed(
    pool: Pool, pattern: str | None, conditions: list[MetadataCondition], *, named: bool, searched: bool
) -> Iterator[Listed]:
    keys = iter(pool.keys(as_generator=True))
    while batch := list(islice(keys, _BATCH)):
        for key, head in zip(batch, pool.heads_here(batch), strict=True):
            if head is None:
                continue  # it was deleted meanwhile
            listed = Listed(pool.label, key, head)
            if listed.error is not None:
                if not searched or (pattern is not None and fnmatchcase(key, pattern)):
                    yield listed
                continue
            if named and listed.nickname is None:
                continue
            if pattern is not None and not (
                fnmatchcase(key, pattern)
                or (listed.nickname is not None and fnmatchcase(listed.nickname, pattern))
            ):
                continue
            if all(condition.holds(listed.metadata) for condition in conditions):
                yield listed


def kind_of(key: str) -> str:
    """Return the kind of an entry by its key: ``constant``, ``variable``, ``manifest``, …, or ``other``."""
    try:
        scopes, _, evolution = parse_global_id(key)
    except IdentityError:
        return "other"
    kind = scopes[-1].lower()
    if kind != "entry":
        return kind
    return "constant" if evolution is None else "variable"
