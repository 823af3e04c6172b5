"""`wss://`: certificates from files or contexts, and a handshake that is bound to them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.errors import EnvironmentSnapshotError, PeerError, PeerRefusedError, SettingsError
from servers.certificates import certify
from servers.peers import SECRET
from servers.tlsproxy import TLSProxy


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return certify(tmp_path, "node")


def listen(policy: laila.DefaultPolicy, **options: Any) -> Any:
    protocol = laila.DefaultTCPIPProtocol(port=0, peer_secret_key=SECRET, **options)
    policy.central.communication.add_connection(protocol)
    return protocol


def dial(uri: str, **options: Any) -> tuple[laila.DefaultPolicy, str]:
    other = laila.DefaultPolicy()
    other.central.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False, **options))
    try:
        return other, other.central.communication.add_peer(uri, SECRET)
    except BaseException:
        other.close()
        raise


def of_files(files: tuple[str, str]) -> dict[str, Any]:
    return {"certificate": files[0], "private_key": files[1]}


def of_context(files: tuple[str, str]) -> dict[str, Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return {"ssl_context": context}


@pytest.mark.parametrize("how", [of_files, of_context])
def test_peers_over_tls(
    policy: laila.DefaultPolicy, files: tuple[str, str], how: Callable[[tuple[str, str]], dict[str, Any]]
) -> None:
    protocol = listen(policy, **how(files))
    assert protocol.uri.startswith("wss://")
    other, peer = dial(protocol.uri, authorities=files[0])
    assert peer == policy.global_id
    entry = laila.constant(b"x" * 3_000_000)
    other.central.communication.peers[peer].central.memory.memorize(entry).wait()
    assert laila.remember(entry.global_id).data == entry.data
    assert laila.peers[other.global_id].describe()["policy"] == other.global_id
    other.close()


def test_a_certificate_that_is_not_vouched_for_is_refused(
    policy: laila.DefaultPolicy, files: tuple[str, str], tmp_path: Path
) -> None:
    protocol = listen(policy, **of_files(files))
    with pytest.raises(PeerError, match="certificate"):
        dial(protocol.uri, authorities=certify(tmp_path, "another")[0])
    with pytest.raises(PeerError):
        dial(protocol.uri.replace("wss", "ws"))


def test_somebody_in_the_middle_with_a_certificate_of_his_own_is_found_out(
    policy: laila.DefaultPolicy, files: tuple[str, str], tmp_path: Path
) -> None:
    """The client trusts his certificate, too: but it is not the one that the listener shows."""
    protocol = listen(policy, **of_files(files))
    his = certify(tmp_path, "his")
    both = tmp_path / "both.pem"
    both.write_text(Path(files[0]).read_text() + Path(his[0]).read_text())
    with TLSProxy(protocol.bound_port, his) as proxy:
        uri = f"wss://127.0.0.1:{proxy.port}"
        with pytest.raises(PeerRefusedError, match="secret is wrong"):
            dial(uri, authorities=str(both))
    protocol.stop()
    # Where a proxy is meant to end TLS, both sides say so.
    open_to_proxies = listen(policy, **of_files(files), channel_binding=False)
    with TLSProxy(open_to_proxies.bound_port, his) as proxy:
        other, peer = dial(f"wss://127.0.0.1:{proxy.port}", authorities=str(both), channel_binding=False)
        assert peer == policy.global_id
        other.close()


def test_a_context_cannot_be_written_down(files: tuple[str, str]) -> None:
    with pytest.raises(EnvironmentSnapshotError, match="certificate="):
        laila.DefaultTCPIPProtocol(peer_secret_key=SECRET, **of_context(files)).options()
    options = laila.DefaultTCPIPProtocol(peer_secret_key=SECRET, **of_files(files)).options()
    assert options["certificate"] == files[0]


def test_files_that_are_no_certificates_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    with pytest.raises(SettingsError, match="PEM"):
        laila.DefaultTCPIPProtocol(peer_secret_key=SECRET, certificate=str(tmp_path / "nonsense.pem"))
    other = laila.DefaultPolicy()
    other.central.communication.add_connection(
        laila.DefaultTCPIPProtocol(listen=False, authorities=str(tmp_path / "nonsense.pem"))
    )
    with pytest.raises(SettingsError, match="PEM"):
        other.central.communication.add_peer("wss://127.0.0.1:1", SECRET)
    other.close()
