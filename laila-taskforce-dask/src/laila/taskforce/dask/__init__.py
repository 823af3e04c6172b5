"""laila's Dask task force: :class:`DaskTaskForce`."""

from __future__ import annotations

from laila.contract import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.dask.taskforce import DaskTaskForce
else:
    # Workers and schedulers import other modules of this package, and do not need the task force.
    __getattr__ = lazily(__name__, {"DaskTaskForce": "laila.taskforce.dask.taskforce"})


__all__ = ["DaskTaskForce"]
