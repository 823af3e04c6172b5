"""The plugins that laila's own distributions bring, as text: what to install when one is missing.

The only place where the core names its siblings; it imports none of them.
"""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["CORE", "ELSEWHERE", "FIRST_PARTY", "FirstParty", "first_party", "owner", "pip_line"]

CORE = "laila-core"


class FirstParty(NamedTuple):
    """One plugin: its group and short name, its distribution and class, and the URL schemes it takes."""

    group: str
    name: str
    distribution: str
    class_name: str
    schemes: tuple[str, ...] = ()


FIRST_PARTY = (
    FirstParty("laila.pools", "memory", CORE, "MemoryPool", ("memory",)),
    FirstParty("laila.pools", "files", "laila-pool-files", "FilesystemPool", ("file",)),
    FirstParty("laila.pools", "hdf5", "laila-pool-hdf5", "HDF5Pool", ("hdf5",)),
    FirstParty("laila.pools", "redis", "laila-pool-redis", "RedisPool", ("redis", "rediss", "unix")),
    FirstParty("laila.pools", "s3", "laila-pool-s3", "S3Pool", ("s3",)),
    FirstParty("laila.pools", "sqlite", "laila-pool-sqlite", "SQLitePool", ("sqlite",)),
    FirstParty("laila.taskforces", "inline", CORE, "InlineTaskForce"),
    FirstParty("laila.taskforces", "threads", "laila-taskforce-threads", "PythonThreadPoolTaskForce"),
    FirstParty("laila.taskforces", "processes", "laila-taskforce-processes", "ProcessTaskForce"),
    FirstParty("laila.taskforces", "dask", "laila-taskforce-dask", "DaskTaskForce"),
    FirstParty("laila.protocols", "tcpip", "laila-comm-tcpip", "DefaultTCPIPProtocol", ("ws", "wss")),
)

ELSEWHERE = {
    **dict.fromkeys(("gs", "gcs"), "Google Cloud Storage"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl", "azure", "wasb", "wasbs"), "Azure"),
    **dict.fromkeys(("http", "https", "ftp", "sftp", "ssh"), "web and file servers"),
    **dict.fromkeys(("postgres", "postgresql", "mysql", "mongodb"), "databases"),
    **dict.fromkeys(("hdfs", "webhdfs", "hf", "b2", "swift", "oss"), "this store"),
}
"""URL schemes that people try, and whose they are: told what there is instead."""


def first_party(group: str, name: str) -> FirstParty | None:
    """Return the plugin of this short name, if it is one of laila's own."""
    return next((party for party in FIRST_PARTY if party.group == group and party.name == name), None)


def owner(group: str, name: str) -> str:
    """Return whose a short name or URL scheme is, empty for what any distribution may claim."""
    for party in FIRST_PARTY:
        if party.group == group and name in (party.name, *party.schemes):
            return party.distribution
    return ""


def pip_line(distribution: str) -> str:
    """Return the command that installs ``distribution`` from where laila-core itself came from.

    Laila's distributions are not on a package index. A core that was installed from a clone names the
    clone; a core that was installed from a wheel names the folder of that wheel. pip does not record
    ``--find-links``: then the line leaves the folder to the reader.
    """
    clone, wheels = _origin()
    if clone is not None:
        return f"pip install {shlex.quote(str(clone / distribution))}"
    if wheels is not None:
        return f"pip install --find-links {shlex.quote(str(wheels))} {distribution}"
    return f"pip install --find-links FOLDER {distribution} (FOLDER: the wheels that laila came from)"


@cache
def _origin() -> tuple[Path | None, Path | None]:
    """The clone, or the folder of wheels, that laila-core was installed from: what pip noted (PEP 610)."""
    import importlib_metadata

    try:
        note = importlib_metadata.distribution(CORE).read_text("direct_url.json")
        url = urlsplit(json.loads(note or "{}").get("url", ""))
    except (importlib_metadata.PackageNotFoundError, ValueError, AttributeError):
        return None, None
    path = Path(unquote(url.path))
    if url.scheme != "file" or not path.exists():
        return None, None
    return (path.parent, None) if path.is_dir() else (None, path.parent)
