"""Each option of each component: whether a dict or a URL from elsewhere may give it.

The table below is the decision. An option that is not in it fails a test: whoever adds one says what somebody
could do who chooses its value.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.errors import SettingsError
from laila.provenance import options_from_data
from laila.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE = "how much, how long, how often, what it is called"
PLACE = "where data goes: a dict may say so, the page on rebuilding a policy warns"
OWN_PLACE = "another value keeps the user's own secrets away (`binds`)"
CODE = "names a program, a file that stands for the user, or what lets others in: never from data"
GIVEN = "a secret for the place beside it: a dict may bring its own"

DECISIONS: dict[str, dict[str, str]] = {
    "TCPIPSettings": {
        "peer_secret_key secrets certificate private_key": CODE,
        "host grants authorities allow_plaintext channel_binding origins": OWN_PLACE,
        "port listen": PLACE,
        "reconnect retry_seconds connect_timeout request_timeout heartbeat heartbeat_timeout max_connections "
        "max_handshakes max_message_bytes max_json_bytes max_depth max_in_flight max_streams window_bytes "
        "max_buffered_bytes max_calls_per_second": FREE,
    },
    "FilesystemSettings": {"path": PLACE, "durable read_only max_bytes": FREE},
    "HDF5Settings": {"path": PLACE, "durable lock lock_timeout read_only compact": FREE},
    "SQLiteSettings": {"path": PLACE, "durable lock_timeout read_only max_bytes": FREE},
    "RedisSettings": {
        "server tls_cert tls_key": CODE,
        "url tls_ca tls_verify": OWN_PLACE,
        "password": GIVEN,
        "path": PLACE,
        "username db key_prefix ttl timeout connect_timeout retry_for max_connections chunk_bytes "
        "chunk_count piece_bytes durable start_timeout": FREE,
    },
    "S3Settings": {
        "profile_name": CODE,
        "endpoint_url ca_bundle allow_http": OWN_PLACE,
        "access_key_id secret_access_key session_token": GIVEN,
        "bucket_name key_prefix region_name virtual_hosted anonymous": PLACE,
        "conditional_create bulk_delete concurrency part_bytes timeout retries deadline": FREE,
    },
    "RemoteSettings": {"retries": FREE, "share_secrets": CODE},
    "ThreadSettings": {"workers": FREE},
    "ProcessSettings": {"retries workers": FREE, "share_secrets": CODE},
    "DaskSettings": {"retries workers ahead": FREE, "address share_secrets": CODE},
    # Of laila itself: no dict of an environment reaches these.
    "EntrySettings": {"max_entry_bytes": FREE},
    "PluginSettings": {"block allow prefer deadline": FREE},
}


def every_settings() -> list[type[Settings]]:
    """The settings of everything that is installed."""
    for module in pkgutil.walk_packages(laila.__path__, "laila."):
        if module.name.endswith(("settings", ".pool", ".remote", ".taskforce", ".limits")):
            importlib.import_module(module.name)

    def below(kind: type[Settings]) -> Iterator[type[Settings]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return [
        kind for kind in below(Settings) if kind.__module__.startswith("laila.") and kind.prefix is not None
    ]


def decided(kind: type[Settings]) -> dict[str, str]:
    return {
        name: decision
        for names, decision in DECISIONS.get(kind.__name__, {}).items()
        for name in names.split()
    }


OPTIONS = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in every_settings()
    for name in kind._fields()
    if ".testing" not in kind.__module__
]


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_somebody_has_decided(kind: type[Settings], name: str) -> None:
    decision = decided(kind).get(name)
    assert decision, f"decide who may give {name} of {kind.__name__}, in this file"
    meta = kind._fields()[name].metadata
    assert (not meta["from_data"]) == (decision is CODE)
    assert (meta["binds"] is not None) == (decision is OWN_PLACE)
    assert meta["secret"] or decision is not GIVEN
    assert not (meta["secret"] and meta["printed"])


def test_no_decision_is_about_nothing() -> None:
    there = {kind.__name__: kind for kind in every_settings()}
    assert set(DECISIONS) <= set(there)
    for name in DECISIONS:
        assert set(decided(there[name])) <= set(there[name]._fields()), name


def another(kind: Any, default: object) -> object:
    """A value of the type of an option that is not its default."""
    text = str(kind)
    if "dict" in text:
        return {"x": "admin"}
    if "Literal" in text:
        return "admin"
    if "bool" in text:
        return not default
    if "list" in text:
        return ["https://evil.example"]
    return "http://evil.example/x" if "str" in text else 7


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_what_was_decided_holds(kind: type[Settings], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried with the user's own secrets in the environment: code gets them, and data does not."""
    fields = kind._fields()
    needed: dict[str, object] = {"bucket_name": "b"} if kind.__name__ == "S3Settings" else {}
    for each in kind.secret_names():
        text = '{"own-secret": "read"}' if "dict" in str(kind._types()[each]) else "own-secret"
        monkeypatch.setenv(fields[each].metadata["env"][0], text)
    decision = decided(kind).get(name)
    default = fields[name].default
    given = {**needed, name: another(kind._types()[name], default)}
    if decision is CODE:
        with options_from_data(), pytest.raises(SettingsError, match="is not taken from"):
            kind.resolve(given)
        with options_from_data([name]):
            kind.resolve(given)
        kind.resolve(given)
    elif decision is OWN_PLACE:
        with options_from_data():
            found = kind.resolve(given)
            assert not found.at_own_place
            assert {getattr(found, each) for each in kind.secret_names()} == {None}
            found = kind.resolve(needed)
            assert found.at_own_place
        assert all(getattr(found, each) is not None for each in kind.secret_names())
        assert all(getattr(kind.resolve(given), each) is not None for each in kind.secret_names())
