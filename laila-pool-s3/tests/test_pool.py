"""What is in the bucket, what is asked of the service, and the options."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import laila
from laila.contract import Pool
from laila.errors import SettingsError
from laila.pool.s3 import AccessDeniedError, ObjectStoreError, S3Pool, UnreachableError
from laila.pool.s3.names import name_of
from laila.testing.samples import entry_key, make_blob, stored
from servers.certificates import certify_server
from servers.faults import Fault, Faults

if TYPE_CHECKING:
    from servers.s3 import S3Server

    OpenPool = Callable[..., S3Pool]


def listed(server: S3Server, bucket: str, prefix: str = "") -> list[str]:
    """Every object below a prefix, by a client that knows nothing of laila."""
    import re

    answer = server.request("GET", f"/{bucket}", query={"list-type": "2", "prefix": prefix})
    return re.findall(r"<Key>(.*?)</Key>", answer.body.decode())


def asked(faults: Faults) -> Counter[str]:
    """What came by, as kinds of requests."""

    def kind(method: str, path: str) -> str:
        return "LIST" if "list-type" in path else "DELETE many" if "?delete" in path else method

    return Counter(kind(request.method, request.path) for request in faults.requests)


def test_the_layout_is_what_the_page_says(server: S3Server, bucket: str, open_pool: OpenPool) -> None:
    """Objects that a person can read by other means: the blob under its id, evolutions in a folder."""
    pool = open_pool(bucket_name=bucket, prefix="team/results")
    with laila.DefaultPolicy(alpha_pool=pool) as policy:
        memory = policy.central.memory
        entry, state = laila.constant(b"x" * 5000), laila.variable(1, nickname="state")
        memory.memorize(entry).wait(150)
        memory.memorize(state).wait(150)
        memory.memorize(state.evolve(data=2)).wait(150)
        stem = state.global_id.rpartition("-")[0]
        assert listed(server, bucket) == sorted(
            [
                f"team/results/laila/{entry.global_id}.blob",
                f"team/results/laila/{stem}.evolutions/0.blob",
                f"team/results/laila/{stem}.evolutions/1.blob",
            ]
        )
        body = server.request("GET", f"/{bucket}/team/results/laila/{entry.global_id}.blob").body
        assert laila.contract.Blob.from_bytes(body).key == entry.global_id


STRANGERS = [
    "readme.txt",
    "laila/readme.txt",
    "laila/sub/deep/file.blob",
    "laila/%zz.blob",
    "laila/a b.blob",
    "laila/x.evolutions/one.blob",
    "laila/x.evolutions/1.txt",
    "laila/.blob",
    "other/laila/x.blob",
    "p/laila/x.blob",
    "pp/laila/x.blob",
]


@pytest.mark.parametrize("prefix", ["", "p"])
def test_strangers_are_left_alone(server: S3Server, bucket: str, open_pool: OpenPool, prefix: str) -> None:
    """What others put beside, above and into the folder is not listed, not found and not deleted."""
    within = f"{prefix}/" if prefix else ""
    strange = [f"{within}{name}" for name in STRANGERS] + (["pp/laila/x.blob"] if prefix else [])
    for name in strange:
        assert server.request("PUT", f"/{bucket}/{name}", body=b"mine").status == 200
    pool = open_pool(bucket_name=bucket, prefix=prefix)
    before = sorted(listed(server, bucket))
    assert list(pool.keys()) == []
    keys = ["x", "x-1", "readme.txt", "sub/deep/file", "ü" * 200]
    for key in keys:
        pool[key] = "text"
    assert sorted(pool.keys()) == sorted(keys)
    assert pool.history_here("x") == [1]
    assert pool.delete(["x", "readme.txt"]) == [True, True]
    pool.empty()
    assert list(pool.keys()) == []
    assert sorted(listed(server, bucket)) == before


def test_pools_in_one_bucket_do_not_see_each_other(bucket: str, open_pool: OpenPool) -> None:
    """Also where one prefix begins with the other, or looks like what a pool makes."""
    prefixes = ["", "a", "a/b", "ab", "a/laila", "laila", "laila/x.evolutions", "ü b"]
    pools = [open_pool(bucket_name=bucket, prefix=prefix) for prefix in prefixes]
    for number, pool in enumerate(pools):
        pool["x"] = f"of {number}"
        pool[f"x-{number}"] = "evolution"
    for number, pool in enumerate(pools):
        assert sorted(pool.keys()) == sorted(["x", f"x-{number}"])
        assert pool.history_here("x") == [number]
    pools[0].empty()
    assert [len(list(pool.keys())) for pool in pools] == [0] + [2] * 7


def test_evolutions_are_found_without_a_look_at_the_pool(
    faults: Faults, open_pool: OpenPool, pool: S3Pool
) -> None:
    """One request, however much else there is."""
    pool._write_many([(entry_key(n), make_blob(entry_key(n), 10)) for n in range(300)])
    pool._write_many([(entry_key(1, n), make_blob(entry_key(1, n), 10)) for n in (0, 2, 11)])
    seen = open_pool(endpoint_url=faults.url)
    faults.clear()
    assert seen.newest_here([entry_key(1)]) == [entry_key(1, 11)]
    assert seen.history_here(entry_key(1)) == [0, 2, 11]
    assert asked(faults) == {"LIST": 2}
    assert all("evolutions" in request.path for request in faults.requests)
    assert seen.newest_here([entry_key(1), entry_key(2)] * 20)[:2] == [entry_key(1, 11), None]


def test_what_a_nickname_and_a_leaf_cost(faults: Faults, open_pool: OpenPool) -> None:
    """A question each, beside the request that writes; nothing for what has neither."""
    with laila.DefaultPolicy(alpha_pool=open_pool(endpoint_url=faults.url)) as policy:
        memory = policy.central.memory

        def cost(*entries: Any) -> Counter[str]:
            faults.clear()
            memory.memorize(list(entries)).wait(150)
            return asked(faults)

        nameless = [laila.constant(n) for n in range(5)]
        assert cost(*nameless) == {"PUT": 5}
        assert cost(*(laila.constant(n, nickname=f"c{n}") for n in range(5))) == {"LIST": 5, "PUT": 5}
        variable = laila.variable(0, nickname="v")
        assert cost(variable) == {"HEAD": 1, "GET": 1, "PUT": 1}
        assert cost(variable.evolve(data=1)) == {"PUT": 1}
        manifest = laila.manifest({"all": [entry.global_id for entry in nameless]})
        # One request asks for a leaf and reads its head: the manifest says what its leaves are.
        # Another looks after the manifest was stored: somebody may have collected the leaf meanwhile.
        assert cost(manifest) == {"GET": 5, "PUT": 1, "HEAD": 5}
        for taken in (laila.constant(1, nickname="v"), laila.variable(1, nickname="c1")):
            with pytest.raises(laila.errors.IdentityConflictError):
                cost(taken)
            assert "PUT" not in asked(faults)


def test_a_listing_streams(faults: Faults, open_pool: OpenPool, pool: S3Pool) -> None:
    """Page by page, as it is walked; it goes on where a page failed."""
    keys = [entry_key(number) for number in range(2100)]
    pool._create_many([(key, make_blob(key, 10)) for key in keys])
    seen = open_pool(endpoint_url=faults.url)
    walk = seen._keys()
    faults.clear()
    next(walk)
    assert asked(faults) == {"LIST": 1}
    faults.add(Fault("GET", "list-type", 503, times=2))
    assert len({*walk}) == 2099
    assert asked(faults)["LIST"] in (5, 6)
    assert sorted(seen.keys()) == keys
    faults.clear()
    seen.empty()
    assert asked(faults)["DELETE many"] == 32 + 32 + 4  # of each page as many as may be under way
    assert list(seen.keys()) == []


def test_what_each_call_asks(faults: Faults, open_pool: OpenPool) -> None:
    """No call asks more of the service than it needs."""
    pool = open_pool(endpoint_url=faults.url)
    blobs = [make_blob(entry_key(number), 5000) for number in range(40)]
    keys = [blob.key for blob in blobs]

    def cost(call: Callable[[], object]) -> Counter[str]:
        faults.clear()
        call()
        return asked(faults)

    assert cost(lambda: pool._create_many([(blob.key, blob) for blob in blobs])) == {"PUT": 40}
    # Conflicts: told by the heads if they differ, else compared byte by byte.
    assert cost(lambda: pool.store_here([make_blob(key, 4000) for key in keys])) == {"PUT": 40, "GET": 40}
    assert all(int(request.headers["range"].partition("-")[2]) < 5000 for request in faults.requests[-40:])
    assert cost(lambda: pool.store_here(blobs)) == {"PUT": 40, "GET": 80}
    assert cost(lambda: pool._read_many(keys)) == {"GET": 40}
    assert cost(lambda: pool._exists(keys[0])) == {"HEAD": 1}
    assert cost(lambda: pool._exists("none")) == {"HEAD": 1, "GET": 1}
    assert cost(lambda: pool.delete(keys[:5])) == {"HEAD": 5, "DELETE many": 1}
    assert cost(lambda: pool.delete(keys[5:])) == {"LIST": 1, "DELETE many": 2}
    assert cost(lambda: pool.delete(["none"])) == {"HEAD": 1, "GET": 1}


def test_deleting_tells_what_was_there(pool: S3Pool, open_pool: OpenPool, server: S3Server) -> None:
    """Few or many, once or twice."""
    keys = [f"k{number}" for number in range(50)]
    for some in (keys[:3], keys):
        pool._write_many([(key, make_blob(key, 10)) for key in some])
        mixed = [key for name in some for key in (name, f"not-{name}", name)]
        assert pool.delete(mixed) == [True, False, False] * len(some)
        assert list(pool.keys()) == []


def test_requests_at_a_time_are_bounded(faults: Faults, open_pool: OpenPool) -> None:
    """By `concurrency`, for a call; helpers are shared by all calls of a pool."""
    pool = open_pool(endpoint_url=faults.url, concurrency=4)
    under_way = most = 0
    lock = threading.Lock()
    real = pool._client.put

    def put(*args: Any, **kwargs: Any) -> bool:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return real(*args, **kwargs)
        finally:
            with lock:
                under_way -= 1

    pool._client.put = put  # type: ignore[method-assign]

    def write(who: int) -> None:
        pool._write_many([(f"k{who}-{n}x", make_blob(f"k{who}-{n}x", 10)) for n in range(40)])

    write(0)
    assert 2 <= most <= 4
    most = 0
    callers = [threading.Thread(target=write, args=(who,)) for who in range(1, 6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert most <= 3 + 5
    assert len(list(pool.keys())) == 240


def test_what_is_to_be_deleted_is_looked_for_in_a_listing_while_that_helps(
    faults: Faults, open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page after the other as long as each tells of many of the keys; of the others each is asked for."""
    monkeypatch.setattr("laila.pool.s3.client.LISTED_AT_ONCE", 20)
    pool = open_pool(endpoint_url=faults.url, concurrency=4)
    keys = [f"k{number:02}" for number in range(60)]
    pool._write_many([(key, make_blob(key, 10)) for key in keys])
    faults.clear()
    assert pool.delete(keys[:10:2]) == [True] * 5  # too few in the first page to look at the second
    assert asked(faults) == {"LIST": 1, "DELETE many": 1}
    faults.clear()
    assert pool.delete([*keys[11:16], *keys[50:]]) == [True] * 15
    assert asked(faults) == {"LIST": 1, "HEAD": 10, "DELETE many": 1}
    faults.clear()
    assert pool.delete([key for key in keys if key not in keys[50:]]).count(True) == 40
    assert asked(faults)["HEAD"] <= 4 + 10
    assert list(pool.keys()) == []


