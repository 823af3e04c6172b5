"""A cell that sets laila up is run again: the same store comes back, or an error says what differs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.contract import Pool
from laila.errors import SettingsError
from laila.pool.files import FilesystemPool
from servers.redis import RedisServer
from servers.s3 import S3Server


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where relative paths begin."""
    for name in ("here", "here/below", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    yield
    laila.terminate()


def extend(url: str, **options: Any) -> Pool:
    """What a cell does."""
    return laila.memory.extend(url, pool_nickname="data", **options)


@pytest.mark.parametrize("name", ["file:{}", "hdf5:{}.h5"])
def test_one_place_is_one_store_however_it_is_written(name: str, tmp_path: Path) -> None:
    def url(path: str) -> str:
        return name.format(path)

    pool = extend(url("store"))
    laila.memorize(laila.constant(1, nickname="x"), pool_nickname="data").wait()
    absolute = url(f"//{tmp_path}/here/store")
    for again in (url("store"), url("./store"), url("below/../store"), absolute):
        assert extend(again) is pool
    assert extend(url("store"), durable="power") is pool  # the default
    assert extend(url("store"), transformations=[]) is pool
    os.chdir("below")
    assert extend(url("../store")) is pool
    with pytest.raises(SettingsError, match=r"'data' belongs to .*: path differs"):
        extend(url("store"))
    assert os.listdir() == []  # nothing was made
    os.chdir("..")
    with pytest.raises(SettingsError, match=r"durable differs"):
        extend(url("store"), durable="process")
    with pytest.raises(SettingsError, match=r"durable differs"):
        extend(url("store") + "?durable=process")
    with pytest.raises(SettingsError, match=r"transformations differs"):
        extend(url("store"), transformations=["zlib"])
    with pytest.raises(SettingsError, match="kind of pool differs"):
        extend("memory://")
    with pytest.raises(SettingsError, match="no chain"):
        laila.tiers("memory://", url("store"), pool_nickname="data")
    with pytest.raises(SettingsError, match="no option 'durabel'"):
        extend(url("store"), durabel="process")
    assert extend(url("store")) is pool
    assert laila.remember(nickname="x", pool_nickname="data").data == 1


@pytest.mark.parametrize("name", ["file:{}", "hdf5:{}.h5"])
def test_a_linked_folder_is_the_same_place(name: str) -> None:
    pool = extend(name.format("../elsewhere/store"))
    assert extend(name.format("link/store")) is pool


def test_chains_are_compared_tier_by_tier(tmp_path: Path) -> None:
    chain = laila.tiers("memory://?max_bytes=1000000", "file:store", pool_nickname="data")
    for urls in (
        ("memory:?max_bytes=1000000", "file:./store"),
        ("memory://?max_bytes=1000000", "file:store"),
    ):
        assert laila.tiers(*urls, pool_nickname="data") is chain
    others: dict[tuple[str, ...], str] = {
        ("memory://", "file:store"): "max_bytes of its tier 1",
        ("memory://?max_bytes=1000000", "file:other"): "path of its tier 2",
        ("memory://?max_bytes=1000000",): "a chain of 2",
        ("file:store", "memory://"): "kind of pool of its tier 1",
    }
    for others_urls, what in others.items():
        with pytest.raises(SettingsError, match=what):
            laila.tiers(*others_urls, pool_nickname="data")
    assert not (tmp_path / "here/other").exists()


def test_without_a_nickname_the_same_url_opens_nothing_more() -> None:
    pools = [laila.memory.extend("file:notes") for _ in range(5)]
    chains = [laila.tiers("memory://", "hdf5:data.h5") for _ in range(5)]
    named = [laila.memory.extend("file:own", nickname="mine") for _ in range(5)]
    assert len(set(map(id, pools + chains + named))) == 3
    assert laila.memory.extend("memory://") is not laila.memory.extend("memory://")  # those are two


def test_a_closed_pool_leaves_its_nickname() -> None:
    pool = extend("file:store")
    for _ in range(3):
        pool.close()
        pool = extend("file:store")
        own = laila.memory.extend("file:own", nickname="own")
        laila.memorize(laila.constant(1, nickname="x"), pool_nickname="data").wait()
        own.close()
    pool.close()
    other = FilesystemPool("other")
    assert laila.memory.extend(other, pool_nickname="data") is other
    assert [pool.nickname for pool in laila.memory.router.pools.values() if pool.closed] == ["own"]


def test_redis_is_known_again(redis_server: RedisServer) -> None:
    url = redis_server.url
    pool = extend(url, prefix="mine")
    assert extend(url, prefix="mine") is pool
    assert extend(f"{url}{'&' if '?' in url else '?'}prefix=mine") is pool
    with pytest.raises(SettingsError, match="key_prefix differs"):
        extend(url)


def test_s3_is_known_again(s3_bucket: str, s3_server: S3Server) -> None:
    options = s3_server.options()
    bucket = s3_bucket
    pool = extend(f"s3://{bucket}/runs", **options)
    for again in (f"s3://{bucket}/runs", f"s3://{bucket}/runs/"):
        assert extend(again, **options) is pool
    with pytest.raises(SettingsError, match="key_prefix differs"):
        extend(f"s3://{bucket}", **options)


def test_settings_from_elsewhere_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = extend("file:store", durable="process")
    monkeypatch.setenv("LAILA_FILES_DURABLE", "process")
    assert extend("file:store") is pool


def test_in_a_folder_that_was_deleted(tmp_path: Path) -> None:
    """As of a notebook whose folder was renamed: laila is imported, and whole paths are opened."""
    program = f"""
import os, shutil
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
import laila
laila.alpha_pool = "file://{tmp_path}/store"
laila.memorize(laila.constant(1, nickname="x")).wait()
for url in ("file:relative", "hdf5:relative.h5"):
    try:
        laila.memory.extend(url)
    except laila.errors.PoolError as error:
        assert "current folder" in str(error), error
    try:
        laila.tiers("memory://", url)
    except laila.errors.PoolError as error:
        print(laila.remember(nickname="x").data)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n1\n", "")
