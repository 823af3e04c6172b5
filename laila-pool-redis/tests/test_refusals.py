"""What a server may refuse: each is told apart, says what to do, and has the errno that fits."""

from __future__ import annotations

import errno
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.errors import PoolError
from laila.pool.redis import RedisPool
from servers.tls import Certificate, Front, make_certificate
from workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.redis import RedisServer

    OpenPool = Callable[..., RedisPool]

PAGE = ROOT / "docs" / "reference" / "pool-redis.md"


def make(key: str, size: int = 100) -> Blob:
    return Blob(key, b"\x90", (Buffer(memoryview(bytes(size))),))


def read(pool: RedisPool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found))


def refused(number: int, *said: str) -> pytest.RaisesExc[PoolError]:
    """Expect a PoolError with this errno, whose message has all of ``said`` in it."""
    return pytest.RaisesExc(
        PoolError,
        check=lambda error: error.errno == number and all(part in str(error) for part in said),
    )


def use(pool: RedisPool) -> None:
    """Everything that a pool does."""
    large, again = make("large", 700_000), make("large", 800_000)
    assert pool._create_many([("a", make("a")), ("s-1", make("s-1")), ("s-2", make("s-2"))]) == [True] * 3
    pool._write_many([("large", large), ("a", make("a", 7))])
    pool._write("large", again)
    assert read(pool, "large") == bytes(again)
    assert [read(pool, key) for key in ("a", "none")] == [bytes(make("a", 7)), None]
    assert [getattr(head, "key", None) for head in pool.heads_here(["a", "large"])] == ["a", "large"]
    assert pool._exists("a")
    assert pool._sizes(["a", "large"]) == [make("a", 7).nbytes, again.nbytes]
    assert pool._newest("s") == "s-2"
    assert pool._evolutions("s") == [1, 2]
    assert sorted(pool._keys()) == ["a", "large", "s-1", "s-2"]
    assert pool._delete_many(["s-2", "none"]) == [True, False]
    pool._empty()
    assert not list(pool._keys())


def tell(server: RedisServer, *words: str) -> None:
    """Run a command that only an administrator has."""
    client: Any = server.client()
    client.execute_command(*words)


# -- who may do what -----------------------------------------------------------------------------------------


def allowed(which: str = r"^ACL SETUSER .* ~laila/\* .*$") -> list[str]:
    """The commands that the page of this pool says a user needs."""
    (line,) = re.findall(which, PAGE.read_text(), re.MULTILINE)
    return re.findall(r"\+(\w+)", line)


