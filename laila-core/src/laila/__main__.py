"""``python -m laila`` is the command ``laila``."""

from __future__ import annotations

import sys

from laila.cli import main

if __name__ == "__main__":
    sys.exit(main())
