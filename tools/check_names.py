"""Refuse what must not stand in a file here: the host of a package registry, or a path of one machine.

Versions are pinned by name alone, so that whoever installs chooses where from; a path below somebody's home
works on one machine. Prints each place and exits 1 where there is one.

usage: python tools/check_names.py [FOLDER]
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_of", "findings", "main"]

# Written so that these lines do not match themselves.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"(?<![\w-])(?:[\w-]+\.)*(?:pypi|pythonhosted|npmjs|anaconda|crates|rubygems)\.(?:org|com|io)(?![\w-])"
    ),
    "an address of a machine's own package index": re.compile(
        r"(?:--|^|\s)(?:extra-)?index-url[ =]+\S", re.MULTILINE
    ),
    "a path below a home folder": re.compile(r"(?<![\w.~/$}-])/(?:home|Users|root)/\w"),
    "a path of one machine": re.compile(
        r"(?<![\w.~/$}-])/(?:work|workspace|opt/(?:wheels|pypi))(?:/\w|(?![\w/-]))"
    ),
}


def files_of(folder: Path) -> list[Path]:
    """The files git knows or would add, in order.

    Raises:
        subprocess.CalledProcessError: ``folder`` is in no git repository.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return sorted({folder / name for name in listed.split("\0") if name and (folder / name).is_file()})


def findings(path: Path) -> Iterator[str]:
    """Each forbidden thing in one file, as ``path:line: what: where``; files that are no text have none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for what, pattern in FORBIDDEN.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: {what}: {match.group().strip()}"


def main(folder: Path) -> int:
    """Check every file of the repository that ``folder`` is in; 1 where something was found."""
    found = [finding for path in files_of(folder) for finding in findings(path)]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
