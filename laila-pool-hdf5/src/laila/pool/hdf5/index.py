"""The index in memory: which keys there are, and where their bytes are in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import MAX_KEY_BYTES, split_evolution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from laila.pool.hdf5.layout import Entry, Row

__all__ = ["Index", "footprint"]

# The rough cost of a row beside the bytes that it names; only compaction uses it.
_ROW_BYTES = 128


def footprint(entry: Entry) -> int:
    """The bytes that an entry takes in the file."""
    size = _ROW_BYTES + entry[2]
    return size + sum(length for _, length, _ in entry[3]) if len(entry) == 4 else size


class Index:
    """Keys to entries, and stems to evolutions; built by replaying the rows of the log.

    Changed by one thread at a time; each look-up is one step, so that readers need no lock.
    """

    __slots__ = ("_stems", "dead", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.dead = 0
        """The bytes in the file that no key leads to any more."""
        self._stems: dict[str, set[int]] | None = None

    def apply(self, rows: Iterable[Row]) -> None:
        """Replay ``rows``."""
        entries = self.entries
        for row in rows:
            key = row[0]
            if key is None:
                self.dead += sum(map(footprint, entries.values()))
                entries.clear()
                if self._stems is not None:
                    self._stems.clear()
                continue
            old = entries.get(key)
            if old is not None:
                self.dead += footprint(old)
            if len(row) > 1:
                entries[key] = row
            else:
                entries.pop(key, None)
                self.dead += _ROW_BYTES
            if self._stems is not None:
                self._note(self._stems, key, len(row) > 1)

    @staticmethod
    def _note(stems: dict[str, set[int]], key: str, exists: bool) -> None:
        split = split_evolution(key)
        if split is None or len(split[1]) > MAX_KEY_BYTES:  # a forged index: no int is made of it
            return
        stem, number = split
        if exists:
            stems.setdefault(stem, set()).add(int(number))
        elif stem in stems:
            stems[stem].discard(int(number))
            if not stems[stem]:
                del stems[stem]

    def evolutions(self, stem: str) -> list[int]:
        """Return the numbers ``n`` of the keys ``<stem>-<n>``, ascending. Not while :meth:`apply` runs."""
        if self._stems is None:
            # Not every user asks, and opening a large file should not wait for this.
            stems: dict[str, set[int]] = {}
            for key in self.entries:
                self._note(stems, key, True)
            self._stems = stems
        return sorted(self._stems.get(stem, ()))
