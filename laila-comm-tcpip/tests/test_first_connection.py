"""What a first connection gets wrong is told on both sides: a secret, TLS, a function that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import laila
from laila.errors import PeerError, PeerRefusedError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "5f" * 32


def test_laila_serve_and_the_one_who_connects_say_why(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "laila", "serve"],
        env={**os.environ, "HOME": str(tmp_path), "LAILA_TCPIP_PEER_SECRET_KEY": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            uri = server.stdout.readline().split()[0]
            with pytest.raises(PeerRefusedError, match="the secret is wrong"):
                laila.add_peer(uri, "another secret")
            with pytest.raises(PeerError, match="does it speak TLS"):
                laila.add_peer(uri.replace("ws://", "wss://"), SECRET)
            command = laila.peers[laila.add_peer(uri, SECRET)].central.command
            with pytest.raises(PeerRefusedError, match="no function 'mean' is exported"):
                command.submit(command.task("mean", [1])).wait()
        finally:
            server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=60)
    assert "was refused: wrong secret" in told
    assert "no function 'mean' is exported to the role 'write'" in told
    assert SECRET not in told