def test_the_commands_of_the_page_are_enough(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start()
    tell(server, "ACL", "SETUSER", "laila", "on", ">word", "~laila/*", *(f"+{name}" for name in allowed()))
    url = f"redis://laila:word@127.0.0.1:{server.port}"
    use(opened(url, piece_bytes=300_000))
    use(opened(url, piece_bytes=300_000, ttl=60))
    with refused(errno.EACCES, "'laila'", "ACL SETUSER"):
        opened(url, prefix="other")


def test_fewer_are_enough_to_read(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start()
    writer = opened(server.url)
    writer._create_many([(key, make(key, size)) for key, size in (("s-1", 10), ("s-12", 500_000))])
    tell(server, "ACL", "SETUSER", "reader", "on", ">word", "~laila/*")
    tell(server, "ACL", "SETUSER", "reader", *(f"+{name}" for name in allowed("^.* shall only read .*$")))
    pool = opened(f"redis://reader:word@127.0.0.1:{server.port}")
    assert sorted(pool._keys()) == ["s-1", "s-12"]
    assert read(pool, pool._newest("s") or "") == bytes(make("s-12", 500_000))
    assert pool._evolutions("s") == [1, 12]
    assert pool._sizes(["s-1"]) == [make("s-1", 10).nbytes]
    assert pool.read_head("s-12") is not None
    for change in (lambda: pool._create("k", make("k")), lambda: pool._delete("s-1"), pool._empty):
        with refused(errno.EACCES, "'reader'"):
            change()
    assert writer._exists("s-1")


@pytest.mark.parametrize("command", ["mget", "set", "evalsha", "zadd", "persist", "unlink", "exists", "scan"])
def test_each_of_them_is_needed(start: Callable[..., RedisServer], opened: OpenPool, command: str) -> None:
    server = start()
    some = [f"+{name}" for name in allowed() if name != command]
    tell(server, "ACL", "SETUSER", "laila", "on", ">word", "~laila/*", *some)
    with pytest.raises(PoolError, match=r"'laila' may not|NOPERM|may not") as caught:
        use(opened(f"redis://laila:word@127.0.0.1:{server.port}", piece_bytes=300_000))
    assert caught.value.errno == errno.EACCES
    assert "word" not in str(caught.value)


def test_passwords(start: Callable[..., RedisServer], server: RedisServer, opened: OpenPool) -> None:
    locked = start(password="right")
    place = f"127.0.0.1:{locked.port}"
    with refused(errno.EACCES, "wants a password", "LAILA_REDIS_PASSWORD"):
        opened(f"redis://{place}")
    with refused(errno.EACCES, "refuses user 'default'"):
        opened(f"redis://{place}", password="wrong")
    with refused(errno.EACCES, "refuses user 'nobody'"):
        opened(f"redis://nobody:right@{place}")
    with refused(errno.EACCES, "has no password, but one was given"):
        opened(server.url, password="any")
    use(opened(locked.url))
    use(opened(locked.socket_url))
    # A password that is changed under way: told at the next connection, and not waited for.
    pool = opened(locked.url, retry_for=200)
    locked.client().config_set("requirepass", "other")
    pool._connections._drop_idle()
    began = time.monotonic()
    with refused(errno.EACCES, "refuses user"):
        pool.exists("k")
    assert time.monotonic() - began < 100


# -- what it cannot do ---------------------------------------------------------------------------------------


def test_a_full_server_keeps_what_it_has(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start(maxmemory="40mb", maxmemory_policy="noeviction")
    pool, client = opened(server.url, piece_bytes=1 << 20), server.client()
    pool._write("kept", make("kept", 3000))
    pool._create("s-1", make("s-1"))
    with refused(errno.ENOSPC, "is full", "maxmemory"):
        pool._create("large", make("large", 100 << 20))
    # The pieces that came through are gone again.
    assert len(list(client.scan_iter(match="laila/p/*"))) == 0
    client.config_set("maxmemory", "1mb")
    with refused(errno.ENOSPC, "is full"):
        pool._write("kept", make("kept", 2000))
    with refused(errno.ENOSPC, "is full"):
        pool._create("s-2", make("s-2"))
    with refused(errno.ENOSPC, "is full"):
        pool._create_many([(f"{n}", make(f"{n}", 20_000)) for n in range(100)])
    assert read(pool, "kept") == bytes(make("kept", 3000))
    assert pool._newest("s") == "s-1"
    assert pool._evolutions("s") == [1]
    assert pool._delete("kept")
    client.config_set("maxmemory", "0")
    assert pool._create("large", make("large", 5 << 20))


def test_a_replica_only_reads(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    replica = start(replicaof=("127.0.0.1", "1"))  # of whom does not matter: it is none of its own
    pool = opened(replica.url)
    assert pool._read("k") is None
    for size in (100, 300_000):
        with refused(errno.EROFS, "is a replica", "primary"):
            pool._create("k", make("k", size))


def test_a_cluster_is_not_supported(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start(cluster_enabled="yes")
    with refused(errno.EOPNOTSUPP, "Redis Cluster", "single server"):
        opened(server.url)
    # With all slots in one place, too: the keys of a batch are in different ones.
    tell(server, "CLUSTER", "ADDSLOTS", *map(str, range(16384)))
    with pytest.raises(PoolError, match="Redis Cluster"):  # noqa: PT012 - the state takes a moment to be ok
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            opened(server.url)._create_many([(f"{n}", make(f"{n}")) for n in range(10)])


def test_a_key_of_another_program(pool: RedisPool, server: RedisServer, prefix: str) -> None:
    pool._write("ours", make("ours"))
    server.client().set(f"{prefix}/e/".encode() + b"\xff", "no text")
    assert list(pool._keys()) == ["ours"]
    server.client().rpush(f"{prefix}/e/k", "a list")
    with refused(errno.EINVAL, "prefix="):
        pool._read_head("k")
    server.client().rpush(f"{prefix}/i/s", "a list")
    with refused(errno.EINVAL, "prefix="):
        pool._create("s-1", make("s-1"))
    assert pool._read("s-1") is None


def test_a_server_with_too_many_clients(start: Callable[..., RedisServer], opened: OpenPool) -> None:
    server = start(maxclients=3)
    others: list[Any] = [server.client() for _ in range(3)]
    for one in others:
        one.ping()
    with refused(errno.EAGAIN, "maxclients"):
        opened(server.url)
    for one in others:
        one.close()


def test_any_other_refusal_is_told_in_the_words_of_the_server(
    start: Callable[..., RedisServer], opened: OpenPool
) -> None:
    server = start(rename_command=("EVALSHA", ""))
    with pytest.raises(PoolError, match=r"cannot store k: redis://\S+ says: .*[Uu]nknown command") as caught:
        opened(server.url)._create("k", make("k"))
    assert caught.value.errno is None


# -- where there is none -------------------------------------------------------------------------------------


def test_nobody_is_there(opened: OpenPool, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    began = time.monotonic()
    with refused(errno.ECONNREFUSED, f"redis://127.0.0.1:{port}", "start it, or correct url="):
        opened(f"redis://127.0.0.1:{port}", retry_for=200)
    with refused(errno.ENOENT, "unix://", "start it, or correct url="):
        opened(f"unix://{tmp_path}/none.sock", retry_for=200)
    with pytest.raises(PoolError, match=r"no-such-host\.invalid"):
        opened("redis://no-such-host.invalid", retry_for=200)
    assert time.monotonic() - began < 100  # opening does not go on trying


def test_somebody_else_is_there(opened: OpenPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(1000)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(PoolError, match="no Redis server"):
            opened(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(150)


def test_a_socket_whose_path_is_long(
    start: Callable[..., RedisServer], opened: OpenPool, tmp_path: Path
) -> None:
    folder = tmp_path / ("long " * 30)
    folder.mkdir()
    server = start()
    (folder / "redis.sock").symlink_to(server.socket)
    use(opened(f"unix://{folder}/redis.sock"))


# -- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def test_tls(server: RedisServer, prefix: str, certificate: Certificate, opened: OpenPool) -> None:
    with Front(("127.0.0.1", server.port), certificate) as front:
        url = f"rediss://127.0.0.1:{front.port}"
        pool = opened(url, prefix=prefix, tls_ca=certificate.cert, piece_bytes=300_000)
        use(pool)
        assert front.connections <= 2  # that of a listing is another one; they are used again
        use(opened(f"{url}?tls_ca={certificate.cert}", prefix=prefix))
        use(opened(url, prefix=prefix, tls_verify=False))
        with refused(errno.EACCES, "is not trusted", "tls_ca="):
            opened(url)
        pool.close()


def test_tls_with_another_name(
    server: RedisServer, tmp_path: Path, certificate: Certificate, opened: OpenPool
) -> None:
    other = make_certificate(tmp_path, "elsewhere.example")
    with Front(("127.0.0.1", server.port), other) as front:
        with refused(errno.EACCES, "is not trusted", "host name"):
            opened(f"rediss://127.0.0.1:{front.port}", tls_ca=other.cert)
        with refused(errno.EACCES, "is not trusted"):
            opened(f"rediss://127.0.0.1:{front.port}", tls_ca=certificate.cert)


def test_tls_with_a_certificate_of_our_own(
    server: RedisServer, prefix: str, tmp_path: Path, certificate: Certificate, opened: OpenPool
) -> None:
    own = make_certificate(tmp_path, "me")
    with Front(("127.0.0.1", server.port), certificate, clients=own) as front:
        url = f"rediss://127.0.0.1:{front.port}"
        use(opened(url, prefix=prefix, tls_ca=certificate.cert, tls_cert=own.cert, tls_key=own.key))
        with pytest.raises(PoolError):
            opened(url, tls_ca=certificate.cert)


def test_tls_where_there_is_none(server: RedisServer, certificate: Certificate, opened: OpenPool) -> None:
    with pytest.raises(PoolError, match="TLS"):  # it waits for the end of a line
        opened(f"rediss://127.0.0.1:{server.port}", timeout=0.3)
    with Front(("127.0.0.1", server.port), certificate) as front, pytest.raises(PoolError):
        opened(f"redis://127.0.0.1:{front.port}", timeout=0.3)
