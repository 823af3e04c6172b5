"""What goes wrong is told apart, named by bucket and key, says what to do, and never shows a secret."""

from __future__ import annotations

import asyncio
import errno
import pickle
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from laila.errors import LailaError, SettingsError
from laila.pool.s3 import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    ObjectStoreError,
    S3Pool,
    SlowDownError,
    UnreachableError,
)
from laila.testing.samples import make_blob
from servers.faults import Fault, Faults

if TYPE_CHECKING:
    from servers.s3 import S3Server

    OpenPool = Callable[..., S3Pool]

SECRET = "hush/hush+hush=0123456789"
TOKEN = "hushtokenhushtoken"


def told(call: Callable[[], object], kind: type[ObjectStoreError], *said: str) -> ObjectStoreError:
    """Check an error as far as all of them are alike, and return it."""
    with pytest.raises(ObjectStoreError) as raised:
        call()
    error = raised.value
    assert type(error) is kind, error
    everything = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.__context__)
    for secret in (SECRET, TOKEN, "secret/of+admin", "secret/of+reader"):
        assert secret not in everything
    for part in (*said, repr(error.bucket), "pool "):
        assert part in str(error), error
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.bucket, again.key, again.code) == (error.bucket, error.key, error.code)
    return error


EVERY_CALL: dict[str, Callable[[S3Pool], object]] = {
    "read": lambda pool: pool["k"],
    "read many": lambda pool: pool.load(["k", "l"]),
    "head": lambda pool: pool.read_head("k"),
    "exists": lambda pool: pool.exists("k"),
    "write": lambda pool: pool._write("k", make_blob("k")),
    "create": lambda pool: pool._create("k", make_blob("k")),
    "delete": lambda pool: pool.delete(["k"]),
    "keys": lambda pool: pool.keys(),
    "newest": lambda pool: pool.newest(["k"]),
    "empty": lambda pool: pool.empty(),
}


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_wrong_secret(open_pool: OpenPool, call: str) -> None:
    """Whichever call comes first."""
    pool = open_pool(secret_access_key=SECRET, nickname="mine")
    error = told(
        lambda: EVERY_CALL[call](pool), CredentialsError, "'mine'", "the secret access key", "options"
    )
    assert error.code == "SignatureDoesNotMatch"
    assert isinstance(error, PermissionError)


def test_an_unknown_access_key(open_pool: OpenPool) -> None:
    pool = open_pool(access_key_id="NOBODY", secret_access_key=SECRET)
    told(lambda: pool["k"], CredentialsError, "access key id is unknown", "read k")


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_missing_bucket(open_pool: OpenPool, call: str) -> None:
    """Is not a missing key: no call says that nothing is there."""
    pool = open_pool(bucket_name="no-such-bucket")
    error = told(lambda: EVERY_CALL[call](pool), BucketNotFoundError, "'no-such-bucket'", "no such bucket")
    assert error.code == "NoSuchBucket"
    assert isinstance(error, FileNotFoundError)


def test_a_missing_key_is_none_of_them(pool: S3Pool) -> None:
    with pytest.raises(KeyError, match="no entry k"):
        pool["k"]
    assert not pool.exists("k")


def test_what_a_reader_may_not_do(server: S3Server, pool: S3Pool, open_pool: OpenPool) -> None:
    """Reading works; writing and deleting name the key, and what the pool needs."""
    pool["k"] = "text"
    reader = open_pool(**server.options(server.reader))
    assert reader.exists("k")
    assert bytes(reader["k"]) == bytes(pool["k"])
    error = told(lambda: reader._write("k", make_blob("k")), AccessDeniedError, "write k", "s3:PutObject")
    assert (error.code, error.key) == ("AccessDenied", "k")
    told(lambda: reader._create("new", make_blob("new")), AccessDeniedError, "write new")
    told(lambda: reader.delete(["k"]), AccessDeniedError, "s3:DeleteObject")
    assert pool.exists("k")
    stranger = open_pool(**server.options(server.other))
    told(lambda: stranger["k"], AccessDeniedError, "read k")
    told(lambda: stranger.keys(), AccessDeniedError, "list")


