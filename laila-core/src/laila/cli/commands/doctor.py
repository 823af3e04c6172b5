"""Say what is installed, writable, configured and reachable, and what to do about what is not.

With --pool, or the variable LAILA_POOL, the pool is opened to look at it. The exit code is 1 where something
is wrong. No secret is shown.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from laila.cli.opening import open_to_look
from laila.cli.output import print_json, show_table
from laila.showing import said, shown, shown_url

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    Finding = tuple[str, str, str]

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool."""
    parser.add_argument(
        "--pool",
        metavar="POOL_URL",
        default=os.environ.get("LAILA_POOL") or None,
        help="look whether this pool can be reached (default: the variable LAILA_POOL)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Print one line for each finding; 1 if something is wrong."""
    findings = [*_installed(), *_plugins(), *_home(), *_settings()]
    if options.pool is not None:
        findings.append(_pool(options.pool))
    if options.json:
        print_json({"findings": [dict(zip(("state", "what", "text"), row, strict=True)) for row in findings]})
    else:
        show_table(("", "WHAT", "FINDING"), findings)
    return int(any(state == "wrong" for state, _, _ in findings))


def _installed() -> Iterator[Finding]:
    from importlib.metadata import version

    yield "ok", "Python", f"{sys.version.split()[0]}, {sys.executable}"
    yield "ok", "laila-core", version("laila-core")


def _plugins() -> Iterator[Finding]:
    from laila.plugins import report

    good = {"loaded": "ok", "available": "ok", "not installed": "note"}
    for row in report(check=True, missing=True):
        words = [row.version or "", row.status if row.status != "loaded" else "", row.reason or ""]
        state = good.get(row.status, "wrong" if row.status == "failed" else "note")
        yield state, f"{row.kind} {row.name}", ", ".join(filter(None, words))


def _home() -> Iterator[Finding]:
    """Say whether laila's folders can be used. Nothing is made."""
    from laila.directories import LAILA_DEFAULT_DIRECTORIES

    for name, path in LAILA_DEFAULT_DIRECTORIES.items():
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            yield _to_be_made(name, path)
            continue
        except OSError as error:
            yield "wrong", name, f"{shown(path)}: {error.strerror}; set LAILA_HOME to your own folder"
            continue
        if not stat.S_ISDIR(mode) or not os.access(path, os.W_OK | os.X_OK):
            yield "wrong", name, f"{shown(path)} is no folder that you can write to; set LAILA_HOME to one"
        elif name == "secrets" and mode & 0o077:
            yield "wrong", name, f"others can look into {shown(path)}: chmod 700 it"
        else:
            yield "ok", name, shown(path)


def _to_be_made(name: str, path: str) -> Finding:
    above = path
    while not os.path.lexists(above) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    if os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK):
        return "ok", name, f"{shown(path)} is made when something is kept there"
    return (
        "wrong",
        name,
        f"{shown(path)} cannot be made below {shown(above)}; set LAILA_HOME to your own folder",
    )


def _settings() -> Iterator[Finding]:
    from laila.plugins.spelling import unknown

    for line in unknown():
        yield "wrong", "settings", line


def _pool(url: str) -> Finding:
    from laila.errors import LailaError

    try:
        with open_to_look(url) as pool:
            first = next(iter(pool.keys(as_generator=True)), None)
    except (LailaError, ImportError, OSError) as error:
        return "wrong", shown_url(url), said(error)
    return "ok", shown_url(url), "it can be read" if first is not None else "it can be read, and is empty"
