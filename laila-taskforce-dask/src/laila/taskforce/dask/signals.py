"""What a worker of a local cluster loads first: signals are the submitter's (a Dask preload)."""

from __future__ import annotations

from laila.contract import leave_signals_to_the_submitter

__all__: list[str] = []

leave_signals_to_the_submitter()
