"""laila's process task force: see :class:`ProcessTaskForce`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.processes.taskforce import ProcessTaskForce
else:

    def __getattr__(name):
        # Worker processes import the module `child` beside this one, and have no use for the rest.
        if name != "ProcessTaskForce":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from laila.taskforce.processes.taskforce import ProcessTaskForce

        return ProcessTaskForce


__all__ = ["ProcessTaskForce"]
