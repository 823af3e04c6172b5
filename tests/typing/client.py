"""What a program that uses laila may write: type checkers know all of it, and find what is wrong.

Checked, never run. Each line that ends in `# wrong` holds exactly one error; no other line holds any.
"""

from __future__ import annotations

import laila
from laila.contract import Blob, Pool, TaskForce
from laila.errors import EntryNotFoundError, LailaError
from laila.pool.hdf5 import HDF5Pool
from laila.taskforce.threads import PythonThreadPoolTaskForce

pool: Pool = HDF5Pool(path="store.h5")
task_force: TaskForce = PythonThreadPoolTaskForce()
entry: laila.Entry = laila.constant(data={"a": 1}, nickname="first")
error: LailaError = EntryNotFoundError("no entry")
name: str = entry.global_id
blob: Blob = Blob.from_bytes(b"")

missing = laila.memorise(entry)  # wrong
number: int = HDF5Pool(path="store.h5")  # wrong
other: HDF5Pool = PythonThreadPoolTaskForce()  # wrong
length: int = entry.global_id  # wrong
unknown = HDF5Pool.no_such_attribute  # wrong
