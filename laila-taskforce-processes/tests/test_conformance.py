"""The process task force keeps the contract of task forces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from laila.taskforce.processes import ProcessTaskForce
from laila.testing import TaskForceConformance


class TestProcesses(TaskForceConformance):
    """With two workers."""

    patience = 60.0  # on a machine that is busy

    in_process = False
    examples = 5

    @pytest.fixture
    def make_taskforce(self) -> Callable[..., ProcessTaskForce]:
        """Give one that takes what every task force takes."""

        def make(**options: Any) -> ProcessTaskForce:
            return ProcessTaskForce(2, **options)

        return make
