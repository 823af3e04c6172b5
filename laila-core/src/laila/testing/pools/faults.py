"""When something is wrong: damage is never data, an outage is never an absence, and both end."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import TYPE_CHECKING

from laila.contract import Blob
from laila.errors import CorruptEntryError, LailaError
from laila.pool.memory import MemoryPool
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import broken, promise, until
from laila.testing.samples import entry_key, make_blob, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from laila.contract import Pool

__all__ = ["Faults"]

OUTAGE_SECONDS = 60.0
"""How long one call may take while the backend cannot be reached."""


class Faults(PoolSuite):
    """Damaged bytes, and a backend that cannot be reached."""

    def test_damage_is_never_data(self, pool: Pool, damage: Callable[[str], None]) -> None:
        """It is a CorruptEntryError of its own key; the rest of a batch is read, and a write repairs."""
        for size in (100, 70_000):
            good, bad = make_blob(entry_key(1), size), make_blob(entry_key(2), size)
            pool._write_many([(good.key, good), (bad.key, bad)])
            damage(bad.key)
            found = pool.load_here([good.key, bad.key, good.key])
            promise(
                [isinstance(one, Blob) for one in found] == [True, False, True],
                "a damaged entry fails itself, and nothing else of its batch",
            )
            promise(
                isinstance(found[1], CorruptEntryError),
                f"a damaged entry is a CorruptEntryError, no data and no absence; it gave {found[1]!r}",
            )
            promise(
                isinstance(found[1], CorruptEntryError) and pool.label in str(found[1]),
                "the error names the pool",
            )
            pool._write(bad.key, bad)
            promise(stored(pool, bad.key) == bytes(bad), "a write repairs what is damaged")

    def test_a_damaged_copy_is_filled_again(self, pool: Pool, damage: Callable[[str], None]) -> None:
        """A cache gives the origin's blob, and keeps it in place of the damaged copy."""
        origin, blob = MemoryPool(), make_blob(entry_key(1), 70_000)
        origin.store_here([blob])
        pool.proxy_to = origin
        pool.load([blob.key])
        damage(blob.key)
        found = pool.load([blob.key])[0]
        promise(
            isinstance(found, Blob) and bytes(found) == bytes(blob), "a damaged copy is read from the origin"
        )
        promise(stored(pool, blob.key) == bytes(blob), "a damaged copy is filled again from the origin")

    def test_an_outage_is_an_error(
        self, pool: Pool, outage: Callable[[], AbstractContextManager[object]]
    ) -> None:
        """Each call says so, soon, and never that the key is not there; afterwards the pool works again."""
        blob = make_blob(entry_key(1), 3000)
        pool._write(blob.key, blob)
        calls: dict[str, Callable[[], object]] = {
            "_read": lambda: pool._read(blob.key),
            "_read_many": lambda: pool._read_many([blob.key, "x"]),
            "_read_head": lambda: pool._read_head(blob.key),
            "_exists": lambda: pool._exists(blob.key),
            "_write": lambda: pool._write("new", make_blob("new")),
            "_create": lambda: pool._create("newer", make_blob("newer")),
            "_delete": lambda: pool._delete(blob.key),
            "_keys": lambda: list(pool._keys()),
            "_newest": lambda: pool._newest(blob.key),
            "_empty": lambda: pool._empty(),  # noqa: PLW0108 - looked up when it is called
        }
        with outage():
            for name, call in calls.items():
                start = time.monotonic()
                try:
                    answer = call()
                except LailaError as error:
                    promise(
                        isinstance(error, OSError),
                        f"{name} raises an OSError in an outage, such as PoolError",
                    )
                    promise(len(str(error)) > 10, f"{name} says what happened")
                    # By the same means as pickle, which no module here may use.
                    promise(str(deepcopy(error)) == str(error), f"the error of {name} pickles")
                except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the promise
                    broken(f"{name} raises a LailaError in an outage; it raised {error!r}")
                else:
                    broken(f"{name} raises in an outage; it gave {answer!r}")
                promise(
                    time.monotonic() - start < OUTAGE_SECONDS,
                    f"{name} raises within {OUTAGE_SECONDS:.0f} s in an outage",
                )
        until(
            lambda: self._works(pool, blob),
            lambda: "a pool works again after an outage, without being reopened",
        )

    @staticmethod
    def _works(pool: Pool, blob: Blob) -> bool:
        try:
            return stored(pool, blob.key) == bytes(blob)
        except LailaError:
            return False
