"""A batch: one task that gives the outcomes of many items, and futures for its items on demand."""

from __future__ import annotations

from laila.futures.future import Future
from laila.futures.outcomes import ItemFailure, Outcomes
from laila.futures.states import FAILED, FINISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from laila.futures.failure import Failure

__all__ = ["Batch"]


class Batch:
    """One task's many items. ``source`` settles with their :class:`Outcomes`."""

    __slots__ = ("_items", "count", "source")

    def __init__(self, source: Future[Outcomes], count: int) -> None:
        self.source = source
        self.count = count
        self._items: dict[int, BatchItem] = {}

    def item(self, index: int) -> Future[Any]:
        """Return the future of one item, always the same one."""
        item = self._items.get(index)
        if item is None:
            item = self._items.setdefault(index, BatchItem(self, index))
            item._follow()
        return item

    def outcome(self, index: int) -> tuple[int, Any]:
        """Return the state and value of an item of a source that has settled."""
        source = self.source
        if source._state != FINISHED:
            return source._state, source._value
        value = source._value.values[index]
        return (FAILED if isinstance(value, ItemFailure) else FINISHED), value

    def failures(self) -> Sequence[Failure]:
        """Return what failed: the items, or the batch as a whole."""
        source = self.source
        if source._state == FINISHED:
            failures: Sequence[Failure] = source._value.failures
            return failures
        return [source._value] if source._state == FAILED else []


class BatchItem(Future["Any"]):
    """The future of one item of a batch: it starts and settles with the batch's task."""

    __slots__ = ("_batch", "_index")

    def __init__(self, batch: Batch, index: int) -> None:
        super().__init__(batch.source._task)  # a task that waits for the item may run the batch
        self._batch = batch
        self._index = index

    def _follow(self) -> None:
        """Settle when the batch does."""
        if not self._batch.source._listen(self._take_over):
            self._take_over(self._batch.source)

    def _take_over(self, _source: Future[Outcomes]) -> None:
        self._settle(*self._batch.outcome(self._index))

    def _current(self) -> int:
        if self._state >= FINISHED:
            return self._state
        state = self._batch.source._state
        return state if state < FINISHED else self._batch.outcome(self._index)[0]

    def _is_settled(self) -> bool:
        # The batch may have settled without a word to anybody, in a forked child.
        if self._state < FINISHED and self._batch.source._state >= FINISHED:
            self._take_over(self._batch.source)
        return self._state >= FINISHED

    def _sleep(self, timeout: float | None) -> bool:
        # On the batch itself: the callbacks of other items may stand between it and this one.
        return self._batch.source._sleep(timeout) and self._is_settled()

    def _yield_until_settled(self) -> Generator[Any, None, None]:
        yield from self._batch.source._yield_until_settled()
        self._is_settled()

    def cancel(self) -> bool:
        """False: an item is done with its batch. Cancel the group."""
        return False
