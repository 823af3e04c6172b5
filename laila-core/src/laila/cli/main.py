"""From a command line to an exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Protocol

from laila.cli import commands
from laila.cli.output import clean
from laila.cli.parser import Parser
from laila.errors import LailaError
from laila.showing import said

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


class Command(Protocol):
    """The parts of a command module."""

    __doc__: str | None

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return its exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` if ``None``) and return its exit code. Errors go to stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return 2
    if "settle" in options:
        options.settle(options)
    _be_printable()
    if not options.traceback:
        # Commands show the library's log messages themselves, as an error or in their output.
        logging.getLogger("laila").addHandler(logging.NullHandler())
        logging.getLogger("laila").propagate = False
    try:
        code: int = options.run(options)
        # A closed pipe can be handled here, but not while the interpreter ends.
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"laila: interrupted{options.interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.traceback:
            raise
        text = said(error)
        if not isinstance(error, (LailaError, OSError)):
            text = f"unexpected {type(error).__name__}: {text} (laila --traceback … shows where)"
        print(f"laila: {clean(text)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="laila", description="Look at and look after what laila stores.")
    parser.add_argument("--version", action=_Version, help="show the version of laila-core and exit")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.set_defaults(run=None, interrupted="")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for info in pkgutil.iter_modules(commands.__path__):
        command: Command = importlib.import_module(f"{commands.__name__}.{info.name}")
        text = (command.__doc__ or "").strip()
        summary = text.partition("\n")[0]
        subparser = subparsers.add_parser(
            info.name.rstrip("_").replace("_", "-"),  # import_: a keyword names no module
            help=summary[:1].lower() + summary[1:].removesuffix("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _be_printable() -> None:
    """Write what the terminal's encoding lacks as escapes instead of failing half-way through."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _Version(argparse.Action):
    """``--version``, looked up only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from importlib.metadata import version

        print(f"laila-core {version('laila-core')}")
        parser.exit()
