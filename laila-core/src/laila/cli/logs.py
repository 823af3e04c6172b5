"""The log of a command that runs for long: on stderr, as text or as one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from laila.cli.output import clean
from laila.showing import logger

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["add_log_options", "log_to_stderr"]

_LEVELS = ("debug", "info", "warning", "error")


def add_log_options(parser: ArgumentParser) -> None:
    """Add ``--log-level`` and ``--log-json``."""
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="what is logged to stderr (default: warning)"
    )
    parser.add_argument("--log-json", action="store_true", help="log one JSON object a line")


def log_to_stderr(options: Namespace) -> None:
    """Log what laila says from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if options.log_json else _Text("%(asctime)s %(message)s"))
    log = logger("laila")
    log.addHandler(handler)
    log.setLevel(options.log_level.upper())


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One record as text, without control characters."""
        return "\n".join(map(clean, super().format(record).split("\n")))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One record as one line of JSON."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=True)