def test_one_error_in_a_batch(pool: S3Pool, open_pool: OpenPool, server: S3Server) -> None:
    """The rest is not begun, and the error is the one."""
    reader = open_pool(**server.options(server.reader))
    items = [(f"k{number}", make_blob(f"k{number}")) for number in range(100)]
    told(lambda: reader._write_many(items), AccessDeniedError, "write k")
    assert list(pool.keys()) == []


def test_nobody_is_there(open_pool: OpenPool) -> None:
    """An address that never answered is told soon: it is wrong more often than away."""
    start = time.monotonic()
    pool = open_pool(endpoint_url="http://127.0.0.1:9", retries=8, deadline=90.0)
    error = told(lambda: pool["k"], UnreachableError, "refuses connections", "http://127.0.0.1:9")
    assert isinstance(error, ConnectionError)
    told(lambda: pool.keys(), UnreachableError)
    pool = open_pool(endpoint_url="http://no-such-host.localhost.invalid", allow_http=True, retries=8)
    told(lambda: pool["k"], UnreachableError, "name is unknown")
    assert time.monotonic() - start < 60


def answering(faults: Faults, open_pool: OpenPool, **options: Any) -> S3Pool:
    pool = open_pool(endpoint_url=faults.url, **options)
    pool["there"] = "text"
    faults.clear()
    return pool


def xml(code: str, message: str = "", more: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


@pytest.mark.parametrize(
    ("status", "call"),
    [(status, call) for status in (429, 500, 503) for call in ("GET", "PUT", "create", "POST", "LIST")],
)
def test_a_busy_service_is_asked_again(faults: Faults, open_pool: OpenPool, status: int, call: str) -> None:
    """And the call is done once it answers."""
    pool = answering(faults, open_pool)
    method = {"create": "PUT", "LIST": "GET"}.get(call, call)
    faults.add(Fault(method, "", status, times=2))
    blob = make_blob("k")
    if call == "GET":
        assert pool._read("there")
    elif call == "PUT":
        pool._write("k", blob)
    elif call == "create":
        assert pool._create("k", blob)
    elif call == "POST":
        assert pool.delete(["there"]) == [True]
    else:
        assert list(pool.keys()) == ["there"]
    assert len(faults.requests) >= 3


def test_a_service_that_stays_busy(faults: Faults, open_pool: OpenPool) -> None:
    """After all retries it is told as that; the next call works."""
    pool = answering(faults, open_pool, retries=2)
    faults.add(Fault("GET", "", 503, times=3))
    error = told(lambda: pool["there"], SlowDownError, "fewer requests", "3 times", "concurrency=")
    assert error.status == 503
    assert len(faults.requests) == 3
    assert pool["there"].key == "there"
    faults.add(Fault("PUT", "", 200, xml("SlowDown"), times=0))
    faults.add(Fault("PUT", "", 500, times=99))
    told(lambda: pool._write("k", make_blob("k")), ObjectStoreError, "the service failed")


def test_a_deadline_ends_the_retries(faults: Faults, open_pool: OpenPool) -> None:
    pool = answering(faults, open_pool, retries=1000, timeout=0.5, deadline=1.5)
    faults.add(Fault("GET", "", 503, times=1000))
    start = time.monotonic()
    told(lambda: pool["there"], SlowDownError)
    assert time.monotonic() - start < 100  # a thousand tries would take far longer


def test_closing_ends_the_retries(faults: Faults, open_pool: OpenPool) -> None:
    import threading

    pool = answering(faults, open_pool, retries=1000)
    faults.add(Fault("GET", "", 503, times=1000))
    errors: list[BaseException] = []

    def read() -> None:
        try:
            pool._read("there")
        except LailaError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while len(faults.requests) < 3:
        time.sleep(0.01)
    pool.close()
    reader.join(100)
    assert not reader.is_alive()
    assert "closed" in str(errors[0])


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (403, xml("RequestTimeTooSkewed"), CredentialsError, "clock"),
        (400, xml("ExpiredToken", "The provided token has expired."), CredentialsError, "have expired"),
        (401, b"", CredentialsError, "HTTP 401"),
        (403, b"<html>a proxy's page</html>", AccessDeniedError, "HTTP 403"),
        (301, b"", ObjectStoreError, "another region; pass region_name="),
        (
            400,
            xml("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
            ObjectStoreError,
            "region_name='eu-west-1'",
        ),
        (404, b"<html>not found</html>", ObjectStoreError, "not in the way of S3"),
        (400, xml("KeyTooLongError", "Your key is too long"), ObjectStoreError, "Your key is too long"),
        (501, xml("NotImplemented", "A header you provided"), ObjectStoreError, "conditional_create=False"),
    ],
)
def test_other_answers(
    faults: Faults,
    open_pool: OpenPool,
    status: int,
    body: bytes,
    kind: type[ObjectStoreError],
    said: str,
) -> None:
    """Each says what to do, and is not asked again."""
    pool = answering(faults, open_pool)
    for method in ("GET", "PUT"):
        faults.clear()
        faults.add(Fault(method, "", status, body, times=9))
        blob = make_blob("k")
        told(lambda: pool["k"] if method == "GET" else pool._create("k", blob), kind, said)  # noqa: B023 - called at once
        assert len(faults.requests) == 1
    # HEAD's answers have no body: the reason is asked for.
    faults.clear()
    faults.add(Fault("HEAD", "", status, times=9), Fault("GET", "", status, body, times=9))
    told(lambda: pool.exists("k"), kind, said)


