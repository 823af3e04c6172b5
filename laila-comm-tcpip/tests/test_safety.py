"""Safety over real connections: who gets in, what they may do, and what others learn."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import serve

import laila
from laila.codec import encode
from laila.comm.tcpip.identity import Identity, _identities, identity_of
from laila.comm.tcpip.limits import Limits, Offer
from laila.comm.tcpip.messages import BadMessage
from laila.comm.tcpip.once import Once
from laila.comm.tcpip.outgoing import TooLong
from laila.comm.tcpip.session import Session
from laila.contract import Request
from laila.errors import (
    CorruptEntryError,
    PayloadError,
    PeerError,
    PeerRefusedError,
    PeerTimeoutError,
    SecretError,
    SettingsError,
    UntrustedPayloadError,
)
from servers.certificates import certify
from servers.peers import SECRET, Node
from servers.plain import LIMITS, Plain
from servers.recorder import Recorder

READER = "reads only, and is long enough for that"
ADMIN = "administers, and is long enough"


@pytest.fixture
def listener(policy: laila.DefaultPolicy) -> Callable[..., Any]:
    """Make the policy of this process listen, with options."""

    def listen(**options: Any) -> Any:
        protocol = laila.DefaultTCPIPProtocol(**{"port": 0, "peer_secret_key": SECRET, **options})
        policy.central.communication.add_connection(protocol)
        return protocol

    return listen


# -- the secret ----------------------------------------------------------------------------------------------


def test_the_secret_crosses_in_no_frame(policy: laila.DefaultPolicy, node: Node) -> None:
    with Recorder(node.port) as recorder:
        peer = laila.peers[laila.add_peer(f"ws://127.0.0.1:{recorder.port}", SECRET)]
        entry = laila.constant("the payload, which does cross")
        peer.central.memory.memorize(entry).wait()
        assert peer.central.memory.remember(entry.global_id).data
        with pytest.raises(PeerRefusedError):
            laila.DefaultPolicy().central.communication.add_peer(
                f"ws://127.0.0.1:{recorder.port}", "a wrong secret of some length"
            )
        policy.close()
        crossed = recorder.everything()
    assert b"laila.authenticate" in crossed  # it was unmasked
    assert b"the payload, which does cross" in crossed
    for secret in (SECRET.encode(), b"a wrong secret of some length"):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret), secret[::-1], secret[:12]):
            assert form not in crossed


def test_wrong_secrets_are_slowed_counted_and_logged_without_the_secret(
    listener: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    protocol = listener()
    caplog.set_level(logging.DEBUG)
    waits = []
    for i in range(3):
        began = time.monotonic()
        with pytest.raises(PermissionError, match="secret is wrong"):
            Plain(protocol.uri, f"a guess that is wrong, number {i}")
        waits.append(time.monotonic() - began)
    assert waits[0] >= 0.25
    assert waits[1] >= 0.5
    assert waits[2] >= 1.0
    assert protocol.failed_handshakes == 3
    assert "wrong secret (3 in the last minutes)" in caplog.text
    assert "a guess that is wrong" not in caplog.text
    assert SECRET not in caplog.text
    Plain(protocol.uri, SECRET)  # whoever knows it is not slowed


def test_the_secret_shows_nowhere(listener: Callable[..., Any], policy: laila.DefaultPolicy) -> None:
    protocol = listener(secrets={"the other secret of these tests": "read"})
    with pytest.raises(PeerRefusedError) as refused:
        laila.DefaultPolicy().central.communication.add_peer(protocol.uri, "a secret that is wrong here")
    shown = [
        repr(protocol),
        repr(protocol.settings),
        json.dumps(laila.environment),
        str(refused.value),
        repr(policy),
    ]
    for text in shown:
        for secret in (SECRET, "the other secret", "a secret that is wrong"):
            assert secret not in text
    (written,) = (one for one in laila.environment["protocols"] if one["uuid"] == protocol.uuid)
    assert sorted(written["missing_secrets"]) == ["peer_secret_key", "secrets"]


def test_an_environment_builds_the_protocol_again(
    listener: Callable[..., Any], policy: laila.DefaultPolicy
) -> None:
    protocol = listener(max_in_flight=77)
    environment = json.loads(json.dumps(laila.environment))
    policy.close()
    again = laila.DefaultPolicy.from_environment(environment, secrets={"peer_secret_key": SECRET})
    (built,) = again.central.communication.connections.values()
    assert built.global_id == protocol.global_id
    assert built.uri is not None
    with Plain(built.uri, SECRET) as plain:
        assert plain.call("describe")[0]["policy"] == policy.global_id == again.global_id
    again.close()


def test_a_short_secret_is_warned_of(listener: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    listener(peer_secret_key="short")
    assert "less than 22 characters" in caplog.text
    assert "short" not in caplog.text.replace("shortcut", "")


def test_a_rogue_listener_gets_nothing_executed(policy: laila.DefaultPolicy) -> None:
    """It answers as a node would, asks for everything, and is told nothing."""
    heard: list[Any] = []

    def rogue(connection: Any) -> None:
        heard.append(connection.recv())
        challenge = {
            "version": 1, "nonce": "00" * 32, "salt": "00" * 32, "identity": "00" * 32,
            "policy": "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-000000000000",
        }  # fmt: skip
        connection.send(json.dumps({"jsonrpc": "2.0", "id": 0, "result": challenge}))
        heard.append(connection.recv())
        for method in ("describe", "central.memory.remember"):
            connection.send(json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": []}))
        heard.extend(connection)

    with serve(rogue, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with pytest.raises(PeerError):
            laila.add_peer(uri, SECRET)
        server.shutdown()
    assert [json.loads(text)["method"] for text in heard] == ["laila.hello", "laila.authenticate"]
    assert not laila.peers


def test_nothing_is_answered_before_authentication(node: Node) -> None:
    with Plain(node.uri, None) as stranger:
        stranger.send({"id": 1, "method": "describe"})
        answer = stranger.receive()
        assert answer["error"]["code"] == -32600
        assert node.policy_id not in json.dumps(answer)
        with pytest.raises(ConnectionClosed):
            stranger.receive()
    with Plain(node.uri, None) as stranger:
        stranger.send({"id": 1, "method": "laila.hello", "params": {"versions": [1], "nonce": "00" * 32}})
        stranger.receive()
        stranger.send({"id": 2, "method": "central.memory.remember", "params": ["x"]})
        assert "error" in stranger.receive()
        with pytest.raises(ConnectionClosed):
            stranger.receive()


# -- who is who ----------------------------------------------------------------------------------------------


def test_nobody_takes_over_the_id_of_another(
    listener: Callable[..., Any], policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory knows the secret and Alice's id, and has another key: Alice stays Alice, also when gone."""
    protocol = listener()
    alice, mallory = laila.DefaultPolicy(nickname="alice"), laila.DefaultPolicy()
    alice.central.communication.add_peer(protocol.uri, SECRET)
    alice.central.memory.memorize(laila.constant("hers", nickname="whose")).wait()
    mallory.central.memory.memorize(laila.constant("Mallory's", nickname="whose")).wait()
    mallory.central.communication.policy_id = alice.global_id
    monkeypatch.setattr("laila.comm.tcpip.protocol.identity_of", lambda _: Identity())
    with pytest.raises(PeerRefusedError, match="another identity"):
        mallory.central.communication.add_peer(protocol.uri, SECRET)
    assert laila.peers[alice.global_id].central.memory.remember(nickname="whose").data == "hers"
    alice.close()
    with pytest.raises(PeerRefusedError, match="another identity"):
        mallory.central.communication.add_peer(protocol.uri, SECRET)
    mallory.close()


