"""A password in the place of any option of any component: no error shows it, whatever else it says."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.comm.tcpip import DefaultTCPIPProtocol
from laila.comm.tcpip.settings import TCPIPSettings
from laila.errors import LailaError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.pool import HDF5Settings
from laila.pool.redis import RedisPool
from laila.pool.redis.settings import RedisSettings
from laila.pool.s3 import S3Pool
from laila.pool.s3.settings import S3Settings
from laila.transform import AesGcm, TransformationSequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.settings import Settings

SECRET = "CANARY-0123456789-abcdefghijklmnop"
WRONG: dict[str, Any] = {
    "list": [SECRET],
    "dict": {SECRET: SECRET},
    "dict in a dict": {"x": {"y": SECRET}},
    "tuple": (SECRET,),
    "bytes": SECRET.encode(),
    "text": SECRET,
    "number": 7,
}
KINDS: dict[type[Settings], tuple[Callable[..., Any], dict[str, Any]]] = {
    RedisSettings: (RedisPool, {"url": "redis://127.0.0.1:1", "connect_timeout": 0.2, "retry_for": 0.0}),
    S3Settings: (S3Pool, {"bucket_name": "b", "access_key_id": "A" * 20, "secret_access_key": "S" * 20}),
    TCPIPSettings: (DefaultTCPIPProtocol, {"peer_secret_key": "p" * 40}),
    HDF5Settings: (HDF5Pool, {}),
}
OPTIONS = [
    pytest.param(make, {**others, name: value}, name, id=f"{settings.__name__}.{name} {kind}")
    for settings, (make, others) in KINDS.items()
    for name, field in settings._fields().items()
    for kind, value in WRONG.items()
    # A text where a text belongs is what was asked for; those that may be printed say so.
    if not (field.metadata["printed"] or (kind == "text" and name in ("path", "host", "endpoint_url")))
]


def said(ask: Callable[[], object]) -> str:
    """All that an error says, and what its parts and causes do; nothing where there is none."""
    try:
        made = ask()
    except LailaError as error:
        return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error)
    close = getattr(made, "close", lambda: None)
    close()
    return repr(made) + str(made)


@pytest.mark.parametrize(("make", "options", "name"), OPTIONS)
def test_no_error_shows_what_an_option_was(
    make: Callable[..., Any],
    options: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "key_prefix" in options and make is not HDF5Pool:
        options["prefix"] = options.pop("key_prefix")
    if name == "server":
        del options["url"]
    told = said(lambda: make(**options))
    assert SECRET not in told


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_no_transformation_shows_its_key(value: Any) -> None:
    for ask in (
        lambda: AesGcm(key=value),
        lambda: AesGcm(key_name=value),
        lambda: TransformationSequence([["aes-gcm", {"key": value}]]),
        lambda: TransformationSequence([["zlib", {"level": value}]]),
        lambda: TransformationSequence([["nothing", {"key": value}]]),
        lambda: TransformationSequence([["aes-gcm", value]]),
        lambda: TransformationSequence([value]),
    ):
        assert SECRET not in said(ask)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1",
        f"redis://:{SECRET}@127.0.0.1:notaport",
        f"redis://:{SECRET}@[::1",
        f"x:{SECRET}@y",
        f"//:{SECRET}@y",
        f":{SECRET}@y",
        f"s3://k:{SECRET}@b/p",
        f"s3://b?secret_access_key={SECRET}",
        f"file://:{SECRET}@h/",
        f"nothing://:{SECRET}@h",
        f"redis://h/0?password={SECRET}&what=1",
        f"hdf5://u:{SECRET}@h/x.h5",
    ],
)
def test_no_error_shows_a_url_that_may_hold_a_password(url: str) -> None:
    assert SECRET not in said(lambda: laila.memory.extend(url))
    assert SECRET not in said(lambda: laila.tiers(url, pool_nickname="x"))