def test_a_listing_that_never_ends(faults: Faults, open_pool: OpenPool) -> None:
    """A page that says that there is more, and comes again."""
    pool = open_pool(endpoint_url=faults.url)
    page = (
        b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t"
        b"</NextContinuationToken><Contents><Key>laila/aa/x</Key><LastModified>2026-11-30T10:00:00.000Z"
        b"</LastModified><Size>5</Size></Contents></ListBucketResult>"
    )
    faults.add(Fault("GET", "list-type", 200, page, times=99))
    told(lambda: list(pool.keys()), ObjectStoreError, "one page again and again")


EMPTY_PAGE = (
    b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t"
    b"</NextContinuationToken></ListBucketResult>"
)


def test_a_listing_of_empty_pages_without_end(faults: Faults, open_pool: OpenPool) -> None:
    """Each page says that there is more: it is given up in time, and nothing more is asked for."""
    pool = open_pool(endpoint_url=faults.url, deadline=1.0, timeout=1.0)
    faults.add(Fault("GET", "list-type", 200, EMPTY_PAGE, times=10**9))

    def listed() -> None:
        told(lambda: list(pool.keys()), ObjectStoreError, "empty pages without end")

    async def in_a_coroutine() -> None:
        listed()

    listed()
    asyncio.run(in_a_coroutine())
    asked = len(faults.requests)
    assert asked > 1
    faults.clear()
    with suppress(LailaError):
        pool.exists("k")
    after = [request for request in faults.requests if "list-type" in request.path]
    assert len(after) <= 2  # what was on its way


def test_no_space_left_has_its_number(faults: Faults, open_pool: OpenPool) -> None:
    pool = answering(faults, open_pool)
    faults.add(Fault("PUT", "", 507, xml("XMinioStorageFull", "Storage backend has reached its minimum")))
    error = told(lambda: pool._write("k", make_blob("k")), ObjectStoreError, "no space left")
    assert error.errno == errno.ENOSPC


def test_what_a_signature_was_made_of_is_not_shown(faults: Faults, open_pool: OpenPool) -> None:
    """AWS repeats the request with its token when a signature is wrong; an echo of a secret is covered."""
    more = (
        f"<AWSAccessKeyId>K</AWSAccessKeyId><StringToSign>AWS4 {TOKEN}</StringToSign>"
        f"<Token-0>{TOKEN}</Token-0><SignatureProvided>feedface</SignatureProvided><CanonicalRequest>x-amz-security-token:{TOKEN}\n"
        f"</CanonicalRequest>"
    )
    pool = open_pool(endpoint_url=faults.url, secret_access_key=SECRET, session_token=TOKEN)
    faults.add(Fault("GET", "", 403, xml("SignatureDoesNotMatch", "calculated", more), times=9))
    error = told(lambda: pool["k"], CredentialsError)
    assert "feedface" not in "".join(traceback.format_exception(error))
    assert error.__cause__ is not None  # what the client said is there for who looks for it
    assert "calculated" in str(error.__cause__)
    # An answer that is cut within such an element hides no less.
    faults.clear()
    long = f"<CanonicalRequest>feedface{'0' * 40_000}</CanonicalRequest>"
    faults.add(Fault("GET", "", 403, xml("SignatureDoesNotMatch", "calculated", long), times=9))
    error = told(lambda: pool["k"], CredentialsError)
    assert "feedface" not in "".join(traceback.format_exception(error))
    faults.clear()
    faults.add(Fault("GET", "", 400, xml("Odd", f"{SECRET} and {TOKEN}"), times=9))
    told(lambda: pool["k"], ObjectStoreError, "… and …")