def test_closing_an_old_connection_never_drops_the_live_one(
    listener: Callable[..., Any], policy: laila.DefaultPolicy
) -> None:
    protocol = listener()
    other = laila.DefaultPolicy()
    for _ in range(2):
        other.central.communication.add_peer(protocol.uri, SECRET)
    (outbound,) = other.central.communication.connections.values()
    links = outbound._registry._links[policy.global_id]  # type: ignore[attr-defined]
    assert len(links) == 2
    old = links[0]
    outbound._background.soon(old._connection.abort)  # type: ignore[attr-defined]
    deadline = time.monotonic() + 60
    while len(links) == 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(links) == 1
    assert list(laila.peers) == [other.global_id]
    assert laila.peers[other.global_id].describe()["policy"] == other.global_id
    assert other.central.communication.peers[policy.global_id].describe()["policy"] == policy.global_id
    other.close()


def test_a_policy_with_a_nickname_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = """
import sys, laila
from laila.comm.tcpip.identity import identity_of
policy = laila.DefaultPolicy(nickname="worker")
print(policy.global_id, identity_of(policy.global_id).public.hex())
"""
    environment = {**os.environ, "LAILA_HOME": str(tmp_path)}
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(said) == 1
    (path,) = (tmp_path / "secrets" / "peers").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", ["a link", "readable by others", "a folder that others write to"])
