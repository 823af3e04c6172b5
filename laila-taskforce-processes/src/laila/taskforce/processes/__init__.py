"""laila's process task force: :class:`ProcessTaskForce`."""

from __future__ import annotations

from laila.contract import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.processes.taskforce import ProcessTaskForce
else:
    # Worker processes import the module `child` of this package, and do not need the task force.
    __getattr__ = lazily(__name__, {"ProcessTaskForce": "laila.taskforce.processes.taskforce"})


__all__ = ["ProcessTaskForce"]
