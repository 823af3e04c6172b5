"""The URL and the options: where each comes from, and that a password never shows."""

from __future__ import annotations

import json
import logging
import traceback
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.errors import EnvironmentSnapshotError, PoolError, SettingsError
from laila.pool.redis import RedisPool, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.redis import RedisServer

SECRET = "hunter2/@:?#%"
QUOTED = "hunter2%2F%40%3A%3F%23%25"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", {"url": "redis://host"}),
        ("redis://host:6380/3", {"url": "redis://host:6380", "db": 3}),
        ("rediss://host/", {"url": "rediss://host"}),
        ("redis://[::1]:6380", {"url": "redis://[::1]:6380"}),
        (f"redis://:{QUOTED}@host", {"url": "redis://host", "password": SECRET}),
        (f"redis://me:{QUOTED}@host:1/2", {"url": "redis://host:1", "username": "me", "db": 2}),
        (f"unix://me:{QUOTED}@/run/a%20b.sock", {"url": "unix:///run/a%20b.sock", "username": "me"}),
        ("unix:///run/redis.sock?db=4", {"url": "unix:///run/redis.sock", "db": 4}),
        ("redis://host?prefix=app:x&ttl=2.5", {"key_prefix": "app:x", "ttl": 2.5}),
        ("redis://", {"url": "redis://", "private": True}),
        ("redis:///?path=/r&durable=process", {"path": "/r", "durable": "process", "private": True}),
        (None, {"url": None, "private": True}),
    ],
)
def test_a_url_says(url: str | None, expected: dict[str, object]) -> None:
    settings = RedisSettings.of({"url": url})
    assert {name: getattr(settings, name) for name in expected} == expected
    # What is left is the server's place: it gives the same settings again.
    again = RedisSettings.of({**settings.public(), "password": settings.password})
    assert again == settings