def test_an_identity_that_others_may_know_is_refused(tmp_path: Path, wrong: str) -> None:
    home = dict(laila.LAILA_DEFAULT_DIRECTORIES)
    laila.set_default_directory(tmp_path)
    try:
        name = laila.DefaultPolicy(nickname=f"who: {wrong}").global_id
        identity_of(name)
        (path,) = (tmp_path / "secrets" / "peers").iterdir()
        _identities.pop(name)
        if wrong == "a link":
            path.rename(tmp_path / "theirs")
            path.symlink_to(tmp_path / "theirs")
        elif wrong == "readable by others":
            path.chmod(0o644)
        else:
            path.parent.chmod(0o777)
        with pytest.raises(SecretError, match="the file and its rights"):
            identity_of(name)
        assert len(list(path.parent.iterdir())) == 1
    finally:
        laila.LAILA_DEFAULT_DIRECTORIES.update(home)


# -- the address ---------------------------------------------------------------------------------------------


def test_an_address_that_others_reach_needs_tls_or_a_word() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        with pytest.raises(SettingsError, match="allow_plaintext=True") as refused:
            laila.DefaultTCPIPProtocol(host=host, peer_secret_key=SECRET)
        assert refused.value.option == "host"
        laila.DefaultTCPIPProtocol(host=host, peer_secret_key=SECRET, allow_plaintext=True)
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        laila.DefaultTCPIPProtocol(host=host, peer_secret_key=SECRET)


def test_a_web_page_does_not_get_in(listener: Callable[..., Any]) -> None:
    protocol = listener(origins=["https://trusted.example"])
    with pytest.raises(InvalidStatus) as refused:
        Plain(protocol.uri, SECRET, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    with Plain(protocol.uri, SECRET, origin="https://trusted.example") as page:
        assert page.role == "write"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"peer_secret_key": None}, "peer_secret_key"),
        ({"secrets": {"": "read"}}, "secrets"),
        ({"secrets": {"x" * 30: "king"}}, "secrets"),
        ({"port": -1}, "port"),
        ({"heartbeat": 0.0}, "heartbeat"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"nonsense": 1}, "nonsense"),
        ({"certificate": "/no/such/file"}, "certificate"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], option: str) -> None:
    with pytest.raises(SettingsError) as refused:
        laila.DefaultTCPIPProtocol(**{"peer_secret_key": SECRET, **options})
    assert refused.value.option == option


def test_a_taken_port_says_so(listener: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PeerError, match="port=0"):
        listener(port=taken.getsockname()[1])


