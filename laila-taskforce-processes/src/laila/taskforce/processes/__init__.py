"""laila's process task force: see :class:`ProcessTaskForce`."""

from __future__ import annotations

from laila.contract import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.processes.taskforce import ProcessTaskForce
else:
    # Worker processes import the module `child` beside this one, and have no use for the rest.
    __getattr__ = lazily(__name__, {"ProcessTaskForce": "laila.taskforce.processes.taskforce"})


__all__ = ["ProcessTaskForce"]
