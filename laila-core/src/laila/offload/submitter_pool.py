"""A pool of the submitter's, in a worker: what it is asked goes to the policy that has it.

It stands for the pool with all that comes after it in its chain, as the verbs of the submitter use it. Blobs
cross as they are, and the submitter decides what its workers may do, by the role of the secret they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.blob.blob import Blob
from laila.contract.pool import Pool, StoreOutcome
from laila.errors import (
    EntryNotFoundError,
    EvolutionConflictError,
    ImmutableEntryError,
    LailaError,
    PeerError,
    PluginError,
    PoolError,
    PoolUnreachableError,
    SettingsError,
)
from laila.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, ClassVar, NoReturn
    from typing import Protocol as TypingProtocol

    from laila.tiering.chain import Found

    class Way(TypingProtocol):
        """The connection to the submitter."""

        def call(
            self, path: str, calls: Sequence[Sequence[object]], options: dict[str, object], *, again: bool
        ) -> list[Any]:
            """Make several calls of one method at once; return what each gave."""

        def close(self) -> None:
            """Leave."""


__all__ = ["SubmittersPool"]

_CONFLICTS = (ImmutableEntryError, EvolutionConflictError)


class SubmittersPool(Pool):
    """The pool ``pool_id`` of the policy that ``way`` leads to.

    Raises :class:`~laila.errors.PoolUnreachableError` where the submitter cannot be reached, or lets workers
    not do what was asked; ``reason`` says why this process does not open the pool itself. The pool is neither
    listed nor emptied from here.
    """

    durability = "none"
    writers: ClassVar = "network"
    creation: ClassVar = "network"

    def __init__(self, way: Way, pool_id: str, reason: str, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self._way = way
        self._there = pool_id
        self._reason = reason

    def _call(self, verb: str, *calls: Sequence[object], again: bool = False, **options: object) -> list[Any]:
        self._check_open()
        arguments = {"pool_id": self._there, **{name: value for name, value in options.items() if value}}
        try:
            return self._way.call(f"central.memory.{verb}", calls, arguments, again=again)
        except (PeerError, PluginError, SettingsError) as error:
            raise PoolUnreachableError(
                f"the pool {shown(self.label)} cannot be used here: {self._reason}; reaching it through that "
                f"process failed: {error}",
                pool=self.label,
            ) from error

    # -- what the verbs call ---------------------------------------------------------------------------------

    def load(
        self, keys: Sequence[str], *, refresh: bool = False, deferred: bool = False, views: bool = False
    ) -> list[Found]:
        """Read blobs of the chain over there. The id of a variable gives its newest evolution."""
        if not keys:
            return []
        (blobs,) = self._call("remember", [list(keys)], again=True, missing_ok=True, refresh=refresh)
        absent = blobs.count(None)
        self._counter.count(len(blobs) - absent, absent)
        return list(blobs)

    def load_here(
        self,
        keys: Sequence[str],
        *,
        keep: Callable[[Blob], bool] | None = None,
        deferred: bool = False,
        views: bool = False,
    ) -> list[Blob | BaseException | None]:
        """Read what is filed under exactly these keys."""
        return [
            None if isinstance(blob, Blob) and blob.key != key else blob
            for key, blob in zip(keys, self.load(keys), strict=True)
        ]

    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File blobs over there, as ``memorize`` does."""
        if not blobs:
            return []
        # To store the same once more is a success, unless it was to replace what others may write, too.
        (outcomes,) = self._call(
            "memorize", [list(blobs)], again=not replace, overwrite=replace, missing_ok=True
        )
        return [self._stored(outcome) for outcome in outcomes]

    def _stored(self, outcome: object) -> StoreOutcome | LailaError:
        if isinstance(outcome, str):
            return StoreOutcome.CREATED
        if isinstance(outcome, _CONFLICTS):
            return StoreOutcome.CONFLICT
        if isinstance(outcome, LailaError):
            return outcome
        return PoolError(f"pool {shown(self.label)} could not file it: {shown(outcome)}", pool=self.label)

    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete over there, as ``forget`` does: the id of a variable means all its evolutions."""
        if not keys:
            return []
        (outcomes,) = self._call("forget", [list(keys)])
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, EntryNotFoundError):
                raise outcome
        return [outcome is None for outcome in outcomes]

    def present(self, keys: Sequence[str]) -> list[bool]:
        """Return for each of ``keys`` whether it is there, as :meth:`Pool.present` does over there."""
        return list(self._call("present", [list(keys)], again=True)[0]) if keys else []

    def namesakes(self, keys: Sequence[str]) -> list[str | None]:
        """Return None for each: over there they are looked for when something is memorized."""
        return [None] * len(keys)

    def histories_here(self, stems: Sequence[str]) -> list[list[int]]:
        """Return the stored evolutions of each."""
        return self._call("history", *([stem] for stem in stems), again=True) if stems else []

    # -- what an author writes -------------------------------------------------------------------------------

    def _read(self, key: str) -> Blob | None:
        (blob,) = self.load_here([key])
        if isinstance(blob, BaseException):
            raise blob
        return blob

    def _write(self, key: str, blob: Blob) -> None:
        (outcome,) = self.store_here([blob], replace=True)
        if isinstance(outcome, BaseException):
            raise outcome

    def _create(self, key: str, blob: Blob) -> bool:
        (outcome,) = self.store_here([blob])
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome is StoreOutcome.CREATED

    def _delete(self, key: str) -> bool:
        return self.delete_here([key])[0]

    def _exists(self, key: str) -> bool:
        return self._read(key) is not None

    def _evolutions(self, stem: str) -> list[int]:
        return self.histories_here([stem])[0]

    def _keys(self) -> Iterator[str]:
        self._refuse("listed")

    def _empty(self) -> None:
        self._refuse("emptied")

    def _refuse(self, what: str) -> NoReturn:
        raise PoolUnreachableError(
            f"the pool {shown(self.label)} is not {what} from here: {self._reason}; tasks elsewhere "
            "remember, "
            "memorize and forget what they have the ids of, and no more",
            pool=self.label,
        )

    def _close(self) -> None:
        self._way.close()
