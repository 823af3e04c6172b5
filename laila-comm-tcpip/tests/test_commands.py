"""`laila serve` and `laila peers`, as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import laila
from laila.cli import health
from servers.peers import SECRET

VARIABLE = "LAILA_TCPIP_PEER_SECRET_KEY"


class Served:
    """A `laila serve` of its own."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "laila", "serve", *words],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.uri = self.line.split()[0] if self.line else ""

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """Tell it to stop; its exit code, and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "work.py").write_text(
        "import laila\n\n@laila.export\ndef triple(x):\n    'Give three times as much.'\n    return 3 * x\n"
    )
    (tmp_path / "secret").write_text(SECRET + "\n")
    one = Served(
        tmp_path, "--port", "0", "--pool", "main=hdf5:served.h5", "--pool", "memory://", "--import", "work",
        "--secret-file", "secret",
    )  # fmt: skip
    yield one
    one.end()


def test_a_node_is_served_from_the_shell(served: Served, policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    uri, gid = served.line.split()
    peer = laila.peers[laila.add_peer(uri, SECRET)]
    assert peer.global_id == gid
    entry = laila.constant([1, 2], nickname="kept")
    peer.central.memory.memorize(entry).wait()
    assert peer.central.command.submit(peer.central.command.task("triple", 2), wait=True) == 6
    began = time.monotonic()
    assert served.end() == (0, "")
    assert time.monotonic() - began < 60
    pool = laila.memory.extend(f"hdf5://{tmp_path}/served.h5")
    assert entry.global_id in pool


@pytest.mark.parametrize("how", ["variable", "file"])
def test_what_a_node_offers_is_shown(served: Served, tmp_path: Path, how: str) -> None:
    words = ["--secret-file", "secret"] if how == "file" else []
    done = subprocess.run(
        [sys.executable, "-m", "laila", "peers", served.uri, *words],
        cwd=tmp_path,
        env={**os.environ, **({VARIABLE: SECRET} if how == "variable" else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "LAILA:POLICY:",
        "write",
        "main (alpha)",
        "HDF5Pool",
        "power",
        "MemoryPool",
        "triple",
        "three times",
    ):
        assert part in done.stdout
    assert SECRET not in done.stdout


def test_ctrl_c_ends_it(served: Served) -> None:
    assert served.end(signal.SIGINT) == (0, "")


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    secret = {VARIABLE: SECRET}
    for words, variables, said in (
        ([], {}, VARIABLE),
        (["--secret-file", "none"], {}, "cannot be read"),
        (["--host", "0.0.0.0"], secret, "allow_plaintext"),
        (["--pool", "nonsense"], secret, "no pool URL"),
        (["--import", "no_such_module"], secret, "no_such_module"),
    ):
        served = Served(tmp_path, *words, **variables)
        code, errors = served.end()
        assert code == 1
        assert said in errors
        assert len(errors.splitlines()) == 1
        assert SECRET not in errors


def test_health_metrics_and_who_came_and_went(tmp_path: Path, policy: laila.DefaultPolicy) -> None:
    (tmp_path / "secret").write_text(SECRET)
    served = Served(
        tmp_path, "--pool", "main=memory://", "--secret-file", "secret", "--health-port", "0",
        "--log-level", "info", "--log-json", "--read-only",
    )  # fmt: skip
    assert served.process.stderr is not None
    url = re.findall(r"http://127\.0\.0\.1:\d+", served.process.stderr.readline())[0]
    with urllib.request.urlopen(f"{url}/health") as answer:
        assert answer.read() == b"ok\n"
    gid = laila.add_peer(served.uri, SECRET)
    with pytest.raises(PermissionError):
        laila.peers[gid].central.memory.memorize(laila.constant(1)).wait()
    with pytest.raises(KeyError):
        laila.peers[gid].central.memory.remember(nickname="nothing").wait()
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    assert "laila_peers 1" in lines
    assert any(line.startswith('laila_pool_misses_total{pool="main"') and line[-2:] != " 0" for line in lines)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/secret")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers={"Host": "evil.example:80"}))
    policy.close()
    code, errors = served.end()
    records = [json.loads(line) for line in errors.splitlines()]
    texts = [record["message"] for record in records]
    assert (code, SECRET in errors) == (0, False)
    assert any("connected from 127.0.0.1 with the role read" in text for text in texts)
    assert any(" left: " in text for text in texts)


def trickle(connection: socket.socket) -> None:
    """Send a byte now and then, and never a whole request, until the server ends it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        connection.sendall(b"a")
        time.sleep(0.02)


def test_a_client_that_trickles_is_cut_off(
    policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_SECONDS", 0.2)
    with health.HealthServer(policy, 0) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection, pytest.raises(ConnectionError):
            trickle(connection)
        with urllib.request.urlopen(f"{server.url}/health") as answer:
            assert answer.read() == b"ok\n"
