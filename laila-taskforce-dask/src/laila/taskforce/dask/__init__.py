"""laila's Dask task force: see :class:`DaskTaskForce`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.taskforce.dask.taskforce import DaskTaskForce
else:

    def __getattr__(name):
        # Workers and schedulers import modules beside this one, and have no use for the rest.
        if name != "DaskTaskForce":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from laila.taskforce.dask.taskforce import DaskTaskForce

        return DaskTaskForce


__all__ = ["DaskTaskForce"]
