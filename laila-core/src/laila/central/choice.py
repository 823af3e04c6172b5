"""The pool that a verb means, as one value; the public verbs take it as three arguments."""

from __future__ import annotations

from typing import NamedTuple

from laila.errors import InvalidArgumentError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["ALPHA", "PoolChoice"]


class PoolChoice(NamedTuple):
    """Which pool a verb means: by id, nickname or affinity; without any of them, the alpha pool."""

    pool_id: str | None = None
    pool_nickname: str | None = None
    affinity: float | None = None

    @classmethod
    def sent(cls, verb: str, options: Mapping[str, Any]) -> PoolChoice:
        """Return the choice that a peer sent.

        Args:
            verb: The verb that the peer called.
            options: The options of the peer's call that name a pool. The router checks their values.

        Raises:
            InvalidArgumentError: an option does not name a pool.
        """
        unknown = options.keys() - set(cls._fields)
        if unknown:
            named = ", ".join(shown(name) for name in sorted(unknown))
            raise InvalidArgumentError(
                f"central.memory.{verb}() has no option {named}; a pool is named by {', '.join(cls._fields)}"
            )
        return cls(**options)

    def options(self) -> dict[str, Any]:
        """Return the choice as options of a call, without those that say nothing."""
        return {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}


ALPHA = PoolChoice()
