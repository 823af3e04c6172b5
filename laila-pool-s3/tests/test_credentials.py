"""Where credentials come from: in which order, from one place each, never shown, and never waited for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.contract import Blob
from laila.errors import SettingsError
from laila.pool.s3 import CredentialsError, S3Pool
from laila.pool.s3.credentials import find_credentials, read_profile
from laila.pool.s3.settings import S3Settings

if TYPE_CHECKING:
    from servers.s3 import S3Server

FILES = {
    "config": """
        [default]
        region = eu-central-1
        [profile team]
        region = eu-north-1
        endpoint_url = https://team.example.org
        [profile role]
        role_arn = arn:aws:iam::1:role/x
        source_profile = default
        [profile half]
        region = x
    """,
    "credentials": """
        [default]
        aws_access_key_id = DEFAULTKEY
        aws_secret_access_key = default-secret
        [team]
        aws_access_key_id = TEAMKEY
        aws_secret_access_key = team-secret
        aws_session_token = team-token
        [half]
        aws_access_key_id = HALFKEY
    """,
}
Found = Callable[..., tuple[str, str | None, str | None, str | None]]


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Profile files in the test's HOME."""
    folder = tmp_path / ".aws"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text("\n".join(line.strip() for line in text.splitlines()))
    return folder


def found(environment: dict[str, str], **options: Any) -> tuple[str, str | None, str | None, str | None]:
    """Where the credentials come from, the three keys."""
    settings = S3Settings(bucket_name="b", **options)
    credentials = find_credentials(settings, read_profile(settings.profile_name, environment), environment)
    return (credentials.source, *(credentials.keys or (None, None, None)))


VARIABLES = {
    "AWS_ACCESS_KEY_ID": "ENVKEY",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_SESSION_TOKEN": "env-token",
}


def test_the_order(profiles: Path) -> None:
    """Options, a profile that is named in them, variables, the profile of AWS_PROFILE, the default one."""
    given = {"access_key_id": "MYKEY", "secret_access_key": "my-secret"}
    assert found(VARIABLES, **given)[1:] == ("MYKEY", "my-secret", None)  # not the token of other keys
    assert found(VARIABLES, **given, profile_name="team")[1] == "MYKEY"
    assert found(VARIABLES, profile_name="team")[1:] == ("TEAMKEY", "team-secret", "team-token")
    assert found({**VARIABLES, "AWS_PROFILE": "team"})[1:] == ("ENVKEY", "env-secret", "env-token")
    assert found({"AWS_PROFILE": "team"})[1] == "TEAMKEY"
    assert found({})[1:] == ("DEFAULTKEY", "default-secret", None)
    assert found(VARIABLES, anonymous=True)[1] is None


def test_files_may_be_elsewhere(tmp_path: Path) -> None:
    """By the usual variables; one of both is enough."""
    file = tmp_path / "keys.ini"
    file.write_text("[default]\naws_access_key_id=K\naws_secret_access_key=a%b$c\n")
    assert found({"AWS_SHARED_CREDENTIALS_FILE": str(file)})[1:] == ("K", "a%b$c", None)