def test_of_many_that_are_deleted_a_failure_is_told(faults: Faults, open_pool: OpenPool) -> None:
    """Also where it is one of several requests, or of one object in an answer that says 200."""
    pool = open_pool(endpoint_url=faults.url)
    keys = [f"k{number}" for number in range(100)]
    pool._write_many([(key, make_blob(key, 10)) for key in keys])
    error = b"<Code>AccessDenied</Code><Message>no</Message></Error>"
    faults.add(Fault("POST", "?delete", 403, b"<Error>" + error, after=2))
    with pytest.raises(AccessDeniedError):
        pool.delete(keys)
    left = [*pool.keys()]
    assert len(left) in (25, 50)  # the request that failed, and one that was not begun
    name = pool._name(left[0]).encode()
    body = b"<DeleteResult><Error><Key>" + name + b"</Key>" + error + b"</DeleteResult>"
    faults.add(Fault("POST", "?delete", 200, body))
    with pytest.raises(AccessDeniedError):
        pool.delete(left[:25])
    assert pool.delete(keys) == [key in left for key in keys]
    assert list(pool.keys()) == []


# -- services that lack something ------------------------------------------------------------------------


def test_without_conditional_create(faults: Faults, open_pool: OpenPool) -> None:
    """The header is not sent, and the pool promises less."""
    pool = open_pool(endpoint_url=faults.url, conditional_create=False)
    assert (pool.creation, S3Pool.creation) == ("process", "network")
    assert pool._create("k", make_blob("k")) is True
    assert pool._create("k", make_blob("k", seed=1)) is False
    assert pool._create_many([("k", make_blob("k")), ("l", make_blob("l"))]) == [False, True]
    assert not any("if-none-match" in request.headers for request in faults.requests)


