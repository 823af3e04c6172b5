"""Names of laila-core 1.x, and what serves in their place: error messages quote this."""

from __future__ import annotations

__all__ = ["FORMER", "NAMES", "replacement"]

_ANY_PROTOCOL = "DefaultTCPIPProtocol is the only protocol; others come as plugins"

FORMER = {
    "CloudflarePool": "Cloudflare R2 speaks S3: S3Pool(bucket, endpoint_url='https://<account>.r2.…')",
    "BackblazePool": "Backblaze B2 speaks S3: S3Pool(bucket, endpoint_url='https://s3.<region>.backblazeb2.com')",
    "GCSPool": "Google Cloud Storage speaks S3 with HMAC keys: S3Pool(bucket, endpoint_url=…)",
    "AzurePool": "laila has no pool for Azure; S3Pool takes any service that speaks S3",
    "PostgresPool": "laila has no pool for PostgreSQL; several hosts share a RedisPool or an S3Pool",
    "MongoPool": "laila has no pool for MongoDB; several hosts share a RedisPool or an S3Pool",
    "DuckDBPool": "laila has no pool for DuckDB; SQLitePool and HDF5Pool keep a pool in one file",
    "HuggingFacePool": "laila has no pool for the hub; `laila import` reads the folder of a data set",
    "PythonAsyncThreadPoolTaskForce": "PythonThreadPoolTaskForce takes functions and coroutine functions",
    "PythonProcessPoolTaskForce": "its name is ProcessTaskForce",
}
"""Classes of plugins that laila-core 1.x had."""

NAMES = {
    "request": "laila.add_peer(uri, secret) connects, laila.peers[peer] is that policy",
    "relay": "dest <= source copies a pool, also between peers",
    "build": "an entry holds its data; laila.command.submit runs a function",
    "DotMap": "laila.args is a mapping with attributes of its own",
    "atomic": "a pool decides which of two writers wins; see laila.variable",
    "MultiBuffer": "there is no ring buffer; laila.variable keeps numbered evolutions",
    "resolve_global_id": "nickname= finds an entry by its name, laila.constant(…).global_id is its id",
}
"""Names that ``laila`` itself had."""


def replacement(name: str) -> str | None:
    """Return what serves in the place of a name of laila-core 1.x, or None for another name."""
    if name.startswith("Default") and name.endswith("Protocol"):
        return _ANY_PROTOCOL
    return NAMES.get(name) or FORMER.get(name)
