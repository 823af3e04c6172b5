"""The pytest plugin that comes with the suites: their failures are told well, and in few words.

The entry point ``laila`` of the group ``pytest11``. It imports nothing but pytest until a suite is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

_PATIENCE = 5.0  # seconds that a process has to end when a suite has left hanging threads in it

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pytest_configure", "pytest_sessionfinish", "pytest_terminal_summary", "pytest_unconfigure"]

# Plain asserts in the helpers of the suites show what they compared, as those in test files do.
for _name in ("bounded", "child", "pools", "programs", "promises", "protocols", "samples", "taskforces"):
    pytest.register_assert_rewrite(f"laila.testing.{_name}")

_PREFIX = "Failed: promise broken: "


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that selects the suites or leaves them out."""
    config.addinivalue_line("markers", "conformance: a promise of laila's contract; the suites bear it")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process soon, where a test has left threads that hang and may keep it alive for ever."""
    import sys

    bounded = sys.modules.get("laila.testing.bounded")
    if bounded is None or not bounded.something_hung():
        return
    import os
    from threading import Thread
    from time import sleep

    code = int(getattr(config, "_laila_exit_code", 1))

    def end() -> None:
        sleep(_PATIENCE)
        sys.stderr.write("laila: what hung in a test keeps this process alive; it is ended\n")
        sys.stderr.flush()
        os._exit(code)

    Thread(target=end, name="laila-end", daemon=True).start()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the run went."""
    session.config._laila_exit_code = int(exitstatus)  # type: ignore[attr-defined]  # ours


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the promises that are broken, each once, with the tests that found it."""
    broken: dict[str, list[str]] = {}
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        for line in _lines(report):
            broken.setdefault(line, []).append(report.nodeid)
    if broken:
        terminalreporter.section("promises of laila's contract that are broken")
        for line, tests in broken.items():
            terminalreporter.write_line(f"- {line}")
            for test in tests:
                terminalreporter.write_line(f"    {test}")


def _lines(report: pytest.TestReport) -> Iterator[str]:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = getattr(crash, "message", "")
    if message.startswith(_PREFIX):
        yield message.removeprefix(_PREFIX).splitlines()[0]
