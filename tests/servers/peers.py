"""Policies that listen, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SECRET = "the secret of these tests, long enough"

NODE = """
import json, sys
import laila

options = json.loads(sys.argv[1])
exec(options.pop("setup", ""))
protocol = laila.DefaultTCPIPProtocol(**options)
laila.communication.add_connection(protocol)
print(json.dumps([protocol.bound_port, laila.active_policy.global_id]), flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Node:
    """A policy that listens, in a process of its own."""

    def __init__(self, **options: Any) -> None:
        given = {"port": 0, "peer_secret_key": SECRET, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODE, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the node did not start"
        self.port, self.policy_id = json.loads(line)
        self.uri = f"ws://127.0.0.1:{self.port}"

    def run(self, code: str) -> None:
        """Run one line over there, and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true over there."""
        self.run("import time; end = time.monotonic() + 60")
        self.run(f"while not ({expression}) and time.monotonic() < end: time.sleep(0.01)")
        self.run(f"assert {expression}")

    def close(self) -> None:
        """End the process, one way or the other."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
