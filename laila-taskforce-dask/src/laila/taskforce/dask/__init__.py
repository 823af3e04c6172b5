"""laila's Dask task force: see :class:`DaskTaskForce`."""

from __future__ import annotations

from laila.contract import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.dask.taskforce import DaskTaskForce
else:
    # Workers and schedulers import modules beside this one, and have no use for the rest.
    __getattr__ = lazily(__name__, {"DaskTaskForce": "laila.taskforce.dask.taskforce"})


__all__ = ["DaskTaskForce"]
