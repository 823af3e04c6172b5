"""A new distribution from a template: shared by the commands that begin a plugin.

A template is a folder below ``templates``. Its files have the suffix ``.txt``, so that no tool takes them for
a module or a project. In their text the command replaces ``$name``, and in their paths ``PACKAGE``.
"""

from __future__ import annotations

import re
import shutil
from argparse import ArgumentTypeError
from importlib.resources import files
from shlex import quote
from string import Template
from typing import TYPE_CHECKING

from laila.cli.output import say
from laila.errors import InvalidValueError
from laila.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

__all__ = ["name_for", "say_next", "scheme_for", "write_project"]

# A name that pip, Python (with underscores), entry points and URLs all take.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def name_for(group: str, prefix: str) -> Callable[[str], str]:
    """Return a function that checks a plugin's name for argparse; the distribution adds a prefix."""

    def check(text: str) -> str:
        if not _NAME.fullmatch(text.removeprefix(prefix)):
            raise ArgumentTypeError(f"{shown(text)} is no name: lowercase letters, digits and single hyphens")
        if text.startswith(prefix):
            raise ArgumentTypeError(
                f"{prefix} is put before it: give {shown(text.removeprefix(prefix))} alone"
            )
        return _free(group, text)

    return check


def scheme_for(group: str) -> Callable[[str], str]:
    """Return a function that checks a URL scheme for argparse."""

    def check(text: str) -> str:
        if not _SCHEME.fullmatch(text):
            raise ArgumentTypeError(
                f"{shown(text)} is no URL scheme: lowercase letters, digits, '+', '-' and '.'"
            )
        return _free(group, text)

    return check


def _free(group: str, name: str) -> str:
    from laila.plugins.first_party import owner

    belongs_to = owner(group, name)
    if belongs_to:
        raise ArgumentTypeError(f"{shown(name)} is a name of {belongs_to}: take another")
    return name


def write_project(template: str, target: Path, values: Mapping[str, str]) -> bool:
    """Write the project ``target`` from a template; return False if an earlier run did. Overwrites nothing.

    Raises :class:`~laila.errors.InvalidValueError` if ``target`` is something else, or its folder is missing.
    Raises ``OSError`` if the system refuses, and removes the written files then.
    """
    if not target.parent.is_dir():
        raise InvalidValueError(f"there is no folder {target.parent} to write {target.name} into")
    try:
        target.mkdir()
    except FileExistsError:
        if _is_project(target, values):
            return False
        raise InvalidValueError(f"{target} is there already, and was left as it is") from None
    try:
        for path, text in _files(files("laila.cli") / "templates" / template):
            file = target / path.replace("PACKAGE", values["package"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(values), "utf-8")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return True


def _is_project(target: Path, values: Mapping[str, str]) -> bool:
    """Whether the folder holds this project, for the same plugin, perhaps changed since."""
    import tomllib

    try:
        project = tomllib.loads((target / "pyproject.toml").read_text("utf-8"))["project"]
        points = project["entry-points"][values["group"]]
        return project["name"] == values["distribution"] and values["point"] in points
    except (OSError, ValueError, KeyError, TypeError):
        return False


def say_next(target: Path, what: str, then: str, *, written: bool) -> None:
    """Say that ``what`` is written, or was before; list the next commands, and what to do ``then``."""
    say(
        f"{target} is written: {what}. Next:"
        if written
        else f"{target} is there already, and was left as it is. Next:"
    )
    for line in (
        f"cd {quote(str(target))}",
        "pip install -e '.[testing]'",
        "pytest",
        "laila plugins --check",
    ):
        say(f"    {line}")
    say(f"Then {then}, and run pytest again.")


def _files(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the files of a template: the path of each, and its text."""
    for item in folder.iterdir():
        if item.is_dir():
            yield from _files(item, f"{place}{item.name}/")
        else:
            yield f"{place}{item.name.removesuffix('.txt')}", item.read_text("utf-8")