def test_where_nobody_listens_or_something_else_does(policy: laila.DefaultPolicy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        policy.central.communication.add_connection(
            laila.DefaultTCPIPProtocol(listen=False, connect_timeout=0.3)
        )
        with pytest.raises(PeerTimeoutError, match="is it a laila peer"):
            laila.add_peer(f"ws://127.0.0.1:{port}", SECRET)
    with pytest.raises(PeerError, match="cannot be reached"):
        laila.add_tcpip_peer("127.0.0.1", port, SECRET)
    for uri in ("ws://", "ws://host:port", "ws://user@host:1"):
        with pytest.raises(SettingsError):
            laila.add_peer(uri, SECRET)
    with pytest.raises(ImportError):
        laila.add_peer("nonsense://host:1", SECRET)


# -- what they may do ----------------------------------------------------------------------------------------

ROLES = {
    "describe": "read",
    "find": "read",
    "central.memory.remember": "read",
    "central.memory.history": "read",
    "central.memory.leases": "write",
    "central.memory.describe": "read",
    "central.memory.present": "read",
    "central.memory.holds": "read",
    "central.memory.open": "read",
    "central.memory.read_parts": "read",
    "central.memory.remember_leaves": "read",
    "central.command.submit": "read",
    "central.memory.memorize": "write",
    "central.memory.forget": "write",
    "central.memory.forget_manifest": "write",
    "central.command.run": "admin",
    "central.command.start": "admin",
    "central.command.pause": "admin",
    "environment": "admin",
}


@pytest.mark.parametrize("role", ["read", "write", "admin"])
@pytest.mark.parametrize("method", ROLES)
def test_the_table_of_roles(policy: laila.DefaultPolicy, method: str, role: Any) -> None:
    order = ["read", "write", "admin"]
    request = Request(method.split("."), role=role)
    try:
        policy.central.communication.dispatch("somebody", request)
    except PeerRefusedError as refused:
        if "needs the role" in str(refused):
            assert order.index(role) < order.index(ROLES[method])
            return
    except Exception:  # noqa: BLE001 - it was let in, and had no arguments
        pass
    assert order.index(role) >= order.index(ROLES[method])


def test_the_table_is_whole(policy: laila.DefaultPolicy) -> None:
    from laila.peering.methods import ExportedMethods

    table = ExportedMethods(policy).table
    assert {".".join(path): method.role for path, method in table.items()} == ROLES


def test_each_secret_has_its_role(node: Node) -> None:
    for secret, role in ((READER, "read"), (SECRET, "write"), (ADMIN, "admin")):
        with Plain(node.uri, secret) as plain:
            assert plain.role == role
            names = [one["name"] for one in plain.call("describe")[0]["functions"]]
            assert ("count" in names, "secret_thing" in names) == (role != "read", role == "admin")
            call = {"function": "secret_thing"}
            if role == "admin":
                assert plain.call("central.command.submit", call)[0] == 1
                assert plain.call("environment")[0]["uuid"] in node.policy_id
            else:
                with pytest.raises(RuntimeError, match="is exported to the role"):
                    plain.call("central.command.submit", call)


PATHS = [
    "__class__",
    "_close",
    "close",
    "central",
    "central.memory",
    "central.memory.router",
    "central.memory.router.route",
    "central.memory._runner.run",
    "central.memory.remember.__globals__",
    "central.memory.remember.__call__",
    "central.command.shutdown",
    "central.communication.add_peer",
    "describe.__self__",
    "Central.Memory.Remember",
    "central.memory.remember ",
    "laila.terminate",
    "os.system",
    "",
    ".",
    "central..memory.remember",
]


@pytest.mark.parametrize("path", PATHS)
def test_only_exported_methods_are_reached_by_their_full_path(node: Node, path: str) -> None:
    with Plain(node.uri, ADMIN) as admin, pytest.raises(RuntimeError, match="not exported"):
        admin.call(path)


def test_arguments_of_no_method_end_no_connection(node: Node) -> None:
    plain = Plain(node.uri, SECRET)
    for name in ("self", "pool", "_others"):
        with pytest.raises(RuntimeError, match="InvalidArgumentError"):
            plain.call("central.memory.remember", {"*": ["LAILA:ENTRY:no"], name: 1})
    assert plain.call("describe")


def test_private_functions_cannot_be_exported() -> None:
    for name in ("_hidden", "__init__", "no name", "a.b", ""):
        with pytest.raises(SettingsError):
            laila.export(name=name)(lambda: None)
    with pytest.raises(SettingsError):
        laila.export(name="fine", role="king")(lambda: None)  # type: ignore[call-overload]


def test_what_the_side_that_connects_lets_others_do(
    listener: Callable[..., Any], policy: laila.DefaultPolicy
) -> None:
    protocol = listener()
    other = laila.DefaultPolicy()
    other.central.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False, grants="read"))
    other.central.communication.add_peer(protocol.uri, SECRET)
    back = laila.peers[other.global_id]
    assert back.describe()["role"] == "read"
    with pytest.raises(PeerRefusedError, match="'write'"):
        back.central.memory.memorize(laila.constant(1)).wait()
    other.close()