def test_a_service_that_ignores_conditions_is_found_out(faults: Faults, open_pool: OpenPool) -> None:
    """By `check()`, which leaves nothing behind."""
    pool = open_pool(endpoint_url=faults.url)
    pool.check()
    faults.add(Fault("PUT", "laila-check", 200, headers={"ETag": '"new"'}, after=1))
    with pytest.raises(ObjectStoreError, match="conditional_create=False"):
        pool.check()
    open_pool(endpoint_url=faults.url, conditional_create=False).check()
    assert list(pool.keys()) == []


def test_without_bulk_delete(faults: Faults, open_pool: OpenPool) -> None:
    pool = open_pool(endpoint_url=faults.url, bulk_delete=False)
    pool._write_many([(f"k{n}", make_blob(f"k{n}", 10)) for n in range(20)])
    faults.clear()
    assert pool.delete([f"k{n}" for n in range(20)]) == [True] * 20
    assert asked(faults) == {"HEAD": 20, "DELETE": 20}
    assert list(pool.keys()) == []


def test_the_bucket_in_the_name_of_the_host(
    faults: Faults, open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some services want it. The requests for a host that is nowhere reach a web proxy of ours."""
    monkeypatch.setenv("http_proxy", faults.url)
    pool = open_pool(
        bucket_name="bkt",
        endpoint_url="http://storage.invalid:81",
        allow_http=True,
        virtual_hosted=True,
        retries=0,
    )
    faults.add(Fault("GET", "", 404, b"<Error><Code>NoSuchKey</Code></Error>"))
    assert pool._read("k") is None
    (request,) = faults.requests
    assert request.path.startswith("http://bkt.storage.invalid:81/tests/")
    assert request.headers["host"] == "bkt.storage.invalid:81"


def test_without_a_signature(faults: Faults, shared_bucket: str) -> None:
    with S3Pool(shared_bucket, endpoint_url=faults.url, anonymous=True) as pool:
        faults.add(Fault("GET", "", 404, b"<Error><Code>NoSuchKey</Code></Error>"))
        assert pool._read("k") is None
    assert "authorization" not in faults.requests[0].headers


@contextmanager
def tls(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """TLS before the server, under an authority of our own: the port, and the authority's certificate."""
    authority, chain, private = certify_server(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(16384):
                sink.sendall(block)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def serve(plain: socket.socket) -> None:
        with suppress(OSError):
            client = context.wrap_socket(plain, server_side=True)
            backend = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=copy, args=(backend, client), daemon=True).start()
            copy(client, backend)

    def accept() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(plain,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1], authority
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(150)


def test_a_certificate_of_ones_own(server: S3Server, open_pool: OpenPool, tmp_path: Path) -> None:
    """Is trusted where `ca_bundle` says so, and nowhere else."""
    with tls(server.port, tmp_path) as (port, authority):
        url = f"https://localhost:{port}"
        pool = open_pool(endpoint_url=url, ca_bundle=authority)
        pool["k"] = "text"
        assert stored(pool, "k") is not None
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            open_pool(endpoint_url=url)._read("k")


# -- URLs, options ---------------------------------------------------------------------------------------


def test_a_url(server: S3Server, shared_bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bucket, prefix and options; the keys come from elsewhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, server.variables()[name])
    url = f"s3://{shared_bucket}/{prefix}/a%20b?endpoint_url={server.endpoint}&concurrency=3&timeout=7"
    with S3Pool.from_url(url, timeout=9.0) as pool:
        assert (pool.settings.concurrency, pool.settings.timeout) == (3, 9.0)
        assert pool._place() == f"s3://{shared_bucket}/{prefix}/a b"
        pool["k"] = "text"
    path = f"/{shared_bucket}/{prefix}/a b/{name_of('k')}"
    assert server.request("GET", path).status == 200
    with laila.DefaultPolicy() as policy:
        assert policy.central.memory.extend(url, pool_nickname="remote").exists("k")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket?secret_access_key=hush", "no place for secrets"),
        ("s3://key:hush@bucket/p", "no place for secrets"),
        ("s3://bucket?nosuch=1", "nosuch"),
        ("s3://bucket?concurrency=many", "concurrency"),
        ("s3://bucket#part", "write s3://bucket/prefix"),
        ("s3://", "bucket_name"),
        ("s3:///prefix", "bucket_name"),
    ],
)
def test_a_url_that_is_none(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        S3Pool.from_url(url)
    assert said in str(raised.value)
    assert "hush" not in str(raised.value)


def test_another_process_builds_the_same_pool(open_pool: OpenPool, prefix: str) -> None:
    """From its options, which JSON holds, and the secrets that it has itself."""
    pool = open_pool(nickname="mine", virtual_hosted=False)
    pool["k"] = "text"
    options = json.loads(json.dumps(pool.options()))
    assert options["prefix"] == prefix
    secrets = {name: getattr(pool.settings, name) for name in pool.missing_secrets()}
    with S3Pool(**options, **secrets) as again:
        assert again.options() == pool.options()
        assert again.global_id == pool.global_id
        assert again.exists("k")


def test_the_registry_knows_it() -> None:
    """By name, by scheme, and by its class."""
    import laila.pool

    assert laila.pool.S3Pool is S3Pool  # type: ignore[attr-defined]  # found by its name
    assert issubclass(S3Pool, Pool)


def test_a_large_array_lies_where_it_was_read(open_pool: OpenPool) -> None:
    """Without a copy, and it is its reader's alone: nobody else sees what is done to it."""
    whole = np.arange(1 << 20, dtype=np.float64)
    half = np.ones(1 << 19)
    with laila.DefaultPolicy() as policy:
        memory = policy.central.memory
        pool = memory.extend(open_pool(), pool_nickname="s3")
        entries = [laila.constant(whole), laila.constant([half, half.copy()])]
        ids = memory.memorize(entries, pool_nickname="s3").wait()
        for _ in range(2):
            again, parts = (one.data for one in memory.remember(ids, pool_nickname="s3").wait())
            assert (again == whole).all()
            assert not again.flags.owndata
            # A part of a blob would keep all of it in memory: it is copied, as it always was.
            assert all(part.flags.owndata and (part == 1).all() for part in parts)
            again[:] = 0
            parts[0][:] = 0
        # A cache before the pool keeps the very blob that was read.
        cache = memory.extend(laila.MemoryPool(), pool_nickname="cache")
        cache << pool
        for _ in range(2):
            again = memory.remember(ids[:1], pool_nickname="cache").wait()[0].data
            assert (again == whole).all()
            again[:] = 0
        assert cache.hits == 1
