"""laila's thread task force: :class:`PythonThreadPoolTaskForce`."""

from __future__ import annotations

from laila.taskforce.threads.taskforce import PythonThreadPoolTaskForce

__all__ = ["PythonThreadPoolTaskForce"]