# -- what they send ------------------------------------------------------------------------------------------


class Undeclared:
    """A class of this process alone."""

    def __init__(self) -> None:
        self.x = 1


KEYS = [f"key {i}, which is long enough to be one of these" for i in range(3)]


def test_what_needs_code_is_trusted_from_peers_as_from_pools(
    peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", KEYS[0])
    entry = laila.constant(Undeclared())
    peer.central.memory.memorize(entry).wait()  # the node files it, and need not know the class
    assert peer.central.memory.remember(entry.global_id).data.x == 1
    # As an argument it is decoded over there, where that key is not known.
    with pytest.raises(UntrustedPayloadError):
        peer.central.command.submit(peer.central.command.task("double", Undeclared()), wait=True)
    monkeypatch.setenv("LAILA_SECRET_KEY", KEYS[1])
    with pytest.raises(UntrustedPayloadError, match="Nothing was imported or run"):
        peer.central.memory.remember(entry.global_id).wait()


class Trap:
    """What leaves the number of the process behind that unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return spring, (self.path,)


def spring(path: str) -> Trap:
    Path(path, str(os.getpid())).touch()
    return Trap(path)


def test_a_payload_that_would_run_code_runs_none(
    peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed by a stranger's key, as an entry and as an argument."""
    mine = tmp_path / str(os.getpid())
    monkeypatch.setenv("LAILA_SECRET_KEY", KEYS[0])
    trap = Trap(str(tmp_path))
    entry = laila.constant(trap)
    peer.central.memory.memorize(entry).wait()
    assert isinstance(peer.central.memory.remember(entry.global_id).data, Trap)
    assert mine.exists()  # where the key is known it springs: that is what a signature is for
    with pytest.raises(UntrustedPayloadError):
        peer.central.command.submit(peer.central.command.task("double", trap), wait=True)
    assert list(tmp_path.iterdir()) == [mine]  # not over there
    mine.unlink()
    monkeypatch.setenv("LAILA_SECRET_KEY", KEYS[1])
    with pytest.raises(UntrustedPayloadError):
        peer.central.memory.remember(entry.global_id).wait()
    assert not mine.exists()


def test_a_blob_of_another_id_is_not_taken_for_the_one_that_was_asked_for(peer: Any) -> None:
    entry = laila.constant(b"x" * 1000)
    pool = laila.MemoryPool()
    pool[entry.global_id] = entry
    blob = pool[entry.global_id]
    future = peer.call("central.memory.memorize", [blob])
    assert future.result == entry.global_id
    broken = laila.Blob(entry.global_id, blob.tree, blob.buffers, digest=bytes(16))
    with pytest.raises(CorruptEntryError):
        peer.call("central.memory.memorize", [broken]).wait()


# -- how much they may send ----------------------------------------------------------------------------------


def gone(one: socket.socket) -> bool:
    """Whether the other side ends a connection."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def closed(plain: Plain) -> str:
    """Wait until the connection is closed; why."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            plain.socket.recv(5)
        except ConnectionClosed as end:
            return end.rcvd.reason if end.rcvd is not None else ""
    raise AssertionError("it stayed open")


def test_large_messages_are_refused(listener: Callable[..., Any], policy: laila.DefaultPolicy) -> None:
    protocol = listener(max_message_bytes=100_000, max_json_bytes=10_000, max_depth=8)
    other = laila.DefaultPolicy()
    peer = other.central.communication.peers[other.central.communication.add_peer(protocol.uri, SECRET)]
    with pytest.raises(PayloadError, match="takes 100000 in one message"):
        peer.central.memory.memorize(laila.constant(b"x" * 200_000)).wait()
    assert peer.describe()["policy"] == policy.global_id  # nothing was sent, and nothing is broken
    other.close()
    with Plain(protocol.uri, SECRET) as plain:
        plain.send({"id": 1, "method": "m", "laila": {"stream": 1, "sizes": [200_000]}})
        assert "at most 100000" in closed(plain)
    with Plain(protocol.uri, SECRET) as plain:
        plain.send({"id": 1, "method": "m", "params": ["x" * 20_000]})
        assert "as a stream" in closed(plain)
    with Plain(protocol.uri, SECRET) as plain:
        plain.socket.send('{"a":' * 20 + "1" + "}" * 20)
        assert plain.receive()["error"]["code"] == -32700
    with Plain(protocol.uri, SECRET) as plain:
        plain.socket.send(b"x" * 2_000_000)
        closed(plain)


def test_too_many_calls_in_flight_end_the_connection(listener: Callable[..., Any]) -> None:
    protocol = listener(max_in_flight=4)
    done = threading.Event()

    @laila.export(name="wait_for_the_test")
    def wait_for_the_test() -> None:
        done.wait(60)

    try:
        with Plain(protocol.uri, SECRET) as plain:
            for i in range(5):
                plain.send(
                    {"id": i, "method": "central.command.submit", "params": {"function": "wait_for_the_test"}}
                )
            assert "more than 4 calls" in closed(plain)
    finally:
        done.set()


def test_fast_callers_are_read_more_slowly(listener: Callable[..., Any]) -> None:
    protocol = listener(max_calls_per_second=20.0)
    with Plain(protocol.uri, SECRET) as plain:
        began = time.monotonic()
        for i in range(40):
            plain.send({"id": i, "method": "describe"})
        for _ in range(40):
            plain.receive()
        assert time.monotonic() - began >= 0.9


def test_connections_and_handshakes_are_bounded(listener: Callable[..., Any]) -> None:
    protocol = listener(max_connections=2, max_handshakes=8)
    with Plain(protocol.uri, SECRET), Plain(protocol.uri, SECRET):
        with pytest.raises(InvalidStatus) as refused:
            Plain(protocol.uri, SECRET)
        assert refused.value.response.status_code == 503
    protocol = listener(max_handshakes=2)
    with Plain(protocol.uri, None) as first, Plain(protocol.uri, None), Plain(protocol.uri, None):
        assert "try again later" in closed(first)


@pytest.mark.parametrize("half", [False, True])
def test_a_slow_handshake_gives_its_place_away(half: bool, listener: Callable[..., Any]) -> None:
    """Whoever comes may speak, however many others do not, or only half of what they should."""
    protocol = listener(max_handshakes=2, max_connections=3)
    with Plain(protocol.uri, None) as first, Plain(protocol.uri, None) as second:
        if half:
            for one in (first, second):
                hello = {"versions": [1], "nonce": "00" * 32}
                one.send({"id": 1, "method": "laila.hello", "params": hello})
                assert one.receive()["result"]
        with Plain(protocol.uri, SECRET) as honest:
            closed(first)
            assert honest.role == "write"


@pytest.mark.parametrize("secure", [False, True])
def test_silent_connections_lock_nobody_out(
    secure: bool, listener: Callable[..., Any], tmp_path: Path
) -> None:
    names = ("certificate", "private_key")
    tls = dict(zip(names, certify(tmp_path, "node"), strict=True)) if secure else {}
    protocol = listener(max_handshakes=4, **tls)
    silent = [socket.create_connection(("127.0.0.1", protocol.bound_port)) for _ in range(100)]
    for one in silent[:-4]:
        one.settimeout(60)
        assert gone(one)  # the oldest go at once, and not after the time that they would have
    if not secure:
        for _ in range(3):
            with Plain(protocol.uri, SECRET) as honest:
                assert honest.role == "write"
    for one in silent:
        one.close()


@pytest.mark.parametrize("secure", [False, True])
def test_connections_that_have_gone_take_no_memory(
    listener: Callable[..., Any], tmp_path: Path, secure: bool
) -> None:
    """Not until the time is up that they had to speak: a flood of them would fill it."""
    certificate, key = certify(tmp_path, "node")
    tls = {"certificate": certificate, "private_key": key} if secure else {}
    protocol = listener(connect_timeout=600.0, **tls)

    def timers() -> int:
        return sum(not timer.cancelled() for timer in list(protocol._background.loop._scheduled))

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    before = timers()
    with ExitStack() as opened:
        for _ in range(20):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", protocol.bound_port)))
            one.sendall(b"\x16\x03\x01\x02" if secure else b"GET / HTTP/1.1\r\n")
        wait(lambda: timers() >= before + 20)
    wait(lambda: timers() <= before)


def test_who_waits_is_sent_away_at_the_end(listener: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "node")
    for tls in ({}, {"certificate": certificate, "private_key": key}):
        protocol = listener(**tls)
        with socket.create_connection(("127.0.0.1", protocol.bound_port)) as silent:
            silent.settimeout(60)
            silent.sendall(b"\x16" if tls else b"GET")
            deadline = time.monotonic() + 60
            while not len(protocol._listener._silent) and time.monotonic() < deadline:
                time.sleep(0.01)
            protocol.stop()
            assert gone(silent)


def test_a_stranger_has_little_to_say(node: Node) -> None:
    with Plain(node.uri, None) as stranger:
        stranger.socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            stranger.receive()


def test_a_handshake_that_never_ends_is_ended(listener: Callable[..., Any]) -> None:
    protocol = listener(connect_timeout=0.3)
    with Plain(protocol.uri, None) as silent:
        closed(silent)
    with socket.create_connection(("127.0.0.1", protocol.bound_port)) as half_open:
        half_open.settimeout(60)
        while half_open.recv(1000):
            pass


def test_the_plain_client_says_what_the_limits_are() -> None:
    from laila.comm.tcpip.limits import Offer

    assert set(LIMITS) == set(Offer._fields)


# -- what a peer may make a node do and keep ----------------------------------------------------------------


def session_of(limits: Limits, **offer: int) -> Session:
    return Session(limits, Offer(**{**limits.offer(), **offer}))


def called(session: Session, number: int | None, method: str = "find") -> None:
    message = {"jsonrpc": "2.0", "method": method} | ({} if number is None else {"id": number})
    session.receive_text(json.dumps(message))


def test_the_node_keeps_its_own_limits() -> None:
    """A peer that takes any number of streams, and then takes none, holds no more than a node allows."""
    limits = Limits(max_in_flight=8, max_streams=2, window_bytes=1000)
    session = session_of(limits, max_streams=2**61, window_bytes=2**61)
    for number in range(8):
        called(session, number)
        session.answer(number, {"$blob": 0}, [bytes(100_000)], [100_000])
    sent = 0
    while (message := session.next_message()) is not None:
        sent += len(message)
    assert sent < 4000  # two streams, with a window of a thousand bytes each
    assert session.outgoing == 8 * 100_000  # what waits for a stream is counted as well
    with pytest.raises(BadMessage, match="in flight"):  # an answer counts until it was taken
        called(session, 8)


def test_an_answer_that_was_taken_makes_room() -> None:
    limits = Limits(max_in_flight=2, window_bytes=1000)
    session = session_of(limits)
    for number in range(100):
        called(session, number)
        session.answer(number, {"$blob": 0}, [bytes(3000)], [3000])
        stream = number
        for _ in range(3):
            while session.next_message() is not None:
                pass
            credit = {"method": "laila.credit", "params": {"stream": stream, "bytes": 1000}}
            session.receive_text(json.dumps({"jsonrpc": "2.0", **credit}))
        assert session.outgoing == 0


def test_short_answers_that_nobody_takes_are_counted() -> None:
    session = session_of(Limits(max_in_flight=8))
    for number in range(8):
        called(session, number)
        session.answer(number, "x" * 100_000)
    assert session.outgoing > 8 * 100_000
    while session.next_message() is not None:
        pass
    assert session.outgoing == 0


def test_calls_without_an_id_count() -> None:
    session = session_of(Limits(max_in_flight=4))
    for _ in range(4):
        called(session, None)
    with pytest.raises(BadMessage, match="in flight"):
        called(session, None)
    session.over()
    called(session, None)


def test_an_answer_whose_json_is_too_long_is_an_error() -> None:
    session = session_of(Limits(max_json_bytes=10_000))
    called(session, 1)
    with pytest.raises(TooLong):
        session.answer(1, ["x" * 100] * 1000)
    with pytest.raises(TooLong):
        session.call("find", {"*": ["x" * 100_000]})


def test_answers_that_are_kept_are_bounded_in_bytes() -> None:
    once = Once()
    answered: list[object] = []
    for i in range(10_000):
        key = ("a peer", str(i))
        assert once.begin(key, answered.append, 0.0)
        once.end(key, "answer", 0.0, kept="kept", nbytes=64 * 1024)
    assert once.nbytes <= 8 * 2**20
    for peer in map(str, range(100)):
        for i in range(100):
            once.begin((peer, str(i)), answered.append, 1.0)
            once.end((peer, str(i)), "answer", 1.0, kept="kept", nbytes=64 * 1024)
    assert once.nbytes <= 64 * 2**20
    assert not once.begin(("99", "99"), answered.append, 2.0)
    assert answered[-1] == "kept"
    assert once.begin(("99", "99"), answered.append, 10_000.0)
    assert once.nbytes == 0


def test_a_peer_that_may_not_has_nothing_decoded(node: Node) -> None:
    """Method and role come first: a blob that is none is not even looked at."""
    with Plain(node.uri, READER) as reader:
        for method in ("no.such.method", "central.memory.memorize", "central.command.run"):
            answer = raw_call(reader, method, {"*": [{"$value": 0}]}, b"no blob at all")
            assert answer["error"]["code"] == -32010, answer
        answer = raw_call(
            reader, "central.command.submit", {"*": ["count", {"$value": 0}]}, b"no blob at all"
        )
        assert answer["error"]["code"] == -32010, answer  # the function needs the role `write`
        answer = raw_call(reader, "find", {"*": [{"$value": 0}]}, b"no blob at all")
        assert answer["error"]["data"]["type"] == "CorruptEntryError"


@pytest.mark.parametrize("params", [7, "x", {"*": 7}, [{"$blob": 3}], {"a": {"$what": 0}}])
def test_params_that_are_none(params: object, node: Node) -> None:
    with Plain(node.uri, READER) as reader:
        assert raw_call(reader, "find", params)["error"]["code"] == -32602


def test_numbers_that_no_double_holds(node: Node) -> None:
    with Plain(node.uri, READER) as reader:
        for number in ("1e400", "-1E+999", "1" + "0" * 400 + ".0"):
            reader.socket.send('{"jsonrpc": "2.0", "id": 1, "method": "find", "params": [' + number + "]}")
            assert reader.receive()["error"]["code"] == -32700


def test_a_nickname_is_that_of_its_id(node: Node) -> None:
    blob = encode([1], key=laila.constant(1).global_id, nickname="of somebody else")
    with Plain(node.uri, SECRET) as plain:
        answer = raw_call(plain, "central.memory.memorize", {"*": [{"$blob": 0}]}, bytes(blob))
        assert answer["error"]["data"]["type"] == "IdentityError"


def raw_call(plain: Plain, method: str, params: object, blob: bytes = b"") -> dict[str, Any]:
    plain.number += 1
    message: dict[str, Any] = {"id": plain.number, "method": method, "params": params}
    if blob:
        message["laila"] = {"stream": plain.stream, "sizes": [len(blob)]}
    plain.send(message)
    if blob:
        plain.socket.send(struct.pack(">BBHQ", 1, 1, 0, plain.stream) + blob)
        plain.stream += 1
    return plain.receive()
