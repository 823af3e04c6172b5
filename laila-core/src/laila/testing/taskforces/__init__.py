"""The suite for task forces: what every task force owes those who submit, and what this one says that it is.

:class:`TaskForceConformance` is put together from one class a subject; a subclass gives the fixture
``make_taskforce``.
"""

from __future__ import annotations

import pytest

from laila.testing.taskforces.base import TaskForceSuite
from laila.testing.taskforces.ending import Ending
from laila.testing.taskforces.failures import Failures
from laila.testing.taskforces.machine import Machine
from laila.testing.taskforces.processes import Processes
from laila.testing.taskforces.waiting import Waiting
from laila.testing.taskforces.watching import Watching
from laila.testing.taskforces.work import Work

__all__ = ["TaskForceConformance"]


@pytest.mark.conformance
class TaskForceConformance(Work, Failures, Watching, Waiting, Ending, Machine, Processes, TaskForceSuite):
    """Holds a task force to its contract.

    Subclass it, and define ``make_taskforce``; see :class:`TaskForceSuite`.
    """
