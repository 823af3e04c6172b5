"""Secrets for commands: from an environment variable or a file, never from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from laila.errors import SecretError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["VARIABLE", "add_secret", "read_secret"]

VARIABLE = "LAILA_TCPIP_PEER_SECRET_KEY"


def add_secret(parser: ArgumentParser) -> None:
    """Add ``--secret-file``."""
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        help=f"the file whose first line is the secret; without it the variable {VARIABLE}",
    )


def read_secret(options: Namespace) -> str:
    """Return the secret that the options or the environment name. Raises :class:`SecretError`."""
    if options.secret_file is None:
        secret = os.environ.get(VARIABLE, "")
        place = f"the variable {VARIABLE} is not set"
    else:
        try:
            secret = options.secret_file.read_text("utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            # Its name is not repeated: it may be the secret itself, given by mistake.
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SecretError(
                f"the file that --secret-file names cannot be read: {reason}", name="secret-file"
            ) from None
        place = "the first line of the file that --secret-file names is empty"
    if not secret:
        raise SecretError(
            f"{place}; give a secret there or with --secret-file (python -c 'import secrets; "
            "print(secrets.token_hex())' makes one)",
            name="secret",
        )
    return secret
