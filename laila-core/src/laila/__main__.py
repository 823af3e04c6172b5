"""``python -m laila`` is the command ``laila``."""

from __future__ import annotations

import os
import sys

# Python puts the current folder first where a module is run. The command does not, nor should this.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from laila.cli import main

if __name__ == "__main__":
    sys.exit(main())
