"""Run a command with an S3 server of its own: ``python tools/with_s3.py -- COMMAND …``.

Starts the server that the tests use (on loopback, with nothing to set up), makes a bucket, and runs the
command with the ``AWS_*`` variables that lead there; an argument ``s3://`` becomes the bucket's URL. The
server and all that was stored in it end with the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from servers.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run it; return its exit code."""
    if len(arguments) < 2 or arguments[0] != "--":
        print(__doc__, file=sys.stderr)
        return 2
    with S3Server() as server:
        bucket = server.make_bucket()
        print(
            f"with_s3.py: {server.name} at {server.endpoint}, until the end of this command", file=sys.stderr
        )
        command = [f"s3://{bucket}" if argument == "s3://" else argument for argument in arguments[1:]]
        others = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAILA_S3_"))
        }
        return subprocess.run(command, env={**others, **server.variables()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