def test_an_object_that_cannot_be_named(
    server: S3Server, shared_bucket: str, prefix: str, pool: S3Pool
) -> None:
    """One with a line break in the pool's own folder: listing says which it is, the rest goes on."""
    pool["k"] = "text"
    path = f"/{shared_bucket}/{prefix}/laila/a\nb"
    assert server.request("PUT", path, body=b"x").status == 200
    told(lambda: pool.keys(), ObjectStoreError, "cannot be read", "rename or delete it")
    assert pool.exists("k")
    assert server.request("DELETE", path).status == 204
    assert list(pool.keys()) == ["k"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint_url": "http://example.org"}, "allow_http=True"),
        ({"endpoint_url": "example.org"}, "of the form"),
        ({"endpoint_url": "ftp://example.org"}, "of the form"),
        ({"endpoint_url": f"https://k:{SECRET}@example.org"}, "access_key_id="),
        *(
            ({"bucket_name": name}, "no name of a bucket")
            for name in ("a/b", "", "..", "a..b", "evil.org\\", "a\tb", "a@b", "a#", "%61", "é", "a\nb")
        ),
        ({"bucket_name": "evil.org:80", "virtual_hosted": True}, "no name of a bucket"),
        ({"bucket_name": ""}, "bucket"),
        ({"prefix": "a//b"}, "empty segment"),
        ({"prefix": "../b"}, "`..`"),
        ({"prefix": "a\nb"}, "control character"),
        ({"prefix": "a" * 513}, "512"),
        ({"concurrency": 0}, "less than 1"),
        ({"part_bytes": 1024}, "less than"),
        ({"timeout": 0.0}, "less than"),
        ({"ca_bundle": "/no/such/file", "endpoint_url": "https://example.org"}, "ca_bundle"),
        ({"ca_bundle": __file__, "endpoint_url": "https://example.org"}, "opened"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_asked(
    open_pool: OpenPool, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        open_pool(**options)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_gateway_whose_deletes_cannot_be_read_names_the_option(faults: Faults, open_pool: Any) -> None:
    answer = b'<?xml version="1.0"?><DeleteResult><Deleted></Deleted></DeleteResult>'
    faults.add(
        Fault("POST", "delete", 200, answer, {"content-type": "application/xml"}, times=9, served=True)
    )
    check = open_pool(endpoint_url=faults.url).check
    error = told(check, ObjectStoreError, "bulk_delete=False", "DeleteObjects")
    assert "the service says" not in str(error)
    open_pool(endpoint_url=faults.url, bulk_delete=False).check()


@pytest.mark.parametrize(
    "body",
    [
        b"DeleteObjects request failed for key " * 8000,
        b"DeleteObjects request failed for key a" + b": " * 100_000,
        b"<Code>" + b" " * 200_000,
        b"<Code> " * 30_000,
        b"<Message>" * 30_000,
        b"<Token-1>" * 25_000,
        b"X-Amz-Signature=" * 15_000,
    ],
)
def test_a_long_error_is_read_in_no_time(body: bytes, faults: Faults, open_pool: Any) -> None:
    faults.add(Fault("PUT", "", 400, body, times=9))
    started = time.process_time()
    told(lambda: open_pool(endpoint_url=faults.url)._write("k", make_blob("k")), ObjectStoreError)
    assert time.process_time() - started < 10
