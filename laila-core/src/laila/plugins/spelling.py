"""Tells once of ``LAILA_…`` variables and of arguments that nothing reads, such as misspelled ones.

The options of laila's own distributions stand here as text, so that no plugin is imported for it. A test
holds them to what the distributions declare. Names that another installed plugin may read are left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os import environ

from laila.plugins.first_party import FIRST_PARTY
from laila.showing import logger, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from laila.arguments import Arguments

__all__ = ["OPTIONS", "OTHERS", "tell_unknown", "unknown"]

OPTIONS: dict[str, tuple[str, ...]] = {
    "dask": ("address", "ahead", "retries", "share_secrets", "workers"),
    "files": ("durable", "max_bytes", "path", "read_only"),
    "hdf5": ("compact", "durable", "lock", "lock_timeout", "path", "read_only"),
    "plugins": ("allow", "block", "deadline", "prefer"),
    "processes": ("retries", "share_secrets", "workers"),
    "redis": (
        *("chunk_bytes", "chunk_count", "connect_timeout", "db", "durable", "max_connections", "password"),
        *("path", "piece_bytes", "prefix", "retry_for", "server", "start_timeout", "timeout", "tls_ca"),
        *("tls_cert", "tls_key", "tls_verify", "ttl", "url", "username"),
    ),
    "s3": (
        *("access_key_id", "allow_http", "anonymous", "bucket_name", "bulk_delete", "ca_bundle"),
        *("concurrency", "conditional_create", "deadline", "endpoint_url", "part_bytes", "prefix"),
        *("profile_name", "region_name", "retries", "secret_access_key", "session_token", "timeout"),
        "virtual_hosted",
    ),
    "sqlite": ("durable", "lock_timeout", "max_bytes", "path", "read_only"),
    "tcpip": (
        *("allow_plaintext", "authorities", "certificate", "channel_binding", "connect_timeout", "grants"),
        *("heartbeat", "heartbeat_timeout", "host", "listen", "max_buffered_bytes", "max_calls_per_second"),
        *("max_connections", "max_depth", "max_handshakes", "max_in_flight", "max_json_bytes"),
        *("max_message_bytes", "max_streams", "origins", "peer_secret_key", "port", "private_key"),
        *("reconnect", "request_timeout", "retry_seconds", "secrets", "window_bytes"),
    ),
    "threads": ("workers",),
}
"""The options of each table of ``laila.args``: ``hdf5.path``, which is ``LAILA_HDF5_PATH`` too."""

OTHERS = (
    *("LAILA_ENCRYPTION_KEY", "LAILA_HOME", "LAILA_MAX_ENTRY_BYTES", "LAILA_PLUGIN_PREFER", "LAILA_POOL"),
    *("LAILA_SECRET_KEY", "LAILA_STRICT"),
)
"""Variables that are no option of a table, or are called otherwise."""

_FREE = ("LAILA_TEST_", "LAILA_BENCH_", "LAILA_STORE_EVERYTHING")
_told = False


def tell_unknown() -> None:
    """Log what nothing reads, once in the life of a process."""
    global _told
    if _told:
        return
    _told = True
    for line in unknown():
        logger("laila.settings").warning(line)


def unknown() -> list[str]:
    """Return a line for each ``LAILA_…`` variable and each argument that nothing reads."""
    from laila.arguments import args

    return [*_variables([name for name in environ if name.startswith("LAILA_")]), *_arguments(args)]


def _variables(given: Iterable[str]) -> Iterator[str]:
    known = {f"LAILA_{table}_{name}".upper() for table, names in OPTIONS.items() for name in names}
    known.difference_update({"LAILA_PLUGINS_PREFER"})
    known.update(OTHERS)
    strange = [name for name in given if name not in known and not name.startswith(_FREE)]
    if not strange:
        return
    declared, prefixes = _of_others()
    for name in strange:
        if name in declared or name.startswith(prefixes):
            continue
        meant = _close(name, [*known, *declared])
        if meant:
            yield f"nothing reads the variable {shown(name)}; did you mean {meant}?"
        elif not prefixes:
            yield (
                f"nothing reads the variable {shown(name)}: laila has no such setting "
                "(docs/reference/settings.md lists all)"
            )


def _arguments(args: Arguments) -> Iterator[str]:
    for table, value in args.items():
        if not isinstance(value, Mapping):
            continue
        # A table of that name may be the user's own: then nothing in it looks like an option of laila's.
        meant = table if table in OPTIONS else _close(table, OPTIONS)
        names = OPTIONS.get(meant, ())
        ours = any(name in names for name in value)
        if meant != table:
            if ours:
                yield f"nothing reads the table {shown(table)} of laila.args; did you mean {meant}?"
            continue
        for name in value:
            if name in names:
                continue
            near = _close(name, names)
            if near:
                yield f"nothing reads {shown(f'{table}.{name}')} of laila.args; did you mean {table}.{near}?"
            elif ours:
                yield (
                    f"nothing reads {shown(f'{table}.{name}')} of laila.args; the options of {table} are "
                    f"{', '.join(names)}"
                )


def _of_others() -> tuple[set[str], tuple[str, ...]]:
    """The variables of settings that are declared already, and how those of other plugins may begin."""
    declared: set[str] = set()
    settings = sys.modules.get("laila.settings")
    kinds = [] if settings is None else [settings.Settings]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        for field in kind.__attrs_attrs__:
            declared.update(field.metadata["env"])
    from laila.plugins.registry import report

    own = {party.distribution for party in FIRST_PARTY}
    names = {row.name for row in report() if row.distribution not in own}
    return declared, tuple(f"LAILA_{name.upper().replace('-', '_').replace('.', '_')}_" for name in names)


def _close(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.8)), "")