@pytest.mark.parametrize(
    "url",
    [
        b"redis://:hunter2@host",
        "hunter2@host:6379",
        "http://host?x=hunter2",
        "redis://:hunter2",
        "redis://:1hunter2/x@host",
        "redis://:12/hunter2@host",
        "redis://:12?hunter2@host",
        "redis://:12#hunter2@host",
        "redis://:pass@host/hunter2",
        "redis://:hunter2@host/0?url=redis://other",
        "redis:///hunter2",
        "rediss://",
        "unix://host/hunter2",
        "unix://hunter2",
        "redis://:hunter2@host?nosuch=1",
        "redis://:hunter2@host?ttl=-1",
        "redis://:hunter2@host?prefix=a/b",
        "redis://:hunter2@host?db=-1",
        "redis://host?password=hunter2&timeout=soon",
        "redis://:hunter2@host?piece_bytes=600000000",
        "redis://:hunter2@host?tls_ca=/etc/hosts",
        "rediss://:hunter2@host?tls_ca=/no/such/file",
    ],
)
def test_a_wrong_url_is_told_without_the_password(url: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        RedisPool(url)
    told = "".join(traceback.format_exception(caught.value))
    # The traceback of the test itself quotes no value.
    assert "hunter2" not in told
    assert len(str(caught.value)) > 30


def test_the_call_counts_more_than_the_url_and_that_more_than_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAILA_REDIS_URL", "redis://there/1?prefix=p")
    monkeypatch.setenv("LAILA_REDIS_DB", "5")
    monkeypatch.setenv("LAILA_REDIS_TIMEOUT", "7")
    settings = RedisSettings.of({"key_prefix": None, "url": None})
    assert (settings.url, settings.db, settings.key_prefix, settings.timeout) == (
        "redis://there",
        1,
        "p",
        7.0,
    )
    settings = RedisSettings.of({"url": "redis://here?timeout=8", "db": 2})
    assert (settings.url, settings.db, settings.key_prefix, settings.timeout) == (
        "redis://here",
        2,
        None,
        8.0,
    )
    # A URL that asks for a private server is not overruled by one in the environment.
    assert RedisSettings.of({"url": "redis://"}).private


def test_what_has_no_use_is_refused_unless_it_is_for_other_pools_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="private server"):
        RedisSettings.of({"url": "redis://host?path=/data"})
    with pytest.raises(SettingsError, match="private server"):
        RedisSettings.of({"url": "redis://host", "server": "redis-server"})
    monkeypatch.setenv("LAILA_REDIS_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("LAILA_REDIS_TLS_CA", "/no/such/file")
    assert RedisSettings.of({"url": "redis://host"}).url == "redis://host"
    assert RedisSettings.of({}).private
    monkeypatch.setenv("LAILA_REDIS_URL", "redis://host")
    assert not RedisSettings.of({}).private
    assert RedisSettings.of({"path": "data"}).private


def test_what_is_written_down_can_be_read_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the environment has options for servers of other kinds."""
    monkeypatch.setenv("LAILA_REDIS_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("LAILA_REDIS_TLS_CA", "/no/such/file")
    with RedisPool(server.url, prefix="written") as pool, RedisPool(**pool.options()) as again:  # type: ignore[arg-type]
        assert again.options() == pool.options()
        assert not {"path", "server", "tls_ca"} & pool.options().keys()
    with RedisPool() as private, RedisPool(**private.options()) as other:  # type: ignore[arg-type]
        assert other.path == private.path == str(tmp_path / "data")


def shown(pool: RedisPool) -> str:
    """All that can be seen of a pool without looking for the password itself."""
    seen = [pool, pool.label, pool.settings, pool._connections, pool._given, pool.settings.public()]
    return "\n".join([json.dumps(pool.options()), *map(repr, seen)])


@pytest.fixture
def locked(start: Callable[..., RedisServer]) -> RedisServer:
    """A server with a password."""
    return start(password=SECRET)


def test_the_password_shows_nowhere(locked: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://:{QUOTED}@127.0.0.1:{locked.port}"
    with RedisPool(url, retry_for=0) as pool:
        pool["a"] = b"x"
        assert bytes(pool["a"])
        assert pool.missing_secrets() == ["password"]
        assert pool.options()["url"] == f"redis://127.0.0.1:{locked.port}"
        assert "hunter2" not in shown(pool)
        locked.kill()
        with pytest.raises(PoolError) as down:
            pool.exists("a")
        locked.start()
        errors: list[BaseException] = [down.value]
    for wrong in (url.replace("hunter2", "hunter3"), f"redis://127.0.0.1:{locked.port}"):
        with pytest.raises(PoolError) as refused:
            RedisPool(wrong)
        errors.append(refused.value)
    told = "".join(line for error in errors for line in traceback.format_exception(error))
    assert "hunter" not in told
    assert "hunter" not in caplog.text


def test_a_server_that_repeats_the_password_does_not_get_it_into_a_message(
    start: Callable[..., RedisServer],
) -> None:
    # A server that was told to have no AUTH names its arguments when it is called all the same.
    server = start(rename_command=("AUTH", "NO-AUTH"))
    with pytest.raises(PoolError) as caught:
        RedisPool(f"redis://:{QUOTED}@127.0.0.1:{server.port}")
    assert "unknown command" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_environment_is_rebuilt_with_the_password_from_elsewhere(
    locked: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:{QUOTED}@127.0.0.1:{locked.port}/2?prefix=env"
    with laila.DefaultPolicy(alpha_pool=RedisPool(url)) as policy:
        policy.central.memory.memorize(laila.constant(7, nickname="seven")).wait(150)
        environment: dict[str, Any] = json.loads(json.dumps(policy.environment))
    (written,) = environment["pools"]
    assert written["missing_secrets"] == ["password"]
    assert "hunter2" not in json.dumps(environment)
    with pytest.raises(EnvironmentSnapshotError, match="password"):
        laila.DefaultPolicy.from_environment(environment)

    def check(**how: Any) -> None:
        with laila.DefaultPolicy.from_environment(deepcopy(environment), **how) as rebuilt:
            found = rebuilt.central.memory.remember(nickname="seven").wait(150)
            assert isinstance(found, laila.Entry)
            assert found.data == 7
            pool = rebuilt.central.memory.router.alpha_pool
            assert isinstance(pool, RedisPool)
            assert (pool.prefix, pool.settings.db) == ("env", 2)

    check(secrets={"password": SECRET})
    monkeypatch.setenv("LAILA_REDIS_PASSWORD", SECRET)
    for elsewhere in (
        None,
        "redis://127.0.0.1",
        f"rediss://127.0.0.1:{locked.port}",
        f"redis://h:{locked.port}",
    ):
        if elsewhere is not None:
            monkeypatch.setenv("LAILA_REDIS_URL", elsewhere)
        with pytest.raises(EnvironmentSnapshotError, match="LAILA_REDIS_PASSWORD was not used") as caught:
            check()
        assert SECRET not in str(caught.value)
    monkeypatch.setenv("LAILA_REDIS_URL", f"redis://127.0.0.1:{locked.port}/5")
    check()
    monkeypatch.delenv("LAILA_REDIS_PASSWORD")
    monkeypatch.delenv("LAILA_REDIS_URL")
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps({"redis": {"password": SECRET, "url": f"redis://127.0.0.1:{locked.port}"}}))
    laila.read_args(file)
    try:
        check()
    finally:
        laila.args.clear()


def test_an_unknown_option_is_told() -> None:
    with pytest.raises(SettingsError, match="did you mean 'timeout'"):
        RedisPool("redis://host", timeot=3)  # type: ignore[call-arg]


def test_a_path_is_written_down_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RedisPool(path="data", nickname="a b/ü") as pool:
        assert pool.options()["path"] == str(tmp_path / "data")
        assert pool.prefix == "a%20b%2F%C3%BC"
        assert RedisSettings.of({"key_prefix": pool.prefix}).key_prefix == pool.prefix
