"""A laila pool in one crash-safe HDF5 file: arrays as native datasets, small entries packed."""

from __future__ import annotations

from laila.pool.hdf5.pool import HDF5Pool, HDF5Settings

__all__ = ["HDF5Pool", "HDF5Settings"]
