"""Run the tests that have just failed once more, one after the other, and name those that pass now.

usage: python tools/run_again.py

A test that fails beside other tests and passes alone is unsteady. That is a defect of the test, or of what it
tests, and this program says its name in the last lines that it prints. It does not end with 0 where a test
fails again, where more than a few failed, or where something else than a test went wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 6  # where more fail, it is no matter of luck
FAILED = Path(".pytest_cache/v/cache/lastfailed")  # pytest's own list


def main() -> int:
    """Run them, and return the exit code."""
    try:
        failed = list(json.loads(FAILED.read_text(encoding="utf-8")))
    except FileNotFoundError:
        failed = []
    if not 0 < len(failed) <= MOST or any("::" not in test for test in failed):
        print(f"{len(failed)} failures: nothing is run again")
        return 1
    print(f"\n{len(failed)} of the tests failed; they are run again, alone:", flush=True)
    still = [test for test in failed if not _passes(test)]
    for test in failed:
        print(f"{'FAILED TWICE' if test in still else 'UNSTEADY, to be mended'}: {test}")
    return 1 if still else 0


def _passes(test: str) -> bool:
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "", test], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
