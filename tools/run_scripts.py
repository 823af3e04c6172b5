"""Run each Python script of a folder in a fresh process with an empty HOME; exit 1 where one does not exit 0.

usage: python tools/run_scripts.py FOLDER [GLOB]

A script that fails is run once more, alone. If it passes then, it is named as unsteady, and does not count.

The scripts stand alone and say in one line what they found. Two run at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SECONDS = 300
MOST_AGAIN = 3


def run(script: Path) -> tuple[bool, str]:
    """Whether ``script`` exits 0 within its time, and what it says last."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        try:
            done = subprocess.run(
                [sys.executable, script],
                cwd=home,
                env={**os.environ, "HOME": home},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False, f"did not end within {SECONDS} seconds"
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit status {done.returncode}"


def main() -> int:
    """Run the scripts, print a line for each and a line for all."""
    folder, pattern = Path(sys.argv[1]).resolve(), (*sys.argv[2:], "*.py")[0]
    scripts = sorted(folder.glob(pattern))
    again = []
    with ThreadPoolExecutor(2) as executor:
        for script, (passed, said) in zip(scripts, executor.map(run, scripts), strict=True):
            print(f"{'passed' if passed else 'FAILED'} {script.stem}: {said}", flush=True)
            if not passed:
                again.append(script)
    failed = 0
    for script in again if len(again) <= MOST_AGAIN else ():
        passed, said = run(script)
        print(f"{'UNSTEADY' if passed else 'FAILED again'} {script.stem}: {said}", flush=True)
        failed += not passed
    failed = failed if len(again) <= MOST_AGAIN else len(again)
    print(f"{len(scripts) - failed} passed, {failed} failed, {len(again) - failed} unsteady")
    return 1 if failed or not scripts else 0


if __name__ == "__main__":
    sys.exit(main())
