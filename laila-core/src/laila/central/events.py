"""What observers learn of a policy: its hooks, called only where somebody listens."""

from __future__ import annotations

from time import perf_counter

from laila.plugins import call_hook, listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from laila.contract.pool import Pool
    from laila.identity import Identifiable

__all__ = ["Events"]


class Events:
    """The hooks of one policy. Nothing below is called while nobody observes anything."""

    def __init__(self, policy: Identifiable) -> None:
        self._policy = policy

    def tell(self, hook: str, **what: object) -> None:
        """Call a hook of the policy, unless nobody listens."""
        if listeners(hook):
            call_hook(hook, policy=self._policy, **what)

    def observe(
        self, verb: str, pool: Pool, keys: Sequence[str], work: Callable[[], list[Any]]
    ) -> Callable[[], list[Any]]:
        """Tell that a verb was called, and return ``work`` so wrapped that it tells how the call ended."""
        self.tell(f"laila_before_{verb}", pool=pool, keys=keys)
        started = perf_counter()

        def observed() -> list[Any]:
            error: BaseException | None = None
            try:
                outcomes = work()
                error = next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), None)
                return outcomes
            except BaseException as failure:
                error = failure
                raise
            finally:
                seconds = perf_counter() - started
                self.tell(f"laila_after_{verb}", pool=pool, keys=keys, error=error, seconds=seconds)

        return observed