def test_a_profile_gives_region_and_endpoint(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing nearer does."""
    with S3Pool("b", profile_name="team") as pool:
        assert "https://team.example.org" in repr(pool._client._place)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://nearer.example.org")
    with S3Pool("b", profile_name="team") as pool:
        assert "https://nearer.example.org" in repr(pool._client._place)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with S3Pool("b") as pool:
        assert "AWS, eu-central-1" in repr(pool._client._place)


@pytest.mark.parametrize(
    ("environment", "options", "said"),
    [
        ({}, {"profile_name": "nosuch"}, "no AWS profile 'nosuch'"),
        ({"AWS_PROFILE": "nosuch"}, {}, "no AWS profile 'nosuch'"),
        ({}, {"profile_name": "half"}, "half of the credentials is missing, secret_access_key"),
        ({}, {"profile_name": "role"}, "aws configure export-credentials --profile role"),
        ({"AWS_ACCESS_KEY_ID": "K"}, {}, "half of the credentials is missing, secret_access_key"),
        ({"AWS_SECRET_ACCESS_KEY": "hush"}, {}, "half of the credentials is missing, access_key_id"),
        (VARIABLES, {"access_key_id": "K"}, "half of the credentials is missing, secret_access_key"),
    ],
)
def test_what_is_wrong_is_said(
    profiles: Path, environment: dict[str, str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as told:
        found(environment, **options)
    assert "secret" not in str(told.value).replace("secret_access_key", "")
    assert "hush" not in str(told.value)


def test_a_broken_file_is_named_and_not_quoted(profiles: Path) -> None:
    (profiles / "credentials").write_text("[default]\naws_secret_access_key hush\n")
    with pytest.raises(SettingsError, match="credentials") as told:
        found({})
    assert "hush" not in str(told.value)
    assert told.value.__cause__ is None


def test_keys_that_are_given_need_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable about a profile that is gone stands in nobody's way."""
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    S3Pool("b", "key", "secret").close()
    S3Pool("b", anonymous=True).close()


def test_none_at_all_is_an_error_at_once(tmp_path: Path) -> None:
    """No metadata service is asked on a machine that is no instance: that would wait for seconds."""
    took = []
    for _ in range(5):  # the machine may be busy in one of them
        start = time.monotonic()
        with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID"):
            S3Pool("b")
        took.append(time.monotonic() - start)
    assert min(took) < 1.9


def test_secrets_are_shown_nowhere() -> None:
    """Neither in repr nor in what `laila.environment` records."""
    with S3Pool("b", "OPENKEY", "hush-secret", session_token="hush-token") as pool:
        shown = " ".join(
            [
                repr(pool),
                repr(pool.settings),
                repr(pool._client._place),
                json.dumps(pool.options()),
                pool.label,
            ]
        )
        shown += repr(find_credentials(pool.settings, None, {}))
        assert "hush" not in shown
        assert "OPENKEY" not in shown
        assert pool.missing_secrets() == ["access_key_id", "secret_access_key", "session_token"]


def test_the_variables_are_enough(
    server: S3Server, prefix: str, shared_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the library's own reading of them does not get in the way of what is given."""
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    with S3Pool(shared_bucket, prefix=prefix) as pool:
        pool["a"] = "text"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with S3Pool(shared_bucket, prefix=prefix, **server.options()) as pool:  # type: ignore[arg-type]  # text
        assert pool.exists("a")
        assert pool._create("b", Blob("b", b"\x90"))


def test_arguments_and_variables_of_laila(monkeypatch: pytest.MonkeyPatch) -> None:
    """`laila.args`, then `LAILA_S3_*`."""
    monkeypatch.setenv("LAILA_S3_BUCKET_NAME", "of-variables")
    monkeypatch.setenv("LAILA_S3_PREFIX", "p")
    monkeypatch.setenv("LAILA_S3_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("LAILA_S3_SECRET_ACCESS_KEY", "s")
    with S3Pool.from_url("s3://") as pool:
        assert pool._place() == "s3://of-variables/p"
    laila.args.s3 = {"bucket_name": "of-args", "prefix": "q"}
    try:
        with S3Pool() as pool:
            assert pool._place() == "s3://of-args/q"
    finally:
        del laila.args.s3


@contextmanager
def metadata_service(answers: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A stand-in for an instance's metadata service: a service that nobody has but an instance."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            asked.append(f"{self.command} {self.path}")
            answer = answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write((answer or "").encode())

        do_PUT = do_GET

    service = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}", asked
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_the_role_of_an_instance(
    server: S3Server, prefix: str, shared_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys come from the metadata service where there is one; what it lacks is told as such."""
    folder = "/latest/meta-data/iam/security-credentials/"
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {
        "AccessKeyId": server.admin.access_key,
        "SecretAccessKey": server.admin.secret_key,
        "Token": "",
        "Expiration": until,
    }
    answers = {"/latest/api/token": "t", folder: "role", f"{folder}role": json.dumps(keys)}
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    with metadata_service(answers) as (address, asked):
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", address)
        with S3Pool(shared_bucket, prefix=prefix) as pool, pytest.raises((KeyError, CredentialsError)):
            # The server may refuse the empty token; it is signed with the right keys all the same.
            pool["none"]
        assert f"GET {folder}role" in asked
        answers.clear()
        refused = pytest.raises(CredentialsError, match="role of this instance")
        with S3Pool(shared_bucket, prefix=prefix) as pool, refused:
            pool["none"]
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CredentialsError, match="no credentials"):
        S3Pool(shared_bucket)
