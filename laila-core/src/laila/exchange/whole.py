"""put_in_place(): give a finished file or folder its name, and replace nothing that has the name."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["put_in_place"]


def put_in_place(temporary: Path, target: Path) -> None:
    """Move a file or folder to a name that is free. Raises ``FileExistsError`` where it is taken.

    Args:
        temporary: What was written, in the folder of the target.
        target: The name.
    """
    if temporary.is_dir():
        os.rename(temporary, target)  # replaces an empty folder at most
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name first
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.replace(temporary, target)
